package machine

import (
	"context"
	"io"
	"os"

	"github.com/scarab-ops/scarab/client"
	"github.com/scarab-ops/scarab/wire/agentapi"
)

// unitAPI is a unit agent's controller over its own link.
type unitAPI struct {
	l *link
	// watcher belongs to watched; only the loop that waits uses them.
	watcher *client.NotifyWatcher
	watched *client.Conn
	temp    string // directory of downloads
}

type unitCall func(context.Context, client.UnitAgent) error

func (u *unitAPI) do(ctx context.Context, f unitCall) error {
	return u.l.call(ctx, func(ctx context.Context, c *client.Conn) error { return f(ctx, c.Unit()) })
}

// Want implements unit.Controller.
func (u *unitAPI) Want(ctx context.Context) (w agentapi.Want, err error) {
	err = u.do(ctx, func(ctx context.Context, c client.UnitAgent) (err error) { w, err = c.Want(ctx); return err })
	return w, err
}

// AwaitChange implements unit.Controller. A new connection is a change: what
// happened before it was not seen.
func (u *unitAPI) AwaitChange(ctx context.Context) error {
	conn, err := u.l.get(ctx)
	if err != nil {
		return err
	}
	if u.watcher == nil || u.watched != conn {
		u.watcher, err = conn.Unit().WatchWant(ctx)
		u.watched = conn
		return err
	}
	err = u.watcher.Next(ctx)
	if err != nil {
		u.watcher = nil
	}
	return err
}

// Context implements unit.Controller.
func (u *unitAPI) Context(ctx context.Context, a agentapi.ContextArgs) (h agentapi.HookContext, err error) {
	err = u.do(ctx, func(ctx context.Context, c client.UnitAgent) (err error) {
		h, err = c.Context(ctx, a.RelationID)
		return err
	})
	return h, err
}

// Commit implements unit.Controller.
func (u *unitAPI) Commit(ctx context.Context, a agentapi.CommitArgs) error {
	return u.do(ctx, func(ctx context.Context, c client.UnitAgent) error { _, err := c.Commit(ctx, a); return err })
}

// EnterScope implements unit.Controller.
func (u *unitAPI) EnterScope(ctx context.Context, a agentapi.ScopeArgs) error {
	return u.do(ctx, func(ctx context.Context, c client.UnitAgent) error { return c.EnterScope(ctx, a.RelationID) })
}

// LeaveScope implements unit.Controller.
func (u *unitAPI) LeaveScope(ctx context.Context, a agentapi.ScopeArgs) error {
	return u.do(ctx, func(ctx context.Context, c client.UnitAgent) error { return c.LeaveScope(ctx, a.RelationID) })
}

// Dead implements unit.Controller.
func (u *unitAPI) Dead(ctx context.Context) error {
	return u.do(ctx, func(ctx context.Context, c client.UnitAgent) error { return c.Dead(ctx) })
}

// Charm implements unit.Controller. The digest is checked here by the client,
// and once more by the unit's loop on what it wrote.
func (u *unitAPI) Charm(ctx context.Context, url, sha256 string, w io.Writer) error {
	f, err := os.CreateTemp(u.temp, "download-*")
	if err != nil {
		return err
	}
	defer func() {
		_ = f.Close()
		_ = os.Remove(f.Name())
	}()
	err = u.l.call(ctx, func(_ context.Context, c *client.Conn) error { return c.DownloadCharm(ctx, url, sha256, f) })
	if err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return err
}

// StartTask implements unit.Tasks.
func (u *unitAPI) StartTask(ctx context.Context, a agentapi.TaskArgs) error {
	return u.do(ctx, func(ctx context.Context, c client.UnitAgent) error { return c.StartTask(ctx, a.ID) })
}

// FinishTask implements unit.Tasks.
func (u *unitAPI) FinishTask(ctx context.Context, a agentapi.FinishTaskArgs) error {
	return u.do(ctx, func(ctx context.Context, c client.UnitAgent) error { return c.FinishTask(ctx, a) })
}

// TaskLog implements tools.Live.
func (u *unitAPI) TaskLog(ctx context.Context, a agentapi.TaskLogArgs) error {
	return u.do(ctx, func(ctx context.Context, c client.UnitAgent) error { return c.TaskLog(ctx, a.ID, a.Message) })
}

// SetStatus implements tools.Live.
func (u *unitAPI) SetStatus(ctx context.Context, a agentapi.SetStatusArgs) error {
	return u.do(ctx, func(ctx context.Context, c client.UnitAgent) error { return c.SetStatus(ctx, a) })
}

// SetWorkloadVersion implements tools.Live.
func (u *unitAPI) SetWorkloadVersion(ctx context.Context, v string) error {
	return u.do(ctx, func(ctx context.Context, c client.UnitAgent) error { return c.SetWorkloadVersion(ctx, v) })
}

// LeaderSet implements tools.Live.
func (u *unitAPI) LeaderSet(ctx context.Context, s agentapi.Settings) error {
	return u.do(ctx, func(ctx context.Context, c client.UnitAgent) error { return c.LeaderSet(ctx, s) })
}

// ClaimLeadership implements tools.Live. A claim that is refused is an answer:
// somebody else leads.
func (u *unitAPI) ClaimLeadership(ctx context.Context) (r agentapi.ClaimResult, err error) {
	err = u.do(ctx, func(ctx context.Context, c client.UnitAgent) (err error) { r, err = c.ClaimLeadership(ctx); return err })
	if isRefused(err) {
		return agentapi.ClaimResult{}, nil
	}
	return r, err
}

// GoalState implements tools.Live.
func (u *unitAPI) GoalState(ctx context.Context) (g agentapi.GoalState, err error) {
	err = u.do(ctx, func(ctx context.Context, c client.UnitAgent) (err error) { g, err = c.GoalState(ctx); return err })
	return g, err
}
