package audit

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/scarab-ops/scarab/state"
)

// Outcomes of a recorded call.
const (
	OK     = "ok"
	Denied = "denied"
	Failed = "failed"
)

// Bounds of what one record holds.
const (
	maxArgs    = 16 << 10 // bytes of arguments; longer ones are left out and said so
	maxText    = 1 << 10  // bytes of an error's text, of a target
	maxTargets = 64
)

// A Record is one recorded call: who did what to what, from where, and how it
// ended. A plain row, written in the transaction of the change it records.
type Record struct {
	ID         string          `json:"id"`                   // time-ordered, unique
	Time       time.Time       `json:"time"`                 // the controller's clock
	Actor      string          `json:"actor"`                // tag of the caller
	Kind       string          `json:"kind"`                 // kind of caller
	Source     string          `json:"source"`               // network address of the caller
	Connection string          `json:"connection"`           // id of the connection
	Facade     string          `json:"facade"`               // "http" for routes that are no facade
	Version    int             `json:"version,omitempty"`    // of the facade
	Method     string          `json:"method"`               // method, or HTTP method and route
	Model      string          `json:"model,omitempty"`      // UUID
	Targets    []string        `json:"targets,omitempty"`    // tags or access targets named by the call
	Outcome    string          `json:"outcome"`              // OK, Denied or Failed
	Error      string          `json:"error,omitempty"`      // wire code, and text unless the class is secret
	Args       json.RawMessage `json:"args,omitempty"`       // only where the method's class permits
	ArgsBytes  int             `json:"args-bytes,omitempty"` // size of arguments too long to keep
}

// Table holds the records that are not yet in a segment.
var Table = state.Table[Record]{Kind: "audit", ID: func(r Record) string { return r.ID }}

// ID makes the id of a record: ids sort by time, unique lets two records of one
// instant differ.
func ID(t time.Time, unique string) string {
	return fmt.Sprintf("%020d-%s", t.UnixNano(), unique)
}

// Put writes r with the change it records.
func Put(tx *state.Tx, r Record) error {
	if r.ID == "" || r.Method == "" || r.Outcome == "" {
		return fmt.Errorf("cannot record a call without id, method and outcome")
	}
	if len(r.Args) > maxArgs {
		r.ArgsBytes, r.Args = len(r.Args), nil
	}
	if len(r.Args) > 0 && !json.Valid(r.Args) {
		r.ArgsBytes, r.Args = len(r.Args), nil
	}
	r.Error = clip(r.Error)
	if len(r.Targets) > maxTargets {
		r.Targets = append(r.Targets[:maxTargets:maxTargets], "...")
	}
	for i, t := range r.Targets {
		if len(t) > maxText {
			r.Targets[i] = clip(t)
		}
	}
	return Table.Put(tx, state.Controller, r)
}

func clip(s string) string {
	if len(s) > maxText {
		return s[:maxText] + "..."
	}
	return s
}
