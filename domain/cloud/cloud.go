// Package cloud owns the definitions of clouds that the controller can use:
// rows of kind "cloud" in the controller scope. Credentials come with the
// clouds that need one; the local cloud needs none.
package cloud

import (
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
)

// A Row is one cloud.
type Row struct {
	Name      names.Cloud `json:"name"`
	Type      string      `json:"type"`     // as clients know it
	Provider  string      `json:"provider"` // our provider's name
	Endpoint  string      `json:"endpoint,omitempty"`
	Regions   []string    `json:"regions,omitempty"`
	AuthTypes []string    `json:"auth-types"`
}

// Table holds clouds, in state.Controller.
var Table = state.Table[Row]{Kind: "cloud", ID: func(r Row) string { return string(r.Name) }}

// Localhost is the embedded local cloud. Clients know its kind as "lxd" with
// the auth type "empty", the form that needs no credential and no plug-in.
func Localhost() Row {
	return Row{
		Name: "localhost", Type: "lxd", Provider: "localhost",
		Regions: []string{"localhost"}, AuthTypes: []string{"empty"},
	}
}
