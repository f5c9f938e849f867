package client

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/apiserver/facades/facadetest"
	"github.com/scarab-ops/scarab/authz"
	"github.com/scarab-ops/scarab/domain/application"
	"github.com/scarab-ops/scarab/domain/fullstatus"
	"github.com/scarab-ops/scarab/domain/machine"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/removal"
	domstatus "github.com/scarab-ops/scarab/domain/status"
	"github.com/scarab-ops/scarab/domain/unit"
	"github.com/scarab-ops/scarab/domain/user"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
	wireclient "github.com/scarab-ops/scarab/wire/client"
)

// watching is a client with an AllWatcher.
type watching struct {
	t  *testing.T
	w  *facadetest.World
	s  *facade.Session
	es []facade.Endpoint
}

func watch(t *testing.T, w *facadetest.World, u names.User) watching {
	t.Helper()
	more, err := facade.WatcherEndpoints()
	if err != nil {
		t.Fatal(err)
	}
	x := watching{t, w, w.Session(u, facadetest.Dev), append(endpoints(t, w), more...)}
	t.Cleanup(x.s.Close)
	if _, err := w.Call(x.s, x.es, "Client.8.WatchAll", "", ""); err != nil {
		t.Fatal(err)
	}
	return x
}

// next returns "kind verb id" for each delta.
func (x watching) next() []string {
	x.t.Helper()
	raw, err := x.w.Call(x.s, x.es, "AllWatcher.3.Next", "1", "")
	if err != nil {
		x.t.Fatal(err)
	}
	var got struct {
		Deltas [][3]json.RawMessage `json:"deltas"`
	}
	if err := json.Unmarshal(raw, &got); err != nil {
		x.t.Fatal(err)
	}
	var out []string
	for _, d := range got.Deltas {
		var kind, verb string
		var obj map[string]any
		for i, to := range []any{&kind, &verb, &obj} {
			if err := json.Unmarshal(d[i], to); err != nil {
				x.t.Fatal(err)
			}
		}
		id := ""
		for _, k := range []string{"key", "charm-url", "tag", "id", "name"} {
			if s, ok := obj[k].(string); ok {
				id = s
			}
		}
		out = append(out, kind+" "+verb+" "+id)
	}
	return out
}

func equal(t *testing.T, got []string, want ...string) {
	t.Helper()
	a, _ := json.Marshal(got)
	b, _ := json.Marshal(want)
	if string(a) != string(b) {
		t.Fatalf("got %s\nwant %s", a, b)
	}
}

func TestWatchAllTellsOfChangesOnceAndOfEnds(t *testing.T) {
	w := facadetest.New(t)
	w.Deploy(t, "db", "db", 1)
	x := watch(t, w, "bob")
	equal(t, x.next(),
		"model change dev", "machine change 0", "application change db", "unit change db/0", "relation change db:cluster",
		"charm change local:db-0", "charm change local:log-0", "charm change local:web-0")

	w.Report(t, "db/0", domstatus.Entry{Status: "executing"}, domstatus.Entry{Status: "maintenance"})
	w.Report(t, "db/0", domstatus.Entry{Status: "idle"}, domstatus.Entry{Status: "active"})
	equal(t, x.next(), "unit change db/0")

	w.Start(t, "0", "10.0.0.10")
	equal(t, x.next(), "machine change 0", "unit change db/0")

	// What came and went between two calls is not told of at all.
	w.Deploy(t, "web", "web", 0)
	w.Update(t, func(tx *state.Tx) error {
		return application.Table.Delete(tx, model.ScopeOf(facadetest.Dev), "web")
	})
	w.Update(t, func(tx *state.Tx) error {
		m, err := model.Get(tx, facadetest.Dev)
		if err != nil {
			return err
		}
		_, err = removal.DestroyUnit(tx, m, "db/0", removal.Options{}, w.Now())
		return err
	})
	equal(t, x.next(), "unit change db/0")
	w.Update(t, func(tx *state.Tx) error { return unit.Forget(tx, model.ScopeOf(facadetest.Dev), "db/0") })
	equal(t, x.next(), "unit remove db/0")
}

func TestWatchAllEndsWithAccess(t *testing.T) {
	w := facadetest.New(t)
	x := watch(t, w, "bob")
	x.next()
	w.Update(t, func(tx *state.Tx) error {
		return user.Grants.Delete(tx, state.Controller, "bob/"+string(facadetest.Dev))
	})
	w.Deploy(t, "db", "db", 0)
	if _, err := w.Call(x.s, x.es, "AllWatcher.3.Next", "1", ""); !errors.Is(err, authz.ErrDenied) {
		t.Fatalf("got %v, want permission denied", err)
	}
}

func TestWatchAllIsBounded(t *testing.T) {
	w := facadetest.New(t)
	x := watch(t, w, "bob")
	for range maxPerConnection - 1 {
		if _, err := w.Call(x.s, x.es, "Client.8.WatchAll", "", ""); err != nil {
			t.Fatal(err)
		}
	}
	var q quotaError
	if _, err := w.Call(x.s, x.es, "Client.8.WatchAll", "", ""); !errors.As(err, &q) {
		t.Fatalf("got %v, want a quota error", err)
	}
	if _, err := w.Call(x.s, x.es, "AllWatcher.3.Stop", "1", ""); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Call(x.s, x.es, "Client.8.WatchAll", "", ""); err != nil {
		t.Fatalf("a stopped watcher still counts: %v", err)
	}
}

// gone is a Presence that knows of nobody.
type gone struct{}

func (gone) Connected(names.Model, names.Tag) (bool, time.Time) { return false, time.Time{} }

// large makes a model with n units, each on a machine of its own.
func large(tb testing.TB, n int) (state.Reader, model.Row) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	tb.Cleanup(cancel)
	store, err := state.Open(ctx, state.NewMem())
	if err != nil {
		tb.Fatal(err)
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	m := model.Row{UUID: facadetest.Dev, Name: "dev", Owner: "admin", Created: now, AgentVersion: "3.6.12", Cloud: "localhost"}
	must := func(f func(*state.Tx) error) {
		if err := store.Update(ctx, f); err != nil {
			tb.Fatal(err)
		}
	}
	must(func(tx *state.Tx) error { return model.Add(tx, m, nil) })
	s := model.ScopeOf(m.UUID)
	for from := 0; from < n; from += 500 {
		must(func(tx *state.Tx) error {
			for i := from; i < min(from+500, n); i++ {
				app := names.Application("app" + string(rune('a'+i%20)))
				if i < 20 {
					if err := application.Table.Put(tx, s, application.Row{Name: app, CharmURL: "local:x-0", Life: "alive"}); err != nil {
						return err
					}
				}
				mc, err := machine.Add(tx, s, machine.Row{Created: now})
				if err != nil {
					return err
				}
				inst := machine.Instance{Machine: mc.ID, InstanceID: "i", Addresses: []string{"10.0.0.1"}, Arch: "amd64", Cores: 1, MemMiB: 1}
				if err := machine.Instances.Put(tx, s, inst); err != nil {
					return err
				}
				if _, err := unit.Add(tx, s, unit.Row{Application: app, Machine: mc.ID, Created: now, CharmURL: "local:x-0"}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return store.View(), m
}

func full(tb testing.TB, v state.Reader, m model.Row) wireclient.FullStatus {
	tb.Helper()
	p := fullstatus.Load(v, m, gone{}, m.Created.Add(time.Hour))
	f, err := p.Match(nil)
	if err != nil {
		tb.Fatal(err)
	}
	return status{p, f}.full(m.Created)
}

func TestFullStatusOfManyUnitsIsComplete(t *testing.T) {
	v, m := large(t, 1000)
	st := full(t, v, m)
	units := 0
	for _, a := range st.Applications {
		units += len(a.Units)
	}
	if len(st.Machines) != 1000 || len(st.Applications) != 20 || units != 1000 {
		t.Fatalf("got %d machines, %d applications, %d units", len(st.Machines), len(st.Applications), units)
	}
}

// The cost of a status must stay within that of writing it as JSON; compare
// build with encode.
func BenchmarkFullStatus(b *testing.B) {
	for _, n := range []int{1000, 10000} {
		v, m := large(b, n)
		st := full(b, v, m)
		b.Run("build", func(b *testing.B) {
			for b.Loop() {
				full(b, v, m)
			}
		})
		b.Run("encode", func(b *testing.B) {
			for b.Loop() {
				if _, err := json.Marshal(st); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
