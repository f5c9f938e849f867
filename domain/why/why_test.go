package why_test

import (
	"errors"
	"fmt"
	"strings"
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
	"github.com/scarab-ops/scarab/domain/why"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
)

const uuid = names.Model("11111111-1111-4111-8111-111111111111")

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// connected is who is there; who is not left an hour ago.
type connected map[names.Tag]bool

func (c connected) Connected(_ names.Model, tag names.Tag) (bool, time.Time) {
	return !c[tag], now.Add(-time.Hour)
}

type world struct {
	*testing.T
	st    *state.Store
	m     model.Row
	scope state.Scope
	away  connected
}

func (w *world) do(f func(tx *state.Tx) error) {
	w.Helper()
	if err := w.st.Update(w.Context(), f); err != nil {
		w.Fatal(err)
	}
}

func (w *world) set(entity, st, message string) {
	w.Helper()
	w.do(func(tx *state.Tx) error {
		return status.Set(tx, w.scope, entity, status.Entry{Status: st, Message: message, Since: now})
	})
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

// newWorld is web/0 on machine 1 and db/0 on machine 0; web needs db, and they
// are related. Everybody is well.
func newWorld(t *testing.T) *world {
	st, err := state.Open(t.Context(), state.NewMem())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, st: st, scope: model.ScopeOf(uuid), away: connected{}}
	w.do(func(tx *state.Tx) error {
		if err := controller.Table.Put(tx, state.Controller, controller.Row{UUID: "c"}); err != nil {
			return err
		}
		w.m = model.Row{UUID: uuid, Name: "dev", Owner: "admin", Cloud: "localhost", Created: now, Life: life.Alive}
		return model.Add(tx, w.m, nil)
	})
	end := func(name string, role charm.Role) map[string]charm.Relation {
		return map[string]charm.Relation{name: {Name: name, Role: role, Interface: "sql", Scope: charm.ScopeGlobal}}
	}
	w.deploy("db", charm.Meta{Provides: end("server", charm.RoleProvider)}, 1)
	w.deploy("web", charm.Meta{Requires: end("db", charm.RoleRequirer)}, 1)
	w.do(func(tx *state.Tx) error {
		rel, err := application.Relate(tx, w.scope, "web", "db", now)
		if err != nil {
			return err
		}
		for i, u := range []names.Unit{"db/0", "web/0"} {
			row, err := unit.Get(tx, w.scope, u)
			if err != nil {
				return err
			}
			row.CharmURL = "local:x-0"
			id := fmt.Sprint(i)
			err = errors.Join(unit.Table.Put(tx, w.scope, row), relation.Enter(tx, w.scope, rel.ID, u, nil),
				machine.Instances.Put(tx, w.scope, machine.Instance{Machine: names.Machine(id), InstanceID: "i-" + id}))
			if err != nil {
				return err
			}
		}
		return status.Set(tx, w.scope, status.OfRelation(fmt.Sprint(rel.ID)), status.Entry{Status: "joined", Since: now})
	})
	for i, u := range []string{"db/0", "web/0"} {
		w.set(status.OfUnitAgent(u), "idle", "")
		w.set(status.OfWorkload(u), "active", "")
		w.set(status.OfMachineAgent(fmt.Sprint(i)), "started", "")
		w.set(status.OfInstance(fmt.Sprint(i)), "running", "")
	}
	return w
}

func (w *world) explain(name string) string {
	w.Helper()
	m, err := model.Get(w.st.View(), uuid)
	if err != nil {
		w.Fatal(err)
	}
	causes, err := why.Explain(w.st.View(), why.Question{Model: m, Presence: w.away, Now: now}, name)
	if err != nil {
		return err.Error()
	}
	var b strings.Builder
	for i, c := range causes {
		if c.Entity == "" || c.State == "" || c.Because == "" {
			w.Errorf("cause %d says too little: %+v", i, c)
		}
		fmt.Fprintf(&b, "%s %s: %s -> %s\n", c.Entity, c.State, c.Because, c.Next)
	}
	return b.String()
}

// Each trouble is told with its causes, in order, down to who must do what.
func TestChains(t *testing.T) {
	for _, c := range []struct {
		name    string
		trouble func(*world)
		ask     string
		want    []string // in this order
	}{
		{"nothing", func(*world) {}, "", nil},
		{"a failed hook", func(w *world) { w.set(status.OfUnitAgent("web/0"), "error", `hook failed: "start"`) }, "web/0", []string{
			`unit-web-0 error: hook failed: "start" -> its agent runs the hook again by itself, with growing pauses; to help: read its log (scarab debug-log --replay --no-tail --include web/0)`, "resolved web/0",
		}},
		{"blocked", func(w *world) { w.set(status.OfWorkload("web/0"), "blocked", "need a licence") }, "unit-web-0", []string{
			"unit-web-0 blocked: its charm says: need a licence -> an operator must",
		}},
		{"waits for one that is blocked", func(w *world) {
			w.set(status.OfWorkload("web/0"), "waiting", "for the database")
			w.set(status.OfWorkload("db/0"), "blocked", "disk full")
		}, "web/0", []string{"unit-web-0 waiting: its charm says: for the database", "unit-db-0 blocked: its charm says: disk full"}},
		{"both wait for each other", func(w *world) {
			w.set(status.OfWorkload("web/0"), "waiting", "for db")
			w.set(status.OfWorkload("db/0"), "waiting", "for web")
		}, "db/0", []string{"unit-db-0 waiting", "unit-web-0 waiting"}},
		{"an agent without its machine", func(w *world) {
			w.away[names.Unit("web/0").Tag()], w.away[names.Machine("1").Tag()] = true, true
		}, "web/0", []string{"unit-web-0 lost: agent is not communicating", "machine-1 down: agent is not communicating", "instance i-1"}},
		{"a cloud that fails", func(w *world) { w.set(status.OfInstance("1"), "provisioning error", "no memory") }, "1", []string{
			"machine-1 provisioning error: the cloud says: no memory -> mend the cause, then: scarab retry-provisioning 1",
		}},
		{"no instance yet", func(w *world) {
			w.set(status.OfMachineAgent("1"), "pending", "")
			w.set(status.OfUnitAgent("web/0"), "allocating", "")
			w.do(func(tx *state.Tx) error { return machine.Instances.Delete(tx, w.scope, "1") })
		}, "web/0", []string{"unit-web-0 allocating: its agent has not started yet", "machine-1 pending: the cloud has not given an instance yet"}},
		{"no units", func(w *world) { w.deploy("idle", charm.Meta{}, 0) }, "idle", []string{"application-idle unknown: it has no units -> give it one: scarab add-unit idle"}},
		{"nobody to talk to", func(w *world) {
			w.deploy("lone", charm.Meta{Requires: map[string]charm.Relation{"db": {Name: "db", Role: charm.RoleRequirer, Interface: "sql", Scope: charm.ScopeGlobal}}}, 1)
			w.set(status.OfUnitAgent("lone/0"), "idle", "")
			w.set(status.OfWorkload("lone/0"), "blocked", "no database")
		}, "lone/0", []string{"unit-lone-0 blocked: its charm says: no database", `application-lone unrelated: its endpoint "db"`}},
		{"a removal that waits", func(w *world) {
			w.do(func(tx *state.Tx) error {
				_, err := removal.DestroyApplication(tx, w.m, "web", removal.Options{}, now)
				return err
			})
		}, "web", []string{"application-web dying: being removed, it waits for unit web/0", "--force", "unit-web-0 dying: being removed, it waits for its agent"}},
		{"a removal that a failed hook holds up", func(w *world) {
			w.set(status.OfUnitAgent("web/0"), "error", `hook failed: "stop"`)
			w.do(func(tx *state.Tx) error {
				_, err := removal.DestroyUnit(tx, w.m, "web/0", removal.Options{}, now)
				return err
			})
		}, "web/0", []string{
			`it waits for its hooks: hook failed: "stop", which has to succeed or be resolved`, "with --force, a step that takes longer than a minute is not waited for",
			"its agent runs the hook again by itself", "scarab resolved web/0 --no-retry",
		}},
		{"a removal by force", func(w *world) {
			wait := 10 * time.Second
			w.do(func(tx *state.Tx) error {
				_, err := removal.DestroyApplication(tx, w.m, "web", removal.Options{Force: true, MaxWait: &wait}, now)
				return err
			})
		}, "web/0", []string{"unit-web-0 dying", "at the latest at 2026-11-22T12:00:10Z it goes without waiting, by force"}},
		{"the model finds it", func(w *world) { w.set(status.OfWorkload("db/0"), "blocked", "disk full") }, "dev", []string{
			"application-db blocked", "unit-db-0 blocked: its charm says: disk full",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			c.trouble(w)
			got := w.explain(c.ask)
			if len(c.want) == 0 && got != "" {
				t.Errorf("nothing is wrong, and it says\n%s", got)
			}
			rest := got
			for _, s := range c.want {
				_, after, ok := strings.Cut(rest, s)
				if !ok {
					t.Fatalf("no %q, in its place, in\n%s", s, got)
				}
				rest = after
			}
			seen := map[string]bool{}
			for line := range strings.Lines(got) {
				if seen[line] {
					t.Errorf("it says twice: %s", line)
				}
				seen[line] = true
			}
		})
	}
}

func TestNamesThatNothingHas(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"web/9", "unit-web-9", "9", "nobody", "model-22222222-2222-4222-8222-222222222222", "user-admin", "web:db db:nothing", "\x00"} {
		if got := w.explain(name); !strings.Contains(got, "nothing in this model has that name") {
			t.Errorf("%q: %s", name, got)
		}
	}
	for _, name := range []string{"web/0", "web", "1", "machine-1", "web:db db:server", "dev", string("model-" + uuid)} {
		if got := w.explain(name); strings.Contains(got, "cannot") {
			t.Errorf("%q: %s", name, got)
		}
	}
}

// An answer is bounded, however much is wrong.
func TestAnswersAreBounded(t *testing.T) {
	w := newWorld(t)
	w.deploy("many", charm.Meta{}, why.MaxCauses+20)
	for i := range why.MaxCauses + 20 {
		w.set(status.OfUnitAgent(fmt.Sprintf("many/%d", i)), "error", "hook failed")
	}
	if n := strings.Count(w.explain(""), "\n"); n != why.MaxCauses {
		t.Errorf("%d causes, want %d", n, why.MaxCauses)
	}
}
