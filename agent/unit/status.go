package unit

import (
	"context"
	"time"

	"github.com/scarab-ops/scarab/agent/unit/decide"
	"github.com/scarab-ops/scarab/wire/agentapi"
)

// set sends a status unless it is the last one sent. Statuses are news, not
// state: one that cannot be sent is sent again with the next.
func (a *Agent) set(ctx context.Context, s agentapi.SetStatusArgs) {
	key := s.Status + "\x00" + s.Message
	if s.Kind == "agent" && a.statuses[s.Kind] == key {
		return
	}
	if err := a.cfg.Live.SetStatus(ctx, s); err != nil {
		delete(a.statuses, s.Kind)
		if ctx.Err() == nil {
			a.logf("WARNING", "cannot set status: %v", err)
		}
		return
	}
	a.statuses[s.Kind] = key
}

func (a *Agent) workload(ctx context.Context, status, message string) {
	a.set(ctx, agentapi.SetStatusArgs{Kind: "workload", Status: status, Message: message})
}

func (a *Agent) agent(ctx context.Context, status, message string) {
	a.set(ctx, agentapi.SetStatusArgs{Kind: "agent", Status: status, Message: message})
}

// quiet is the status of a unit with nothing to do.
func (a *Agent) quiet(ctx context.Context, op decide.Op) {
	f := a.local.Failed
	if f == nil {
		a.agent(ctx, "idle", op.Reason)
		return
	}
	data := map[string]any{"hook": f.Hook}
	if f.RelationID >= 0 {
		data["relation-id"] = f.RelationID
	}
	if f.RemoteUnit != "" {
		data["remote-unit"] = f.RemoteUnit
	}
	a.set(ctx, agentapi.SetStatusArgs{Kind: "agent", Status: "error", Message: op.Reason, Data: data})
}

// before sets the statuses that announce a hook.
func (a *Agent) before(ctx context.Context, op decide.Op) {
	if op.Hook != decide.UpdateStatus {
		a.agent(ctx, "executing", "running "+op.Title())
	}
	switch op.Hook {
	case decide.Install:
		if !a.journal.State().StatusSet {
			a.workload(ctx, "maintenance", "installing charm software")
		}
	case decide.Stop:
		a.workload(ctx, "maintenance", "stopping charm software")
	case decide.Remove:
		a.workload(ctx, "maintenance", "cleaning up prior to charm deletion")
	}
}

// after sets the statuses that follow a hook's success.
func (a *Agent) after(ctx context.Context, op decide.Op) {
	switch op.Hook {
	case decide.Start:
		if !a.journal.State().StatusSet {
			a.workload(ctx, "unknown", "")
		}
	case decide.Stop:
		a.workload(ctx, "maintenance", "")
	case decide.Remove:
		a.workload(ctx, "terminated", "")
	}
}

// timers sets what has come due, and draws the next times.
func (a *Agent) timers() {
	now := time.Now() //nolint:forbidigo // timers of this process only
	if a.local.Failed == nil || !a.want.RetryHooks {
		a.retryAt = time.Time{}
	} else if a.retryAt.IsZero() {
		a.retryAt = now.Add(a.retryIn())
	} else if !now.Before(a.retryAt) {
		a.local.Now.RetryDue = true
	}
	switch {
	case !a.local.Started || a.want.UpdateStatusInterval <= 0:
		a.updateAt = time.Time{}
	case a.updateAt.IsZero():
		a.interval = a.want.UpdateStatusInterval
		a.updateAt = now.Add(jitter(a.interval))
	case !now.Before(a.updateAt):
		a.local.Now.UpdateStatusDue = true
	}
}

// retryIn doubles from RetryMin to RetryMax.
func (a *Agent) retryIn() time.Duration {
	d := a.cfg.RetryMin
	for range a.attempts {
		if d *= 2; d >= a.cfg.RetryMax {
			d = a.cfg.RetryMax
			break
		}
	}
	a.attempts++
	return jitter(d)
}

// lead claims or renews leadership as long as the unit is installed and alive.
// It runs beside the loop, so that a long hook does not lose the lease.
func (a *Agent) lead(ctx context.Context) {
	t := time.NewTicker(a.cfg.Lead)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		a.mu.Lock()
		claimed, was := !a.until.IsZero(), a.leader
		a.mu.Unlock()
		if !claimed {
			continue // the loop makes the first claim
		}
		if led, err := a.claim(ctx); err == nil && led != was {
			a.wake()
		}
	}
}

func (a *Agent) claim(ctx context.Context) (bool, error) {
	r, err := a.cfg.Live.ClaimLeadership(ctx)
	if err != nil {
		return false, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.leader, a.until = r.Leader, time.Now().Add(2*a.cfg.Lead) //nolint:forbidigo // a lease of ours
	return r.Leader, nil
}

// settleLead replaces the picture's idea of who leads by the newest claim, so
// that a unit learns in its first run whether it leads.
func (a *Agent) settleLead(ctx context.Context, w *agentapi.Want) error {
	a.mu.Lock()
	led, until := a.leader, a.until
	if w.Life != "alive" || !a.local.Installed {
		a.until = time.Time{}
		a.mu.Unlock()
		return nil
	}
	a.mu.Unlock()
	if time.Now().After(until) { //nolint:forbidigo // a lease of ours
		var err error
		if led, err = a.claim(ctx); err != nil {
			return err
		}
	}
	w.Leader = led
	return nil
}
