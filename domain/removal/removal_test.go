package removal_test

import (
	"errors"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/charm"
	"github.com/scarab-ops/scarab/domain/application"
	"github.com/scarab-ops/scarab/domain/charmstore"
	"github.com/scarab-ops/scarab/domain/controller"
	"github.com/scarab-ops/scarab/domain/life"
	"github.com/scarab-ops/scarab/domain/machine"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/relation"
	"github.com/scarab-ops/scarab/domain/removal"
	"github.com/scarab-ops/scarab/domain/status"
	"github.com/scarab-ops/scarab/domain/unit"
	"github.com/scarab-ops/scarab/domain/want"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
)

const uuid = names.Model("11111111-1111-4111-8111-111111111111")

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

type world struct {
	*testing.T
	st    *state.Store
	m     model.Row
	scope state.Scope
}

func (w *world) do(f func(tx *state.Tx) error) {
	w.Helper()
	if err := w.st.Update(w.Context(), f); err != nil {
		w.Fatal(err)
	}
}

func meta(name string, provides, requires, peers map[string]charm.Relation) charm.Charm {
	return charm.Charm{Meta: charm.Meta{Name: name, Provides: provides, Requires: requires, Peers: peers}}
}

func ep(name string, role charm.Role, iface string) map[string]charm.Relation {
	return map[string]charm.Relation{name: {Name: name, Role: role, Interface: iface, Scope: charm.ScopeGlobal}}
}

// newWorld is a model with db (peers, provides) and web, one unit each.
func newWorld(t *testing.T) *world {
	st, err := state.Open(t.Context(), state.NewMem())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, st: st, scope: model.ScopeOf(uuid)}
	w.do(func(tx *state.Tx) error {
		if err := controller.Table.Put(tx, state.Controller, controller.Row{UUID: "c"}); err != nil {
			return err
		}
		w.m = model.Row{UUID: uuid, Name: "dev", Owner: "admin", Cloud: "localhost", Created: now, Life: life.Alive}
		return model.Add(tx, w.m, nil)
	})
	w.deploy("db", meta("db", ep("server", charm.RoleProvider, "sql"), nil, ep("cluster", charm.RolePeer, "db-peer")), 2)
	w.deploy("web", meta("web", nil, ep("db", charm.RoleRequirer, "sql"), nil), 1)
	w.do(func(tx *state.Tx) error {
		_, err := application.Relate(tx, w.scope, "web", "db", now)
		return err
	})
	return w
}

func (w *world) deploy(name names.Application, c charm.Charm, n int) {
	w.Helper()
	w.do(func(tx *state.Tx) error {
		row, err := charmstore.AddLocal(tx, w.scope, charmstore.Row{SHA256: "aa" + string(name), Charm: c})
		if err != nil {
			return err
		}
		_, err = application.Add(tx, w.m, application.Deploy{
			Row: application.Row{Name: name, CharmURL: row.URL}, Units: n,
		}, now)
		return err
	})
}

// start makes a unit look installed and in scope of the relation with the id.
func (w *world) start(u names.Unit, ids ...int) {
	w.Helper()
	w.do(func(tx *state.Tx) error {
		row, err := unit.Get(tx, w.scope, u)
		if err != nil {
			return err
		}
		row.CharmURL = "local:x-0"
		if err := unit.Table.Put(tx, w.scope, row); err != nil {
			return err
		}
		for _, id := range ids {
			if err := relation.Enter(tx, w.scope, id, u, map[string]string{"private-address": "10.0.0.1"}); err != nil {
				return err
			}
		}
		return status.Set(tx, w.scope, status.OfUnitAgent(string(u)), status.Entry{Status: "idle", Since: now})
	})
}

func TestUnitGoesThroughItsStates(t *testing.T) {
	w := newWorld(t)
	w.start("web/0", 1)
	w.start("db/0", 0, 1)
	w.do(func(tx *state.Tx) error {
		_, err := removal.DestroyApplication(tx, w.m, "web", removal.Options{}, now)
		return err
	})
	reasons := removal.Reasons(w.st.View(), w.m)
	for tag, want := range map[string]string{
		"unit-web-0":      "its agent to run the hooks that end it",
		"application-web": "unit web/0 to be removed (1 left)",
	} {
		if got := reasons[tag].Waiting; got != want {
			t.Errorf("%s waits for %q, want %q", tag, got, want)
		}
	}
	if err := w.st.Update(t.Context(), func(tx *state.Tx) error {
		return removal.UnitGone(tx, w.m, "web/0", now)
	}); err == nil {
		t.Error("a dying unit was forgotten before it was dead")
	}
	w.do(func(tx *state.Tx) error { return removal.LeaveScope(tx, w.m, 1, "web/0", now) })
	w.do(func(tx *state.Tx) error { return removal.LeaveScope(tx, w.m, 1, "db/0", now) })
	w.do(func(tx *state.Tx) error { return removal.UnitDead(tx, w.m, "web/0", now) })
	w.do(func(tx *state.Tx) error { return removal.UnitGone(tx, w.m, "web/0", now) })
	v := w.st.View()
	if application.Table.Has(v, w.scope, "web") || relation.Table.Has(v, w.scope, "1") || unit.Table.Has(v, w.scope, "web/0") {
		t.Error("the application, its unit or its relation is still there")
	}
	mc, err := machine.Get(v, w.scope, "2")
	if err != nil || mc.Life != life.Dead {
		t.Errorf("the emptied machine is %v (%v), want dead", mc.Life, err)
	}
}

func TestUnitThatNeverStartedGoesAtOnce(t *testing.T) {
	w := newWorld(t)
	w.do(func(tx *state.Tx) error {
		_, err := removal.DestroyUnit(tx, w.m, "db/1", removal.Options{}, now)
		return err
	})
	if unit.Table.Has(w.st.View(), w.scope, "db/1") {
		t.Error("the unit is still there")
	}
}

func TestForceTakesTheStepWhenDue(t *testing.T) {
	w := newWorld(t)
	w.start("web/0", 1)
	w.start("db/0", 0, 1)
	wait := 10 * time.Second
	w.do(func(tx *state.Tx) error {
		_, err := removal.DestroyApplication(tx, w.m, "web", removal.Options{Force: true, MaxWait: &wait}, now)
		return err
	})
	var next time.Time
	overdue := func(at time.Time) {
		w.do(func(tx *state.Tx) (err error) {
			next, err = removal.Overdue(tx, w.m, at)
			return err
		})
	}
	overdue(now.Add(9 * time.Second))
	if !application.Table.Has(w.st.View(), w.scope, "web") || !next.Equal(now.Add(wait)) {
		t.Errorf("before it was due: next step at %v, want %v", next, now.Add(wait))
	}
	overdue(now.Add(wait))
	if application.Table.Has(w.st.View(), w.scope, "web") {
		t.Error("after it was due the application is still there")
	}
	if in := relation.InScope(w.st.View(), w.scope, 1); len(in) != 0 {
		t.Errorf("still in scope: %v", in)
	}
}

func TestMachineWithUnitsNeedsForce(t *testing.T) {
	w := newWorld(t)
	err := w.st.Update(t.Context(), func(tx *state.Tx) error {
		_, err := removal.DestroyMachine(tx, w.m, "0", removal.Options{}, now)
		return err
	})
	var has *machine.HasUnitsError
	if !errors.As(err, &has) || len(has.Units) != 1 {
		t.Errorf("got %v, want that the machine has a unit", err)
	}
}

func TestModelEmptiesInSteps(t *testing.T) {
	w := newWorld(t)
	w.do(func(tx *state.Tx) error { return removal.DestroyModel(tx, uuid, removal.Options{}, now) })
	for more := true; more; {
		w.do(func(tx *state.Tx) (err error) {
			more, err = removal.Empty(tx, uuid, now)
			return err
		})
	}
	for mc, err := range machine.Table.All(w.st.View(), w.scope) {
		if err != nil || mc.Life != life.Dead {
			t.Fatalf("machine %s is %s, want dead (%v)", mc.ID, mc.Life, err)
		}
		w.do(func(tx *state.Tx) error { return removal.MachineGone(tx, w.m, mc.ID, now) })
	}
	m, err := model.Get(w.st.View(), uuid)
	if err != nil || m.Life != life.Dead {
		t.Errorf("the empty model is %s (%v), want dead", m.Life, err)
	}
}

func TestWantShowsOnlyWhatTheUnitMaySee(t *testing.T) {
	w := newWorld(t)
	w.start("db/0", 0, 1)
	w.start("db/1", 0, 1)
	w.start("web/0", 1)
	w.do(func(tx *state.Tx) error {
		return relation.SetApp(tx, w.scope, 1, "db", map[string]string{"secret": "for the other side"})
	})
	c, err := want.Context(w.st.View(), uuid, "db/1")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range c.Relations {
		switch r.Endpoint {
		case "server":
			if _, sibling := r.RemoteUnits["db/0"]; sibling || r.LocalApp != nil || r.CanReadApp {
				t.Errorf("a follower sees its sibling or its application's bag: %+v", r)
			}
			if r.RemoteUnits["web/0"]["private-address"] != "10.0.0.1" {
				t.Errorf("the remote unit's bag is missing: %+v", r.RemoteUnits)
			}
		case "cluster":
			if _, ok := r.RemoteUnits["db/0"]; !ok || len(r.RemoteUnits) != 1 {
				t.Errorf("the peer is missing: %+v", r.RemoteUnits)
			}
		}
	}
	web, err := want.Context(w.st.View(), uuid, "web/0")
	if err != nil {
		t.Fatal(err)
	}
	if got := web.Relations[0].RemoteAppBag["secret"]; got != "for the other side" {
		t.Errorf("the other side reads %q", got)
	}
}
