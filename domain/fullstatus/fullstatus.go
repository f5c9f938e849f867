// Package fullstatus derives what operators see from what was stored: the
// statuses of units, applications and machines, who leads, what is lost. It
// owns no rows and writes nothing.
//
// A [Picture] reads each table of a model once and indexes it, so that the
// cost of a status is that of its size and of nothing else. The rules of
// presence, of errors and of an application's status live here and nowhere
// else; [Unit] and [Application] apply them to single entities.
package fullstatus

import (
	"time"

	"github.com/scarab-ops/scarab/domain/application"
	"github.com/scarab-ops/scarab/domain/charmstore"
	"github.com/scarab-ops/scarab/domain/lease"
	"github.com/scarab-ops/scarab/domain/machine"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/relation"
	"github.com/scarab-ops/scarab/domain/status"
	"github.com/scarab-ops/scarab/domain/unit"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/wire/agentapi"
)

// Presence knows which agents are connected.
type Presence interface {
	// Connected tells whether the agent with the tag has a connection to any
	// controller, and since when it has or has not. A zero time means that it
	// was never connected.
	Connected(m names.Model, tag string) (bool, time.Time)
}

// Grace is how long an agent may be away before it counts as lost: longer
// than a restart of a controller or an agent takes.
const Grace = 15 * time.Second

// A Picture is everything that the status of one model is made of, indexed.
// Its rows are shared with the View: do not change them.
type Picture struct {
	Model        model.Row
	Machines     []machine.Row
	Instances    map[names.Machine]machine.Instance
	Seen         map[names.Machine]machine.Observed
	Applications []application.Row
	Charms       map[string]charmstore.Row
	Units        map[names.Application][]unit.Row
	Subordinates map[names.Unit][]unit.Row // by principal
	Ports        map[names.Unit][]agentapi.PortRange
	Relations    []relation.Row
	ByApp        map[names.Application][]relation.Row
	Leaders      map[names.Application]names.Unit

	statuses map[string]status.Entry
	presence Presence
	now      time.Time
}

// Load reads a model. Rows that cannot be decoded are left out.
func Load(r state.Reader, m model.Row, p Presence, now time.Time) *Picture {
	s := model.ScopeOf(m.UUID)
	pic := &Picture{
		Model: m, presence: p, now: now,
		Charms: map[string]charmstore.Row{}, Units: map[names.Application][]unit.Row{},
		Subordinates: map[names.Unit][]unit.Row{}, Ports: map[names.Unit][]agentapi.PortRange{},
		ByApp: map[names.Application][]relation.Row{}, Leaders: map[names.Application]names.Unit{},
	}
	units := 0
	each(machine.Table, r, s, func(x machine.Row) { pic.Machines = append(pic.Machines, x) })
	each(unit.Table, r, s, func(x unit.Row) {
		units++
		pic.Units[x.Application] = append(pic.Units[x.Application], x)
		if x.Principal != "" {
			pic.Subordinates[x.Principal] = append(pic.Subordinates[x.Principal], x)
		}
	})
	// Two for each machine and unit, and some more: maps that need not grow.
	pic.statuses = make(map[string]status.Entry, 2*(units+len(pic.Machines))+100)
	pic.Instances = make(map[names.Machine]machine.Instance, len(pic.Machines))
	pic.Seen = make(map[names.Machine]machine.Observed, len(pic.Machines))
	each(status.Table, r, s, func(x status.Row) { pic.statuses[x.Entity] = x.Entry })
	each(machine.Instances, r, s, func(x machine.Instance) { pic.Instances[x.Machine] = x })
	each(machine.Seen, r, s, func(x machine.Observed) { pic.Seen[x.Machine] = x })
	each(application.Table, r, s, func(x application.Row) { pic.Applications = append(pic.Applications, x) })
	each(charmstore.Table, r, s, func(x charmstore.Row) { pic.Charms[x.URL] = x })
	each(unit.PortsTable, r, s, func(x unit.Ports) { pic.Ports[x.Unit] = x.Ranges })
	each(relation.Table, r, s, func(x relation.Row) {
		pic.Relations = append(pic.Relations, x)
		for _, e := range x.Endpoints {
			pic.ByApp[e.Application] = append(pic.ByApp[e.Application], x)
		}
	})
	each(lease.Table, r, s, func(x lease.Row) {
		if x.Expiry.After(now) {
			pic.Leaders[names.Application(x.Name)] = names.Unit(x.Holder)
		}
	})
	return pic
}

func each[V any](t state.Table[V], r state.Reader, s state.Scope, f func(V)) {
	for v, err := range t.All(r, s) {
		if err == nil {
			f(v)
		}
	}
}

// Status returns a stored status, without any rule applied.
func (p *Picture) Status(entity string) status.Entry { return p.statuses[entity] }

// Unit returns what a unit's agent and workload show.
func (p *Picture) Unit(u unit.Row) (agent, workload status.Entry) {
	n := string(u.Name)
	return Unit(u, p.Status(status.OfUnitAgent(n)), p.Status(status.OfWorkload(n)), Lost(p.presence, p.Model.UUID, u.Name.Tag(), p.now))
}

// Machine returns what a machine's agent shows.
func (p *Picture) Machine(m machine.Row) status.Entry {
	return Machine(m, p.Status(status.OfMachineAgent(string(m.ID))), Lost(p.presence, p.Model.UUID, m.ID.Tag(), p.now))
}

// Own returns the status that an application's leader has set, if any.
func (p *Picture) Own(a application.Row) (status.Entry, bool) {
	e := p.Status(status.OfApplication(string(a.Name)))
	return e, isSet(e)
}

// Application returns what an application shows: what its leader has set, or
// the worst of its units.
func (p *Picture) Application(a application.Row) status.Entry {
	if own, ok := p.Own(a); ok {
		return own
	}
	worst := Worst{}
	for _, u := range p.Units[a.Name] {
		_, w := p.Unit(u)
		worst.Add(w)
	}
	return worst.Entry(a)
}

// Address returns the address of a machine that others use.
func (p *Picture) Address(m names.Machine) string {
	local := ""
	for _, a := range p.Seen[m].Addresses {
		switch {
		case a.Scope == "public":
			return a.Value
		case a.Scope == "local-cloud" && local == "":
			local = a.Value
		}
	}
	if local == "" && len(p.Instances[m].Addresses) > 0 {
		return p.Instances[m].Addresses[0]
	}
	return local
}
