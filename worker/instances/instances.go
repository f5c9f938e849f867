// Package instances compares the machines that clouds have with those that
// they should have, and says of each what became of it. It is woken by the
// cloud; it does not poll one that can tell.
package instances

import (
	"context"
	"errors"
	"time"

	"github.com/scarab-ops/scarab/domain/life"
	"github.com/scarab-ops/scarab/domain/machine"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/status"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/provider"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/worker/engine"
)

// Config is what the worker needs.
type Config struct {
	Cloud func(names.Cloud) (provider.Instances, error)
	// Wake tells that a cloud's machines may have changed.
	Wake <-chan struct{}
}

// Spec declares the worker.
func Spec(cfg Config) engine.Spec {
	w := &worker{cfg}
	return engine.Spec{
		Name: "instances", Reads: []string{"instance"}, Shared: []string{"status"}, Wake: cfg.Wake, Step: w.step,
	}
}

type worker struct{ Config }

func (w *worker) step(ctx context.Context, r *engine.Run) (time.Time, error) {
	byCloud := map[names.Cloud]map[string]provider.Instance{}
	var errs []error
	for m, err := range model.Table.All(r.View(), state.Controller) {
		if err != nil || m.IsController {
			continue
		}
		have, ok := byCloud[m.Cloud]
		if !ok {
			if have, err = w.list(ctx, m.Cloud); err != nil {
				errs = append(errs, err)
				continue
			}
			byCloud[m.Cloud] = have
		}
		errs = append(errs, w.model(ctx, r, m, have))
	}
	return time.Time{}, errors.Join(errs...)
}

func (w *worker) list(ctx context.Context, name names.Cloud) (map[string]provider.Instance, error) {
	c, err := w.Cloud(name)
	if err != nil {
		return nil, err
	}
	list, err := c.List(ctx)
	out := map[string]provider.Instance{}
	for _, i := range list {
		out[string(i.ID)] = i
	}
	return out, err
}

func (w *worker) model(ctx context.Context, r *engine.Run, m model.Row, have map[string]provider.Instance) error {
	s := model.ScopeOf(m.UUID)
	changed := map[string]status.Entry{}
	for i, err := range machine.Instances.All(r.View(), s) {
		if err != nil || i.InstanceID == "" {
			continue
		}
		mc, err := machine.Get(r.View(), s, i.Machine)
		if err != nil || mc.Life == life.Dead {
			continue
		}
		is, id := stateOf(have, i.InstanceID), status.OfInstance(string(i.Machine))
		if was := status.Get(r.View(), s, id); was.Status != is.Status || was.Message != is.Message {
			is.Since = r.Now()
			changed[id] = is
		}
	}
	if len(changed) == 0 {
		return nil
	}
	return r.Update(ctx, func(tx *state.Tx) error {
		for id, e := range changed {
			if !status.Table.Has(tx, s, id) {
				continue // the machine went meanwhile
			}
			if err := status.Set(tx, s, id, e); err != nil {
				return err
			}
		}
		return nil
	})
}

func stateOf(have map[string]provider.Instance, id string) status.Entry {
	i, ok := have[id]
	switch {
	case !ok:
		return status.Entry{Status: "error", Message: "the cloud no longer has this instance; remove the machine with --force"}
	case i.Status == "running":
		return status.Entry{Status: "running", Message: "Running"}
	case i.Status == "pending":
		return status.Entry{Status: "allocating", Message: i.Message}
	case i.Status == "stopped":
		return status.Entry{Status: "error", Message: "stopped: " + i.Message}
	}
	return status.Entry{Status: "error", Message: i.Message}
}
