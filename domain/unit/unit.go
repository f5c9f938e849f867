// Package unit owns units: rows of kind "unit" (what users want and what the
// unit runs), "ports" (what it opened), "charm-state" (what its charm keeps
// with the controller) and "unit-op" (the last commits, so that a repeated one
// is harmless). In model scope.
//
// Invariants: unit numbers are never used twice; ranges opened by units of one
// machine do not overlap; each commit of a unit happens once.
package unit

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/scarab-ops/scarab/domain/life"
	"github.com/scarab-ops/scarab/domain/sequence"
	"github.com/scarab-ops/scarab/domain/status"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/wire/agentapi"
)

// A Row is one unit.
type Row struct {
	Name        names.Unit        `json:"name"`
	Application names.Application `json:"application"`
	Machine     names.Machine     `json:"machine,omitempty"` // "" for subordinates until placed
	Principal   names.Unit        `json:"principal,omitempty"`
	Life        life.Life         `json:"life"`
	Created     time.Time         `json:"created"`
	// CharmURL is what the unit runs; empty until install has run.
	CharmURL string `json:"charm-url,omitempty"`
	// Resolved is "", "retry-hooks" or "no-hooks".
	Resolved        string `json:"resolved,omitempty"`
	WorkloadVersion string `json:"workload-version,omitempty"`
	// Force and its deadline apply to a dying unit.
	Force    bool      `json:"force,omitempty"`
	Deadline time.Time `json:"deadline,omitzero"`
	// DyingSince is when removal began.
	DyingSince time.Time `json:"dying-since,omitzero"`
}

// Ports are the ranges a unit opened.
type Ports struct {
	Unit    names.Unit           `json:"unit"`
	Machine names.Machine        `json:"machine"`
	Ranges  []agentapi.PortRange `json:"ranges"`
}

// State is what a unit's charm keeps with the controller.
type State struct {
	Unit names.Unit        `json:"unit"`
	Bag  map[string]string `json:"bag"`
}

// Ops are the ids of a unit's last commits, newest last.
type Ops struct {
	Unit names.Unit `json:"unit"`
	IDs  []string   `json:"ids"`
}

// keepOps bounds Ops: more than one agent can have in flight at once.
const keepOps = 32

// Sizes of charm state (reference: hook-tools 4).
const (
	MaxStateKey   = 256
	MaxStateValue = 64 << 10
	MaxState      = 2 << 20
)

// Tables, in model scope.
var (
	Table      = state.Table[Row]{Kind: "unit", ID: func(r Row) string { return string(r.Name) }}
	PortsTable = state.Table[Ports]{Kind: "ports", ID: func(p Ports) string { return string(p.Unit) }}
	StateTable = state.Table[State]{Kind: "charm-state", ID: func(r State) string { return string(r.Unit) }}
	OpsTable   = state.Table[Ops]{Kind: "unit-op", ID: func(o Ops) string { return string(o.Unit) }}
)

// Add makes a unit on a machine ("" for none yet).
func Add(tx *state.Tx, s state.Scope, u Row) (Row, error) {
	n, err := sequence.Next(tx, s, "unit-"+string(u.Application), 0)
	if err != nil {
		return Row{}, err
	}
	u.Name, u.Life = names.UnitOf(u.Application, n), life.Alive
	if err := Table.Put(tx, s, u); err != nil {
		return Row{}, err
	}
	name := string(u.Name)
	agent := status.Entry{Status: "allocating", Since: u.Created}
	if err := status.Set(tx, s, status.OfUnitAgent(name), agent); err != nil {
		return Row{}, err
	}
	workload := status.Entry{Status: "waiting", Message: "waiting for machine", Since: u.Created}
	return u, status.Set(tx, s, status.OfWorkload(name), workload)
}

// Get returns a unit.
func Get(r state.Reader, s state.Scope, u names.Unit) (Row, error) {
	row, err := Table.Get(r, s, string(u))
	if err != nil {
		return Row{}, &NotFoundError{u}
	}
	return row, nil
}

// NotFoundError reports a unit that is not there.
type NotFoundError struct{ Unit names.Unit }

func (e *NotFoundError) Error() string { return fmt.Sprintf("unit %q not found", string(e.Unit)) }

// Code is the wire code of the error.
func (e *NotFoundError) Code() string { return "not found" }

// Of returns an application's units by number.
func Of(r state.Reader, s state.Scope, a names.Application) []Row {
	var out []Row
	for u, err := range Table.Under(r, s, string(a)+"/") {
		if err == nil {
			out = append(out, u)
		}
	}
	slices.SortFunc(out, func(a, b Row) int { return a.Name.Number() - b.Name.Number() })
	return out
}

// On returns the units on a machine, principals and subordinates.
func On(r state.Reader, s state.Scope, m names.Machine) []Row {
	var out []Row
	for u, err := range Table.All(r, s) {
		if err == nil && u.Machine == m {
			out = append(out, u)
		}
	}
	return out
}

// Seen tells whether a commit was made before, and remembers it if not.
func Seen(tx *state.Tx, s state.Scope, u names.Unit, op string) (bool, error) {
	ops, err := OpsTable.Get(tx, s, string(u))
	if err != nil {
		ops = Ops{Unit: u}
	}
	if slices.Contains(ops.IDs, op) {
		return true, nil
	}
	ops.IDs = append(ops.IDs, op)
	if len(ops.IDs) > keepOps {
		ops.IDs = ops.IDs[len(ops.IDs)-keepOps:]
	}
	return false, OpsTable.Put(tx, s, ops)
}

// ChangeState sets and deletes keys of the charm's state.
func ChangeState(tx *state.Tx, s state.Scope, u names.Unit, set map[string]string, del []string) error {
	if len(set) == 0 && len(del) == 0 {
		return nil
	}
	row, err := StateTable.Get(tx, s, string(u))
	if err != nil {
		row = State{Unit: u}
	}
	if row.Bag == nil {
		row.Bag = map[string]string{}
	}
	for k, v := range set {
		if len(k) > MaxStateKey || len(v) > MaxStateValue {
			return fmt.Errorf("cannot set charm state: max allowed key size %d, value size %d exceeded", MaxStateKey, MaxStateValue)
		}
		row.Bag[k] = v
	}
	for _, k := range del {
		delete(row.Bag, k)
	}
	total := 0
	for k, v := range row.Bag {
		total += len(k) + len(v)
	}
	if total > MaxState {
		return fmt.Errorf("cannot set charm state: %d bytes in all, at most %d", total, MaxState)
	}
	return StateTable.Put(tx, s, row)
}

// PortsOf returns what a unit has open.
func PortsOf(r state.Reader, s state.Scope, u names.Unit) []agentapi.PortRange {
	p, err := PortsTable.Get(r, s, string(u))
	if err != nil {
		return nil
	}
	return p.Ranges
}

// ConflictError reports a range that another unit of the machine has open.
type ConflictError struct {
	Range, Other agentapi.PortRange
	Unit, Holder names.Unit
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("cannot open %s (unit %q): port range conflicts with %s (unit %q)",
		FormatRange(e.Range), string(e.Unit), FormatRange(e.Other), string(e.Holder))
}

// FormatRange prints "80/tcp", "8000-8010/udp" or "icmp".
func FormatRange(p agentapi.PortRange) string {
	switch {
	case p.Protocol == "icmp":
		return "icmp"
	case p.From == p.To:
		return strconv.Itoa(p.From) + "/" + p.Protocol
	}
	return strconv.Itoa(p.From) + "-" + strconv.Itoa(p.To) + "/" + p.Protocol
}

// ChangePorts closes and then opens ranges of a unit.
func ChangePorts(tx *state.Tx, s state.Scope, u Row, endpoints []string, open, closing []agentapi.PortRange) error {
	if len(open) == 0 && len(closing) == 0 {
		return nil
	}
	row := Ports{Unit: u.Name, Machine: u.Machine, Ranges: slices.Clone(PortsOf(tx, s, u.Name))}
	for _, c := range closing {
		row.Ranges = closeRange(row.Ranges, c, endpoints)
	}
	for _, o := range open {
		if err := checkRange(o); err != nil {
			return err
		}
		if err := conflicts(tx, s, u, row.Ranges, o); err != nil {
			return err
		}
		if !slices.Contains(row.Ranges, o) {
			row.Ranges = append(row.Ranges, o)
		}
	}
	return PortsTable.Put(tx, s, row)
}

// maxRanges bounds the ranges of one unit.
const maxRanges = 1000

func checkRange(p agentapi.PortRange) error {
	switch p.Protocol {
	case "icmp":
		if p.From != 0 || p.To != 0 {
			return fmt.Errorf("cannot open port: icmp has no ports, got %d-%d", p.From, p.To)
		}
		return nil
	case "tcp", "udp":
	default:
		return fmt.Errorf("cannot open port: invalid protocol %q, expected \"tcp\", \"udp\", or \"icmp\"", p.Protocol)
	}
	if p.From < 0 || p.To > 65535 || p.From > p.To {
		return fmt.Errorf("cannot open port: port range bounds must be between 0 and 65535, got %d-%d", p.From, p.To)
	}
	return nil
}

func overlap(a, b agentapi.PortRange) bool {
	return a.Protocol == b.Protocol && a.Protocol != "icmp" && a.From <= b.To && b.From <= a.To
}

func conflicts(tx *state.Tx, s state.Scope, u Row, own []agentapi.PortRange, o agentapi.PortRange) error {
	if len(own) >= maxRanges {
		return fmt.Errorf("cannot open port: unit %s has %d ranges open, at most %d", u.Name, len(own), maxRanges)
	}
	for _, have := range own {
		if overlap(have, o) && (have.From != o.From || have.To != o.To) {
			return &ConflictError{o, have, u.Name, u.Name}
		}
	}
	for p, err := range PortsTable.All(tx, s) {
		if err != nil || p.Machine != u.Machine || p.Unit == u.Name {
			continue
		}
		for _, have := range p.Ranges {
			if overlap(have, o) {
				return &ConflictError{o, have, u.Name, p.Unit}
			}
		}
	}
	return nil
}

// closeRange removes c from ranges. Closing for all endpoints removes every
// entry of the range; closing one endpoint of a range opened for all leaves it
// open for the others.
func closeRange(ranges []agentapi.PortRange, c agentapi.PortRange, endpoints []string) []agentapi.PortRange {
	same := func(a agentapi.PortRange) bool { return a.Protocol == c.Protocol && a.From == c.From && a.To == c.To }
	var out []agentapi.PortRange
	for _, have := range ranges {
		switch {
		case !same(have):
			out = append(out, have)
		case c.Endpoint == "" || have.Endpoint == c.Endpoint:
		case have.Endpoint == "":
			for _, ep := range endpoints {
				if ep != c.Endpoint {
					split := have
					split.Endpoint = ep
					out = append(out, split)
				}
			}
		default:
			out = append(out, have)
		}
	}
	return out
}

// Forget deletes every row of a unit but its bags.
func Forget(tx *state.Tx, s state.Scope, u names.Unit) error {
	name := string(u)
	if PortsTable.Has(tx, s, name) {
		if err := PortsTable.Delete(tx, s, name); err != nil {
			return err
		}
	}
	if StateTable.Has(tx, s, name) {
		if err := StateTable.Delete(tx, s, name); err != nil {
			return err
		}
	}
	if OpsTable.Has(tx, s, name) {
		if err := OpsTable.Delete(tx, s, name); err != nil {
			return err
		}
	}
	if err := status.Remove(tx, s, status.OfUnitAgent(name)); err != nil {
		return err
	}
	if err := status.Remove(tx, s, status.OfWorkload(name)); err != nil {
		return err
	}
	return Table.Delete(tx, s, name)
}
