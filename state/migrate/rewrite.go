package migrate

import (
	"errors"
	"slices"

	"github.com/scarab-ops/scarab/state"
)

const batchRows = 500

// Rewrite converts every row of a table, in every scope, in batches, each row
// once. The kind and the id may change; a row for which convert returns false is
// deleted. Rows that cannot be decoded stay as they are and are reported.
//
// From and To describe the rows as they were and as they became at this step, so
// declare them beside the step: the types of today belong to the newest version
// only. The new ids must not be ids of rows yet to be converted.
func Rewrite[From, To any](r *Run, from state.Table[From], to state.Table[To], convert func(state.Scope, From) (To, bool, error)) error {
	r.part++
	scopes := state.Scopes(r.store.View())
	slices.Sort(scopes) // progress compares them
	for _, scope := range scopes {
		for done := false; !done; {
			var b batch
			err := r.store.Update(r.ctx, func(tx *state.Tx) (err error) {
				b, err = rewriteBatch(r, tx, scope, from, to, convert)
				return err
			})
			if err != nil {
				return err
			}
			done = b.last
			r.report.Rows += b.rows
			r.report.Skipped = append(r.report.Skipped, b.skipped[:min(len(b.skipped), maxSkipped-len(r.report.Skipped))]...)
		}
	}
	return r.endPart()
}

// endPart ends a part whose rows are all converted.
func (r *Run) endPart() error {
	return r.store.Update(r.ctx, func(tx *state.Tx) error {
		v, _, done, err := r.at(tx)
		if err != nil || done {
			return err
		}
		return r.note(tx, v, progress{Part: r.part + 1})
	})
}

type batch struct {
	rows    int
	skipped []error
	last    bool // nothing of the scope is left
}

func rewriteBatch[From, To any](r *Run, tx *state.Tx, scope state.Scope, from state.Table[From], to state.Table[To],
	convert func(state.Scope, From) (To, bool, error),
) (b batch, err error) {
	v, p, done, err := r.at(tx)
	if err != nil || done || p.Scope > scope {
		b.last = true
		return b, err
	}
	after := p.After
	if p.Scope < scope {
		after = ""
	}
	var ids []string
	ids, b.skipped, b.last = pending(tx.View(), scope, from, after)
	for _, id := range ids {
		if err := rewriteRow(tx, scope, id, from, to, convert); err != nil {
			return b, err
		}
		after = id
	}
	b.rows = len(ids)
	if len(ids) == 0 {
		return b, nil
	}
	return b, r.note(tx, v, progress{Part: r.part, Scope: scope, After: after})
}

// pending lists the next rows. It reads the view: the rows themselves are read
// again in the transaction, and nobody else writes before migrations are done.
func pending[From any](v *state.View, scope state.Scope, from state.Table[From], after string) (ids []string, skipped []error, last bool) {
	for row, err := range from.All(v, scope) {
		var bad *state.RowError
		if errors.As(err, &bad) {
			if bad.ID > after && len(skipped) < maxSkipped {
				skipped = append(skipped, err)
			}
			continue
		}
		id := from.ID(row)
		if id <= after {
			continue
		}
		if len(ids) == batchRows {
			// Those not decodable behind this batch come with the next.
			return ids, skipped, false
		}
		ids = append(ids, id)
	}
	return ids, skipped, true
}

func rewriteRow[From, To any](tx *state.Tx, scope state.Scope, id string, from state.Table[From], to state.Table[To],
	convert func(state.Scope, From) (To, bool, error),
) error {
	old, err := from.Get(tx, scope, id)
	if err != nil {
		return err
	}
	row, keep, err := convert(scope, old)
	if err != nil {
		return err
	}
	if !keep || to.Kind != from.Kind || to.ID(row) != id {
		if err := from.Delete(tx, scope, id); err != nil {
			return err
		}
	}
	if !keep {
		return nil
	}
	return to.Put(tx, scope, row)
}
