package status

import (
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/scarab-ops/scarab/cli/output"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/wire"
	"github.com/scarab-ops/scarab/wire/client"
)

// Options say how a document is made.
type Options struct {
	Controller string
	UTC        bool
	ISO        bool
	Isolation  map[string]string // machine id to isolation, where the server tells
}

// Build makes the document from the controller's answer.
func Build(fs client.FullStatus, o Options) *Document {
	b := builder{fs: fs, o: o}
	d := &Document{Model: b.model(), Machines: map[string]Machine{}, Applications: map[string]Application{}}
	for id, m := range fs.Machines {
		d.Machines[id] = b.machine(m)
	}
	for name, a := range fs.Applications {
		d.Applications[name] = b.application(name, a)
	}
	b.remotes(d)
	b.storage(d)
	for _, r := range fs.Relations {
		d.relations = append(d.relations, relation(r))
	}
	if !fs.ControllerTimestamp.IsZero() {
		d.stamp = b.clock(fs.ControllerTimestamp)
		d.Controller = &Controller{Timestamp: d.stamp}
	}
	d.isolation = weaker(d.Machines)
	return d
}

type builder struct {
	fs client.FullStatus
	o  Options
}

func (b builder) clock(t time.Time) string {
	if b.o.UTC || b.o.ISO {
		return t.UTC().Format("15:04:05Z")
	}
	return t.Local().Format("15:04:05Z07:00")
}

func (b builder) since(t *time.Time) string {
	if t == nil || t.IsZero() {
		return ""
	}
	if b.o.ISO {
		return t.UTC().Format(time.RFC3339)
	}
	return output.Stamp(*t, b.o.UTC)
}

func (b builder) info(s client.DetailedStatus) Info {
	i := Info{Current: s.Status, Message: s.Info, Since: b.since(s.Since), Version: s.Version, Life: s.Life}
	if s.Err != nil {
		i.Current, i.Message = "error", s.Err.Message
	}
	return i
}

func (b builder) model() Model {
	m := b.fs.Model
	cloud := m.CloudTag
	if t, err := names.ParseTag(cloud); err == nil {
		cloud = t.ID
	}
	return Model{
		Name: m.Name, Type: m.Type, Controller: b.o.Controller, Cloud: cloud, Region: m.Region, Version: m.Version,
		Available: m.AvailableVersion, Status: b.info(m.ModelStatus), SLA: m.SLA,
	}
}

func base(b wire.Base) *Base {
	if b.Name == "" {
		return nil
	}
	channel, _, _ := strings.Cut(b.Channel, "/")
	return &Base{Name: b.Name, Channel: channel}
}

func (b builder) machine(m client.MachineStatus) Machine {
	out := Machine{
		Agent: b.info(m.AgentStatus), Hostname: m.Hostname, DNSName: m.DNSName, Addresses: m.IPAddresses, InstanceID: m.InstanceID,
		DisplayName: m.DisplayName, Instance: b.info(m.InstanceStatus), Modification: b.info(m.ModificationStatus), Base: base(m.Base),
		Constraints: m.Constraints, Hardware: m.Hardware, HAPrimary: m.PrimaryControllerMachine, Isolation: b.isolation(m),
	}
	if slices.Contains(m.Jobs, "JobManageModel") {
		out.HAStatus = member(m.HasVote, m.WantsVote)
	}
	for name, n := range m.NetworkInterfaces {
		if out.Interfaces == nil {
			out.Interfaces = map[string]Interface{}
		}
		out.Interfaces[name] = Interface{
			Addresses: n.IPAddresses, MAC: n.MacAddress, Gateway: n.Gateway,
			DNSServers: n.DNSNameservers, Space: n.Space, Up: n.IsUp,
		}
	}
	for id, c := range m.Containers {
		if out.Containers == nil {
			out.Containers = map[string]Machine{}
		}
		out.Containers[id] = b.machine(c)
	}
	return out
}

// isolation is how strongly a machine is fenced. The server says it in the hardware text, as virt-type, or in the data of
// the instance's status.
func (b builder) isolation(m client.MachineStatus) string {
	if v := b.o.Isolation[m.ID]; v != "" {
		return v
	}
	if v, ok := m.InstanceStatus.Data["isolation"].(string); ok {
		return v
	}
	for _, f := range strings.Fields(m.Hardware) {
		if v, ok := strings.CutPrefix(f, "isolation="); ok {
			return v
		}
	}
	return ""
}

func weaker(ms map[string]Machine) []string {
	var out []string
	for id, m := range ms {
		if m.Isolation != "" && m.Isolation != "container" && m.Isolation != "virtual-machine" {
			out = append(out, id+" ("+m.Isolation+")")
		}
	}
	sort.Strings(out)
	return out
}

func member(has, wants bool) string {
	switch {
	case has && wants:
		return "has-vote"
	case wants:
		return "adding-vote"
	case has:
		return "removing-vote"
	}
	return "no-vote"
}

func (b builder) application(name string, a client.ApplicationStatus) Application {
	origin, charmName, rev := splitCharm(a.Charm)
	if a.CharmRev != nil {
		rev = *a.CharmRev
	}
	shown := charmName
	if origin == "local" {
		shown = a.Charm
	}
	out := Application{
		Charm: shown, Base: base(a.Base), CharmOrigin: origin, CharmName: charmName, CharmRev: rev, CharmChannel: a.CharmChannel,
		CharmVersion: a.CharmVersion, CharmProfile: a.CharmProfile, CanUpgradeTo: a.CanUpgradeTo, ProviderID: a.ProviderID,
		Address: a.PublicAddress, Exposed: a.Exposed, Life: a.Life, Status: b.info(a.Status), SubordinateTo: a.SubordinateTo,
		Version: a.WorkloadVersion, Bindings: a.EndpointBindings,
	}
	if a.Err != nil {
		out.Status = Info{Current: "error", Message: a.Err.Message}
	}
	if a.Int != nil {
		out.Scale = *a.Int
	}
	for ep, e := range a.ExposedEndpoints {
		if out.ExposedEndpoints == nil {
			out.ExposedEndpoints = map[string]ExposedEndpoint{}
		}
		out.ExposedEndpoints[ep] = ExposedEndpoint{Spaces: e.ExposeToSpaces, CIDRs: e.ExposeToCIDRs}
	}
	out.Relations = b.related(name, a)
	for n, u := range a.Units {
		if out.Units == nil {
			out.Units = map[string]Unit{}
		}
		out.Units[n] = b.unit(u)
	}
	return out
}

func (b builder) related(name string, a client.ApplicationStatus) map[string][]Related {
	out := map[string][]Related{}
	for ep, others := range a.Relations {
		for _, other := range others {
			out[ep] = append(out[ep], b.otherSide(name, ep, other))
		}
	}
	return out
}

func (b builder) otherSide(app, ep, other string) Related {
	for _, r := range b.fs.Relations {
		var here, there bool
		for _, e := range r.Endpoints {
			here = here || (e.Application == app && e.Name == ep)
			there = there || (e.Application == other && (other != app || e.Name == ep))
		}
		if here && there {
			return Related{Application: other, Interface: r.Interface, Scope: r.Scope}
		}
	}
	return Related{Application: other}
}

func (b builder) unit(u client.UnitStatus) Unit {
	out := Unit{
		Workload: b.info(u.WorkloadStatus), Agent: b.info(u.AgentStatus), Leader: u.Leader, UpgradingFrom: u.Charm,
		Machine: u.Machine, Ports: u.OpenedPorts, PublicAddress: u.PublicAddress, Address: u.Address, ProviderID: u.ProviderID,
	}
	for n, s := range u.Subordinates {
		if out.Subordinates == nil {
			out.Subordinates = map[string]Unit{}
		}
		out.Subordinates[n] = b.unit(s)
	}
	return out
}

// splitCharm takes a charm URL apart: where it is from, its name and its revision.
func splitCharm(url string) (origin, name string, rev int) {
	schema, path, found := strings.Cut(url, ":")
	if !found {
		schema, path = "ch", url
	}
	origin = "charmhub"
	if schema == "local" {
		origin = "local"
	}
	name = path[strings.LastIndex(path, "/")+1:]
	if i := strings.LastIndex(name, "-"); i > 0 {
		if n, err := strconv.Atoi(name[i+1:]); err == nil {
			return origin, name[:i], n
		}
	}
	return origin, name, 0
}

func (b builder) remotes(d *Document) {
	for name, r := range b.fs.RemoteApplications {
		if d.Remote == nil {
			d.Remote = map[string]Remote{}
		}
		out := Remote{URL: r.OfferURL, Life: r.Life, Status: b.info(r.Status), Relations: r.Relations, Endpoints: map[string]RemoteEndpoint{}}
		for _, e := range r.Endpoints {
			out.Endpoints[e.Name] = RemoteEndpoint{Interface: e.Interface, Role: e.Role}
		}
		d.Remote[name] = out
	}
	for name, o := range b.fs.Offers {
		if d.Offers == nil {
			d.Offers = map[string]Offer{}
		}
		out := Offer{
			Application: o.ApplicationName, Charm: o.Charm, Active: o.ActiveConnectedCount, Total: o.TotalConnectedCount,
			Endpoints: map[string]RemoteEndpoint{},
		}
		for n, e := range o.Endpoints {
			out.Endpoints[n] = RemoteEndpoint{Interface: e.Interface, Role: e.Role}
		}
		d.Offers[name] = out
	}
}

func (b builder) storage(d *Document) {
	if len(b.fs.Storage) == 0 {
		return
	}
	d.Storage = &Storage{Instances: map[string]StorageInstance{}}
	for _, s := range b.fs.Storage {
		in := StorageInstance{
			Kind: kind(s.Kind), Life: s.Life, Persistent: s.Persistent,
			Status: Info{Current: s.Status.Status, Message: s.Status.Info, Since: b.since(s.Status.Since)},
		}
		for _, tag := range slices.Sorted(maps.Keys(s.Attachments)) {
			a := s.Attachments[tag]
			if in.Attachments.Units == nil {
				in.Attachments.Units = map[string]StorageAttachment{}
			}
			in.Attachments.Units[untag(tag)] = StorageAttachment{Machine: untag(a.MachineTag), Location: a.Location, Life: a.Life}
		}
		d.Storage.Instances[untag(s.StorageTag)] = in
	}
}

func kind(k int) string {
	switch k {
	case 1:
		return "block"
	case 2:
		return "filesystem"
	}
	return "unknown"
}

func untag(tag string) string {
	if t, err := names.ParseTag(tag); err == nil {
		return t.ID
	}
	if rest, ok := strings.CutPrefix(tag, "storage-"); ok {
		if i := strings.LastIndex(rest, "-"); i > 0 {
			return rest[:i] + "/" + rest[i+1:]
		}
	}
	return tag
}

func relation(r client.RelationStatus) Relation {
	out := Relation{Interface: r.Interface, Type: "regular"}
	for _, e := range r.Endpoints {
		name := e.Application + ":" + e.Name
		switch e.Role {
		case "provider":
			out.Provider = name
		case "requirer":
			out.Requirer = name
		case "peer":
			out.Provider, out.Requirer, out.Type = name, name, "peer"
		}
	}
	if r.Scope == "container" {
		out.Type = "subordinate"
	}
	if r.Status.Status != "joined" {
		out.Message = strings.TrimSuffix(r.Status.Status+" - "+r.Status.Info, " - ")
	}
	return out
}
