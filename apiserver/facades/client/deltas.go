package client

import (
	"slices"
	"strconv"

	"github.com/scarab-ops/scarab/apiserver/facades/wiremap"
	"github.com/scarab-ops/scarab/domain/annotation"
	"github.com/scarab-ops/scarab/domain/application"
	"github.com/scarab-ops/scarab/domain/block"
	"github.com/scarab-ops/scarab/domain/charmstore"
	"github.com/scarab-ops/scarab/domain/delta"
	"github.com/scarab-ops/scarab/domain/fullstatus"
	"github.com/scarab-ops/scarab/domain/machine"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/relation"
	domstatus "github.com/scarab-ops/scarab/domain/status"
	"github.com/scarab-ops/scarab/domain/task"
	"github.com/scarab-ops/scarab/domain/unit"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/wire"
	"github.com/scarab-ops/scarab/wire/agentapi"
	"github.com/scarab-ops/scarab/wire/multiwatch"
)

// builder makes the wire objects of entities from one view. What is gone
// becomes an object with its ids only.
type builder struct {
	v          state.Reader
	s          state.Scope
	uuid       string
	controller string
	m          model.Row
}

func newBuilder(v state.Reader, m names.Model, controller string) builder {
	b := builder{v: v, s: model.ScopeOf(m), uuid: string(m), controller: controller}
	if row, err := model.Get(v, m); err == nil {
		b.m = row
	}
	return b
}

func (b builder) build(e delta.Entity) (kind string, obj any, there bool) {
	switch e.Kind {
	case delta.Model:
		obj, there = b.model()
		return multiwatch.KindModel, obj, there
	case delta.Machine:
		obj, there = b.machine(names.Machine(e.ID))
		return multiwatch.KindMachine, obj, there
	case delta.Application:
		obj, there = b.application(names.Application(e.ID))
		return multiwatch.KindApplication, obj, there
	case delta.Unit:
		obj, there = b.unit(names.Unit(e.ID))
		return multiwatch.KindUnit, obj, there
	case delta.Relation:
		obj, there = b.relation(e.ID)
		return multiwatch.KindRelation, obj, there
	case delta.Charm:
		obj, there = b.charm(e.ID)
		return multiwatch.KindCharm, obj, there
	case delta.Annotation:
		row, err := annotation.Table.Get(b.v, b.s, e.ID)
		return multiwatch.KindAnnotation, multiwatch.Annotation{ModelUUID: b.uuid, Tag: e.ID, Annotations: row.Notes}, err == nil
	case delta.Task:
		obj, there = b.task(e.ID)
		return multiwatch.KindAction, obj, there
	case delta.Block:
		obj, there = b.block(e.ID)
		return multiwatch.KindBlock, obj, there
	}
	return "", nil, false
}

func info(e domstatus.Entry, version string) multiwatch.StatusInfo {
	return multiwatch.StatusInfo{
		Current: e.Status, Message: e.Message, Since: wiremap.Time(e.Since), Version: version, Data: e.Data,
	}
}

func (b builder) status(entity string) domstatus.Entry { return domstatus.Get(b.v, b.s, entity) }

func (b builder) model() (multiwatch.Model, bool) {
	if b.m.UUID == "" {
		return multiwatch.Model{ModelUUID: b.uuid, Config: map[string]any{}}, false
	}
	m := b.m
	out := multiwatch.Model{
		ModelUUID: b.uuid, Name: m.Name, Life: string(m.Life), Owner: string(m.Owner), ControllerUUID: b.controller,
		IsController: m.IsController, Config: map[string]any{}, Status: info(b.status(domstatus.OfModel), ""),
		SLA: multiwatch.SLA{Level: "unsupported"}, Type: "iaas", Cloud: string(m.Cloud), CloudRegion: m.Region,
		Version: m.AgentVersion,
	}
	if cfg, err := model.EffectiveConfig(b.v, m); err == nil {
		for k, v := range wiremap.Public(cfg) {
			out.Config[k] = v.Value
		}
	}
	if cons, err := model.Constraints.Get(b.v, b.s, "constraints"); err == nil {
		out.Constraints = wiremap.FromConstraints(cons.Value)
	}
	return out, true
}

func (b builder) machine(id names.Machine) (multiwatch.Machine, bool) {
	out := multiwatch.Machine{ModelUUID: b.uuid, ID: string(id), Jobs: []string{"JobHostUnits"}}
	m, err := machine.Get(b.v, b.s, id)
	if err != nil {
		return out, false
	}
	agent := b.status(domstatus.OfMachineAgent(string(id)))
	version := b.m.AgentVersion
	if agent.Status == "pending" {
		version = ""
	}
	out.Life, out.Base = string(m.Life), base(m.Base)
	out.AgentStatus, out.InstanceStatus = info(agent, version), info(b.status(domstatus.OfInstance(string(id))), "")
	out.SupportedContainers, out.SupportedContainersKnown = []string{}, true
	if i, err := machine.Instances.Get(b.v, b.s, string(id)); err == nil {
		out.InstanceID = i.InstanceID
		out.HardwareCharacteristics = &multiwatch.Hardware{
			Arch: i.Arch, Mem: int(i.MemMiB), RootDisk: int(i.RootDiskMiB), CPUCores: i.Cores, AvailabilityZone: i.Zone,
		}
	}
	if seen, err := machine.Seen.Get(b.v, b.s, string(id)); err == nil {
		out.Hostname = seen.Hostname
		for _, a := range seen.Addresses {
			out.Addresses = append(out.Addresses, wire.Address{Value: a.Value, Type: a.Type, Scope: a.Scope, CIDR: a.CIDR})
		}
	}
	return out, true
}

func base(b machine.Base) string {
	if b.Name == "" {
		return ""
	}
	for i := range b.Channel {
		if b.Channel[i] == '/' {
			return b.Name + "@" + b.Channel[:i]
		}
	}
	return b.Name + "@" + b.Channel
}

func (b builder) application(n names.Application) (multiwatch.Application, bool) {
	out := multiwatch.Application{ModelUUID: b.uuid, Name: string(n), OwnerTag: b.m.Owner.Tag().String()}
	a, err := application.Get(b.v, b.s, n)
	if err != nil {
		return out, false
	}
	out.Exposed, out.CharmURL, out.Life = a.Exposed != nil, a.CharmURL, string(a.Life)
	out.Constraints, out.Config, out.Subordinate = wiremap.FromConstraints(a.Constraints), a.Config, a.Subordinate
	st := b.status(domstatus.OfApplication(string(n)))
	if st.Status == "" {
		st = domstatus.Entry{Status: "unset", Since: a.Created}
	}
	out.Status = info(st, "")
	for _, u := range unit.Of(b.v, b.s, n) {
		if u.WorkloadVersion != "" {
			out.WorkloadVersion = u.WorkloadVersion
		}
	}
	return out, true
}

func (b builder) unit(n names.Unit) (multiwatch.Unit, bool) {
	out := multiwatch.Unit{ModelUUID: b.uuid, Name: string(n), Application: string(n.Application())}
	u, err := unit.Get(b.v, b.s, n)
	if err != nil {
		return out, false
	}
	app, err := application.Get(b.v, b.s, u.Application)
	if err == nil {
		out.Base, out.CharmURL, out.Subordinate = base(app.Base), app.CharmURL, app.Subordinate
	}
	if u.CharmURL != "" {
		out.CharmURL = u.CharmURL
	}
	agent, workload := fullstatus.Unit(&u, b.status(domstatus.OfUnitAgent(string(n))), b.status(domstatus.OfWorkload(string(n))), fullstatus.Absence{})
	version := b.m.AgentVersion
	if agent.Status == "allocating" {
		version = ""
	}
	out.AgentStatus, out.WorkloadStatus = info(agent, version), info(workload, u.WorkloadVersion)
	out.Life, out.MachineID, out.Principal = string(u.Life), string(u.Machine), string(u.Principal)
	if u.Machine != "" {
		out.PrivateAddress = machine.Address(b.v, b.s, u.Machine)
		out.PublicAddress = out.PrivateAddress
	}
	out.Ports, out.PortRanges = deltaPorts(unit.PortsOf(b.v, b.s, n))
	return out, true
}

func deltaPorts(ranges []agentapi.PortRange) (single []multiwatch.Port, all []multiwatch.PortRange) {
	for _, r := range ranges {
		pr := multiwatch.PortRange{FromPort: r.From, ToPort: r.To, Protocol: r.Protocol}
		if slices.Contains(all, pr) {
			continue
		}
		all = append(all, pr)
		if r.From == r.To {
			single = append(single, multiwatch.Port{Protocol: r.Protocol, Number: r.From})
		}
	}
	return single, all
}

func (b builder) relation(id string) (multiwatch.Relation, bool) {
	out := multiwatch.Relation{ModelUUID: b.uuid, Endpoints: []multiwatch.Endpoint{}}
	n, err := strconv.Atoi(id)
	if err != nil {
		return out, false
	}
	out.ID = n
	r, err := relation.Get(b.v, b.s, n)
	if err != nil {
		return out, false
	}
	out.Key = string(r.Key)
	for _, e := range r.Endpoints {
		out.Endpoints = append(out.Endpoints, multiwatch.Endpoint{
			ApplicationName: string(e.Application),
			Relation: multiwatch.CharmRelation{
				Name: e.Name, Role: e.Role, Interface: e.Interface, Optional: e.Optional, Limit: e.Limit, Scope: e.Scope,
			},
		})
	}
	return out, true
}

func (b builder) charm(url string) (multiwatch.Charm, bool) {
	out := multiwatch.Charm{ModelUUID: b.uuid, CharmURL: url}
	row, err := charmstore.Get(b.v, b.s, url)
	if err != nil {
		return out, false
	}
	out.CharmVersion, out.Life = row.Charm.Version, "alive"
	for k, v := range row.Charm.Config.Defaults() {
		if v == nil {
			continue
		}
		if out.Config == nil {
			out.Config = map[string]any{}
		}
		out.Config[k] = v
	}
	if p := row.Charm.LXDProfile; p != nil {
		out.Profile = &multiwatch.Profile{Config: p.Config, Description: p.Description, Devices: p.Devices}
	}
	return out, true
}

func (b builder) task(id string) (multiwatch.Action, bool) {
	out := multiwatch.Action{ModelUUID: b.uuid, ID: id}
	t, err := task.Table.Get(b.v, b.s, id)
	if err != nil {
		return out, false
	}
	out.Receiver, out.Name, out.Status, out.Message = t.Receiver, t.Name, t.Status, t.Message
	out.Enqueued, out.Started, out.Completed = t.Enqueued.UTC(), t.Started.UTC(), t.Completed.UTC()
	return out, true
}

func (b builder) block(id string) (multiwatch.Block, bool) {
	out := multiwatch.Block{ModelUUID: b.uuid, Type: id, Tag: b.m.UUID.Tag().String()}
	row, err := block.Table.Get(b.v, b.s, id)
	if err != nil {
		return out, false
	}
	out.ID, out.Message = strconv.Itoa(row.ID), row.Message
	return out, true
}
