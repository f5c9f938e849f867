package unitagent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/apiserver/facades/facadetest"
	"github.com/scarab-ops/scarab/authz"
	"github.com/scarab-ops/scarab/domain/application"
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

// anyone grants what a unit's agent needs.
type anyone struct{}

func (anyone) Level(names.User, authz.Target) authz.Level { return authz.Nobody }
func (anyone) Present(*authz.Caller) bool                 { return true }

// as logs a unit's agent in and returns how it calls.
func as(t *testing.T, w *facadetest.World, u names.Unit) func(method string, args any) error {
	t.Helper()
	es, err := Endpoints(Service{Store: w.Store})
	if err != nil {
		t.Fatal(err)
	}
	s := facade.NewSession(facade.SessionConfig{
		Store: w.Store, Grants: func(state.Reader) authz.Grants { return anyone{} }, Now: w.Now,
		Caller: &authz.Caller{Kind: authz.Unit, Unit: u, Model: facadetest.Dev}, Connection: "1", Source: "192.0.2.1:1",
	})
	t.Cleanup(s.Close)
	return func(method string, args any) error {
		raw, err := json.Marshal(args)
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.Call(s, es, "UnitAgent.1."+method, "", string(raw))
		return err
	}
}

// relations relates web with so many applications and has its unit enter.
func relations(t *testing.T, w *facadetest.World, n int) (ids []int) {
	t.Helper()
	w.Deploy(t, "web", "web", 1)
	scope := model.ScopeOf(facadetest.Dev)
	for i := range n {
		name := fmt.Sprintf("db%d", i)
		w.Deploy(t, name, "db", 1)
		w.Relate(t, "web", name)
	}
	w.Update(t, func(tx *state.Tx) error {
		var errs []error
		for _, r := range relation.Of(tx, scope, "web") {
			if !r.Peer() {
				ids = append(ids, r.ID)
				errs = append(errs, relation.Enter(tx, scope, r.ID, "web/0", nil))
			}
		}
		return errors.Join(errs...)
	})
	return ids
}

func TestUnitHasABudget(t *testing.T) {
	w := facadetest.New(t)
	ids := relations(t, w, 12)
	call := as(t, w, "web/0")
	op := 0
	bag := func(id int, text string) error {
		op++
		set := map[string]string{"a": text, "b": text, "c": text}
		return call("Commit", agentapi.CommitArgs{OpID: fmt.Sprint("op", op), RelationID: -1, Relations: []agentapi.RelationSettings{{ID: id, Unit: set}}})
	}
	var refused error
	n := 0
	for ; n < len(ids) && refused == nil; n++ {
		refused = bag(ids[n], strings.Repeat("x", 300<<10))
	}
	if refused == nil || !strings.HasPrefix(refused.Error(), "cannot store more for unit web/0") || facade.ToWire(refused).Code != "quota limit exceeded" {
		t.Fatalf("after %d bags of 900 KiB: %v", n, refused)
	}
	if n != 10 {
		t.Errorf("refused the bag number %d, want 10", n)
	}
	if used, _ := w.Store.Used(model.ScopeOf(facadetest.Dev)); used > maxUnit+1<<20 {
		t.Errorf("%d bytes are stored", used)
	}
	if err := bag(ids[0], ""); err != nil {
		t.Errorf("taking away: %v", err)
	}
	if err := bag(ids[n-1], "small"); err != nil {
		t.Errorf("adding after it: %v", err)
	}
}

func TestStatusHistoryIsBoundedInBytes(t *testing.T) {
	w := facadetest.New(t)
	w.Deploy(t, "web", "web", 1)
	call := as(t, w, "web/0")
	for i := range 20 {
		a := agentapi.SetStatusArgs{Kind: "workload", Status: "active", Message: fmt.Sprint(i), Data: map[string]any{"x": strings.Repeat("x", 60<<10)}}
		if err := call("SetStatus", a); err != nil {
			t.Fatal(err)
		}
	}
	row, err := status.Table.Get(w.Store.View(), model.ScopeOf(facadetest.Dev), status.OfWorkload("web/0"))
	if err != nil || row.Message != "19" || len(row.History) != 2 || row.History[0].Message != "18" {
		t.Errorf("%q with %d entries of history, %v", row.Message, len(row.History), err)
	}
}

// TestWatchTellsWhatChanges compares what a watch tells with what a unit is to
// do, for every kind of row that may matter.
func TestWatchTellsWhatChanges(t *testing.T) {
	w := facadetest.New(t)
	ids := relations(t, w, 1)
	s, m := model.ScopeOf(facadetest.Dev), facadetest.Dev
	watch := want.WatchUnit(w.Store, m, "web/0")
	defer watch.Stop()
	now := func() string {
		got, err := want.Unit(w.Store.View(), m, "web/0")
		raw, _ := json.Marshal(got)
		return fmt.Sprint(string(raw), err)
	}
	next := func(d time.Duration) bool {
		ctx, cancel := context.WithTimeout(t.Context(), d)
		defer cancel()
		_, err := watch.Next(ctx)
		return err == nil
	}
	if !next(time.Second) {
		t.Fatal("nothing at first")
	}
	touch := func(f func(*application.Row)) func(*state.Tx) error {
		return func(tx *state.Tx) error {
			row, err := application.Get(tx, s, "web")
			if err != nil {
				return err
			}
			f(&row)
			return application.Table.Put(tx, s, row)
		}
	}
	told, queued := 0, names.Task("")
	for _, c := range []struct {
		name string
		do   func(*state.Tx) error
	}{
		{"bindings", touch(func(a *application.Row) { a.Bindings = map[string]string{"": "other"} })},
		{"the row as it was", touch(func(*application.Row) {})},
		{"trust", touch(func(a *application.Row) { a.Trust = !a.Trust })},
		{"charm modified", touch(func(a *application.Row) { a.CharmModified++ })},
		{"a member", func(tx *state.Tx) error { return relation.Enter(tx, s, ids[0], "db0/0", nil) }},
		{"its bag", func(tx *state.Tx) error {
			return relation.SetUnit(tx, s, ids[0], "db0/0", map[string]string{"a": "b"})
		}},
		{"its own bag", func(tx *state.Tx) error {
			return relation.SetUnit(tx, s, ids[0], "web/0", map[string]string{"a": "b"})
		}},
		{"the other application's bag", func(tx *state.Tx) error {
			return relation.SetApp(tx, s, ids[0], "db0", map[string]string{"a": "b"})
		}},
		{"leader settings", func(tx *state.Tx) error { return application.SetLeader(tx, s, "web", map[string]string{"a": "b"}) }},
		{"resolved", func(tx *state.Tx) error {
			u, err := unit.Get(tx, s, "web/0")
			if err != nil {
				return err
			}
			u.Resolved = "retry-hooks"
			return unit.Table.Put(tx, s, u)
		}},
		{"a task", func(tx *state.Tx) error {
			_, ts, err := task.Enqueue(tx, s, "x", []task.Row{{Receiver: "web/0", Name: "x"}}, w.Now())
			for _, t := range ts {
				queued = t.ID
			}
			return err
		}},
		{"a task that starts", func(tx *state.Tx) error { return task.Start(tx, s, "web/0", queued, w.Now()) }},
		{"an address", func(tx *state.Tx) error {
			u, err := unit.Get(tx, s, "web/0")
			if err != nil {
				return err
			}
			return machine.Instances.Put(tx, s, machine.Instance{Machine: u.Machine, Addresses: []string{"192.0.2.7"}})
		}},
		{"another unit", func(tx *state.Tx) error {
			return status.Set(tx, s, status.OfWorkload("db0/0"), status.Entry{Status: "active"})
		}},
	} {
		before := now()
		w.Update(t, c.do)
		differs := now() != before
		patience := 20 * time.Millisecond // to be sure of silence
		if differs {
			told++
			patience = 5 * time.Second
		}
		if got := next(patience); got != differs {
			t.Errorf("%s: told %v, want %v", c.name, got, differs)
		}
	}
	w.Lead(t, "web/0")
	if !next(5 * time.Second) {
		t.Error("leadership was not told")
	}
	if told < 9 {
		t.Errorf("only %d of the changes changed the want", told)
	}
}
