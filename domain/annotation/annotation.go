// Package annotation owns the notes that clients keep about entities: rows of
// kind "annotation" in model scope, one for each entity that has any. It
// gives notes no meaning and bounds their number and size.
package annotation

import (
	"fmt"
	"maps"
	"strings"

	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
)

// Bounds on the notes of one entity.
const (
	MaxKeys  = 100
	MaxKey   = 256
	MaxValue = 64 << 10
)

// A Row is the notes of one entity.
type Row struct {
	Tag   string            `json:"tag"`
	Notes map[string]string `json:"notes"`
}

// Table holds annotations, in model scope.
var Table = state.Table[Row]{Kind: "annotation", ID: func(r Row) string { return r.Tag }}

// Of returns the notes of an entity; never nil.
func Of(r state.Reader, s state.Scope, t names.Tag) map[string]string {
	row, err := Table.Get(r, s, t.String())
	if err != nil || row.Notes == nil {
		return map[string]string{}
	}
	return maps.Clone(row.Notes)
}

// Set changes notes; an empty value deletes its key.
func Set(tx *state.Tx, s state.Scope, t names.Tag, notes map[string]string) error {
	all := Of(tx, s, t)
	for k, v := range notes {
		switch {
		case k == "" || len(k) > MaxKey || strings.ContainsAny(k, ".$"):
			return fmt.Errorf("cannot annotate %s: key %.80q is not valid: use 1 to %d bytes without dot and dollar sign", t, k, MaxKey)
		case len(v) > MaxValue:
			return fmt.Errorf("cannot annotate %s: value of %q is longer than %d bytes", t, k, MaxValue)
		case v == "":
			delete(all, k)
		default:
			all[k] = v
		}
	}
	if len(all) > MaxKeys {
		return fmt.Errorf("cannot annotate %s: %d notes, at most %d", t, len(all), MaxKeys)
	}
	if len(all) == 0 {
		return Forget(tx, s, t)
	}
	return Table.Put(tx, s, Row{Tag: t.String(), Notes: all})
}

// Forget deletes the notes of an entity; it may have none.
func Forget(tx *state.Tx, s state.Scope, t names.Tag) error {
	if !Table.Has(tx, s, t.String()) {
		return nil
	}
	return Table.Delete(tx, s, t.String())
}
