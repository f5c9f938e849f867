package conformance

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/scarab-ops/scarab/wire/agentapi"
	"github.com/scarab-ops/scarab/wire/application"
)

// paired fails unless every joined is followed at once by changed for the same
// unit, within the hooks of that relation, and follows created.
func paired(t *testing.T, m *modelT, unit, endpoint string) {
	t.Helper()
	var own []run
	for _, r := range m.runs(t, unit) {
		if strings.HasPrefix(r.hook, endpoint+"-relation-") {
			own = append(own, r)
		}
	}
	if len(own) == 0 || own[0].hook != endpoint+"-relation-created" {
		t.Fatalf("%s begins with %v", unit, own)
	}
	for i, r := range own {
		if r.hook != endpoint+"-relation-joined" {
			continue
		}
		if i+1 == len(own) || own[i+1].hook != endpoint+"-relation-changed" || own[i+1].remote != r.remote {
			t.Errorf("%s: after %v comes %v", unit, r, own[min(i+1, len(own)-1)])
		}
	}
}

// relations follows a relation from its making to its end.
func relations(t *testing.T, w *world) {
	m := w.model(t, "relations")
	m.behave(t, "all", `
case $hook in
*-relation-joined) relation-set from="$JUJU_UNIT_NAME";;
*-relation-changed) [ -z "$JUJU_REMOTE_UNIT" ] || note "$JUJU_REMOTE_UNIT says $(relation-get from)";;
*-relation-broken) note "broken list [$(relation-list)] ids [$(relation-ids "$JUJU_RELATION")] app $(relation-list --app)";;
esac`)
	m.deploy(t, "probe", "a", 1)
	m.deploy(t, "probe", "b", 2)
	m.idle(t, "a/0", "b/0", "b/1")
	m.relate(t, "a:client", "b:server")
	for _, u := range []string{"b/0", "b/1"} {
		m.noted(t, "a/0", "^"+u+" says "+u+"$")
		m.noted(t, u, "^a/0 says a/0$")
	}
	m.addUnits(t, "b", 1)
	m.noted(t, "a/0", "^b/2 says b/2$")
	for _, u := range []string{"b/0", "b/1", "b/2"} {
		m.until(t, u, "server-relation-changed a/0")
		m.until(t, "a/0", "client-relation-changed "+u)
	}
	for _, u := range []string{"b/0", "b/1", "b/2"} {
		paired(t, m, u, "server")
	}
	paired(t, m, "a/0", "client")
	ordered(t, m.hooks(t, "b/2"), "install", "server-relation-created", "start", "server-relation-joined a/0", "server-relation-changed a/0")

	m.removeUnit(t, "b/1", false)
	m.gone(t, "b/1")
	departed := m.until(t, "a/0", "client-relation-departed b/1 departing=b/1")
	if len(departed) != 1 {
		t.Errorf("b/1 departed %d times", len(departed))
	}
	ordered(t, m.hooks(t, "b/1"), "server-relation-departed a/0 departing=b/1", "server-relation-broken", "stop", "remove")
	if slices.Contains(m.hooks(t, "a/0"), "client-relation-broken") {
		t.Error("one unit's going broke the relation")
	}

	must(t, m.conn.DestroyRelation(ctx(t), application.DestroyRelation{Endpoints: []string{"a:client", "b:server"}}))
	for _, u := range []string{"a/0", "b/0", "b/2"} {
		m.noted(t, u, `^broken list \[\] ids \[\] app [ab]$`)
	}
	eventually(t, "relation gone", func() bool { return len(m.status(t).Relations) == 0 })
	ordered(t, m.hooks(t, "a/0"), "client-relation-departed b/1 departing=b/1", "client-relation-broken")
	for _, u := range []string{"b/0", "b/2"} {
		ordered(t, m.hooks(t, "a/0"), "client-relation-departed "+u+" departing="+u, "client-relation-broken")
		ordered(t, m.hooks(t, u), "server-relation-departed a/0 departing=a/0", "server-relation-broken")
	}
	m.relate(t, "a:client", "b:server") // a relation of the same endpoints is another one
	eventually(t, "b/0 joined again", func() bool {
		return strings.Count(strings.Join(m.hooks(t, "a/0"), "\n"), "client-relation-joined b/0") == 2
	})
	first, again := m.until(t, "a/0", "client-relation-created")[0], m.until(t, "a/0", "client-relation-created")
	if len(again) != 2 || again[1].relation == first.relation {
		t.Errorf("created %v", again)
	}
}

// coalesceRelation changes what a unit says many times while the other is
// busy: it hears the last of it.
func coalesceRelation(t *testing.T, w *world) {
	m := w.model(t, "coalesce-relation")
	m.deploy(t, "probe", "a", 1)
	m.deploy(t, "probe", "b", 1)
	m.relate(t, "a:client", "b:server")
	m.idle(t, "a/0", "b/0")
	created := m.until(t, "b/0", "server-relation-created")[0]
	m.until(t, "a/0", "client-relation-changed b/0")
	gate := m.gate(t)
	m.behave(t, "a", `
[ "$hook" = client-relation-changed ] || exit 0
n=$(relation-get n)
note "n=$n"
[ "$n" != 1 ] || read -r <"$world/gate"`)
	b := m.unitConn(t, "b/0")
	id := relationID(t, created.relation)
	changes := 100
	if long() {
		changes = 1000
	}
	for i := 1; i <= changes; i++ {
		_, err := b.Unit().Commit(ctx(t), agentapi.CommitArgs{
			OpID: fmt.Sprintf("change-%d", i), RelationID: -1,
			Relations: []agentapi.RelationSettings{{ID: id, Unit: agentapi.Settings{"n": fmt.Sprint(i)}}},
		})
		must(t, err)
		if i == 1 {
			m.noted(t, "a/0", "^n=1$")
		}
	}
	gate()
	m.noted(t, "a/0", fmt.Sprintf("^n=%d$", changes))
	var seen []string
	for _, r := range m.runs(t, "a/0") {
		seen = append(seen, r.notes...)
	}
	if len(seen) > 3 || seen[len(seen)-1] != fmt.Sprintf("n=%d", changes) {
		t.Errorf("%d changes made these hooks: %v", changes, seen)
	}
}

// leader: who may write and read what the application says.
func leader(t *testing.T, w *world) {
	m := w.model(t, "leader")
	m.deploy(t, "peer", "p", 2)
	m.deploy(t, "probe", "a", 1)
	m.relate(t, "p:server", "a:client")
	m.idle(t, "p/0", "p/1", "a/0")
	m.until(t, "a/0", "client-relation-changed p/0")
	lead, follow := m.leaders(t, "p/0", "p/1")
	created := m.until(t, lead, "ring-relation-created")[0]
	served := m.until(t, lead, "server-relation-created")[0]
	ring, server := created.relation, served.relation
	m.stdout(t, "relation-set -r "+ring+" --app word=peers; relation-set -r "+server+" --app word=clients; leader-set word=old", lead)
	for _, c := range []struct{ command, unit, want string }{
		{"relation-get -r " + ring + " --app word p", follow, "peers"},
		{"relation-get -r " + ring + " --app word p", lead, "peers"},
		{"relation-get -r " + server + " --app word p", lead, "clients"},
		{"leader-get word", follow, "old"},
	} {
		if got := m.stdout(t, c.command, c.unit); got != c.want {
			t.Errorf("%s on %s says %q", c.command, c.unit, got)
		}
	}
	client := m.until(t, "a/0", "client-relation-created")[0].relation
	if got := m.stdout(t, "relation-get -r "+client+" --app word p", "a/0"); got != "clients" {
		t.Errorf("the other side reads %q", got)
	}
	m.until(t, follow, "ring-relation-changed") // of the application, no unit
	m.until(t, "a/0", "client-relation-changed")
	for _, c := range []struct{ command, text string }{
		{"relation-set -r " + ring + " --app word=mine", "cannot write relation settings"},
		{"relation-set -r " + server + " --app word=mine", "cannot write relation settings"},
		{"relation-get -r " + server + " --app word p", "permission denied"},
		{"leader-set word=mine", "not the leader"},
		{"status-set --application active", "not the leader"},
	} {
		r := m.exec(t, c.command, follow)
		text, _ := r.Output["stderr"].(string)
		if r.Status != "failed" || !strings.Contains(text, c.text) {
			t.Errorf("%s on a follower: %s %v", c.command, r.Status, r.Output)
		}
	}
	if got := m.stdout(t, "relation-get -r "+ring+" --app word p", follow); got != "peers" {
		t.Errorf("after a follower tried to write, the bag says %q", got)
	}
}

// leaders asks the units who leads, and fails unless it is one of two.
func (m *modelT) leaders(t *testing.T, a, b string) (lead, follow string) {
	t.Helper()
	x, y := m.stdout(t, "is-leader", a), m.stdout(t, "is-leader", b)
	switch {
	case x == "True" && y == "False":
		return a, b
	case x == "False" && y == "True":
		return b, a
	}
	t.Fatalf("is-leader says %s on %s, %s on %s", x, a, y, b)
	return "", ""
}

// subordinate: a charm that rides on another comes and goes with it.
func subordinate(t *testing.T, w *world) {
	m := w.model(t, "subordinate")
	m.deploy(t, "probe", "a", 2)
	m.deploy(t, "side", "s", 0)
	m.idle(t, "a/0", "a/1")
	m.relate(t, "a:juju-info", "s:host")
	ride := map[string]string{}
	eventually(t, "a subordinate on each unit", func() bool {
		s := m.status(t)
		for name, u := range s.Applications["a"].Units {
			for sub := range u.Subordinates {
				ride[name] = sub
			}
		}
		return len(ride) == 2
	})
	for principal, sub := range ride {
		installed := m.until(t, sub, "install")[0]
		env := m.env(t, installed)
		if env["JUJU_PRINCIPAL_UNIT"] != principal || env["JUJU_DISPATCH_PATH"] != "hooks/install" {
			t.Errorf("%s on %s has %q", sub, principal, env)
		}
		eventually(t, sub+" idle", func() bool {
			u, ok := m.unit(t, sub)
			return ok && u.AgentStatus.Status == "idle"
		})
		id := m.stdout(t, "relation-ids host", sub)
		if got := m.stdout(t, "relation-list -r "+id, sub); got != principal {
			t.Errorf("%s sees %q", sub, got)
		}
	}
	m.removeUnit(t, "a/1", false)
	m.gone(t, "a/1", ride["a/1"])
	if _, ok := m.unit(t, ride["a/0"]); !ok {
		t.Error("the other unit's subordinate went too")
	}
	must(t, m.conn.DestroyRelation(ctx(t), application.DestroyRelation{Endpoints: []string{"a:juju-info", "s:host"}}))
	m.gone(t, ride["a/0"])
	if u, ok := m.unit(t, "a/0"); !ok || len(u.Subordinates) != 0 {
		t.Errorf("the principal is %+v", u)
	}
}
