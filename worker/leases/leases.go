// Package leases ends leases that ran out, so that another unit can lead. It
// sleeps until the next one is due.
package leases

import (
	"context"
	"time"

	"github.com/scarab-ops/scarab/domain/lease"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/worker/engine"
)

// Spec declares the worker.
func Spec() engine.Spec {
	return engine.Spec{
		Name: "leases", Reads: []string{"lease", "model"}, Shared: []string{"lease"}, Step: step,
	}
}

func step(ctx context.Context, r *engine.Run) (time.Time, error) {
	var next time.Time
	v, now := r.View(), r.Now()
	for m, err := range model.Table.All(v, state.Controller) {
		if err != nil {
			continue
		}
		s, due := model.ScopeOf(m.UUID), false
		for l, err := range lease.Table.All(v, s) {
			switch {
			case err != nil:
			case !l.Expiry.After(now):
				due = true
			case next.IsZero() || l.Expiry.Before(next):
				next = l.Expiry
			}
		}
		if !due {
			continue
		}
		if err := r.Update(ctx, func(tx *state.Tx) error { return expire(tx, s, now) }); err != nil {
			return next, err
		}
	}
	return next, nil
}

func expire(tx *state.Tx, s state.Scope, now time.Time) error {
	for l, err := range lease.Table.All(tx, s) {
		if err != nil || l.Expiry.After(now) {
			continue
		}
		if err := lease.Table.Delete(tx, s, l.Name); err != nil {
			return err
		}
	}
	return nil
}
