// Package migrate brings stored rows from the schema of an older binary to that
// of this one, by numbered steps that only go forward, before anything else
// reads them.
//
// It owns the schema version row, the order of steps, and their progress: each
// batch of a step commits together with a note of how far it came, so a step
// that is interrupted goes on where it stopped and no row is converted twice,
// even if two controllers run it at once. It refuses a store that is newer than
// the binary.
package migrate

import (
	"context"
	"fmt"

	"github.com/scarab-ops/scarab/state"
)

// A Step leads from version Number-1 to Number.
type Step struct {
	Number int // 1, 2, 3... without gaps; never changed once released
	Name   string
	Apply  func(*Run) error // calls Once and Rewrite, always in the same order
}

// NewerError reports a store that a newer binary has migrated.
type NewerError struct{ Store, Binary int }

// Error says what to do.
func (e *NewerError) Error() string {
	return fmt.Sprintf("cannot open the store: its schema is version %d and this program knows %d; start the newer program, or restore a backup made by this one", e.Store, e.Binary)
}

// Report says what Up did.
type Report struct {
	From, To int
	Ran      []string // names of the steps
	Rows     int      // rows converted
	Skipped  []error  // rows left as they are since they could not be read, the first of them
}

const maxSkipped = 100

// version is the one row of package migrate.
type version struct {
	ID       string
	Version  int
	Progress *progress `json:",omitempty"` // of the step Version+1
}

// progress says that the parts before Part are done, and Part up to and with the
// row After in Scope.
type progress struct {
	Part  int
	Scope state.Scope `json:",omitempty"`
	After string      `json:",omitempty"`
}

var versions = state.Table[version]{Kind: "schema", ID: func(v version) string { return v.ID }}

const versionID = "version"

// Version returns the schema version of the store; ok is false when it has none,
// because it is empty or from before the first step.
func Version(r state.Reader) (n int, ok bool, err error) {
	if !versions.Has(r, state.Controller, versionID) {
		return 0, false, nil
	}
	v, err := versions.Get(r, state.Controller, versionID)
	if err != nil {
		return 0, false, fmt.Errorf("cannot read the schema version: %w", err)
	}
	return v.Version, true, nil
}

// Up runs the steps that the store has not seen. An empty store is at the newest
// version at once.
func Up(ctx context.Context, s *state.Store, steps []Step) (Report, error) {
	for i, st := range steps {
		if st.Number != i+1 || st.Name == "" || st.Apply == nil {
			return Report{}, fmt.Errorf("cannot migrate: step %d of the program is numbered %d or incomplete", i+1, st.Number)
		}
	}
	if err := s.Fresh(ctx); err != nil {
		return Report{}, fmt.Errorf("cannot migrate: %w", err)
	}
	newest := len(steps)
	if s.View().Len() == 0 {
		return Report{From: newest, To: newest}, start(ctx, s, newest)
	}
	have, _, err := Version(s.View())
	if err != nil {
		return Report{}, err
	}
	if have > newest {
		return Report{}, &NewerError{have, newest}
	}
	rep := Report{From: have, To: newest}
	for _, st := range steps[have:] {
		r := &Run{ctx: ctx, store: s, step: st, report: &rep}
		if err := st.Apply(r); err != nil {
			return rep, fmt.Errorf("cannot migrate to version %d (%s): %w", st.Number, st.Name, err)
		}
		if err := r.finish(); err != nil {
			return rep, fmt.Errorf("cannot migrate to version %d (%s): %w", st.Number, st.Name, err)
		}
		rep.Ran = append(rep.Ran, st.Name)
	}
	return rep, nil
}

// start marks an empty store, unless another controller has just done so.
func start(ctx context.Context, s *state.Store, newest int) error {
	err := s.Update(ctx, func(tx *state.Tx) error {
		have, ok, err := Version(tx)
		if err != nil || ok && have == newest {
			return err
		}
		if ok {
			return &NewerError{have, newest}
		}
		return versions.Put(tx, state.Controller, version{ID: versionID, Version: newest})
	})
	if err != nil {
		return fmt.Errorf("cannot mark the new store: %w", err)
	}
	return nil
}

// Run is one step while it runs.
type Run struct {
	ctx    context.Context //nolint:containedctx // of this run
	store  *state.Store
	step   Step
	part   int
	report *Report
}

// at reads the progress inside a transaction: done is true if this part of the
// step, or the whole step, was finished before or by another controller.
func (r *Run) at(tx *state.Tx) (v version, p progress, done bool, err error) {
	v = version{ID: versionID}
	if versions.Has(tx, state.Controller, versionID) {
		if v, err = versions.Get(tx, state.Controller, versionID); err != nil {
			return v, p, false, err
		}
	}
	switch {
	case v.Version >= r.step.Number:
		return v, p, true, nil
	case v.Version != r.step.Number-1:
		return v, p, false, fmt.Errorf("the store is at version %d", v.Version)
	}
	p = progress{Part: 1}
	if v.Progress != nil {
		p = *v.Progress
	}
	return v, p, p.Part > r.part, nil
}

func (r *Run) note(tx *state.Tx, v version, p progress) error {
	v.Progress = &p
	return versions.Put(tx, state.Controller, v)
}

func (r *Run) finish() error {
	return r.store.Update(r.ctx, func(tx *state.Tx) error {
		v, _, _, err := r.at(tx)
		if err != nil || v.Version >= r.step.Number {
			return err
		}
		return versions.Put(tx, state.Controller, version{ID: versionID, Version: r.step.Number})
	})
}

// Once runs f in one transaction that is never repeated once committed.
func (r *Run) Once(f func(*state.Tx) error) error {
	r.part++
	return r.store.Update(r.ctx, func(tx *state.Tx) error {
		v, _, done, err := r.at(tx)
		if err != nil || done {
			return err
		}
		if err := f(tx); err != nil {
			return err
		}
		return r.note(tx, v, progress{Part: r.part + 1})
	})
}
