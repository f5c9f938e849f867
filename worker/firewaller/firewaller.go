// Package firewaller tells clouds what may reach each machine: what its units
// opened and their applications exposed, and everything from machines whose
// units share a relation with its units (peers too), as charms expect of units
// that are related. Everything else stays shut.
package firewaller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/scarab-ops/scarab/domain/application"
	"github.com/scarab-ops/scarab/domain/machine"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/relation"
	"github.com/scarab-ops/scarab/domain/unit"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/provider"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/worker/engine"
)

// Spec declares the worker for the clouds that can filter.
func Spec(cloud func(names.Cloud) (provider.Firewall, bool)) engine.Spec {
	w := &worker{cloud: cloud, applied: map[string]string{}}
	return engine.Spec{
		Name:  "firewaller",
		Reads: []string{"model", "machine", "instance", "unit", "ports", "application", "relation", "relation-unit"},
		Step:  w.step,
	}
}

type worker struct {
	cloud   func(names.Cloud) (provider.Firewall, bool)
	applied map[string]string // instance id → printed rules
}

func (w *worker) step(ctx context.Context, r *engine.Run) (time.Time, error) {
	v := r.View()
	live := map[string]bool{}
	var errs []error
	for m, err := range model.Table.All(v, state.Controller) {
		if err != nil {
			continue
		}
		fw, ok := w.cloud(m.Cloud)
		if !ok {
			continue
		}
		rules := Rules(v, m.UUID)
		for _, id := range slices.Sorted(maps.Keys(rules)) {
			live[string(id)] = true
			text := fmt.Sprintf("%v", rules[id])
			if w.applied[string(id)] == text {
				continue
			}
			if err := w.set(ctx, fw, id, rules[id]); err != nil {
				errs = append(errs, err) // one machine's trouble is nobody else's
				continue
			}
			w.applied[string(id)] = text
		}
	}
	maps.DeleteFunc(w.applied, func(id, _ string) bool { return !live[id] })
	return time.Time{}, errors.Join(errs...)
}

// set gives a machine its rules. Rules that the cloud refuses shut the machine:
// what stood open before must not stay so.
func (w *worker) set(ctx context.Context, fw provider.Firewall, id provider.InstanceID, rules []provider.Rule) error {
	err := fw.SetRules(ctx, id, rules)
	if err == nil {
		return nil
	}
	err = fmt.Errorf("cannot set firewall rules of %s: %w", id, err)
	if !errors.Is(err, provider.ErrTryAgain) && !errors.Is(err, provider.ErrNotFound) {
		err = errors.Join(err, fw.SetRules(ctx, id, nil))
	}
	delete(w.applied, string(id))
	return err
}

// Rules computes the rules of every machine of a model that has an instance.
func Rules(r state.Reader, m names.Model) map[provider.InstanceID][]provider.Rule {
	s := model.ScopeOf(m)
	out := map[provider.InstanceID][]provider.Rule{}
	instance := map[names.Machine]provider.InstanceID{}
	for i, err := range machine.Instances.All(r, s) {
		if err == nil && i.InstanceID != "" {
			instance[i.Machine] = provider.InstanceID(i.InstanceID)
			out[provider.InstanceID(i.InstanceID)] = []provider.Rule{}
		}
	}
	peers := related(r, s, instance)
	for mc, id := range instance {
		if p := peers[mc]; len(p) > 0 {
			list := slices.Sorted(maps.Keys(p))
			out[id] = append(out[id],
				provider.Rule{Protocol: "tcp", From: 1, To: 65535, Peers: list},
				provider.Rule{Protocol: "udp", From: 1, To: 65535, Peers: list},
				provider.Rule{Protocol: "icmp", Peers: list})
		}
	}
	for u, err := range unit.Table.All(r, s) {
		if err != nil {
			continue
		}
		id, ok := instance[u.Machine]
		app, err := application.Get(r, s, u.Application)
		if !ok || err != nil {
			continue
		}
		for _, p := range unit.PortsOf(r, s, u.Name) {
			if p.Protocol != "icmp" {
				if p.To < 1 {
					continue // port 0 reaches nothing
				}
				p.From = max(p.From, 1)
			}
			if cidrs := exposedTo(app, p.Endpoint); len(cidrs) > 0 {
				out[id] = append(out[id], provider.Rule{Protocol: p.Protocol, From: p.From, To: p.To, Sources: cidrs})
			}
		}
	}
	return out
}

// exposedTo returns who may reach a range opened for an endpoint ("" for all):
// a range of all endpoints is reachable under every entry.
func exposedTo(app application.Row, endpoint string) []string {
	set := map[string]bool{}
	for ep, e := range app.Exposed {
		if ep != "" && endpoint != "" && ep != endpoint {
			continue
		}
		for _, c := range e.CIDRs {
			set[c] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}

// related returns for each machine those whose units share a relation with
// its units. Units count from when they enter scope until their machine goes.
func related(
	r state.Reader, s state.Scope, instance map[names.Machine]provider.InstanceID,
) map[names.Machine]map[provider.InstanceID]bool {
	host := map[names.Unit]names.Machine{}
	for u, err := range unit.Table.All(r, s) {
		if err == nil {
			host[u.Name] = u.Machine
		}
	}
	out := map[names.Machine]map[provider.InstanceID]bool{}
	link := func(a, b names.Machine) {
		id, ok := instance[b]
		if !ok || a == b || a == "" {
			return
		}
		if out[a] == nil {
			out[a] = map[provider.InstanceID]bool{}
		}
		out[a][id] = true
	}
	for rel, err := range relation.Table.All(r, s) {
		if err != nil {
			continue
		}
		in := relation.InScope(r, s, rel.ID)
		for _, x := range in {
			for _, y := range in {
				if rel.Peer() || x.Unit.Application() != y.Unit.Application() {
					link(host[x.Unit], host[y.Unit])
				}
			}
		}
	}
	return out
}
