// Package remover takes the steps of removals that nobody else takes: forced
// steps that are due, the emptying of dying models, and the last wiping of
// dead ones. Each step is a small transaction, so that it can stop and go on
// anywhere.
package remover

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/scarab-ops/scarab/domain/life"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/removal"
	"github.com/scarab-ops/scarab/domain/user"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/worker/engine"
)

// purgeStep bounds the rows wiped in one transaction.
const purgeStep = 200

// Spec declares the worker. Wiped is told the model that is gone, so that its
// blobs and logs can go too.
func Spec(wiped func(uuid string) error) engine.Spec {
	w := &worker{wiped}
	return engine.Spec{
		Name:   "remover",
		Reads:  []string{"model", "application", "unit", "relation", "machine"},
		Shared: AllModelKinds(),
		Writes: []string{"grant"},
		Step:   w.step,
	}
}

// AllModelKinds are the kinds that can be in a model: wiping one writes them
// all.
func AllModelKinds() []string {
	return []string{
		"agent-credential", "annotation", "application", "block", "charm", "charm-state", "fence", "instance",
		"last-connection", "leader-settings", "lease", "machine", "model", "model-config", "model-constraints", "observed",
		"operation", "ports", "relation", "relation-app", "relation-unit", "sealed-token", "sequence", "spare-machine", "status",
		"task", "task-queue", "unit", "unit-op", "audit",
	}
}

type worker struct{ wiped func(string) error }

func (w *worker) step(ctx context.Context, r *engine.Run) (time.Time, error) {
	var next time.Time
	var errs []error
	for m, err := range model.Table.All(r.View(), state.Controller) {
		if err != nil {
			continue
		}
		due, err := w.model(ctx, r, m)
		if err != nil {
			errs = append(errs, fmt.Errorf("model %s: %w", m.Name, err)) // others go on
		}
		if next.IsZero() || (!due.IsZero() && due.Before(next)) {
			next = due
		}
	}
	return next, errors.Join(errs...)
}

func (w *worker) model(ctx context.Context, r *engine.Run, m model.Row) (time.Time, error) {
	switch m.Life {
	case life.Dying:
		for more := true; more; {
			err := r.Update(ctx, func(tx *state.Tx) (err error) {
				more, err = removal.Empty(tx, m.UUID, r.Now())
				return err
			})
			if err != nil {
				return time.Time{}, err
			}
		}
	case life.Dead:
		return time.Time{}, w.wipe(ctx, r, m)
	}
	return w.overdue(ctx, r, m)
}

func (w *worker) overdue(ctx context.Context, r *engine.Run, m model.Row) (time.Time, error) {
	if len(removal.Reasons(r.View(), m)) == 0 {
		return time.Time{}, nil
	}
	var next time.Time
	err := r.Update(ctx, func(tx *state.Tx) (err error) {
		next, err = removal.Overdue(tx, m, r.Now())
		return err
	})
	return next, err
}

func (w *worker) wipe(ctx context.Context, r *engine.Run, m model.Row) error {
	if err := w.wiped(string(m.UUID)); err != nil {
		return err
	}
	for n := 1; n > 0; {
		err := r.Update(ctx, func(tx *state.Tx) (err error) {
			n, err = state.Purge(tx, model.ScopeOf(m.UUID), purgeStep)
			return err
		})
		if err != nil {
			return err
		}
	}
	return r.Update(ctx, func(tx *state.Tx) error {
		for g, err := range user.Grants.All(tx, state.Controller) {
			if err == nil && g.On == string(m.UUID) {
				if err := user.Grants.Delete(tx, state.Controller, string(g.User)+"/"+g.On); err != nil {
					return err
				}
			}
		}
		if !model.Table.Has(tx, state.Controller, string(m.UUID)) {
			return nil
		}
		return model.Table.Delete(tx, state.Controller, string(m.UUID))
	})
}
