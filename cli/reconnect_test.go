package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/cli"
	"github.com/scarab-ops/scarab/cli/clitest"
	"github.com/scarab-ops/scarab/cli/connect"
	"github.com/scarab-ops/scarab/cli/session"
	"github.com/scarab-ops/scarab/cli/store"
	"github.com/scarab-ops/scarab/client"
)

// breaking is a way to a controller whose first connections break under the call that lasts.
type breaking struct {
	session.Dialer
	times int
	asked []url.Values
}

func (b *breaking) Dial(ctx context.Context, t session.Target) (session.Conn, error) {
	c, err := b.Dialer.Dial(ctx, t)
	if err != nil {
		return nil, err
	}
	return &brittle{c, b}, nil
}

type brittle struct {
	session.Conn
	b *breaking
}

func (c *brittle) snap() error {
	if c.b.times > 0 {
		c.b.times--
		return client.ErrBroken
	}
	return nil
}

func (c *brittle) Call(ctx context.Context, facade, id, method string, params, result any) error {
	if facade == "AllWatcher" && method == "Next" {
		if err := c.snap(); err != nil {
			return err
		}
	}
	return c.Conn.Call(ctx, facade, id, method, params, result)
}

func (c *brittle) DebugLog(ctx context.Context, p url.Values, line func(session.LogLine) error) error {
	q := url.Values{}
	for k, v := range p {
		q[k] = v
	}
	c.b.asked = append(c.b.asked, q)
	if err := c.Conn.(session.LogSource).DebugLog(ctx, p, line); err != nil {
		return err
	}
	return c.snap()
}

func run(t *testing.T, times int, answers map[string]json.RawMessage, term session.Terminal, args ...string) (*breaking, int, string, string) {
	t.Helper()
	server, err := clitest.Start(answers)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	dir := filepath.Join(t.TempDir(), "data")
	if err := introduce(dir, server); err != nil {
		t.Fatal(err)
	}
	st, err := store.New(store.Config{Dir: dir, UID: os.Geteuid()})
	if err != nil {
		t.Fatal(err)
	}
	b := &breaking{Dialer: connect.New(connect.Config{}), times: times}
	var out, errs bytes.Buffer
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	code := cli.Main(ctx, session.Config{
		Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Getenv: func(string) string { return "" }, Now: now, Store: st, Dial: b, Terminal: term,
	}, args)
	return b, code, out.String(), errs.String()
}

func TestWaitForOutlivesItsConnection(t *testing.T) {
	all := json.RawMessage(`{"deltas":[["application","change",{"name":"a","life":"alive","status":{"current":"active"}}]]}`)
	_, code, _, errs := run(t, 1, map[string]json.RawMessage{"AllWatcher.Next": all}, &terminal{in: strings.NewReader(""), err: io.Discard}, "wait-for", "application", "a")
	if code != 0 || strings.Count(errs, "The connection to the controller broke; waiting for it") != 1 {
		t.Errorf("code %d: %s", code, errs)
	}
}

// Lines that were shown before the break are not shown again.
func TestDebugLogOutlivesItsConnection(t *testing.T) {
	line := json.RawMessage(`{"sequence":[{"tag":"unit-a-0","ts":"2025-01-05T10:11:12.5Z","sev":"INFO","mod":"m","msg":"hello"}]}`)
	b, code, _, errs := run(t, 2, map[string]json.RawMessage{"log": line}, &terminal{in: strings.NewReader(""), err: io.Discard}, "debug-log", "--retry", "--retry-delay", "1ms")
	if code != 0 || len(b.asked) != 3 || !strings.Contains(errs, "to go on with the log") {
		t.Fatalf("code %d, asked %v: %s", code, b.asked, errs)
	}
	if first, next := b.asked[0], b.asked[1]; first.Get("startTime") != "" || next.Get("startTime") != "2025-01-05T10:11:12.500000001Z" || next.Get("backlog") != "" {
		t.Errorf("asked %v, then %v", first, next)
	}
}

// What is not followed, or never answered, is an error at once.
func TestBrokenConnectionsAreErrors(t *testing.T) {
	_, code, _, errs := run(t, 1, nil, &terminal{in: strings.NewReader(""), err: io.Discard}, "debug-log", "--no-tail")
	if code != 1 || !strings.Contains(errs, "ERROR") {
		t.Errorf("code %d: %s", code, errs)
	}
}

// Who interrupts a run is told that it goes on, and how to end it.
func TestInterruptedRunGoesOn(t *testing.T) {
	one := `{"action":{"tag":"action-2","receiver":"unit-mysql-0","name":"x"},"status":"running"}`
	server, err := clitest.Start(map[string]json.RawMessage{
		"Action.EnqueueOperation": json.RawMessage(`{"operation":"operation-1","actions":[` + one + `]}`),
		"Action.Actions":          json.RawMessage(`{"results":[` + one + `]}`),
	})
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
	sc := &screen{saw: make(chan string, 1000)}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	done := make(chan int, 1)
	go func() {
		done <- cli.Main(ctx, session.Config{
			Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: sc, Getenv: func(string) string { return "" }, Now: now, Store: st,
			Dial: connect.New(connect.Config{}), Terminal: &terminal{in: strings.NewReader(""), err: io.Discard},
		}, []string{"run", "mysql/0", "x"})
	}()
	for !strings.Contains(<-sc.saw, "task 2") {
	}
	cancel()
	code := <-done
	got := sc.buf.String()
	if code != 1 || !strings.Contains(got, "interrupted") || !strings.Contains(got, "hint: operation 1 goes on; see it: scarab show-operation 1; end it: scarab cancel-task 2") {
		t.Errorf("code %d: %s", code, got)
	}
}
