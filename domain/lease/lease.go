// Package lease owns leadership: at most one holder per name until the lease
// runs out. Rows of kind "lease". A claim by the holder extends; a claim by
// another while it runs is refused; an expired lease is anybody's.
//
// The guarantee: while Until of a successful claim has not passed, nobody else
// holds the lease. Claims and guarded writes check in the same transaction.
package lease

import (
	"time"

	"github.com/scarab-ops/scarab/state"
)

// Duration of a leadership lease, and of the guarantee that each claim gives
// at least (reference: relations-and-config 4).
const (
	Duration  = 60 * time.Second
	Guarantee = 30 * time.Second
)

// A Row is one lease.
type Row struct {
	Name   string    `json:"name"`   // application
	Holder string    `json:"holder"` // unit
	Expiry time.Time `json:"expiry"`
}

// Table holds the leases of a model.
var Table = state.Table[Row]{Kind: "lease", ID: func(r Row) string { return r.Name }}

// DeniedError reports that somebody else leads.
type DeniedError struct{ Name, Holder string }

func (e *DeniedError) Error() string { return "this unit is not the leader" }

// Code is the wire code of the error.
func (e *DeniedError) Code() string { return "leadership claim denied" }

// Claim takes or extends the lease.
func Claim(tx *state.Tx, s state.Scope, name, holder string, now time.Time) (Row, error) {
	r, err := Table.Get(tx, s, name)
	if err == nil && r.Holder != holder && r.Expiry.After(now) {
		return Row{}, &DeniedError{name, r.Holder}
	}
	r = Row{Name: name, Holder: holder, Expiry: now.Add(Duration)}
	return r, Table.Put(tx, s, r)
}

// Check fails unless holder holds the lease now.
func Check(r state.Reader, s state.Scope, name, holder string, now time.Time) error {
	row, err := Table.Get(r, s, name)
	if err != nil || row.Holder != holder || !row.Expiry.After(now) {
		return &DeniedError{name, row.Holder}
	}
	return nil
}

// Holder returns who holds the lease, or "" if nobody does.
func Holder(r state.Reader, s state.Scope, name string) string {
	row, err := Table.Get(r, s, name)
	if err != nil {
		return ""
	}
	return row.Holder
}

// Release gives the lease up if holder has it.
func Release(tx *state.Tx, s state.Scope, name, holder string) error {
	row, err := Table.Get(tx, s, name)
	if err != nil || row.Holder != holder {
		return nil //nolint:nilerr // nothing to release
	}
	return Table.Delete(tx, s, name)
}
