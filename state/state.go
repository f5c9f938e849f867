// Package state is the only package that knows how rows are kept: typed tables,
// serializable transactions and one immutable View in memory.
//
// A writer describes a change as a function of a [Tx]; the function may run
// more than once and must touch nothing but the Tx. A reader uses a [View], an
// immutable picture of one revision. Everything else is built from these two.
//
// Reads never leave the process: the store keeps the newest View in memory, fed
// by one watch of the backend. A commit succeeds only if nothing the
// transaction read has changed since its View, so transactions are
// serializable, also against rows that did not exist yet and rows that are gone.
//
// The package owns keys, encoding, conflict detection, retries and the waking
// of subscribers. It refuses rows and transactions past its limits ([MaxRow],
// [MaxTx], [MaxTxRows], [MaxID]), and it knows nothing about what rows mean:
// rules belong to the domain packages, secrets to state/sealed.
package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"unicode/utf8"
)

// Limits. A backend must accept a commit that keeps to them.
const (
	MaxRow    = 8 << 20  // encoded bytes of one row
	MaxTx     = 16 << 20 // encoded bytes written by one transaction
	MaxTxRows = 8192     // rows written, and rows or ranges read, by one transaction
	MaxID     = 1024     // bytes of one row id
)

// ErrTooLarge reports a row or transaction past the limits.
var ErrTooLarge = errors.New("too large for the store")

// NotFoundError reports a missing row.
type NotFoundError struct{ Kind, ID string }

// Error names the row.
func (e *NotFoundError) Error() string { return fmt.Sprintf("%s %q not found", e.Kind, e.ID) }

// RowError reports a stored row that cannot be decoded.
type RowError struct {
	Scope Scope
	Kind  string
	ID    string
	Err   error
}

// Error names the row.
func (e *RowError) Error() string {
	return fmt.Sprintf("cannot decode stored %s %q in %s: %v", e.Kind, e.ID, e.Scope, e.Err)
}

// Unwrap returns the decoding error.
func (e *RowError) Unwrap() error { return e.Err }

// A Reader is a View or a Tx. Functions that only read take a Reader.
//
// A View hands out values it shares with every other reader: do not change
// what their slices, maps and pointers lead to. A Tx hands out private copies.
type Reader interface {
	get(key string) *entry // nil when absent
	scan(prefix string) iter.Seq[*entry]
}

// A Table declares one kind of row. Declaring it is all it takes to store,
// scan, watch and back up that kind. Kind is singular: lower case letters,
// digits and dashes.
type Table[V any] struct {
	Kind string
	ID   func(V) string
}

// Get returns the row with the given id, or a [NotFoundError].
func (t Table[V]) Get(r Reader, s Scope, id string) (V, error) {
	e := r.get(rowKey(s, t.Kind, id))
	if e == nil {
		var zero V
		return zero, &NotFoundError{t.Kind, id}
	}
	return decode[V](e)
}

// Has tells whether the row exists, decodable or not.
func (t Table[V]) Has(r Reader, s Scope, id string) bool {
	return r.get(rowKey(s, t.Kind, id)) != nil
}

// All yields every row in id order. A row that cannot be decoded is yielded as
// a [RowError]; the rows after it follow.
func (t Table[V]) All(r Reader, s Scope) iter.Seq2[V, error] {
	return t.Under(r, s, "")
}

// Under yields the rows whose id begins with idPrefix, in id order. In a
// transaction it conflicts only with writes to those rows and with deletes in
// the table.
func (t Table[V]) Under(r Reader, s Scope, idPrefix string) iter.Seq2[V, error] {
	return func(yield func(V, error) bool) {
		r.get(fenceKey(s, t.Kind))
		for e := range r.scan(rowKey(s, t.Kind, idPrefix)) {
			if !yield(decode[V](e)) {
				return
			}
		}
	}
}

// Each calls f with every row that can be decoded, in id order. Those of a View
// are not copied: do not change them.
func (t Table[V]) Each(r Reader, s Scope, f func(*V)) {
	one := func(e *entry) bool {
		if row, err := shared[V](e); err == nil {
			f(row)
		}
		return true
	}
	if v, ok := r.(*View); ok {
		v.within(rowKey(s, t.Kind, ""), one)
		return
	}
	r.get(fenceKey(s, t.Kind))
	r.scan(rowKey(s, t.Kind, ""))(one)
}

// Put inserts or replaces a row.
func (t Table[V]) Put(tx *Tx, s Scope, v V) error {
	id := t.ID(v)
	if err := checkRow(s, t.Kind, id); err != nil {
		return fmt.Errorf("cannot store %s %q: %w", t.Kind, id, err)
	}
	raw, err := encode(v)
	if err != nil {
		return fmt.Errorf("cannot store %s %q: %w", t.Kind, id, err)
	}
	if err := tx.write(rowKey(s, t.Kind, id), raw); err != nil {
		return fmt.Errorf("cannot store %s %q: %w", t.Kind, id, err)
	}
	return nil
}

// Delete removes a row. Deleting an absent row is a [NotFoundError].
func (t Table[V]) Delete(tx *Tx, s Scope, id string) error {
	k := rowKey(s, t.Kind, id)
	if tx.get(k) == nil {
		return &NotFoundError{t.Kind, id}
	}
	return tx.remove(s, t.Kind, k)
}

// Key stands for one row, present or not, in [Store.Subscribe].
func (t Table[V]) Key(s Scope, id string) Key { return Key{s: rowKey(s, t.Kind, id)} }

// Keys stands for every row of the table in the scope.
func (t Table[V]) Keys(s Scope) Key { return t.KeysUnder(s, "") }

// KeysUnder stands for every row whose id begins with idPrefix. Waking is
// cheapest when the prefix ends in "/", "#" or ":".
func (t Table[V]) KeysUnder(s Scope, idPrefix string) Key {
	return Key{s: rowKey(s, t.Kind, idPrefix), prefix: true}
}

// Value returns the row as the change left it, or a [NotFoundError] when the
// change is a delete or one of another table. The value is shared, as in a View.
func (t Table[V]) Value(c Change) (V, error) { return t.of(c, c.now) }

// Before returns the row as it was before the change (before the first one
// since the last Take), or a [NotFoundError].
func (t Table[V]) Before(c Change) (V, error) { return t.of(c, c.old) }

func (t Table[V]) of(c Change, e *entry) (V, error) {
	if e == nil || c.Kind != t.Kind {
		var zero V
		return zero, &NotFoundError{t.Kind, c.ID}
	}
	return decode[V](e)
}

func decode[V any](e *entry) (V, error) {
	v, err := shared[V](e)
	if err != nil {
		var zero V
		return zero, err
	}
	return *v, nil
}

// shared returns a row; one of a View is decoded once for all its readers.
func shared[V any](e *entry) (*V, error) {
	if !e.private {
		if m := e.memo.Load(); m != nil {
			if v, ok := (*m).(*V); ok {
				return v, nil
			}
		}
	}
	b := new(box[V])
	if err := json.Unmarshal(e.val, &b.row); err != nil {
		s, kind, id := splitKey(e.key)
		return nil, &RowError{s, kind, id, err}
	}
	if !e.private {
		b.memo = &b.row
		e.memo.Store(&b.memo)
	}
	return &b.row, nil
}

// box keeps a row beside what an entry leads to it by.
type box[V any] struct {
	memo any
	row  V
}

// encode is json.Marshal without the escaping of <, > and &, which would
// multiply the size of many charm values for no gain.
func encode(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	raw := bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
	if len(raw) > MaxRow {
		return nil, fmt.Errorf("%w: row of %d bytes, limit %d", ErrTooLarge, len(raw), MaxRow)
	}
	return bytes.Clone(raw), nil
}

// fenceKind is the kind of the rows that deletes write; see [Tx.remove].
const fenceKind = "fence"

// checkRow refuses what would make keys ambiguous.
func checkRow(s Scope, kind, id string) error {
	if s != Controller && (!strings.HasPrefix(string(s), modelPrefix) || len(s) == len(modelPrefix) ||
		strings.Contains(string(s[len(modelPrefix):]), "/")) {
		return fmt.Errorf("invalid scope %q", s)
	}
	if kind == fenceKind || kind == "" || strings.Trim(kind, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return fmt.Errorf("invalid kind %q", kind)
	}
	switch {
	case id == "":
		return errors.New("empty id")
	case len(id) > MaxID:
		return fmt.Errorf("%w: id of %d bytes, limit %d", ErrTooLarge, len(id), MaxID)
	case !utf8.ValidString(id):
		return errors.New("id is not UTF-8")
	}
	return nil
}
