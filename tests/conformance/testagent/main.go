// Command testagent is the machine's agent with two things more than the one
// that is shipped: it ends itself by SIGKILL at a chosen step of a unit's
// journal, and its waits can be shortened.
//
// With -trace it writes a line for every operation whose Begun or Ran record
// has become durable, between the lines of the charm's runs, so that a test can
// tell what was completed and when.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/scarab-ops/scarab/agent/sandbox"
	app "github.com/scarab-ops/scarab/app/agent"
	"github.com/scarab-ops/scarab/names"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == sandbox.HelperArg {
		os.Exit(sandbox.HelperMain(os.Args[2:]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "ERROR", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("machine", flag.ContinueOnError)
	cfg := app.Config{Path: os.Getenv("PATH")}
	f.StringVar(&cfg.Machine, "machine", "0", "`id` of the machine")
	f.StringVar(&cfg.DataDir, "data-dir", "", "`directory` of agents, charms and tools")
	f.StringVar(&cfg.RunDir, "run-dir", "", "`directory` of hook tool sockets")
	f.StringVar(&cfg.LogDir, "log-dir", "", "`directory` of logs")
	f.StringVar(&cfg.LoginHome, "login-home", "", "home of the login user")
	f.StringVar(&cfg.Isolation, "isolation", "process", "how the machine is held")
	f.DurationVar(&cfg.RetryMin, "retry-min", 0, "first pause before a failed hook is retried")
	f.DurationVar(&cfg.RetryMax, "retry-max", 5*time.Minute, "longest such pause")
	f.DurationVar(&cfg.Lead, "lead", 0, "pause between claims of leadership")
	fault := f.String("fault", "", "`step` of the journal at which to die")
	after := f.Int("after", 1, "how often that step is reached before")
	trace := f.String("trace", "", "`directory` for what was begun and completed")
	if err := f.Parse(args); err != nil {
		return err
	}
	t := &tracer{data: cfg.DataDir, dir: *trace, fault: *fault, left: *after}
	cfg.Fault = t.point
	return app.RunMachine(ctx, cfg)
}

type tracer struct {
	data, dir, fault string

	mu   sync.Mutex
	left int
}

// point is called at every step of every unit's journal.
func (t *tracer) point(u names.Unit, point string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.dir != "" && (point == "begun" || point == "ran") {
		if err := t.record(u, point); err != nil {
			fmt.Fprintln(os.Stderr, "ERROR cannot trace:", err)
			os.Exit(3)
		}
	}
	if point != t.fault {
		return
	}
	if t.left--; t.left <= 0 {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // the signal comes
	}
}

// record writes what the journal says now: begun or ran, the operation's id,
// its kind and its title.
func (t *tracer) record(u names.Unit, point string) error {
	data, err := os.ReadFile(filepath.Join(t.data, "agents", u.Tag().String(), "state", "journal"))
	if err != nil {
		return err
	}
	lines := bytes.Split(bytes.TrimSpace(data), []byte("\n"))
	_, body, _ := bytes.Cut(lines[len(lines)-1], []byte(" "))
	var e struct {
		ID string
		Op struct {
			Kind, Hook string
			Task       *struct{ ID string }
		}
	}
	if err := json.Unmarshal(body, &e); err != nil {
		return err
	}
	what := e.Op.Hook
	if e.Op.Task != nil {
		what = "task " + e.Op.Task.ID
	}
	f, err := os.OpenFile(filepath.Join(t.dir, strings.ReplaceAll(string(u), "/", "-")), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%s\t%s\t%s\t%s\n", point, e.ID, e.Op.Kind, what)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}
