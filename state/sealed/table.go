package sealed

import (
	"encoding/json"
	"fmt"
	"iter"

	"github.com/scarab-ops/scarab/state"
)

// Row is how a sealed row is stored. The id is not secret.
type Row struct {
	ID string
	Envelope
}

// A Table declares one kind of row whose content is sealed. Whoever may read the
// rows still needs the box to open them.
type Table[V any] struct {
	Kind string
	ID   func(V) string
}

// Rows is the table of what is stored, for subscriptions, existence and deletes.
func (t Table[V]) Rows() state.Table[Row] {
	return state.Table[Row]{Kind: t.Kind, ID: func(r Row) string { return r.ID }}
}

// Put seals v and inserts or replaces its row.
func (t Table[V]) Put(tx *state.Tx, b *Box, s state.Scope, v V) error {
	name := Name{s, t.Kind, t.ID(v)}
	plain, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("cannot encode %s: %w", name, err)
	}
	defer clear(plain)
	e, err := b.Seal(name, plain)
	if err != nil {
		return err
	}
	return t.Rows().Put(tx, s, Row{name.ID, e})
}

// Get returns the row with the given id, opened; a [state.NotFoundError] if there
// is none, a [TamperedError] if it is not what was put there.
func (t Table[V]) Get(r state.Reader, b *Box, s state.Scope, id string) (V, error) {
	row, err := t.Rows().Get(r, s, id)
	if err != nil {
		var zero V
		return zero, err
	}
	return t.Open(b, s, id, row)
}

// Open opens a row that was read as the one with the given id.
func (t Table[V]) Open(b *Box, s state.Scope, id string, row Row) (V, error) {
	var v, zero V
	name := Name{s, t.Kind, id}
	plain, err := b.Open(name, row.Envelope)
	if err != nil {
		return zero, err
	}
	defer clear(plain)
	if err := json.Unmarshal(plain, &v); err != nil {
		return zero, fmt.Errorf("cannot decode %s", name) // the cause may quote the content
	}
	if t.ID(v) != id {
		return zero, &TamperedError{name}
	}
	return v, nil
}

// All opens and yields every row in id order, with an error for each that does
// not open.
func (t Table[V]) All(r state.Reader, b *Box, s state.Scope) iter.Seq2[V, error] {
	return func(yield func(V, error) bool) {
		for row, err := range t.Rows().All(r, s) {
			var v V
			if err == nil {
				v, err = t.Open(b, s, row.ID, row)
			}
			if !yield(v, err) {
				return
			}
		}
	}
}

// Has tells whether the row exists.
func (t Table[V]) Has(r state.Reader, s state.Scope, id string) bool { return t.Rows().Has(r, s, id) }

// Delete removes a row.
func (t Table[V]) Delete(tx *state.Tx, s state.Scope, id string) error {
	return t.Rows().Delete(tx, s, id)
}

// Reseal seals up to limit rows of the table anew with the current key and
// returns how many it did; zero means that no row needs an older key.
func (t Table[V]) Reseal(tx *state.Tx, b *Box, s state.Scope, limit int) (int, error) {
	n := 0
	for row, err := range t.Rows().All(tx, s) {
		if err != nil {
			return n, err
		}
		if row.KeyID == b.current || n == limit {
			continue
		}
		v, err := t.Open(b, s, row.ID, row)
		if err != nil {
			return n, err
		}
		if err := t.Put(tx, b, s, v); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}
