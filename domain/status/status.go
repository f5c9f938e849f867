// Package status owns what entities report of themselves: one row of kind
// "status" for each reporting side of an entity, with a short tail of history.
// It derives nothing; see domain/fullstatus.
package status

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/scarab-ops/scarab/state"
)

// An Entry is one reported status.
type Entry struct {
	Status  string         `json:"status"`
	Message string         `json:"message,omitempty"`
	Data    map[string]any `json:"data,omitempty"`
	Since   time.Time      `json:"since"`
}

// A Row is the present status of one side of an entity.
type Row struct {
	Entity  string  `json:"entity"` // see the Of functions
	Entry           // the present one
	History []Entry `json:"history,omitempty"` // newest first, at most HistoryLen
}

// HistoryLen bounds the tail kept in the replicated store.
const HistoryLen = 15

// maxHistory bounds the bytes of the tail, as a message or data may be long.
const maxHistory = 128 << 10

// shorten keeps the newest entries, within both bounds.
func shorten(h []Entry) []Entry {
	total := 0
	for i, e := range h {
		total += len(e.Status) + len(e.Message)
		if len(e.Data) > 0 {
			raw, _ := json.Marshal(e.Data) // it came from JSON
			total += len(raw)
		}
		if i == HistoryLen || total > maxHistory {
			return h[:i]
		}
	}
	return h
}

// Table holds statuses.
var Table = state.Table[Row]{Kind: "status", ID: func(r Row) string { return r.Entity }}

// Identities of the sides that report.
func OfUnitAgent(unit string) string       { return "agent/" + unit }
func OfWorkload(unit string) string        { return "workload/" + unit }
func OfApplication(app string) string      { return "application/" + app }
func OfMachineAgent(machine string) string { return "machine/" + machine }
func OfInstance(machine string) string     { return "instance/" + machine }
func OfRelation(id string) string          { return "relation/" + id }

// OfModel is the identity of the model itself.
const OfModel = "model"

// Get returns the status of a side, or the zero Entry if it never reported.
func Get(r state.Reader, s state.Scope, entity string) Entry {
	row, err := Table.Get(r, s, entity)
	if err != nil {
		return Entry{}
	}
	return row.Entry
}

// Set replaces the status of a side. Setting the same again refreshes Since
// but leaves no history.
func Set(tx *state.Tx, s state.Scope, entity string, e Entry) error {
	row, err := Table.Get(tx, s, entity)
	var missing *state.NotFoundError
	if err != nil && !errors.As(err, &missing) {
		return err
	}
	if row.Status != "" && (row.Status != e.Status || row.Message != e.Message) {
		row.History = append([]Entry{row.Entry}, row.History...)
		row.History = shorten(row.History)
	}
	row.Entity, row.Entry = entity, e
	return Table.Put(tx, s, row)
}

// Remove forgets a side; an unknown one is no error.
func Remove(tx *state.Tx, s state.Scope, entity string) error {
	if !Table.Has(tx, s, entity) {
		return nil
	}
	return Table.Delete(tx, s, entity)
}
