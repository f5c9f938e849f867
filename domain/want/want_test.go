package want_test

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/charm"
	"github.com/scarab-ops/scarab/domain/application"
	"github.com/scarab-ops/scarab/domain/charmstore"
	"github.com/scarab-ops/scarab/domain/controller"
	"github.com/scarab-ops/scarab/domain/lease"
	"github.com/scarab-ops/scarab/domain/life"
	"github.com/scarab-ops/scarab/domain/machine"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/relation"
	"github.com/scarab-ops/scarab/domain/status"
	"github.com/scarab-ops/scarab/domain/task"
	"github.com/scarab-ops/scarab/domain/unit"
	"github.com/scarab-ops/scarab/domain/want"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/wire/agentapi"
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

func ep(name string, role charm.Role, iface string, scope charm.Scope) map[string]charm.Relation {
	return map[string]charm.Relation{name: {Name: name, Role: role, Interface: iface, Scope: scope}}
}

func (w *world) deploy(name names.Application, meta charm.Meta, n int) {
	w.Helper()
	w.do(func(tx *state.Tx) error {
		meta.Name = string(name)
		row, err := charmstore.AddLocal(tx, w.scope, charmstore.Row{SHA256: "aa" + string(name), Charm: charm.Charm{Meta: meta}})
		if err != nil {
			return err
		}
		_, err = application.Add(tx, w.m, application.Deploy{Row: application.Row{Name: name, CharmURL: row.URL}, Units: n}, now)
		return err
	})
}

// newWorld is web (1 unit) related to db (2 units, peers), and other (1 unit)
// that is related to nobody; everybody is in scope. Relation 0 is db's own, 1
// is between the two.
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
	w.deploy("db", charm.Meta{
		Provides: ep("server", charm.RoleProvider, "sql", charm.ScopeGlobal), Peers: ep("cluster", charm.RolePeer, "db-peer", charm.ScopeGlobal),
	}, 2)
	w.deploy("web", charm.Meta{Requires: ep("db", charm.RoleRequirer, "sql", charm.ScopeGlobal)}, 1)
	w.deploy("other", charm.Meta{}, 1)
	w.do(func(tx *state.Tx) error {
		if _, err := application.Relate(tx, w.scope, "web", "db", now); err != nil {
			return err
		}
		for _, in := range []struct {
			id int
			u  names.Unit
		}{{0, "db/0"}, {0, "db/1"}, {1, "db/0"}, {1, "db/1"}, {1, "web/0"}} {
			if err := relation.Enter(tx, w.scope, in.id, in.u, map[string]string{"of": string(in.u)}); err != nil {
				return err
			}
		}
		return nil
	})
	return w
}

func (w *world) wants() map[string]string {
	w.Helper()
	out := map[string]string{}
	put := func(name string, v any, err error) {
		raw, merr := json.Marshal(v)
		if err != nil || merr != nil {
			w.Fatalf("%s: %v, %v", name, err, merr)
		}
		out[name] = string(raw)
	}
	v := w.st.View()
	for _, u := range []names.Unit{"web/0", "db/0", "db/1", "other/0"} {
		x, err := want.Unit(v, uuid, u)
		put(string(u), x, err)
	}
	for _, m := range []names.Machine{"0", "2"} { // of db/0, of web/0
		x, err := want.Machine(v, uuid, m)
		put(string(m), x, err)
	}
	return out
}

func (w *world) watches() map[string]*want.Watch {
	out := map[string]*want.Watch{}
	for _, u := range []names.Unit{"web/0", "db/0", "db/1", "other/0"} {
		out[string(u)] = want.WatchUnit(w.st, uuid, u)
	}
	for _, m := range []names.Machine{"0", "2"} {
		out[string(m)] = want.WatchMachine(w.st, uuid, m)
	}
	return out
}

// Each change reaches the agents that it is for, and no others: their answer
// differs, and their watch says so.
func TestChangesReachThoseTheyAreFor(t *testing.T) {
	w := newWorld(t)
	watches := w.watches()
	for _, x := range watches {
		if _, err := x.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	putUnit := func(u names.Unit, change func(*unit.Row)) func(*state.Tx) error {
		return func(tx *state.Tx) error {
			row, err := unit.Get(tx, w.scope, u)
			if err != nil {
				return err
			}
			change(&row)
			return unit.Table.Put(tx, w.scope, row)
		}
	}
	var queued names.Task
	for _, c := range []struct {
		name string
		do   func(*state.Tx) error
		for_ string
	}{
		{"a unit writes its bag", func(tx *state.Tx) error {
			return relation.SetUnit(tx, w.scope, 1, "db/0", map[string]string{"k": "v"})
		}, "web/0"},
		{"an application writes its bag", func(tx *state.Tx) error {
			return relation.SetApp(tx, w.scope, 1, "db", map[string]string{"k": "v"})
		}, "web/0"},
		{"a peer writes its bag", func(tx *state.Tx) error {
			return relation.SetUnit(tx, w.scope, 0, "db/0", map[string]string{"k": "v"})
		}, "db/1"},
		{"peers' application bag", func(tx *state.Tx) error {
			return relation.SetApp(tx, w.scope, 0, "db", map[string]string{"k": "v"})
		}, "db/0 db/1"},
		{"an operator resolves", putUnit("db/1", func(r *unit.Row) { r.Resolved = "retry-hooks" }), "db/1"},
		{"a lease is taken", func(tx *state.Tx) error { _, err := lease.Claim(tx, w.scope, "db", "db/1", now); return err }, "db/1"},
		{"and renewed", func(tx *state.Tx) error {
			_, err := lease.Claim(tx, w.scope, "db", "db/1", now.Add(time.Second))
			return err
		}, ""},
		{"the leader's settings", func(tx *state.Tx) error {
			return application.SetLeader(tx, w.scope, "db", map[string]string{"k": "v"})
		}, "db/0 db/1"},
		{"a status", func(tx *state.Tx) error {
			return status.Set(tx, w.scope, status.OfWorkload("db/0"), status.Entry{Status: "active", Since: now})
		}, ""},
		{"a task", func(tx *state.Tx) error {
			_, tasks, err := task.Enqueue(tx, w.scope, "x", []task.Row{{Receiver: "web/0", Name: "backup"}}, now)
			queued = tasks[0].ID
			return err
		}, "web/0"},
		{"a task that is cancelled", func(tx *state.Tx) error {
			if err := task.Start(tx, w.scope, "web/0", queued, now); err != nil {
				return err
			}
			_, err := task.Cancel(tx, w.scope, queued, now)
			return err
		}, "web/0"},
		{"a machine's address", func(tx *state.Tx) error {
			return machine.Instances.Put(tx, w.scope, machine.Instance{Machine: "2", InstanceID: "i", Addresses: []string{"10.0.0.9"}})
		}, "web/0"},
		{"where controllers are", func(tx *state.Tx) error {
			return controller.Table.Put(tx, state.Controller, controller.Row{UUID: "c", AgentAddresses: []string{"10.0.0.1:17070"}})
		}, "0 2 db/0 db/1 other/0 web/0"},
		{"a relation is suspended", func(tx *state.Tx) error {
			rel, err := relation.Get(tx, w.scope, 1)
			if err != nil {
				return err
			}
			rel.Suspended = true
			return relation.Table.Put(tx, w.scope, rel)
		}, "db/0 db/1 web/0"},
		{"a unit leaves", func(tx *state.Tx) error { return relation.Leave(tx, w.scope, 1, "web/0") }, "db/0 db/1 web/0"},
		{"a unit is dying", putUnit("db/0", func(r *unit.Row) { r.Life = life.Dying }), "0 db/0"},
		{"a machine is dead", func(tx *state.Tx) error {
			row, err := machine.Get(tx, w.scope, "2")
			if err != nil {
				return err
			}
			row.Life = life.Dead
			return machine.Table.Put(tx, w.scope, row)
		}, "2"},
	} {
		before := w.wants()
		w.do(c.do)
		after := w.wants()
		var changed []string
		for _, name := range slices.Sorted(maps.Keys(after)) {
			differs := after[name] != before[name]
			if differs {
				changed = append(changed, name)
			}
			patience := 20 * time.Millisecond
			if differs {
				patience = 20 * time.Second
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			if _, err := watches[name].Next(ctx); (err == nil) != differs {
				t.Errorf("%s: the answer to %s differs: %v; its watch: %v", c.name, name, differs, err)
			}
			cancel()
		}
		if got := strings.Join(changed, " "); got != c.for_ {
			t.Errorf("%s: reaches %q, want %q", c.name, got, c.for_)
		}
	}
}

// A hook's picture has nothing that is not its unit's to see.
func TestAHookSeesItsOwn(t *testing.T) {
	w := newWorld(t)
	w.do(func(tx *state.Tx) error {
		for id, secret := range map[int]string{0: "peers-bag", 1: "db-to-web"} {
			if err := relation.SetApp(tx, w.scope, id, "db", map[string]string{"k": secret}); err != nil {
				return err
			}
		}
		if err := relation.SetApp(tx, w.scope, 1, "web", map[string]string{"k": "web-to-db"}); err != nil {
			return err
		}
		if err := unit.ChangeState(tx, w.scope, "db/0", map[string]string{"k": "kept-by-db0"}, nil); err != nil {
			return err
		}
		if err := application.SetLeader(tx, w.scope, "db", map[string]string{"k": "leader-said"}); err != nil {
			return err
		}
		_, err := lease.Claim(tx, w.scope, "db", "db/0", now)
		return err
	})
	for _, c := range []struct {
		unit        names.Unit
		sees, never string
	}{
		{"db/0", "db/1 web/0 peers-bag db-to-web web-to-db kept-by-db0 leader-said unit-statuses", "other/0"},
		{"db/1", "db/0 web/0 peers-bag web-to-db leader-said", "db-to-web kept-by-db0 other/0 unit-statuses"},
		{"web/0", "db/0 db/1 db-to-web", "web-to-db peers-bag kept-by-db0 leader-said other/0 unit-statuses"},
		{"other/0", "", "db/0 db/1 web/0 db-to-web web-to-db peers-bag kept-by-db0 leader-said"},
	} {
		x, err := want.Context(w.st.View(), uuid, c.unit)
		raw, merr := json.Marshal(x)
		if err != nil || merr != nil {
			t.Fatal(err, merr)
		}
		for _, s := range strings.Fields(c.sees) {
			if !strings.Contains(string(raw), s) {
				t.Errorf("%s does not see %s: %s", c.unit, s, raw)
			}
		}
		for _, s := range strings.Fields(c.never) {
			if strings.Contains(string(raw), s) {
				t.Errorf("%s sees %s", c.unit, s)
			}
		}
	}
}

// What is not there is an error, and not an empty want that an agent would
// follow.
func TestNothingIsNoWant(t *testing.T) {
	w := newWorld(t)
	v := w.st.View()
	for name, f := range map[string]func() (any, error){
		"unit":             func() (any, error) { return want.Unit(v, uuid, "web/9") },
		"application":      func() (any, error) { return want.Unit(v, uuid, "none/0") },
		"machine":          func() (any, error) { return want.Machine(v, uuid, "99") },
		"model":            func() (any, error) { return want.Unit(v, "22222222-2222-4222-8222-222222222222", "web/0") },
		"model of machine": func() (any, error) { return want.Machine(v, "22222222-2222-4222-8222-222222222222", "0") },
		"context":          func() (any, error) { return want.Context(v, uuid, "web/9") },
	} {
		if x, err := f(); err == nil {
			t.Errorf("%s: got %+v", name, x)
		}
	}
}

func TestMachineWant(t *testing.T) {
	w := newWorld(t)
	w.do(func(tx *state.Tx) error {
		_, err := application.AddUnits(tx, w.m, "web", 1, []application.Placement{{Machine: "0"}}, now)
		return err
	})
	x, err := want.Machine(w.st.View(), uuid, "0")
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(x.Units, func(a, b agentapi.MachineUnit) int { return strings.Compare(a.Unit, b.Unit) })
	if len(x.Units) != 2 || x.Units[0].Unit != "db/0" || x.Units[1].Unit != "web/1" || x.Life != "alive" || x.RemovalOrder != "" {
		t.Errorf("got %+v", x)
	}
}
