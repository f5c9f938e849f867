package machine

import (
	"context"
	"fmt"

	"github.com/scarab-ops/scarab/agent/sandbox"
	"github.com/scarab-ops/scarab/agent/unit/hook"
	"github.com/scarab-ops/scarab/client"
	"github.com/scarab-ops/scarab/wire/agentapi"
)

// tasks runs what an operator asked for on the machine itself, one after the
// other, each once.
func (m *Machine) tasks(ctx context.Context, w agentapi.MachineWant) {
	for _, t := range w.Tasks {
		if t.Cancelled || m.begun[t.ID] {
			continue
		}
		m.begun[t.ID] = true
		m.wg.Go(func() { m.task(ctx, t) })
	}
}

func (m *Machine) task(ctx context.Context, t agentapi.Task) {
	group := t.Group
	if !t.Parallel || group != "" {
		release, err := m.lock(ctx, group)
		if err != nil {
			return
		}
		defer release()
	}
	err := m.link.call(ctx, func(ctx context.Context, c *client.Conn) error { return c.Machine().StartTask(ctx, t.ID) })
	if err != nil {
		m.logf("WARNING", "cannot start task %s: %v", t.ID, err)
		return
	}
	if m.awaitUp(ctx) != nil {
		return
	}
	f := m.command(ctx, t)
	for ctx.Err() == nil {
		err := m.link.call(ctx, func(ctx context.Context, c *client.Conn) error { return c.Machine().FinishTask(ctx, f) })
		if err == nil || isRefused(err) {
			return
		}
		_ = pause(ctx, spread(minRedial))
	}
}

func (m *Machine) command(ctx context.Context, t agentapi.Task) agentapi.FinishTaskArgs {
	f := agentapi.FinishTaskArgs{ID: t.ID, Status: "failed"}
	text, ok := t.Params["command"].(string)
	if t.Name != "juju-exec" || !ok || text == "" {
		f.Message = fmt.Sprintf("cannot run %q on a machine: only commands can be run there", t.Name)
		return f
	}
	out, errs := hook.NewLines(func(string) {}, true), hook.NewLines(func(string) {}, true)
	r, err := m.box.Run(ctx, sandbox.Spec{
		Name: "task-" + t.ID, Path: "/bin/bash", Args: []string{"bash", "-c", text}, Dir: "/",
		Env:    []string{"PATH=" + m.cfg.Path, "LANG=C.UTF-8", "HOME=/root", "DEBIAN_FRONTEND=noninteractive"},
		Limits: sandbox.Limits{Time: t.Timeout}, Stdout: out, Stderr: errs,
	})
	f.Output = map[string]any{"return-code": r.Code}
	if s := out.Close(); len(s) > 0 {
		f.Output["stdout"] = string(s)
	}
	if s := errs.Close(); len(s) > 0 {
		f.Output["stderr"] = string(s)
	}
	switch {
	case err != nil:
		f.Message = err.Error()
	case r.Limit != "":
		f.Message = "ended at its " + r.Limit + " limit"
	case r.Code != 0:
		f.Message = fmt.Sprintf("exit status %d", r.Code)
	default:
		f.Status = "completed"
	}
	return f
}
