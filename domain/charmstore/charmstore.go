// Package charmstore owns the charms known to a model: rows of kind "charm".
// The archive's bytes live in the blob store under their digest; a row is the
// reference that keeps them.
//
// Invariant: a URL's digest never changes.
package charmstore

import (
	"fmt"
	"time"

	"github.com/scarab-ops/scarab/charm"
	"github.com/scarab-ops/scarab/domain/sequence"
	"github.com/scarab-ops/scarab/state"
)

// A Row is one revision of one charm.
type Row struct {
	URL     string      `json:"url"`    // local:mycharm-0
	SHA256  string      `json:"sha256"` // hex, of the archive
	Size    int64       `json:"size"`   // bytes
	Charm   charm.Charm `json:"charm"`
	Added   time.Time   `json:"added"`
	AddedBy string      `json:"added-by"`
}

// Table holds charms, in model scope.
var Table = state.Table[Row]{Kind: "charm", ID: func(r Row) string { return r.URL }}

// AddLocal gives the charm the next free revision of its name and stores it.
// The same bytes under the same name keep the revision they have.
func AddLocal(tx *state.Tx, s state.Scope, r Row) (Row, error) {
	name := r.Charm.Meta.Name
	for have, err := range Table.Under(tx, s, "local:"+name+"-") {
		if err == nil && have.SHA256 == r.SHA256 && have.Charm.Meta.Name == name {
			return have, nil
		}
	}
	rev, err := sequence.Next(tx, s, "charm-"+name, 0)
	if err != nil {
		return Row{}, err
	}
	r.URL = fmt.Sprintf("local:%s-%d", name, rev)
	r.Charm.Revision = rev
	return r, Table.Put(tx, s, r)
}

// Get returns a charm.
func Get(r state.Reader, s state.Scope, url string) (Row, error) {
	row, err := Table.Get(r, s, url)
	if err != nil {
		return Row{}, &NotFoundError{url}
	}
	return row, nil
}

// NotFoundError reports a charm the model does not know.
type NotFoundError struct{ URL string }

func (e *NotFoundError) Error() string { return fmt.Sprintf("charm %q not found", e.URL) }

// Code is the wire code of the error.
func (e *NotFoundError) Code() string { return "not found" }
