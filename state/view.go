package state

import (
	"fmt"
	"io"
	"iter"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/google/btree"
)

// entry is a stored row. It never changes once it is in a View.
type entry struct {
	key     string
	val     []byte
	mod     int64
	private bool                // belongs to one Tx read: decode anew each time
	memo    atomic.Pointer[any] // leads to the row decoded, once a reader has asked for it
}

type tree = btree.BTreeG[*entry]

func newTree() *tree {
	return btree.NewG(32, func(a, b *entry) bool { return a.key < b.key })
}

// View is an immutable picture of one revision.
type View struct {
	rev     int64
	tree    *tree
	derived sync.Map // see Derive
}

// Rev returns the revision the view shows.
func (v *View) Rev() int64 { return v.rev }

// Len returns the number of rows, those that deletes leave behind included.
func (v *View) Len() int { return v.tree.Len() }

// Derive returns what f makes of r. A View keeps it, as whoever asks again gets
// the same from the same rows: f must read nothing but r and what key says, and
// its result is shared, as rows are. Key is of a type of the caller's own. Ask
// with few keys: what a View keeps goes when the View does.
func Derive[K comparable, V any](r Reader, key K, f func() V) V {
	v, ok := r.(*View)
	if !ok {
		return f()
	}
	if known, ok := v.derived.Load(key); ok {
		return known.(V)
	}
	made, _ := v.derived.LoadOrStore(key, f())
	return made.(V)
}

func (v *View) get(key string) *entry {
	e, _ := v.tree.Get(&entry{key: key})
	return e
}

func (v *View) scan(prefix string) iter.Seq[*entry] {
	return func(yield func(*entry) bool) {
		v.tree.AscendGreaterOrEqual(&entry{key: prefix}, func(e *entry) bool {
			return strings.HasPrefix(e.key, prefix) && yield(e)
		})
	}
}

// within is scan for many rows, whose keys it need not look at: it finds out
// first where the prefix ends.
func (v *View) within(prefix string, f func(*entry) bool) {
	last := len(prefix) - 1
	end := prefix[:last] + string(rune(prefix[last]+1)) // a separator, so ASCII
	var stop *entry
	v.tree.AscendGreaterOrEqual(&entry{key: end}, func(e *entry) bool {
		stop = e
		return false
	})
	v.tree.AscendGreaterOrEqual(&entry{key: prefix}, func(e *entry) bool { return e != stop && f(e) })
}

// Scopes returns the scopes that hold rows, or did, in key order.
func Scopes(v *View) []Scope {
	var all []Scope
	from := ""
	for {
		var next *entry
		v.tree.AscendGreaterOrEqual(&entry{key: from}, func(e *entry) bool {
			next = e
			return false
		})
		if next == nil {
			return all
		}
		s, _, _ := splitKey(next.key)
		if s == "" { // not one of ours: step over it
			from = next.key + "\x00"
			continue
		}
		all = append(all, s)
		from = "/" + string(s) + "0" // '0' follows '/'
	}
}

// Dump writes every row as a line of key and value, in key order, for tests of
// migrations and for support. Sealed rows stay sealed.
func (v *View) Dump(w io.Writer) error {
	for e := range v.scan("/") {
		if _, kind, _ := splitKey(e.key); kind == fenceKind {
			continue
		}
		if _, err := fmt.Fprintf(w, "%s %s\n", e.key, e.val); err != nil {
			return fmt.Errorf("cannot write dump: %w", err)
		}
	}
	return nil
}
