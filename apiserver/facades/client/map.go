package client

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/scarab-ops/scarab/apiserver/facades/wiremap"
	"github.com/scarab-ops/scarab/charm"
	"github.com/scarab-ops/scarab/constraint"
	"github.com/scarab-ops/scarab/domain/application"
	"github.com/scarab-ops/scarab/domain/fullstatus"
	"github.com/scarab-ops/scarab/domain/machine"
	"github.com/scarab-ops/scarab/domain/relation"
	domstatus "github.com/scarab-ops/scarab/domain/status"
	"github.com/scarab-ops/scarab/names"
	wireclient "github.com/scarab-ops/scarab/wire/client"
)

// status is a picture of a model on its way to the wire, through a filter.
type status struct {
	p *fullstatus.Picture
	f *fullstatus.Filter
}

// detailed writes a status. Data is shown whole, or for machines and units cut
// down to what clients need.
func detailed(e *domstatus.Entry, version, life string, whole bool) wireclient.DetailedStatus {
	d := wireclient.DetailedStatus{
		Status: e.Status, Info: e.Message, Since: utc(&e.Since), Version: version, Life: life,
	}
	switch {
	case whole && e.Data != nil:
		d.Data = e.Data
	default:
		d.Data = noData
		if id, ok := e.Data["relation-id"]; ok {
			d.Data = map[string]any{"relation-id": id}
		}
	}
	return d
}

// utc shares a time in UTC, as times are stored, with the row that it is of.
func utc(t *time.Time) *time.Time {
	if !t.IsZero() && t.Location() == time.UTC {
		return t
	}
	return wiremap.Time(*t)
}

// What all have alike is shared; nobody writes to it.
var (
	noData       = map[string]any{}
	noContainers = map[string]wireclient.MachineStatus{}
	hostsUnits   = []string{"JobHostUnits"}
)

func (s status) full(now time.Time) wireclient.FullStatus {
	out := wireclient.FullStatus{
		Model:               s.model(),
		Machines:            make(map[string]wireclient.MachineStatus, len(s.p.Machines)),
		Applications:        make(map[string]wireclient.ApplicationStatus, len(s.p.Applications)),
		RemoteApplications:  map[string]wireclient.RemoteApplicationStatus{},
		Offers:              map[string]wireclient.ApplicationOfferStatus{},
		Relations:           []wireclient.RelationStatus{},
		Branches:            map[string]wireclient.BranchStatus{},
		ControllerTimestamp: now.UTC(),
	}
	for _, m := range s.p.Machines {
		if s.f.Machine(m.ID) {
			out.Machines[string(m.ID)] = s.machine(m)
		}
	}
	for _, a := range s.p.Applications {
		if s.f.Application(a.Name) {
			out.Applications[string(a.Name)] = s.application(a)
		}
	}
	for _, r := range s.p.Relations {
		apps := make([]names.Application, 0, 2)
		for _, e := range r.Endpoints {
			apps = append(apps, e.Application)
		}
		if s.f.Relation(apps...) {
			out.Relations = append(out.Relations, s.relation(r))
		}
	}
	slices.SortFunc(out.Relations, func(a, b wireclient.RelationStatus) int { return a.ID - b.ID })
	return out
}

func (s status) model() wireclient.ModelStatusInfo {
	m, st := s.p.Model, s.p.Status(domstatus.OfModel)
	return wireclient.ModelStatusInfo{
		Name: m.Name, Type: "iaas", CloudTag: m.Cloud.Tag().String(), Region: m.Region, Version: m.AgentVersion,
		ModelStatus: detailed(&st, "", "", true), SLA: "unsupported",
	}
}

func (s status) machine(m *fullstatus.Host) wireclient.MachineStatus {
	inst, seen := m.Instance, m.Seen
	version, base := s.p.Model.AgentVersion, m.Base
	if base.Name == "" {
		base = inst.Base
	}
	agent := s.p.Machine(m)
	if agent.Status == "pending" {
		version = ""
	}
	out := wireclient.MachineStatus{
		ID: string(m.ID), Base: wiremap.FromBase(base), Constraints: constraints(m.Constraints),
		AgentStatus:    detailed(agent, version, m.Life.Wire(), false),
		InstanceStatus: detailed(instanceStatus(m.Running, inst), "", "", false),
		InstanceID:     inst.InstanceID, DisplayName: inst.DisplayName, Hostname: seen.Hostname,
		DNSName: m.Address(), IPAddresses: addresses(inst, seen), Hardware: hardware(inst),
		Containers: noContainers, Jobs: hostsUnits,
		NetworkInterfaces: interfaces(seen),
	}
	out.ModificationStatus = wireclient.DetailedStatus{Status: "applied", Since: utc(&inst.Started), Data: noData}
	if inst.InstanceID == "" {
		out.InstanceID = "pending"
		out.ModificationStatus = wireclient.DetailedStatus{Status: "idle", Since: utc(&m.Created), Data: noData}
	}
	return out
}

// instanceStatus adds to what the cloud reports that the machine runs on
// another base than the one asked for.
func instanceStatus(e *domstatus.Entry, i *machine.Instance) *domstatus.Entry {
	if i.BaseNote == "" || e.Status != "running" {
		return e
	}
	noted := *e
	if noted.Message != "" {
		noted.Message += "; "
	}
	noted.Message += i.BaseNote
	return &noted
}

// constraints prints constraints; most machines have none.
func constraints(v constraint.Value) string {
	if v == (constraint.Value{}) {
		return ""
	}
	return v.String()
}

func hardware(i *machine.Instance) string {
	if i.InstanceID == "" {
		return ""
	}
	b := make([]byte, 0, 128)
	b = append(append(b, "arch="...), i.Arch...)
	b = strconv.AppendInt(append(b, " cores="...), int64(i.Cores), 10)
	b = append(strconv.AppendInt(append(b, " mem="...), i.MemMiB, 10), 'M')
	if i.RootDiskMiB > 0 {
		b = append(strconv.AppendInt(append(b, " root-disk="...), i.RootDiskMiB, 10), 'M')
	}
	if i.Zone != "" {
		b = append(append(b, " availability-zone="...), i.Zone...)
	}
	if i.Isolation != "" {
		b = append(append(b, " isolation="...), i.Isolation...)
	}
	return string(b)
}

// addresses leaves out what no other machine can reach.
func addresses(i *machine.Instance, seen *machine.Observed) []string {
	all := make([]string, 0, max(len(seen.Addresses), len(i.Addresses)))
	for _, a := range seen.Addresses {
		all = append(all, a.Value)
	}
	if len(all) == 0 {
		all = append(all, i.Addresses...)
	}
	return slices.DeleteFunc(all, func(a string) bool {
		if !strings.HasPrefix(a, "127.") && !strings.HasPrefix(a, "169.254.") && !strings.Contains(a, ":") {
			return false // the same, and quicker told
		}
		ip, err := netip.ParseAddr(a)
		return err == nil && (ip.IsLoopback() || ip.IsLinkLocalUnicast())
	})
}

func interfaces(seen *machine.Observed) map[string]wireclient.NetworkInterface {
	var out map[string]wireclient.NetworkInterface
	for _, n := range seen.Interfaces {
		if n.Name == "lo" {
			continue
		}
		if out == nil {
			out = map[string]wireclient.NetworkInterface{}
		}
		ips := []string{}
		for _, a := range n.Addresses {
			ips = append(ips, a.Value)
		}
		out[n.Name] = wireclient.NetworkInterface{IPAddresses: ips, MacAddress: n.MAC, Space: "alpha", IsUp: true}
	}
	return out
}

func (s status) application(a application.Row) wireclient.ApplicationStatus {
	ch := s.p.Charms[a.CharmURL]
	out := wireclient.ApplicationStatus{
		Charm: a.CharmURL, CharmVersion: ch.Charm.Version, CharmChannel: a.Channel, Base: wiremap.FromBase(a.Base),
		Exposed: a.Exposed != nil, ExposedEndpoints: wiremap.Exposure(a.Exposed), Life: a.Life.Wire(),
		Relations: map[string][]string{}, SubordinateTo: []string{},
	}
	if u, err := charm.ParseURL(a.CharmURL); err == nil && u.Revision >= 0 {
		out.CharmRev = &u.Revision
		if u.Schema == charm.SchemaLocal {
			out.CharmChannel = ""
		}
	}
	for _, r := range s.p.ByApp[a.Name] {
		local, remote, ok := r.Sides(a.Name)
		if !ok {
			continue
		}
		out.Relations[local.Name] = append(out.Relations[local.Name], string(remote.Application))
		if a.Subordinate && r.Scope == "container" && !remote.Subordinate {
			out.SubordinateTo = append(out.SubordinateTo, string(remote.Application))
		}
	}
	for ep := range out.Relations {
		slices.Sort(out.Relations[ep])
	}
	slices.Sort(out.SubordinateTo)
	s.units(a, &out)
	return out
}

// units fills in what an application gets from its units.
func (s status) units(a application.Row, out *wireclient.ApplicationStatus) {
	all := s.p.Units[a.Name]
	if !a.Subordinate {
		out.Units = make(map[string]wireclient.UnitStatus, len(all))
	}
	newest, worst := -1, fullstatus.Worst{}
	for _, u := range all {
		agent, workload := s.p.Unit(u)
		worst.Add(workload)
		if n := u.Name.Number(); u.WorkloadVersion != "" && n > newest {
			newest, out.WorkloadVersion = n, u.WorkloadVersion
		}
		if !a.Subordinate && s.f.Unit(u.Name) {
			out.Units[string(u.Name)] = s.unit(u, a, agent, workload)
		}
	}
	st, own := s.p.Own(a)
	if !own {
		st = worst.Entry(a)
	}
	out.Status = detailed(&st, "", "", true)
}

func (s status) unit(u *fullstatus.Member, a application.Row, agent, workload *domstatus.Entry) wireclient.UnitStatus {
	version := s.p.Model.AgentVersion
	if agent.Status == "allocating" {
		version = ""
	}
	out := wireclient.UnitStatus{
		AgentStatus: detailed(agent, version, u.Life.Wire(), false), WorkloadStatus: detailed(workload, "", "", false),
		WorkloadVersion: u.WorkloadVersion, OpenedPorts: ports(u.Ports),
		PublicAddress: s.p.Address(u.Machine), Leader: s.p.Leaders[u.Application] == u.Name,
	}
	if u.Principal == "" {
		out.Machine = string(u.Machine)
	}
	if u.CharmURL != "" && u.CharmURL != a.CharmURL {
		out.Charm = u.CharmURL
	}
	for _, sub := range s.p.Subordinates[u.Name] {
		if !s.f.Unit(sub.Name) {
			continue
		}
		if out.Subordinates == nil {
			out.Subordinates = map[string]wireclient.UnitStatus{}
		}
		subAgent, subWorkload := s.p.Unit(sub)
		out.Subordinates[string(sub.Name)] = s.unit(sub, s.app(sub.Application), subAgent, subWorkload)
	}
	return out
}

// app finds an application's row; rows are sorted by name.
func (s status) app(a names.Application) application.Row {
	i, ok := slices.BinarySearchFunc(s.p.Applications, a, func(r application.Row, n names.Application) int {
		return strings.Compare(string(r.Name), string(n))
	})
	if !ok {
		return application.Row{Name: a}
	}
	return s.p.Applications[i]
}

func (s status) relation(r relation.Row) wireclient.RelationStatus {
	st := s.p.Status(domstatus.OfRelation(strconv.Itoa(r.ID)))
	out := wireclient.RelationStatus{
		ID: r.ID, Key: string(r.Key), Scope: r.Scope, Endpoints: []wireclient.EndpointStatus{},
		Status: detailed(&st, "", "", false),
	}
	for _, e := range r.Endpoints {
		out.Interface = e.Interface
		out.Endpoints = append(out.Endpoints, wireclient.EndpointStatus{
			Application: string(e.Application), Name: e.Name, Role: e.Role, Subordinate: e.Subordinate,
		})
	}
	return out
}
