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
	"strings"
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
	Connected(m names.Model, tag names.Tag) (bool, time.Time)
}

// Grace is how long an agent may be away before it counts as lost: longer
// than a restart of a controller or an agent takes.
const Grace = 15 * time.Second

// A Picture is everything that the status of one model is made of, indexed.
// Its rows are shared with the View: do not change them.
type Picture struct {
	Model        model.Row
	Machines     []*Host
	Applications []application.Row
	Charms       map[string]charmstore.Row
	Units        map[names.Application][]*Member
	Subordinates map[names.Unit][]*Member // by principal
	Relations    []relation.Row
	ByApp        map[names.Application][]relation.Row
	Leaders      map[names.Application]names.Unit

	reader   state.Reader
	scope    state.Scope
	hosts    map[names.Machine]*Host
	presence Presence
	now      time.Time
}

// A Host is a machine with what is known of it: none of its pointers is nil.
type Host struct {
	*machine.Row
	Instance *machine.Instance
	Seen     *machine.Observed
	// Running is what the cloud reports.
	Running *status.Entry
	agent   *status.Entry
}

// A Member is a unit with what is known of it.
type Member struct {
	*unit.Row
	Ports           []agentapi.PortRange
	agent, workload *status.Entry
}

// What is known of those of whom nothing is; nobody writes to it.
var (
	noInstance machine.Instance
	notSeen    machine.Observed
	noStatus   status.Entry
)

// Load reads a model. Rows that cannot be decoded are left out.
func Load(r state.Reader, m model.Row, p Presence, now time.Time) *Picture {
	s := model.ScopeOf(m.UUID)
	pic := &Picture{
		Model: m, reader: r, scope: s, presence: p, now: now,
		Charms: map[string]charmstore.Row{}, Units: map[names.Application][]*Member{},
		Subordinates: map[names.Unit][]*Member{},
		ByApp:        map[names.Application][]relation.Row{}, Leaders: map[names.Application]names.Unit{},
	}
	hosts, units := pic.loadMachines(), pic.loadUnits()
	pic.loadStatuses(hosts, units)
	application.Table.Each(r, s, func(x *application.Row) { pic.Applications = append(pic.Applications, *x) })
	charmstore.Table.Each(r, s, func(x *charmstore.Row) { pic.Charms[x.URL] = *x })
	relation.Table.Each(r, s, func(x *relation.Row) {
		pic.Relations = append(pic.Relations, *x)
		for _, e := range x.Endpoints {
			pic.ByApp[e.Application] = append(pic.ByApp[e.Application], *x)
		}
	})
	lease.Table.Each(r, s, func(x *lease.Row) {
		if x.Expiry.After(now) {
			pic.Leaders[names.Application(x.Name)] = names.Unit(x.Holder)
		}
	})
	return pic
}

// finder finds rows by ids that come in the order of the rows: rows of all
// tables come by id, so those of one entity meet without an index.
type finder[V any] struct {
	rows []*V
	id   func(*V) string
	next int
}

// find returns the row, or nil.
func (f *finder[V]) find(id string) *V {
	for ; f.next < len(f.rows); f.next++ {
		row := f.rows[f.next]
		switch at := f.id(row); {
		case at == id:
			return row
		case at > id:
			return nil
		}
	}
	return nil
}

func findHosts(rows []*Host) finder[Host] {
	return finder[Host]{rows: rows, id: func(h *Host) string { return string(h.ID) }}
}

func findUnits(rows []*Member) finder[Member] {
	return finder[Member]{rows: rows, id: func(u *Member) string { return string(u.Name) }}
}

// pool makes many values with few allocations, and moves none of them.
type pool[V any] struct{ left []V }

func (p *pool[V]) new() *V {
	if len(p.left) == 0 {
		p.left = make([]V, 128)
	}
	v := &p.left[0]
	p.left = p.left[1:]
	return v
}

func (p *Picture) loadMachines() []*Host {
	var made pool[Host]
	machine.Table.Each(p.reader, p.scope, func(x *machine.Row) {
		h := made.new()
		*h = Host{x, &noInstance, &notSeen, &noStatus, &noStatus}
		p.Machines = append(p.Machines, h)
	})
	with, seen := findHosts(p.Machines), findHosts(p.Machines)
	machine.Instances.Each(p.reader, p.scope, func(x *machine.Instance) {
		if h := with.find(string(x.Machine)); h != nil {
			h.Instance = x
		}
	})
	machine.Seen.Each(p.reader, p.scope, func(x *machine.Observed) {
		if h := seen.find(string(x.Machine)); h != nil {
			h.Seen = x
		}
	})
	p.hosts = make(map[names.Machine]*Host, len(p.Machines))
	for _, h := range p.Machines {
		p.hosts[h.ID] = h
	}
	return p.Machines
}

func (p *Picture) loadUnits() []*Member {
	var (
		units []*Member
		made  pool[Member]
	)
	unit.Table.Each(p.reader, p.scope, func(x *unit.Row) {
		u := made.new()
		*u = Member{x, nil, &noStatus, &noStatus}
		units = append(units, u)
	})
	with := findUnits(units)
	unit.PortsTable.Each(p.reader, p.scope, func(x *unit.Ports) {
		if u := with.find(string(x.Unit)); u != nil {
			u.Ports = x.Ranges
		}
	})
	for begun := 0; begun < len(units); { // by application: so they are ordered
		end, app := begun+1, units[begun].Application
		for end < len(units) && units[end].Application == app {
			end++
		}
		p.Units[app] = append(p.Units[app], units[begun:end:end]...)
		begun = end
	}
	for _, u := range units {
		if u.Principal != "" {
			p.Subordinates[u.Principal] = append(p.Subordinates[u.Principal], u)
		}
	}
	return units
}

func (p *Picture) loadStatuses(hosts []*Host, units []*Member) {
	agents, workloads := findUnits(units), findUnits(units)
	machines, instances := findHosts(hosts), findHosts(hosts)
	status.Table.Each(p.reader, p.scope, func(x *status.Row) {
		switch kind, id, _ := strings.Cut(x.Entity, "/"); kind {
		case "agent":
			if u := agents.find(id); u != nil {
				u.agent = &x.Entry
			}
		case "workload":
			if u := workloads.find(id); u != nil {
				u.workload = &x.Entry
			}
		case "machine":
			if h := machines.find(id); h != nil {
				h.agent = &x.Entry
			}
		case "instance":
			if h := instances.find(id); h != nil {
				h.Running = &x.Entry
			}
		}
	})
}

// Host returns a machine of the picture; one of nothing if it is not there.
func (p *Picture) Host(m names.Machine) *Host {
	if h := p.hosts[m]; h != nil {
		return h
	}
	return &Host{&machine.Row{ID: m}, &noInstance, &notSeen, &noStatus, &noStatus}
}

// Status returns a stored status, without any rule applied.
func (p *Picture) Status(entity string) status.Entry { return status.Get(p.reader, p.scope, entity) }

// Unit returns what a unit's agent and workload show, shared as rows are.
func (p *Picture) Unit(u *Member) (agent, workload *status.Entry) {
	return showUnit(u.Row, u.agent, u.workload, Lost(p.presence, p.Model.UUID, u.Name.Tag(), p.now))
}

// Member returns a unit's row with its statuses.
func (p *Picture) Member(u unit.Row) *Member {
	agent, workload := p.Status(status.OfUnitAgent(string(u.Name))), p.Status(status.OfWorkload(string(u.Name)))
	return &Member{&u, unit.PortsOf(p.reader, p.scope, u.Name), &agent, &workload}
}

// Machine returns what a machine's agent shows, shared as rows are.
func (p *Picture) Machine(m *Host) *status.Entry {
	return Machine(m.Row, m.agent, Lost(p.presence, p.Model.UUID, m.ID.Tag(), p.now))
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
	if h := p.hosts[m]; h != nil {
		return h.Address()
	}
	return ""
}

// Address returns the address that others use.
func (h *Host) Address() string {
	local := ""
	for i := range h.Seen.Addresses {
		switch a := &h.Seen.Addresses[i]; {
		case a.Scope == "public":
			return a.Value
		case a.Scope == "local-cloud" && local == "":
			local = a.Value
		}
	}
	if local == "" && len(h.Instance.Addresses) > 0 {
		return h.Instance.Addresses[0]
	}
	return local
}
