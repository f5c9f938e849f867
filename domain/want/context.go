package want

import (
	"maps"
	"slices"

	"github.com/scarab-ops/scarab/domain/application"
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

// Context computes everything that a hook of a unit may read. What it leaves
// out, the unit cannot see: bags of relations it is not in, of applications it
// is not related to, and its own application's bag unless it leads or the
// relation is a peer one.
func Context(r state.Reader, m names.Model, name names.Unit) (agentapi.HookContext, error) {
	p, err := look(r, m, name)
	if err != nil {
		return agentapi.HookContext{}, err
	}
	cfg, err := model.Settings(r, m)
	if err != nil {
		return agentapi.HookContext{}, err
	}
	addr := machine.Address(r, p.scope, p.unit.Machine)
	net := network(r, p, cfg)
	c := agentapi.HookContext{
		Config:   application.Effective(p.charm.Charm.Config, p.app.Config),
		Options:  slices.Sorted(maps.Keys(p.charm.Charm.Config.Options)),
		Settings: agentapi.Settings{}, State: agentapi.Settings{}, Relations: contextRelations(r, p, net),
		Bindings: map[string]agentapi.NetworkInfo{"": net}, PrivateAddress: addr, PublicAddress: addr,
		OpenedPorts:    unit.PortsOf(r, p.scope, name),
		WorkloadStatus: wireStatus(status.Get(r, p.scope, status.OfWorkload(string(name)))),
		SLA:            "unsupported", Trust: p.app.Trust,
		Proxies: map[string]string{
			"http": cfg.String("juju-http-proxy"), "https": cfg.String("juju-https-proxy"),
			"ftp": cfg.String("juju-ftp-proxy"), "no": cfg.String("juju-no-proxy"),
		},
		LegacyProxies: legacyProxies(cfg),
	}
	for _, e := range p.charm.Charm.Meta.Endpoints(string(p.app.Name)) {
		c.Bindings[e.Name] = net
	}
	for _, b := range p.charm.Charm.Meta.ExtraBindings {
		c.Bindings[b] = net
	}
	if l, err := application.Leaders.Get(r, p.scope, string(p.app.Name)); err == nil {
		maps.Copy(c.Settings, l.Settings)
	}
	if st, err := unit.StateTable.Get(r, p.scope, string(name)); err == nil {
		maps.Copy(c.State, st.Bag)
	}
	for _, other := range unit.On(r, p.scope, p.unit.Machine) {
		for _, pr := range unit.PortsOf(r, p.scope, other.Name) {
			c.MachinePorts = append(c.MachinePorts, agentapi.MachinePort{Unit: string(other.Name), PortRange: pr})
		}
	}
	if leads(r, p) {
		leaderView(r, p, &c)
	}
	return c, nil
}

func legacyProxies(cfg model.Getter) map[string]string {
	out := map[string]string{}
	for short, key := range map[string]string{"http": "http-proxy", "https": "https-proxy", "ftp": "ftp-proxy"} {
		if v := cfg.String(key); v != "" {
			out[short] = v
		}
	}
	if len(out) > 0 {
		out["no"] = cfg.String("no-proxy")
	}
	return out
}

func leads(r state.Reader, p picture) bool {
	return lease.Holder(r, p.scope, string(p.app.Name)) == string(p.unit.Name)
}

func leaderView(r state.Reader, p picture, c *agentapi.HookContext) {
	app := wireStatus(status.Get(r, p.scope, status.OfApplication(string(p.app.Name))))
	c.ApplicationStatus, c.UnitStatuses = &app, map[string]agentapi.Status{}
	for _, u := range unit.Of(r, p.scope, p.app.Name) {
		c.UnitStatuses[string(u.Name)] = wireStatus(status.Get(r, p.scope, status.OfWorkload(string(u.Name))))
	}
}

func wireStatus(e status.Entry) agentapi.Status {
	return agentapi.Status{Status: e.Status, Message: e.Message, Data: e.Data, Since: e.Since}
}

// network is what network-get answers for every binding: there is one space.
func network(r state.Reader, p picture, cfg model.Getter) agentapi.NetworkInfo {
	var n agentapi.NetworkInfo
	seen, err := machine.Seen.Get(r, p.scope, string(p.unit.Machine))
	if err == nil {
		for _, i := range seen.Interfaces {
			kept := agentapi.Interface{Name: i.Name, MAC: i.MAC}
			for _, a := range i.Addresses {
				if a.Scope == "local-cloud" || a.Scope == "public" {
					kept.Addresses = append(kept.Addresses, a)
				}
			}
			if len(kept.Addresses) > 0 {
				n.BindAddresses = append(n.BindAddresses, kept)
			}
		}
	}
	if addr := machine.Address(r, p.scope, p.unit.Machine); addr != "" {
		n.IngressAddresses = []string{addr}
		n.EgressSubnets = []string{addr + "/32"}
	}
	if e := splitComma(cfg.String("egress-subnets")); len(e) > 0 {
		n.EgressSubnets = e
	}
	return n
}

func contextRelations(r state.Reader, p picture, net agentapi.NetworkInfo) []agentapi.ContextRel {
	out := []agentapi.ContextRel{}
	for _, rel := range relation.Of(r, p.scope, p.app.Name) {
		local, remote, _ := rel.Sides(p.app.Name)
		me, in := relation.MemberOf(r, p.scope, rel.ID, p.unit.Name)
		if !in || local.Implicit {
			continue
		}
		cr := agentapi.ContextRel{
			ID: rel.ID, Endpoint: local.Name, RemoteApp: string(remote.Application), Life: string(rel.Life),
			Peer: rel.Peer(), Local: me.Settings, CanReadApp: rel.Peer() || leads(r, p),
			RemoteUnits: map[string]agentapi.Settings{}, Departed: map[string]agentapi.Settings{},
			RemoteAppBag:    relation.BagOf(r, p.scope, rel.ID, remote.Application).Settings,
			RemoteModelUUID: string(p.model.UUID), Network: net,
		}
		if cr.CanReadApp {
			cr.LocalApp = relation.BagOf(r, p.scope, rel.ID, p.app.Name).Settings
		}
		for mem := range members(r, p.scope, rel.ID) {
			switch {
			case !sees(r, p.scope, p.unit, rel, remote.Application, mem.Unit):
			case mem.Departed:
				cr.Departed[string(mem.Unit)] = mem.Settings
			default:
				cr.RemoteUnits[string(mem.Unit)] = mem.Settings
			}
		}
		out = append(out, cr)
	}
	return out
}
