// Package machine owns machines: rows of kind "machine" (what users want),
// "instance" (what the cloud gave, written by the provisioner) and "observed"
// (what the machine's agent sees). All in model scope.
//
// Invariants: machine numbers are never used twice; a machine that hosts units
// is removed only by force.
package machine

import (
	"fmt"
	"strconv"
	"time"

	"github.com/scarab-ops/scarab/constraint"
	"github.com/scarab-ops/scarab/domain/life"
	"github.com/scarab-ops/scarab/domain/sequence"
	"github.com/scarab-ops/scarab/domain/status"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/wire/agentapi"
)

// Base is an operating system release.
type Base struct {
	Name    string `json:"name"`
	Channel string `json:"channel"`
}

// A Row is one wanted machine.
type Row struct {
	ID          names.Machine    `json:"id"`
	Life        life.Life        `json:"life"`
	Base        Base             `json:"base"`
	Constraints constraint.Value `json:"constraints"`
	Placement   string           `json:"placement,omitempty"` // provider directive
	Created     time.Time        `json:"created"`
	// Keep leaves the instance in the cloud when the machine is removed.
	Keep bool `json:"keep,omitempty"`
	// Clean is true until a unit was assigned: only clean machines are reused.
	// A clean machine also has a row in Spares, to be found by.
	Clean bool `json:"clean"`
	// Retry counts requests of retry-provisioning.
	Retry int `json:"retry,omitempty"`
}

// DefaultBase is what the local cloud has for who asks for no base.
func DefaultBase() Base { return Base{Name: "debian", Channel: "12/stable"} }

// An Instance is what the cloud gave for a machine.
type Instance struct {
	Machine     names.Machine `json:"machine"`
	InstanceID  string        `json:"instance-id"`
	DisplayName string        `json:"display-name,omitempty"`
	Nonce       string        `json:"nonce"`
	Addresses   []string      `json:"addresses"`
	Arch        string        `json:"arch"`
	Cores       int           `json:"cores"`
	MemMiB      int64         `json:"mem-mib"`
	RootDiskMiB int64         `json:"root-disk-mib"`
	Zone        string        `json:"zone,omitempty"`
	Isolation   string        `json:"isolation,omitempty"`
	BaseNote    string        `json:"base-note,omitempty"`
	Base        Base          `json:"base"`
	Started     time.Time     `json:"started"`
}

// An Observed is what a machine's agent reports of it.
type Observed struct {
	Machine names.Machine `json:"machine"`
	agentapi.MachineObserved
}

// A Spare names a clean machine.
type Spare struct {
	Machine names.Machine `json:"machine"`
}

// Tables, in model scope.
var (
	Spares    = state.Table[Spare]{Kind: "spare-machine", ID: func(s Spare) string { return string(s.Machine) }}
	Table     = state.Table[Row]{Kind: "machine", ID: func(r Row) string { return string(r.ID) }}
	Instances = state.Table[Instance]{Kind: "instance", ID: func(r Instance) string { return string(r.Machine) }}
	Seen      = state.Table[Observed]{Kind: "observed", ID: func(r Observed) string { return string(r.Machine) }}
)

// Add makes a machine for the provisioner to start.
func Add(tx *state.Tx, s state.Scope, m Row) (Row, error) {
	n, err := sequence.Next(tx, s, "machine", 0)
	if err != nil {
		return Row{}, err
	}
	m.ID, m.Life = names.Machine(strconv.Itoa(n)), life.Alive
	if err := Table.Put(tx, s, m); err != nil {
		return Row{}, err
	}
	if m.Clean {
		if err := Spares.Put(tx, s, Spare{m.ID}); err != nil {
			return Row{}, err
		}
	}
	pending := status.Entry{Status: "pending", Since: m.Created}
	if err := status.Set(tx, s, status.OfMachineAgent(string(m.ID)), pending); err != nil {
		return Row{}, err
	}
	return m, status.Set(tx, s, status.OfInstance(string(m.ID)), pending)
}

// Get returns a machine.
func Get(r state.Reader, s state.Scope, id names.Machine) (Row, error) {
	row, err := Table.Get(r, s, string(id))
	if err != nil {
		return Row{}, &NotFoundError{id}
	}
	return row, nil
}

// NotFoundError reports a machine that is not there.
type NotFoundError struct{ ID names.Machine }

func (e *NotFoundError) Error() string { return fmt.Sprintf("machine %s not found", string(e.ID)) }

// Code is the wire code of the error.
func (e *NotFoundError) Code() string { return "not found" }

// HasUnitsError reports a machine that cannot go because units live on it.
type HasUnitsError struct {
	ID    names.Machine
	Units []names.Unit
}

func (e *HasUnitsError) Error() string {
	return fmt.Sprintf("machine %s has unit(s) %v assigned: remove them first, or use --force", string(e.ID), e.Units)
}

// Code is the wire code of the error.
func (e *HasUnitsError) Code() string { return "machine has assigned units" }

// Address returns the address other machines use, "" while none is known. What
// the cloud says of its machine counts before what the machine says of itself.
func Address(r state.Reader, s state.Scope, id names.Machine) string {
	if i, err := Instances.Get(r, s, string(id)); err == nil && len(i.Addresses) > 0 {
		return i.Addresses[0]
	}
	if o, err := Seen.Get(r, s, string(id)); err == nil {
		for _, a := range o.Addresses {
			if a.Scope == "local-cloud" || a.Scope == "public" {
				return a.Value
			}
		}
	}
	return ""
}

// Take marks a machine as used.
func Take(tx *state.Tx, s state.Scope, m Row) error {
	if Spares.Has(tx, s, string(m.ID)) {
		if err := Spares.Delete(tx, s, string(m.ID)); err != nil {
			return err
		}
	}
	m.Clean = false
	return Table.Put(tx, s, m)
}

// Forget deletes every row of a machine.
func Forget(tx *state.Tx, s state.Scope, id names.Machine) error {
	if Spares.Has(tx, s, string(id)) {
		if err := Spares.Delete(tx, s, string(id)); err != nil {
			return err
		}
	}
	if err := Table.Delete(tx, s, string(id)); err != nil {
		return err
	}
	if Instances.Has(tx, s, string(id)) {
		if err := Instances.Delete(tx, s, string(id)); err != nil {
			return err
		}
	}
	if Seen.Has(tx, s, string(id)) {
		if err := Seen.Delete(tx, s, string(id)); err != nil {
			return err
		}
	}
	if err := status.Remove(tx, s, status.OfMachineAgent(string(id))); err != nil {
		return err
	}
	return status.Remove(tx, s, status.OfInstance(string(id)))
}
