package bootstrap

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/scarab-ops/scarab/names"
)

const (
	one   = names.ControllerID("c0c0c0c0-0000-4000-8000-000000000001")
	other = names.ControllerID("c0c0c0c0-0000-4000-8000-000000000002")
)

// host is a host of its own below a folder, with the programs that bootstrap looks for.
func host(t *testing.T) Paths {
	t.Helper()
	dir := t.TempDir()
	p := Paths{
		Lib: filepath.Join(dir, "lib"), Run: filepath.Join(dir, "run"), Log: filepath.Join(dir, "log"),
		Cache: filepath.Join(dir, "cache"), Programs: filepath.Join(dir, "bin"),
	}
	for _, d := range []string{p.Lib, p.Programs} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range programs() {
		write(t, filepath.Join(p.Programs, name), "")
	}
	return p
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func quiet(string, bool, error) {}

func TestHere(t *testing.T) {
	p := host(t)
	is := func(id names.ControllerID, want bool) {
		t.Helper()
		if got, err := Here(p, id); err != nil || got != want {
			t.Errorf("here %v, %v; want %v", got, err, want)
		}
	}
	is(one, false)
	if err := os.Mkdir(p.keys(), 0o700); err != nil { // what a broken bootstrap leaves
		t.Fatal(err)
	}
	is(one, true)
	write(t, p.host(), `{"controller-id":"`+string(one)+`"}`)
	is(one, true)
	is(other, false)
	write(t, p.host(), `{`)
	if _, err := Here(p, one); err == nil {
		t.Error("a broken record was believed")
	}
}

func TestRefusals(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, text, _ := net.SplitHostPort(l.Addr().String())
	taken, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	free := freePort(t)
	refused := func(p Paths, port int, want string) error {
		t.Helper()
		_, err := Start(context.Background(), p, Request{Name: "x", APIPort: port, CheckOnly: true}, quiet)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
		return err
	}
	p := host(t)
	if _, err := Start(context.Background(), p, Request{Name: "x", APIPort: free, CheckOnly: true}, quiet); err != nil {
		t.Errorf("a fit host is refused: %v", err)
	}
	refused(p, taken, "port "+text+" of this host is in use; free it, or choose another with: --config api-port=PORT")

	unlock, err := lock(p)
	if err != nil {
		t.Fatal(err)
	}
	refused(p, free, "another bootstrap or destruction runs on this host; wait for it to end")
	unlock()

	p = host(t)
	write(t, p.host(), `{"controller-id":"`+string(one)+`","host-tcp":[17071]}`)
	var running *RunningError
	if err := refused(p, free, "this host already runs the controller "+string(one)); !errors.As(err, &running) ||
		running.UUID != one || running.Address != "127.0.0.1:17071" {
		t.Errorf("error %#v", err)
	}

	p = host(t)
	if err := os.Mkdir(p.data(), 0o700); err != nil {
		t.Fatal(err)
	}
	refused(p, free, "holds the data of an earlier controller")

	p = host(t)
	if err := os.Remove(filepath.Join(p.Programs, "scarab-agent")); err != nil {
		t.Fatal(err)
	}
	refused(p, free, "the program scarab-agent is not beside scarab")
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// TestUndoThatFails says what is left and how to go on, to who interrupted too.
func TestUndoThatFails(t *testing.T) {
	p := host(t)
	write(t, p.host(), `{`)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := (&builder{paths: p, report: quiet, c: Controller{UUID: one}}).undo(ctx)
	var left interface{ Unfinished() string }
	if !errors.As(err, &left) || !strings.Contains(left.Unfinished(), "cannot take back what was begun: cannot read") ||
		!strings.Contains(left.Unfinished(), "scarab kill-controller "+string(one)) {
		t.Fatalf("error %v", err)
	}
}
