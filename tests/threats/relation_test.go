package threats_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/client"
	"github.com/scarab-ops/scarab/domain/application"
	"github.com/scarab-ops/scarab/domain/lease"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/relation"
	"github.com/scarab-ops/scarab/domain/unit"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/tests/cluster"
	"github.com/scarab-ops/scarab/tests/threats/bench"
	"github.com/scarab-ops/scarab/wire/agentapi"
)

func relationParts() []part {
	return []part{
		{"P4-03", "single", "relation data flows between units that cannot reach each other at all", dataWithoutNetwork},
		{"P4-04", "single", "ten units write at random while the controller restarts: all see the last committed values, in each writer's order", convergence},
		{"P4-05", "ids", "relations of others by number, negative, removed, another endpoint's, and the application's bag by one who does not lead: refused", foreignRelations},
		{"F-AG-CHARM-A", "single", "values over the cap are refused; a storm of changes costs a watcher few events and leaves others at work", dataStorm},
	}
}

// enterBoth puts two units into the scope of a relation, through their agents.
func enterBoth(t *testing.T, w *bench.World, id int, us ...names.Unit) map[names.Unit]*client.Conn {
	t.Helper()
	out := map[names.Unit]*client.Conn{}
	for _, u := range us {
		out[u] = w.Unit(t, bench.M1, u).Connect(t, w.Cluster)
		if err := out[u].Unit().EnterScope(cluster.Context(t), id); err != nil {
			t.Fatalf("%s cannot enter %d: %v", u, id, err)
		}
	}
	return out
}

func commitBag(ctx context.Context, c *client.Conn, op string, id int, kv agentapi.Settings) error {
	_, err := c.Unit().Commit(ctx, agentapi.CommitArgs{OpID: op, RelationID: -1, Relations: []agentapi.RelationSettings{{ID: id, Unit: kv}}})
	return err
}

func bagOf(hc agentapi.HookContext, id int, u string) agentapi.Settings {
	for _, r := range hc.Relations {
		if r.ID == id {
			return r.RemoteUnits[u]
		}
	}
	return nil
}

func dataWithoutNetwork(t *testing.T, _ *env) {
	w := bench.New(t, bench.Options{}) // its machines have no network, nor anything else
	in := enterBoth(t, w, bench.RelationAC, "a/0", "c/0")
	ctx := cluster.Context(t)
	if err := commitBag(ctx, in["a/0"], "o1", bench.RelationAC, agentapi.Settings{"hello": "world"}); err != nil {
		t.Fatal(err)
	}
	hc, err := in["c/0"].Unit().Context(ctx, bench.RelationAC)
	if err != nil || bagOf(hc, bench.RelationAC, "a/0")["hello"] != "world" {
		t.Errorf("c/0 sees %v, %v", bagOf(hc, bench.RelationAC, "a/0"), err)
	}
}

func convergence(t *testing.T, _ *env) {
	w := bench.New(t, bench.Options{})
	w.Do(t, func(tx *state.Tx) error {
		row, err := model.Get(tx, bench.M1)
		if err != nil {
			return err
		}
		for _, app := range []names.Application{"a", "c"} {
			places := make([]application.Placement, 4)
			for i := range places {
				places[i].Machine = "0"
			}
			if _, err := application.AddUnits(tx, row, app, 4, places, time.Now()); err != nil {
				return err
			}
		}
		return nil
	})
	writers := []names.Unit{"a/0", "a/1", "a/2", "a/3", "a/4"}
	readers := []names.Unit{"c/0", "c/1", "c/2", "c/3", "c/4"}
	enterBoth(t, w, bench.RelationAC, append(append([]names.Unit{}, writers...), readers...)...)
	rounds := count(12, 300)
	var wg sync.WaitGroup
	for _, u := range writers {
		agent := w.Unit(t, bench.M1, u)
		wg.Go(func() { writeOn(t, w, agent, u, rounds) })
	}
	stop := make(chan struct{})
	var seen sync.WaitGroup
	for _, u := range readers[:2] {
		agent := w.Unit(t, bench.M1, u)
		seen.Go(func() { watchOrder(t, w, agent, writers, stop) })
	}
	time.Sleep(200 * time.Millisecond) // in the middle of the writing
	w.Restart(t)
	wg.Wait()
	close(stop)
	seen.Wait()
	for _, u := range readers {
		conn := w.Unit(t, bench.M1, u).Connect(t, w.Cluster)
		hc, err := conn.Unit().Context(cluster.Context(t), bench.RelationAC)
		if err != nil {
			t.Fatal(err)
		}
		for _, wr := range writers {
			if got := bagOf(hc, bench.RelationAC, string(wr))["n"]; got != fmt.Sprint(rounds-1) {
				t.Errorf("%s sees %q of %s, the last commit was %d", u, got, wr, rounds-1)
			}
		}
	}
}

// again dials as an agent does, until the controller is there.
func again(w *bench.World, a *cluster.Agent, t *testing.T) *client.Conn {
	deadline := time.Now().Add(30 * time.Second)
	cert, err := certificateOf(a)
	if err != nil {
		t.Error(err)
		return nil
	}
	for time.Now().Before(deadline) && t.Context().Err() == nil {
		conn, err := dialAgent(t.Context(), w, a, cert)
		if err == nil {
			return conn
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("%s did not come back", a.Tag)
	return nil
}

func writeOn(t *testing.T, w *bench.World, a *cluster.Agent, u names.Unit, rounds int) {
	conn := again(w, a, t)
	for i := 0; i < rounds && conn != nil; {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		err := commitBag(ctx, conn, fmt.Sprintf("%s-%d", u, i), bench.RelationAC, agentapi.Settings{"n": fmt.Sprint(i)})
		cancel()
		if err != nil { // the same op again, until it is answered
			_ = conn.Close()
			conn = again(w, a, t)
			continue
		}
		i++
	}
	if conn != nil {
		_ = conn.Close()
	}
}

func watchOrder(t *testing.T, w *bench.World, a *cluster.Agent, writers []names.Unit, stop chan struct{}) {
	last := map[names.Unit]int{}
	conn := again(w, a, t)
	for conn != nil {
		select {
		case <-stop:
			_ = conn.Close()
			return
		case <-time.After(3 * time.Millisecond):
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		hc, err := conn.Unit().Context(ctx, bench.RelationAC)
		cancel()
		if err != nil {
			_ = conn.Close()
			conn = again(w, a, t)
			continue
		}
		for _, u := range writers {
			n := -1
			_, _ = fmt.Sscan(bagOf(hc, bench.RelationAC, string(u))["n"], &n)
			if was, ok := last[u]; ok && n < was {
				t.Errorf("%s went back from %d to %d", u, last[u], n)
			}
			if n >= 0 {
				last[u] = max(n, last[u])
			}
		}
	}
}

func foreignRelations(t *testing.T, _ *env) {
	w := bench.New(t, bench.Options{})
	plant(t, w)
	enterBoth(t, w, bench.RelationAC, "a/0", "c/0")
	w.Do(t, func(tx *state.Tx) error { // someone else leads a
		_, err := lease.Claim(tx, model.ScopeOf(bench.M1), "a", "a/1", time.Now())
		return err
	})
	evil := w.Unit(t, bench.M1, "a/0").Connect(t, w.Cluster)
	ctx := cluster.Context(t)
	marker := map[string][]byte{"b's relation": []byte(bench.MarkerBag + "bd")}
	w.Unchanged(t, func() {
		ids := []int{bench.RelationBD, -1, -2, 99, 1 << 40}
		for _, r := range []names.Application{"b", "c", "d"} {
			for _, rel := range relation.Of(w.Store.View(), model.ScopeOf(bench.M1), r) {
				if !rel.Involves("a") {
					ids = append(ids, rel.ID) // peers of others, too
				}
			}
		}
		if len(ids) < 8 {
			t.Fatalf("only relations %v", ids)
		}
		for i, id := range ids {
			hc, err := evil.Unit().Context(ctx, id)
			bench.NoLeak(t, fmt.Sprintf("the context of relation %d", id), []byte(fmt.Sprintf("%+v", hc)), marker)
			for _, r := range hc.Relations {
				if err == nil && r.ID == id && id >= 0 {
					t.Errorf("a/0 was shown relation %d", id)
				}
			}
			if err := evil.Unit().EnterScope(ctx, id); err == nil {
				t.Errorf("a/0 entered relation %d", id)
			}
			_ = evil.Unit().LeaveScope(ctx, id) // says nothing, and does nothing
			op := fmt.Sprintf("evil-%d", i)
			for _, set := range []agentapi.RelationSettings{{ID: id, Unit: agentapi.Settings{"k": "evil"}}, {ID: id, App: agentapi.Settings{"k": "evil"}}} {
				if _, err := evil.Unit().Commit(ctx, agentapi.CommitArgs{OpID: op, RelationID: -1, Relations: []agentapi.RelationSettings{set}}); err == nil {
					t.Errorf("a/0 wrote to relation %d", id)
				}
			}
		}
		app := agentapi.RelationSettings{ID: bench.RelationAC, App: agentapi.Settings{"k": "evil"}}
		if _, err := evil.Unit().Commit(ctx, agentapi.CommitArgs{OpID: "x", RelationID: -1, Relations: []agentapi.RelationSettings{app}}); err == nil {
			t.Error("one who does not lead wrote the application's data")
		}
		if err := evil.Unit().LeaderSet(ctx, map[string]string{"k": "evil"}); err == nil {
			t.Error("one who does not lead wrote the leader's settings")
		}
		if err := evil.Unit().LeaveScope(ctx, bench.RelationBD); err == nil {
			t.Error("a/0 left a relation that is not its own")
		}
	})
	// A unit may download what it is said to run, so it may not choose that.
	taker := w.Charm(bench.M1, "taker")
	if _, err := evil.Unit().Commit(ctx, agentapi.CommitArgs{OpID: "charm", RelationID: -1, CharmURL: taker}); err != nil {
		t.Fatal(err)
	}
	if u, err := unit.Get(w.Store.View(), model.ScopeOf(bench.M1), "a/0"); err != nil || u.CharmURL == taker {
		t.Errorf("a/0 is recorded with another application's charm %q (%v)", u.CharmURL, err)
	}
	for _, u := range []string{"b/0", "d/0"} {
		if m, ok := relation.MemberOf(w.Store.View(), model.ScopeOf(bench.M1), bench.RelationBD, names.Unit(u)); !ok || m.Departed {
			t.Errorf("%s was put out of its relation", u)
		}
	}
}

func dataStorm(t *testing.T, _ *env) {
	w := bench.New(t, bench.Options{})
	in := enterBoth(t, w, bench.RelationAC, "a/0", "c/0")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	evil, victim := in["a/0"], in["c/0"]
	for what, n := range map[string]int{"1 MiB": 1 << 20, "600 KiB": 600 << 10} {
		if err := commitBag(ctx, evil, what, bench.RelationAC, agentapi.Settings{"k": strings.Repeat("x", n)}); err == nil {
			t.Errorf("a value of %s was taken", what)
		}
	}
	many := agentapi.Settings{}
	for i := range 4 {
		many[fmt.Sprint(i)] = strings.Repeat("x", 400<<10)
	}
	if err := commitBag(ctx, evil, "bag", bench.RelationAC, many); err == nil {
		t.Error("a bag of 1.6 MB was taken")
	}
	watcher, err := victim.Unit().WatchWant(ctx)
	if err != nil {
		t.Fatal(err)
	}
	const burst = 200
	storms := count(2, 100)
	events := 0
	w.Alive(t, 10*time.Second, func() {
		for s := range storms {
			for i := range burst {
				if err := commitBag(ctx, evil, fmt.Sprintf("s%d-%d", s, i), bench.RelationAC, agentapi.Settings{"k": fmt.Sprint(s, i)}); err != nil {
					t.Fatal(err)
				}
			}
			events += drain(t, watcher)
		}
		if err := victim.Unit().SetStatus(ctx, agentapi.SetStatusArgs{Kind: "workload", Status: "active"}); err != nil {
			t.Errorf("the victim cannot report: %v", err)
		}
	})
	if events > storms*8 {
		t.Errorf("%d changes made %d events: they are not coalesced", storms*burst, events)
	}
	if events == 0 {
		t.Error("the victim heard nothing")
	}
}

// drain takes the events that wait, and stops once there is none for a while.
func drain(t *testing.T, w *client.NotifyWatcher) int {
	t.Helper()
	n := 0
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
		err := w.Next(ctx)
		cancel()
		if err != nil {
			return n
		}
		n++
	}
}
