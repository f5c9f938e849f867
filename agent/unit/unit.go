// Package unit is the agent of one unit: a loop that reads what the controller
// wants, asks package decide for the one thing to do, and does it between two
// records of the journal. It owns the loop, the flush of what a hook asked for,
// retries, leadership and the statuses that the agent sets by itself. Which
// hook comes next is decided in decide and nowhere else.
//
// It refuses to harm itself: no answer of the controller, and no lack of one,
// makes it delete anything. A unit that is dead ends its loop; what becomes of
// its files is for the machine.
package unit

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/scarab-ops/scarab/agent/sandbox"
	"github.com/scarab-ops/scarab/agent/unit/decide"
	"github.com/scarab-ops/scarab/agent/unit/journal"
	"github.com/scarab-ops/scarab/agent/unit/tools"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/wire/agentapi"
)

// Controller is what the loop needs of the controller. An error that is a
// *RefusedError is the controller's answer; every other one is trouble on the
// way, and the call is made again.
type Controller interface {
	Want(ctx context.Context) (agentapi.Want, error)
	// AwaitChange returns when Want may have changed since the last call.
	AwaitChange(ctx context.Context) error
	Context(ctx context.Context, a agentapi.ContextArgs) (agentapi.HookContext, error)
	Commit(ctx context.Context, a agentapi.CommitArgs) error
	EnterScope(ctx context.Context, a agentapi.ScopeArgs) error
	LeaveScope(ctx context.Context, a agentapi.ScopeArgs) error
	Dead(ctx context.Context) error
	// Charm writes the archive of a charm whose SHA-256, in hex, is given.
	Charm(ctx context.Context, url, sha256 string, w io.Writer) error
}

// Tasks is what running actions needs of the controller.
type Tasks interface {
	StartTask(ctx context.Context, a agentapi.TaskArgs) error
	FinishTask(ctx context.Context, a agentapi.FinishTaskArgs) error
}

// RefusedError is an answer of the controller: asking again will not help.
type RefusedError struct{ Err error }

func (e *RefusedError) Error() string { return e.Err.Error() }
func (e *RefusedError) Unwrap() error { return e.Err }

func refused(err error) bool {
	var r *RefusedError
	return errors.As(err, &r)
}

// User is who runs the hooks.
type User struct {
	UID, GID   int
	Groups     []int
	NoNewPrivs bool
}

// Config makes an agent. Everything without a comment that it may be empty is
// needed.
type Config struct {
	Unit      names.Unit
	Dir       string // the unit's own: charm/, state/
	AgentsDir string // hidden from hooks but for their charm; may be empty
	RunDir    string // where tool sockets live; short
	ToolsDir  string
	Path      string // PATH of hooks, behind ToolsDir
	Version   string // told to charms
	BootID    string // differs after every boot of the machine
	User      User

	Controller Controller
	Tasks      Tasks
	Live       tools.Live

	// Unpack puts a verified archive in place of the charm in dir, with what
	// it has to remember in stateDir.
	Unpack func(archive, dir, stateDir string) error
	// CheckAction validates parameters against the charm and adds defaults.
	CheckAction func(charmDir, name string, params map[string]any) (map[string]any, error)
	Box         *sandbox.Box
	// Lock serialises hooks of a machine.
	Lock func(ctx context.Context, name string) (func(), error)
	Log  func(level, module, message string)
	// Reboot reboots the machine; nil where that cannot be.
	Reboot func() error

	// Fault is called at every step of the journal; tests end the process in
	// it. It may be nil.
	Fault func(point string)
	// Retry and Lead shorten waits in tests; zero is 5 s to 5 min, and 30 s.
	RetryMin, RetryMax, Lead time.Duration
}

// Agent is one unit's.
type Agent struct {
	cfg     Config
	journal *journal.Journal
	local   decide.Local
	want    agentapi.Want
	changed chan struct{} // the controller's side may have changed

	retryAt  time.Time
	attempts int
	updateAt time.Time
	interval time.Duration // that updateAt was drawn from

	mu       sync.Mutex
	leader   bool
	until    time.Time // of the claim; zero is unknown
	statuses map[string]string
}

// errDead ends the loop: there is nothing more to do for this unit.
var errDead = errors.New("unit is dead")

// New makes an agent; Run works.
func New(cfg Config) *Agent {
	if cfg.RetryMin == 0 {
		cfg.RetryMin, cfg.RetryMax = 5*time.Second, 5*time.Minute
	}
	if cfg.Lead == 0 {
		cfg.Lead = 30 * time.Second
	}
	return &Agent{cfg: cfg, changed: make(chan struct{}, 1), statuses: map[string]string{}}
}

func (a *Agent) stateDir() string { return filepath.Join(a.cfg.Dir, "state") }
func (a *Agent) charmDir() string { return filepath.Join(a.cfg.Dir, "charm") }

func (a *Agent) logf(level, format string, v ...any) {
	a.cfg.Log(level, "agent.unit", fmt.Sprintf(format, v...))
}

// Run works until ctx ends, or returns nil once the unit is dead. Trouble with
// the controller or the disk is waited out.
func (a *Agent) Run(ctx context.Context) error {
	if err := os.MkdirAll(a.stateDir(), 0o700); err != nil {
		return fmt.Errorf("cannot start unit agent: %w", err)
	}
	j, entry, err := journal.Open(journal.Config{Dir: a.stateDir(), Fault: a.cfg.Fault})
	if err != nil {
		return err
	}
	defer func() { _ = j.Close() }()
	a.journal, a.local = j, j.State().Local
	a.local.Now.BootID = a.cfg.BootID
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(a.guard(cancel, func() { a.follow(ctx) }))
	wg.Go(a.guard(cancel, func() { a.lead(ctx) }))
	wait := a.backoff()
	recovered := false
	for ctx.Err() == nil {
		if !recovered {
			err = a.recover(ctx, entry)
			recovered = err == nil
		} else {
			err = a.step(ctx)
		}
		switch {
		case errors.Is(err, errDead):
			return nil
		case err == nil:
			wait = a.backoff()
		case ctx.Err() == nil:
			a.logf("WARNING", "cannot go on: %v", err)
			wait(ctx)
		}
	}
	return ctx.Err()
}

// guard makes a panic the end of this agent only; whoever runs it starts it
// again.
func (a *Agent) guard(end func(), f func()) func() {
	return func() {
		defer func() {
			if p := recover(); p != nil {
				a.logf("ERROR", "panic: %v", p)
				end()
			}
		}()
		f()
	}
}

// Removed tells, once Run has returned nil, that the unit itself went its whole
// way to the end; a controller that merely says so is no reason to delete
// anything.
func (a *Agent) Removed() bool { return a.local.DeadSent }

// step looks once and does one thing, or waits for a change.
func (a *Agent) step(ctx context.Context) error {
	w, err := a.cfg.Controller.Want(ctx)
	if err != nil {
		return err
	}
	if w.Unit != string(a.cfg.Unit) {
		return fmt.Errorf("cannot use the controller's answer: it is for unit %q", w.Unit)
	}
	if err := a.settleLead(ctx, &w); err != nil {
		return err
	}
	a.want, a.local = w, decide.Prune(a.local, w)
	a.timers()
	op := decide.Next(a.local, w)
	switch op.Kind {
	case decide.Exit:
		return errDead
	case decide.Idle, decide.Blocked:
		a.quiet(ctx, op)
		a.await(ctx)
		return nil
	default:
		return a.do(ctx, op)
	}
}

// do carries one operation through the journal.
func (a *Agent) do(ctx context.Context, op decide.Op) error {
	e := journal.Entry{ID: newID(a.cfg.Unit), Op: op}
	if err := a.journal.Begin(e); err != nil {
		return err
	}
	if op.Resolved && op.Kind == decide.Hook {
		a.attempts = 0
		args := agentapi.CommitArgs{OpID: e.ID + "-resolved", RelationID: -1, ClearResolved: true}
		if err := a.cfg.Controller.Commit(ctx, args); err != nil {
			return err
		}
	}
	var err error
	switch op.Kind {
	case decide.Hook:
		return a.runHook(ctx, e)
	case decide.Task:
		return a.runTask(ctx, e)
	case decide.Skip:
		e.Commit = &agentapi.CommitArgs{OpID: e.ID, Hook: op.Hook, RelationID: op.RelationID, ClearResolved: true}
		a.attempts = 0
		if err := a.journal.Ran(e); err != nil {
			return err
		}
		return a.flush(ctx, e)
	case decide.Deploy:
		err = a.deploy(ctx, e)
	case decide.EnterScope:
		err = a.cfg.Controller.EnterScope(ctx, agentapi.ScopeArgs{RelationID: op.RelationID})
	case decide.LeaveScope:
		err = a.cfg.Controller.LeaveScope(ctx, agentapi.ScopeArgs{RelationID: op.RelationID})
	case decide.Dead:
		err = a.cfg.Controller.Dead(ctx)
	}
	if err != nil {
		return err
	}
	return a.done(e)
}

// done records the end of an operation.
func (a *Agent) done(e journal.Entry) error {
	next := decide.Done(a.local, e.Op)
	if err := a.journal.Save(next, e.ID, e.StatusSet); err != nil {
		return err
	}
	a.local = next
	if e.Op.Kind == decide.Hook && e.Op.Hook == decide.UpdateStatus {
		a.updateAt = time.Time{}
	}
	return nil
}

// recover ends what an earlier agent had begun.
func (a *Agent) recover(ctx context.Context, e journal.Entry) error {
	if e.ID == a.journal.State().Last {
		return nil // an earlier try got this far
	}
	switch e.Step {
	case journal.Ran:
		return a.flush(ctx, e)
	case journal.Begun:
		if e.Op.Kind == decide.Task {
			e.Finish = &agentapi.FinishTaskArgs{ID: e.Op.Task.ID, Status: "failed", Message: "action terminated"}
			if err := a.journal.Ran(e); err != nil {
				return err
			}
			return a.flush(ctx, e)
		}
		next := decide.Interrupt(a.local, e.Op)
		if err := a.journal.Save(next, e.ID, false); err != nil {
			return err
		}
		a.local = next
	case journal.None:
	}
	return nil
}

// await sleeps until something may have changed.
func (a *Agent) await(ctx context.Context) {
	var at time.Time
	if !a.local.Now.UpdateStatusDue {
		at = a.updateAt
	}
	if t := a.retryAt; !t.IsZero() && !a.local.Now.RetryDue && (at.IsZero() || t.Before(at)) {
		at = t
	}
	var timer <-chan time.Time
	if !at.IsZero() {
		t := time.NewTimer(max(time.Until(at), time.Millisecond)) //nolint:forbidigo // timers run by the kernel's clock
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-ctx.Done():
	case <-a.changed:
	case <-timer:
	}
}

// follow turns the controller's watcher into wake-ups. After trouble it wakes
// the loop too: something may have been missed.
func (a *Agent) follow(ctx context.Context) {
	wait := a.backoff()
	for ctx.Err() == nil {
		if err := a.cfg.Controller.AwaitChange(ctx); err != nil {
			wait(ctx)
		} else {
			wait = a.backoff()
		}
		a.wake()
	}
}

func (a *Agent) wake() {
	select {
	case a.changed <- struct{}{}:
	default:
	}
}

// backoff returns a wait that doubles, with jitter, each time it is called.
func (a *Agent) backoff() func(context.Context) {
	d := min(a.cfg.RetryMin, time.Second)
	return func(ctx context.Context) {
		t := time.NewTimer(jitter(d))
		defer t.Stop()
		d = min(2*d, a.cfg.RetryMax, time.Minute)
		select {
		case <-ctx.Done():
		case <-t.C:
		}
	}
}

// jitter spreads d over 80 to 120 percent.
func jitter(d time.Duration) time.Duration {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return d*4/5 + d*2/5*time.Duration(binary.BigEndian.Uint32(b[:])>>8)/(1<<24)
}

func newID(u names.Unit) string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails
	return u.Tag().String() + "-" + hex.EncodeToString(b[:])
}
