package unit

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/scarab-ops/scarab/agent/sandbox"
	"github.com/scarab-ops/scarab/agent/unit/decide"
	"github.com/scarab-ops/scarab/agent/unit/effects"
	"github.com/scarab-ops/scarab/agent/unit/hook"
	"github.com/scarab-ops/scarab/agent/unit/journal"
	"github.com/scarab-ops/scarab/agent/unit/toolproto"
	"github.com/scarab-ops/scarab/agent/unit/tools"
	"github.com/scarab-ops/scarab/agent/unit/toolserver"
	"github.com/scarab-ops/scarab/wire/agentapi"
)

// stopGrace is how long a hook's death by signal may precede the agent's own
// order to stop: a machine that goes down signals both at once.
const stopGrace = 2 * time.Second

// defaultPids bounds the processes of a hook where the model does not.
const defaultPids = 4096

// outcome is how a script ended.
type outcome struct {
	ok          bool
	interrupted bool
	reboot      bool // now
	code        int
	reason      string
	stdout      []byte
	stderr      []byte
}

// runHook runs one hook and flushes what it asked for.
func (a *Agent) runHook(ctx context.Context, e journal.Entry) error {
	op := e.Op
	if op.Step == decide.Created {
		if err := a.cfg.Controller.EnterScope(ctx, agentapi.ScopeArgs{RelationID: op.RelationID}); err != nil {
			return err
		}
	}
	picture, err := a.cfg.Controller.Context(ctx, agentapi.ContextArgs{RelationID: op.RelationID})
	if err != nil {
		return err
	}
	release, err := a.cfg.Lock(ctx, "")
	if err != nil {
		return err
	}
	defer release()
	a.before(ctx, op)
	s := a.session(op, &picture)
	o, err := a.script(ctx, s, "hooks/"+op.Hook, op, nil)
	if err != nil {
		return err
	}
	switch {
	case o.interrupted:
		next := decide.Interrupt(a.local, op)
		if err := a.journal.Save(next, e.ID, s.StatusSet); err != nil {
			return err
		}
		a.local = next
		if o.reboot {
			return a.reboot(ctx)
		}
		return ctx.Err()
	case !o.ok:
		return a.failed(ctx, e, o.reason, s.StatusSet)
	}
	e.StatusSet, e.Reboot = s.StatusSet, s.Effects.Reboot
	e.Commit = &agentapi.CommitArgs{
		OpID: e.ID, Hook: op.Hook, RelationID: op.RelationID,
		RefreshAddresses: op.Hook == decide.ConfigChanged, ClearResolved: op.Retry,
	}
	s.Effects.Fill(e.Commit)
	if err := a.journal.Ran(e); err != nil {
		return err
	}
	return a.flush(ctx, e)
}

// failed records that a hook failed and shows it.
func (a *Agent) failed(ctx context.Context, e journal.Entry, reason string, statusSet bool) error {
	a.logf("ERROR", "hook %q failed: %s", e.Op.Hook, reason)
	next := decide.Fail(a.local, e.Op)
	if err := a.journal.Save(next, e.ID, statusSet); err != nil {
		return err
	}
	a.local, a.retryAt, a.updateAt = next, time.Time{}, time.Time{}
	a.quiet(ctx, decide.Op{Kind: decide.Blocked, Reason: fmt.Sprintf("hook failed: %q", e.Op.Hook)})
	return nil
}

// flush sends what a completed operation still owes, for as long as it takes.
// Only the controller's refusal makes a hook of it that failed.
func (a *Agent) flush(ctx context.Context, e journal.Entry) error {
	if e.Commit != nil {
		err := a.persist(ctx, func() error { return a.cfg.Controller.Commit(ctx, *e.Commit) })
		switch {
		case err == nil:
		case !refused(err):
			return err
		case e.Finish == nil:
			return a.failed(ctx, e, "cannot apply what it asked for: "+err.Error(), e.StatusSet)
		default:
			commitFailed(e.Finish, err)
		}
	}
	if e.Finish != nil {
		err := a.persist(ctx, func() error { return a.cfg.Tasks.FinishTask(ctx, *e.Finish) })
		if err != nil && !refused(err) {
			return err
		}
		if err != nil {
			a.logf("WARNING", "cannot finish task %s: %v", e.Finish.ID, err)
		}
	}
	if err := a.done(e); err != nil {
		return err
	}
	a.after(ctx, e.Op)
	if e.Op.Kind != decide.Task {
		a.attempts = 0
	}
	if e.Reboot {
		return a.reboot(ctx)
	}
	return nil
}

// persist repeats a call until the controller answers.
func (a *Agent) persist(ctx context.Context, call func() error) error {
	wait := a.backoff()
	for {
		err := call()
		if err == nil || refused(err) || ctx.Err() != nil {
			return err
		}
		a.logf("WARNING", "cannot reach the controller: %v", err)
		wait(ctx)
	}
}

// rebootPatience is how long a machine may take to go down.
const rebootPatience = 5 * time.Minute

// reboot has the machine rebooted and waits for its end, so that nothing else
// begins here meanwhile: the caller may hold the machine's lock.
func (a *Agent) reboot(ctx context.Context) error {
	if a.cfg.Reboot == nil {
		return nil
	}
	a.agent(ctx, "rebooting", "")
	a.logf("INFO", "rebooting the machine as the charm asked")
	if err := a.cfg.Reboot(); err != nil {
		return fmt.Errorf("cannot reboot the machine: %w", err)
	}
	t := time.NewTimer(rebootPatience) //nolint:forbidigo // the machine's own end
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return fmt.Errorf("cannot reboot the machine: it was asked to %s ago and still runs", rebootPatience)
	}
}

func (a *Agent) session(op decide.Op, picture *agentapi.HookContext) *tools.Session {
	return &tools.Session{
		Unit: a.want.Unit, Application: a.want.Application, ModelUUID: a.want.ModelUUID, Hook: op.Hook,
		RelationID: op.RelationID, RemoteUnit: op.RemoteUnit, RemoteApp: op.RemoteApp,
		Picture: picture, Effects: effects.New(), Live: a.cfg.Live, CanReboot: a.cfg.Reboot != nil,
		Log: func(level, module, msg string) { a.cfg.Log(level, "unit."+a.want.Unit+"."+module, msg) },
	}
}

// script runs the charm's program for path, or command if that is set, with
// the tool socket open.
func (a *Agent) script(ctx context.Context, s *tools.Session, path string, op decide.Op, command []string) (outcome, error) {
	var program string
	args := command
	if command == nil {
		p, err := hook.Script(a.charmDir(), path)
		switch {
		case errors.Is(err, hook.ErrMissing) && s.Task == nil:
			a.cfg.Log("INFO", "agent.unit", fmt.Sprintf("skipped %q hook (missing)", op.Hook))
			return outcome{ok: true}, nil
		case errors.Is(err, hook.ErrMissing):
			return outcome{reason: fmt.Sprintf("action not implemented on unit %q", a.want.Unit), code: -1}, nil
		case err != nil:
			return outcome{reason: err.Error(), code: -1}, nil
		}
		program, args = p, []string{p}
	} else {
		program, path = command[0], ""
	}
	runCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	rebootNow, ended := false, make(chan struct{})
	// The tool gets no answer, or the hook would go on for a moment.
	s.RebootNow = func() { rebootNow = true; cancel(); <-ended }
	name := filepath.Base(path)
	if s.Task != nil {
		name = s.Task.Name
	}
	server, err := a.openServer(s, name)
	if err != nil {
		return outcome{}, err
	}
	served := make(chan struct{})
	go func() { server.Serve(ctx); close(served) }()
	o, err := a.execute(runCtx, s, op, server, execution{program: program, args: args, path: path, name: name})
	close(ended)
	server.Close()
	<-served
	if rebootNow {
		return outcome{interrupted: true, reboot: true}, nil
	}
	return o, err
}

func (a *Agent) openServer(s *tools.Session, name string) (*toolserver.Server, error) {
	return toolserver.Open(toolserver.Config{
		Dir: a.cfg.RunDir, UID: a.cfg.User.UID, GID: a.cfg.User.GID, Unit: a.want.Unit, Hook: name,
		Handle: func(ctx context.Context, r *toolproto.Request) *toolproto.Reply { return tools.Run(ctx, s, r) },
		Refused: func(uid int, reason string) {
			a.logf("WARNING", "turned away a hook tool call of uid %d: %s", uid, reason)
		},
	})
}

type execution struct {
	program string
	args    []string
	path    string // hooks/x, actions/x or empty
	name    string
}

func (a *Agent) execute(ctx context.Context, s *tools.Session, op decide.Op, server *toolserver.Server, x execution) (outcome, error) {
	facts := hook.Facts{
		CharmDir: a.charmDir(), Hook: op.Hook, DispatchPath: x.path, ToolEnv: server.Env(), ToolsDir: a.cfg.ToolsDir,
		Path: a.cfg.Path, Version: a.cfg.Version, Want: a.want, Picture: s.Picture, RelationID: op.RelationID,
		Endpoint: op.Endpoint, RemoteApp: op.RemoteApp, RemoteUnit: op.RemoteUnit,
		DepartingUnit: op.DepartingUnit, Departed: op.Step == decide.Departed,
	}
	limits := sandbox.Limits{Memory: a.want.HookMemory, Pids: a.want.HookPids, Time: a.want.HookTimeout}
	if limits.Pids <= 0 {
		limits.Pids = defaultPids
	}
	if s.Task != nil {
		facts.Action, facts.TaskID = s.Task.Name, s.Task.ID
		if t := op.Task.Timeout; t > 0 && (limits.Time == 0 || t < limits.Time) {
			limits.Time = t
		}
	}
	module := "unit." + a.want.Unit + "." + x.name
	out := hook.NewLines(func(l string) { a.cfg.Log("DEBUG", module, l) }, s.Task != nil)
	errs := hook.NewLines(func(l string) { a.cfg.Log("WARNING", module, l) }, s.Task != nil)
	r, err := a.cfg.Box.Run(ctx, sandbox.Spec{
		Name: a.cfg.Unit.Tag().String(), Path: x.program, Args: x.args, Env: hook.Env(facts), Dir: a.charmDir(),
		UID: a.cfg.User.UID, GID: a.cfg.User.GID, Groups: a.cfg.User.Groups, NoNewPrivs: a.cfg.User.NoNewPrivs,
		Hide: a.cfg.AgentsDir, Keep: []string{a.charmDir()}, Limits: limits, Stdout: out, Stderr: errs,
	})
	o := outcome{stdout: out.Close(), stderr: errs.Close(), code: r.Code}
	if err != nil {
		return o, err
	}
	a.judge(ctx, r, &o)
	return o, nil
}

// judge turns the end of a process into an outcome.
func (a *Agent) judge(ctx context.Context, r sandbox.Result, o *outcome) {
	switch {
	case r.Limit != "":
		o.reason = fmt.Sprintf("ended at its %s limit", r.Limit)
	case r.Stopped:
		o.interrupted = true
	case r.Signal == syscall.SIGTERM || r.Signal == syscall.SIGKILL:
		select {
		case <-ctx.Done():
			o.interrupted = true
		case <-time.After(stopGrace): //nolint:forbidigo // see stopGrace
			o.reason = "ended by signal: " + r.Signal.String()
		}
	case r.Signal != 0:
		o.reason = "ended by signal: " + r.Signal.String()
	case r.Code != 0:
		o.reason = fmt.Sprintf("exit status %d", r.Code)
	default:
		o.ok = true
	}
	o.reason = strings.TrimSpace(o.reason)
}
