package state

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
)

// Tx is one attempt at a transaction. It is for one goroutine, and only until
// the function it was given to returns.
type Tx struct {
	view   *View
	keys   map[string]int64    // read key → revision it had; 0 means absent
	ranges map[string]struct{} // prefixes read
	writes map[string][]byte   // nil means delete
	size   int
	writer Writer
	closed bool
}

func newTx(v *View) *Tx {
	return &Tx{view: v, keys: map[string]int64{}, ranges: map[string]struct{}{}, writes: map[string][]byte{}}
}

// View returns the view that the transaction reads. What is read from it is not
// checked at commit, so use it for hints only.
func (tx *Tx) View() *View { return tx.view }

// Reads returns the kinds read so far, sorted.
func (tx *Tx) Reads() []string {
	return kindsOf(func(yield func(string) bool) {
		for k := range tx.keys {
			if !yield(k) {
				return
			}
		}
		for k := range tx.ranges {
			if !yield(k) {
				return
			}
		}
	})
}

// WroteKinds returns the kinds written or deleted so far, sorted.
func (tx *Tx) WroteKinds() []string { return kindsOf(maps.Keys(tx.writes)) }

func (tx *Tx) get(key string) *entry {
	if v, ok := tx.writes[key]; ok {
		if v == nil {
			return nil
		}
		return &entry{key: key, val: v, private: true}
	}
	e := tx.view.get(key)
	if e == nil {
		tx.keys[key] = 0
		return nil
	}
	tx.keys[key] = e.mod
	return &entry{key: key, val: e.val, mod: e.mod, private: true}
}

// scan merges the view with the transaction's writes as they are when the
// iteration begins, so a loop may write what it iterates over.
func (tx *Tx) scan(prefix string) iter.Seq[*entry] {
	tx.ranges[prefix] = struct{}{}
	var own []*entry
	for k, v := range tx.writes {
		if strings.HasPrefix(k, prefix) {
			own = append(own, &entry{key: k, val: v, private: true})
		}
	}
	slices.SortFunc(own, func(a, b *entry) int { return cmp.Compare(a.key, b.key) })
	return func(yield func(*entry) bool) {
		rest := own
		for e := range tx.view.scan(prefix) {
			for len(rest) > 0 && rest[0].key < e.key {
				if rest[0].val != nil && !yield(rest[0]) {
					return
				}
				rest = rest[1:]
			}
			out := &entry{key: e.key, val: e.val, mod: e.mod, private: true}
			if len(rest) > 0 && rest[0].key == e.key {
				out, rest = rest[0], rest[1:]
			}
			if out.val != nil && !yield(out) {
				return
			}
		}
		for _, e := range rest {
			if e.val != nil && !yield(e) {
				return
			}
		}
	}
}

func (tx *Tx) write(key string, val []byte) error {
	if tx.closed {
		return errors.New("the transaction is over")
	}
	if old, ok := tx.writes[key]; ok {
		tx.size -= len(key) + len(old)
	}
	tx.size += len(key) + len(val)
	if tx.size > MaxTx {
		return fmt.Errorf("%w: transaction past %d bytes", ErrTooLarge, MaxTx)
	}
	tx.writes[key] = val
	if len(tx.writes) > MaxTxRows {
		return tooMany("rows written")
	}
	return nil
}

func (tx *Tx) remove(s Scope, kind, key string) error {
	if err := tx.write(fenceKey(s, kind), []byte("{}")); err != nil {
		return err
	}
	return tx.write(key, nil)
}

// Purge deletes up to limit rows of the scope, of whatever kind, and returns how
// many it deleted: the last step in the removal of a model, so that nothing of
// it stays behind. Zero means that nothing is left.
func Purge(tx *Tx, s Scope, limit int) (int, error) {
	n := 0
	for e := range tx.scan("/" + string(s) + "/") {
		_, kind, _ := splitKey(e.key)
		if kind == fenceKind {
			continue
		}
		if n == limit {
			break
		}
		if err := tx.remove(s, kind, e.key); err != nil {
			return n, fmt.Errorf("cannot purge %s: %w", s, err)
		}
		n++
	}
	return n, nil
}

func (tx *Tx) commit() (Commit, error) {
	tx.closed = true
	if len(tx.keys) > MaxTxRows || len(tx.ranges) > MaxTxRows {
		return Commit{}, tooMany("rows read")
	}
	return Commit{At: tx.view.rev, Keys: tx.keys, Ranges: tx.ranges, Writes: tx.writes}, nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
