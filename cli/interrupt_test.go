package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/cli"
	"github.com/scarab-ops/scarab/cli/clitest"
	"github.com/scarab-ops/scarab/cli/connect"
	"github.com/scarab-ops/scarab/cli/session"
	"github.com/scarab-ops/scarab/cli/store"
)

// hanging starts nothing until it is interrupted.
type hanging struct{ begun chan struct{} }

func (h hanging) Start(ctx context.Context, _ session.BootstrapRequest, report func(session.Step)) (session.Bootstrapped, error) {
	report(session.Step{Name: "start the host agent"})
	close(h.begun)
	<-ctx.Done()
	return session.Bootstrapped{}, ctx.Err()
}

func (hanging) Destroy(ctx context.Context, _ session.DestroyRequest, _ func(session.Step)) error {
	return ctx.Err()
}

func (hanging) Here(string) (bool, error) { return false, nil }

func (hanging) Asleep(context.Context, string) string { return "" }

func TestInterruptedBootstrapLeavesNoEntry(t *testing.T) {
	var out bytes.Buffer
	cfg := bare(t, &out)
	h := hanging{make(chan struct{})}
	cfg.Bootstrap = h
	ctx, cancel := context.WithCancel(context.Background())
	go func() { <-h.begun; cancel() }()
	if code := cli.Main(ctx, cfg, []string{"bootstrap", "localhost", "prod"}); code != 1 {
		t.Fatalf("exit code %d: %s", code, out.String())
	}
	if !strings.Contains(out.String(), "ERROR cannot finish: it was interrupted") {
		t.Fatalf("output %s", out.String())
	}
	if _, err := os.Stat(filepath.Join(cfg.Store.Dir(), "controllers.yaml")); !os.IsNotExist(err) {
		t.Fatalf("a controller was recorded: %v", err)
	}
}

// screen is a terminal of 80 by 24 that keeps what is drawn.
type screen struct {
	terminal
	mu  sync.Mutex
	buf bytes.Buffer
	saw chan string
}

func (*screen) StdoutIsTerminal() bool { return true }
func (*screen) StderrIsTerminal() bool { return true }

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.saw <- string(p)
	return s.buf.Write(p)
}

func TestWatchRedrawsOnChangesOnly(t *testing.T) {
	one := json.RawMessage(`{"model":{"name":"dev","cloud-tag":"cloud-localhost"},"machines":{},"applications":{"one":{"charm":"local:one-0","status":{"status":"waiting"}}},"relations":[]}`)
	two := json.RawMessage(strings.ReplaceAll(string(one), "waiting", "active"))
	seq, err := json.Marshal(map[string]any{"sequence": []json.RawMessage{one, two}})
	if err != nil {
		t.Fatal(err)
	}
	server, err := clitest.Start(map[string]json.RawMessage{"Client.FullStatus": seq, "AllWatcher.Next": json.RawMessage(`{"deltas":[]}`)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	}()
	dir := filepath.Join(t.TempDir(), "data")
	if err := introduce(dir, server); err != nil {
		t.Fatal(err)
	}
	st, err := store.New(store.Config{Dir: dir, UID: os.Geteuid()})
	if err != nil {
		t.Fatal(err)
	}
	sc := &screen{saw: make(chan string, 100)}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	done := make(chan int, 1)
	go func() {
		done <- cli.Main(ctx, session.Config{
			Stdin: strings.NewReader(""), Stdout: sc, Stderr: io.Discard, Getenv: func(string) string { return "" }, Now: now, Store: st,
			Dial: connect.New(connect.Config{}), Terminal: sc,
		}, []string{"status", "--watch", "20ms", "--no-color"})
	}()
	first, second := <-sc.saw, <-sc.saw
	if !strings.Contains(first, "waiting") || !strings.Contains(second, "active") || !strings.HasPrefix(second, "\x1b[H") || strings.Contains(second, "\x1b[2J") {
		t.Fatalf("drawn %q then %q", first, second)
	}
	cancel()
	if code := <-done; code != 0 {
		t.Fatalf("exit code %d", code)
	}
	if n := strings.Count(strings.Join(server.Calls(), "\n"), "FullStatus"); n != 2 {
		t.Errorf("%d requests for one change", n)
	}
}

func TestStepsOnATerminal(t *testing.T) {
	sc := &screen{saw: make(chan string, 100)}
	cfg := bare(t, &bytes.Buffer{})
	cfg.Stderr, cfg.Terminal = sc, sc
	p := session.New(cfg).Progress()
	p.Report(session.Step{Name: "one\x1b[2J"})
	p.Report(session.Step{Name: "one\x1b[2J", Done: true})
	p.Waiting("for two")
	p.End()
	want := "\r\x1b[K  ... one\\x1b[2J" + "\r\x1b[K  ok  one\\x1b[2J (0.0s)\n" + "\r\x1b[K  for two (0.0s)" + "\r\x1b[K"
	if got := sc.buf.String(); got != want {
		t.Fatalf("drawn %q\nwant  %q", got, want)
	}
}
