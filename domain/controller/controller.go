// Package controller owns what the controller knows of itself: one row of kind
// "controller" in the controller scope, and the sealed keys. The private key
// of the CA is held only in sealed form and leaves this package only to the
// composition root.
package controller

import (
	"fmt"
	"time"

	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/state/sealed"
)

// A Row is the controller.
type Row struct {
	UUID    names.ControllerID `json:"uuid"`
	Name    string             `json:"name"`
	Model   names.Model        `json:"model"` // the controller model
	CACert  string             `json:"ca-cert"`
	Created time.Time          `json:"created"`
	// Config holds explicitly set controller settings as canonical text.
	Config map[string]string `json:"config"`
	// APIAddresses are what clients and agents dial, host:port.
	APIAddresses   []string `json:"api-addresses"`
	AgentAddresses []string `json:"agent-addresses"`
}

// Table holds the one row, in state.Controller.
var Table = state.Table[Row]{Kind: "controller", ID: func(Row) string { return "controller" }}

// A Key is one sealed private key, in PEM or raw bytes.
type Key struct {
	Name string `json:"name"` // ca, blob, audit, recovery
	Data []byte `json:"data"`
}

// Keys holds the sealed keys, in state.Controller.
var Keys = sealed.Table[Key]{Kind: "sealed-key", ID: func(k Key) string { return k.Name }}

// A Token is an enrolment token not used yet, kept so that a start that
// crashed half-way can be repeated.
type Token struct {
	Tag   string `json:"tag"`
	Token string `json:"token"`
}

// Tokens holds unused enrolment tokens, in model scope.
var Tokens = sealed.Table[Token]{Kind: "sealed-token", ID: func(t Token) string { return t.Tag }}

// Get returns the controller.
func Get(r state.Reader) (Row, error) {
	row, err := Table.Get(r, state.Controller, "controller")
	if err != nil {
		return Row{}, fmt.Errorf("cannot read the controller's own record: %w", err)
	}
	return row, nil
}
