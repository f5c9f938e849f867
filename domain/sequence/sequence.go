// Package sequence hands out numbers that are never used twice within a
// model: machines, units of an application, relations, tasks. It owns the rows
// of kind "sequence".
package sequence

import (
	"errors"

	"github.com/scarab-ops/scarab/state"
)

// A Row is one counter.
type Row struct {
	Name string `json:"name"`
	Next int    `json:"next"` // the next number to hand out
}

// Table holds the counters of a model.
var Table = state.Table[Row]{Kind: "sequence", ID: func(r Row) string { return r.Name }}

// Next takes the next number of the named counter; the first is from.
func Next(tx *state.Tx, s state.Scope, name string, from int) (int, error) {
	r, err := Table.Get(tx, s, name)
	var missing *state.NotFoundError
	if errors.As(err, &missing) {
		r = Row{Name: name, Next: from}
	} else if err != nil {
		return 0, err
	}
	n := r.Next
	r.Next++
	return n, Table.Put(tx, s, r)
}
