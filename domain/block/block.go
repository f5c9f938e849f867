// Package block owns the commands that operators disabled: rows of kind
// "block" in model scope, at most one of each type. It refuses what a block
// forbids and knows nothing of who asks.
package block

import (
	"fmt"
	"slices"

	"github.com/scarab-ops/scarab/state"
)

// A Type says what a block forbids.
type Type string

// The types. Change forbids every change, Remove forbids removals and the
// destruction of the model, Destroy forbids only the latter.
const (
	Change  Type = "BlockChange"
	Remove  Type = "BlockRemove"
	Destroy Type = "BlockDestroy"
)

// Types is every type, in order of what they forbid.
func Types() []Type { return []Type{Destroy, Remove, Change} }

// MaxMessage bounds an operator's explanation.
const MaxMessage = 4 << 10

// A Row is one block that is on.
type Row struct {
	ID      int    `json:"id"` // one for each type
	Type    Type   `json:"type"`
	Message string `json:"message,omitempty"`
}

// Table holds the blocks of a model.
var Table = state.Table[Row]{Kind: "block", ID: func(r Row) string { return string(r.Type) }}

// A BlockedError is the answer to a call that a block forbids.
type BlockedError struct {
	Type    Type
	Message string
}

func (e *BlockedError) Error() string {
	if e.Message != "" {
		return e.Message
	}
	return "the operation has been blocked"
}

// Code is the wire code of the error.
func (e *BlockedError) Code() string { return "operation is blocked" }

// Info tells clients which block to lift.
func (e *BlockedError) Info() map[string]any { return map[string]any{"type": string(e.Type)} }

// Check fails if a block that is on forbids what is of type t.
func Check(r state.Reader, s state.Scope, t Type) error {
	stronger := []Type{Change}
	switch t {
	case Remove:
		stronger = []Type{Change, Remove}
	case Destroy:
		stronger = []Type{Change, Remove, Destroy}
	case Change:
	}
	for _, b := range stronger {
		if row, err := Table.Get(r, s, string(b)); err == nil {
			return &BlockedError{b, row.Message}
		}
	}
	return nil
}

// On turns a block on.
func On(tx *state.Tx, s state.Scope, t Type, message string) error {
	if err := valid(t); err != nil {
		return err
	}
	if len(message) > MaxMessage {
		return fmt.Errorf("cannot block: the message is longer than %d bytes", MaxMessage)
	}
	if Table.Has(tx, s, string(t)) {
		return fmt.Errorf("cannot block: block %s is already ON", t)
	}
	return Table.Put(tx, s, Row{ID: slices.Index(Types(), t), Type: t, Message: message})
}

// Off lifts a block.
func Off(tx *state.Tx, s state.Scope, t Type) error {
	if err := valid(t); err != nil {
		return err
	}
	if !Table.Has(tx, s, string(t)) {
		return fmt.Errorf("cannot lift block: block %s is already OFF", t)
	}
	return Table.Delete(tx, s, string(t))
}

// All returns the blocks that are on.
func All(r state.Reader, s state.Scope) []Row {
	var out []Row
	for _, t := range Types() {
		if row, err := Table.Get(r, s, string(t)); err == nil {
			out = append(out, row)
		}
	}
	return out
}

func valid(t Type) error {
	switch t {
	case Change, Remove, Destroy:
		return nil
	}
	return fmt.Errorf("cannot use block type %q: use BlockDestroy, BlockRemove or BlockChange", string(t))
}
