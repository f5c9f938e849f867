package decide

import (
	"maps"
	"slices"
	"strings"

	"github.com/scarab-ops/scarab/wire/agentapi"
)

// sorted gives non-peer relations first, each group by id.
func sorted(w agentapi.Want) []agentapi.WantRelation {
	out := slices.Clone(w.Relations)
	slices.SortFunc(out, func(a, b agentapi.WantRelation) int {
		pa, pb := a.Role == "peer", b.Role == "peer"
		if pa != pb {
			if pb {
				return -1
			}
			return 1
		}
		return a.ID - b.ID
	})
	return out
}

// leaving tells that the unit has no more business in the relation.
func leaving(r agentapi.WantRelation, w agentapi.Want) bool {
	return w.Life != "alive" || r.Life != "alive" || r.Suspended
}

func relationOp(k Kind, r agentapi.WantRelation, step string) Op {
	o := Op{
		Kind: k, RelationID: r.ID, Endpoint: r.Endpoint, Step: step,
		RemoteApp: r.RemoteApp, Peer: r.Role == "peer",
	}
	if k == Hook {
		o.Hook = r.Endpoint + "-relation-" + step
	}
	return o
}

// created announces each relation before anything else about it.
func created(l Local, w agentapi.Want) (Op, bool) {
	if w.Life != "alive" {
		return Op{}, false
	}
	for _, r := range sorted(w) {
		st := l.Relations[r.ID]
		if leaving(r, w) || st.Created && !st.Broken {
			continue
		}
		if r.Implicit {
			return relationOp(EnterScope, r, ""), true
		}
		return relationOp(Hook, r, Created), true
	}
	return Op{}, false
}

// relations picks the next hook of the first relation that has one.
func relations(l Local, w agentapi.Want) (Op, bool) {
	for _, r := range sorted(w) {
		if o, ok := relation(l.Relations[r.ID], r, w); ok {
			return o, true
		}
	}
	return Op{}, false
}

// relation orders the hooks of one relation: departed, broken, application
// changed, joined, unit changed. The changed that follows a joined is queued by
// Done and so comes before all.
func relation(st Relation, r agentapi.WantRelation, w agentapi.Want) (Op, bool) {
	gone := leaving(r, w)
	if st.Broken {
		return Op{}, false
	}
	if r.Implicit || !st.Created {
		return relationOp(LeaveScope, r, ""), gone && (r.InScope || st.Created)
	}
	members := r.Members
	if gone {
		members = nil
	}
	for _, u := range slices.Sorted(maps.Keys(st.Members)) {
		if _, ok := members[u]; !ok {
			o := relationOp(Hook, r, Departed)
			o.RemoteUnit, o.DepartingUnit = u, u
			if w.Life != "alive" {
				o.DepartingUnit = w.Unit
			}
			return o, true
		}
	}
	if gone {
		return lastStep(r, w)
	}
	if r.RemoteAppVersion != 0 && r.RemoteAppVersion != st.AppVersion {
		return relationOp(Hook, r, Changed), true
	}
	for _, step := range []string{Joined, Changed} {
		for _, u := range slices.Sorted(maps.Keys(members)) {
			v, known := st.Members[u]
			if known != (step == Changed) || known && v == members[u] || u == w.Unit {
				continue
			}
			o := relationOp(Hook, r, step)
			o.RemoteUnit = u
			return o, true
		}
	}
	return Op{}, false
}

// lastStep breaks a relation, or leaves a peer relation without a hook.
func lastStep(r agentapi.WantRelation, w agentapi.Want) (Op, bool) {
	if r.Role != "peer" {
		return relationOp(Hook, r, Broken), true
	}
	return relationOp(LeaveScope, r, ""), w.Life != "alive"
}

// IsRelation tells whether a hook's name is one of a relation's.
func IsRelation(hook string) bool { return strings.Contains(hook, "-relation-") }
