// Package engine runs workers: reconcilers that look at the state, act, and
// say when they want to look again. It wakes a worker when a row of a kind
// that it declared to read has changed, backs off after errors, contains
// panics, and refuses a transaction that touches kinds the worker did not
// declare.
//
// Two workers that write the same kind do not start, unless both declare it
// as shared: then the domain package that owns the kind orders their writes.
package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/scarab-ops/scarab/state"
)

// A Spec declares a worker.
type Spec struct {
	Name string
	// Reads are the kinds whose changes wake the worker, and with Writes the
	// only ones its transactions may read.
	Reads []string
	// Writes are the kinds it alone writes; Shared those that others write too.
	Writes, Shared []string
	// Step looks and acts once. It returns when to look again at the latest,
	// zero for not before something changes.
	Step func(ctx context.Context, r *Run) (time.Time, error)
	// Wake, if not nil, wakes the worker from outside of the state.
	Wake <-chan struct{}
}

// Config is what an engine is made of.
type Config struct {
	Store *state.Store
	Log   *slog.Logger
	Now   func() time.Time
	// Backoff is the first and the longest pause after an error.
	Backoff [2]time.Duration
}

// A Run is what a step works with.
type Run struct {
	cfg  Config
	spec Spec
}

// View is the newest picture.
func (r *Run) View() *state.View { return r.cfg.Store.View() }

// Now is the controller's time.
func (r *Run) Now() time.Time { return r.cfg.Now() }

// Log is the worker's log.
func (r *Run) Log() *slog.Logger { return r.cfg.Log.With("worker", r.spec.Name) }

// Update changes the state within what the worker declared.
func (r *Run) Update(ctx context.Context, f func(*state.Tx) error) error {
	return r.cfg.Store.Update(ctx, func(tx *state.Tx) error {
		if err := f(tx); err != nil {
			return err
		}
		for _, k := range tx.WroteKinds() {
			if !slices.Contains(r.spec.Writes, k) && !slices.Contains(r.spec.Shared, k) {
				return fmt.Errorf("cannot commit: worker %s has not declared to write %q", r.spec.Name, k)
			}
		}
		return nil
	})
}

// Check refuses a set of workers that do not fit together.
func Check(specs []Spec) error {
	names, writers := map[string]bool{}, map[string]string{}
	shared := map[string][]string{}
	for _, s := range specs {
		if s.Name == "" || s.Step == nil || names[s.Name] {
			return fmt.Errorf("cannot run worker %q: it has no name, no step, or a name twice", s.Name)
		}
		names[s.Name] = true
		for _, k := range s.Writes {
			if other := writers[k]; other != "" {
				return fmt.Errorf("cannot run workers: %s and %s both write %q", other, s.Name, k)
			}
			writers[k] = s.Name
		}
		for _, k := range s.Shared {
			shared[k] = append(shared[k], s.Name)
		}
	}
	for k, who := range shared {
		if w := writers[k]; w != "" {
			return fmt.Errorf("cannot run workers: %q is %s's alone, and shared by %v", k, w, who)
		}
	}
	return nil
}

// Run runs the workers until ctx ends and joins them.
func Start(ctx context.Context, cfg Config, specs []Spec) error {
	if err := Check(specs); err != nil {
		return err
	}
	if cfg.Backoff[0] == 0 {
		cfg.Backoff = [2]time.Duration{100 * time.Millisecond, 30 * time.Second}
	}
	sub := cfg.Store.Subscribe(state.AllKeys())
	defer sub.Close()
	wakes := map[string][]chan struct{}{}
	var wg sync.WaitGroup
	for _, s := range specs {
		wake := make(chan struct{}, 1)
		for _, k := range s.Reads {
			wakes[k] = append(wakes[k], wake)
		}
		wg.Go(func() { loop(ctx, &Run{cfg, s}, wake) })
	}
	defer wg.Wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-cfg.Store.Done():
			return cfg.Store.Err()
		case <-sub.C():
		}
		seen := map[string]bool{}
		for _, ch := range sub.Take() {
			if seen[ch.Kind] {
				continue
			}
			seen[ch.Kind] = true
			for _, w := range wakes[ch.Kind] {
				select {
				case w <- struct{}{}:
				default: // it will look anyway
				}
			}
		}
	}
}

func loop(ctx context.Context, r *Run, wake <-chan struct{}) {
	pause := r.cfg.Backoff[0]
	for ctx.Err() == nil {
		again, err := step(ctx, r)
		var timer <-chan time.Time
		switch {
		case err != nil && ctx.Err() == nil:
			r.Log().Warn("step failed, trying again", "error", err, "in", pause)
			timer = time.After(pause)
			pause = min(pause*2, r.cfg.Backoff[1])
		default:
			pause = r.cfg.Backoff[0]
			if !again.IsZero() {
				timer = time.After(max(again.Sub(r.Now()), time.Millisecond))
			}
		}
		select {
		case <-ctx.Done():
		case <-wake:
		case <-r.spec.Wake:
		case <-timer:
		}
	}
}

// errPanic is the error of a step that panicked.
var errPanic = errors.New("the worker panicked")

func step(ctx context.Context, r *Run) (again time.Time, err error) {
	defer func() {
		if p := recover(); p != nil {
			r.Log().Error("panic", "reason", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = errPanic
		}
	}()
	return r.spec.Step(ctx, r)
}
