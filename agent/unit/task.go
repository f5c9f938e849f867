package unit

import (
	"context"
	"encoding/base64"
	"fmt"
	"unicode/utf8"

	"github.com/scarab-ops/scarab/agent/unit/journal"
	"github.com/scarab-ops/scarab/agent/unit/tools"
	"github.com/scarab-ops/scarab/wire/agentapi"
)

// execName is the task that runs commands rather than an action of the charm.
const execName = "juju-exec"

// runTask runs an action or commands. It is reported whatever comes of it, and
// never run twice.
func (a *Agent) runTask(ctx context.Context, e journal.Entry) error {
	t := e.Op.Task
	// All that may fail on the way comes before the start: a started task is
	// run once, or reported.
	picture, err := a.cfg.Controller.Context(ctx, agentapi.ContextArgs{RelationID: -1})
	if err != nil {
		return err
	}
	release, err := a.lockTask(ctx, t)
	if err != nil {
		return err
	}
	defer release()
	if err := a.cfg.Tasks.StartTask(ctx, agentapi.TaskArgs{ID: t.ID}); err != nil {
		if refused(err) { // it was cancelled meanwhile, or is over
			a.logf("INFO", "task %s not started: %v", t.ID, err)
			return a.done(e)
		}
		return err
	}
	params, command, err := a.prepare(t)
	if err != nil {
		return a.finish(ctx, e, agentapi.FinishTaskArgs{ID: t.ID, Status: "failed", Message: err.Error()}, nil)
	}
	if a.local.Failed == nil { // an error stays in sight: an operator may resolve it meanwhile
		a.agent(ctx, "executing", "running action "+t.Name)
	}
	s := a.session(e.Op, &picture)
	s.Task = &tools.Task{ID: t.ID, Name: t.Name, Params: params}
	o, aborted, err := a.runCancellable(ctx, s, e, command)
	if ctx.Err() != nil { // the agent stops: the next one reports it
		return ctx.Err()
	}
	if err != nil {
		return a.finish(ctx, e, agentapi.FinishTaskArgs{ID: t.ID, Status: "failed", Message: err.Error()}, nil)
	}
	e.StatusSet = s.StatusSet
	args := taskResult(t.ID, s.Task, o)
	if aborted {
		args.Status, args.Message = "aborted", "action aborted"
	}
	var commit *agentapi.CommitArgs
	if o.ok && !aborted {
		commit = &agentapi.CommitArgs{OpID: e.ID, RelationID: -1}
		s.Effects.Fill(commit)
	}
	return a.finish(ctx, e, args, commit)
}

// runCancellable runs the task's script until its end or until an operator
// takes the task back.
func (a *Agent) runCancellable(ctx context.Context, s *tools.Session, e journal.Entry, command []string) (outcome, bool, error) {
	runCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	aborted := false
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		if a.watchCancel(runCtx, e.Op.Task.ID) {
			aborted = true
			cancel()
		}
	}()
	o, err := a.script(runCtx, s, "actions/"+e.Op.Task.Name, e.Op, command)
	cancel()
	<-watched
	a.wake() // what the watcher took may have been for the loop
	return o, aborted, err
}

func (a *Agent) finish(ctx context.Context, e journal.Entry, f agentapi.FinishTaskArgs, commit *agentapi.CommitArgs) error {
	e.Finish, e.Commit = &f, commit
	if err := a.journal.Ran(e); err != nil {
		return err
	}
	return a.flush(ctx, e)
}

// prepare validates an action's parameters, or makes the command line of
// commands.
func (a *Agent) prepare(t *agentapi.Task) (map[string]any, []string, error) {
	if t.Name == execName {
		text, ok := t.Params["command"].(string)
		if !ok || text == "" {
			return nil, nil, fmt.Errorf("cannot run %q action: no command", t.Name)
		}
		return t.Params, []string{"/bin/bash", "-c", text}, nil
	}
	params, err := a.cfg.CheckAction(a.charmDir(), t.Name, t.Params)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot run %q action: %v", t.Name, err)
	}
	return params, nil, nil
}

// lockTask takes the machine's lock, a group's, or none.
func (a *Agent) lockTask(ctx context.Context, t *agentapi.Task) (func(), error) {
	if t.Parallel && t.Group == "" {
		return func() {}, nil
	}
	return a.cfg.Lock(ctx, t.Group)
}

// watchCancel returns true when an operator takes the task back.
func (a *Agent) watchCancel(ctx context.Context, id string) bool {
	for {
		select {
		case <-ctx.Done():
			return false
		case <-a.changed:
		}
		w, err := a.cfg.Controller.Want(ctx)
		if err != nil {
			continue
		}
		for _, t := range w.Tasks {
			if t.ID == id && t.Cancelled {
				return true
			}
		}
	}
}

// taskResult is what the operator sees of a task.
func taskResult(id string, t *tools.Task, o outcome) agentapi.FinishTaskArgs {
	f := agentapi.FinishTaskArgs{ID: id, Status: "completed", Output: map[string]any{}}
	for k, v := range t.Results {
		f.Output[k] = v
	}
	f.Output["return-code"] = o.code
	addOutput(f.Output, "stdout", o.stdout)
	addOutput(f.Output, "stderr", o.stderr)
	if !o.ok {
		f.Status, f.Message = "failed", o.reason
	}
	if t.Failed {
		f.Status, f.Message = "failed", t.Message
	}
	return f
}

func addOutput(m map[string]any, name string, data []byte) {
	switch {
	case len(data) == 0:
	case utf8.Valid(data):
		m[name] = string(data)
	default:
		m[name], m[name+"-encoding"] = base64.StdEncoding.EncodeToString(data), "base64"
	}
}

// commitFailed turns a task's good end into the failure to apply what it asked
// for.
func commitFailed(f *agentapi.FinishTaskArgs, err error) {
	f.Status, f.Message = "failed", "committing requested changes failed"
	if f.Output == nil {
		f.Output = map[string]any{}
	}
	text, _ := f.Output["stderr"].(string)
	f.Output["stderr"] = text + err.Error() + "\n"
	f.Output["return-code"] = 1
}
