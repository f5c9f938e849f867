package statetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/state"
)

// patience is for loaded machines; nothing here takes long.
const patience = 20 * time.Second

// next waits for the subscription and takes.
func next(t testing.TB, sub *state.Subscription) []state.Change {
	t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case <-sub.C():
			if cs := sub.Take(); len(cs) > 0 {
				return cs
			}
		case <-deadline:
			t.Fatal("nothing came")
		}
	}
}

func describe(cs []state.Change) (s []string) {
	for _, c := range cs {
		mark := "+"
		if c.Deleted {
			mark = "-"
		}
		s = append(s, mark+c.Kind+" "+c.ID)
	}
	return s
}

func want(t testing.TB, got []state.Change, want ...string) {
	t.Helper()
	if s := describe(got); !slices.Equal(s, want) {
		t.Errorf("changes %q, want %q", s, want)
	}
}

func subscribe(t *testing.T, e env) {
	sc, s := state.Model("sub"), e.ss[0]
	e.put(t, s, sc, unit{Name: "a", N: 1})
	sub := s.Subscribe(units.Key(sc, "a"))
	defer sub.Close()
	if cs := sub.Take(); len(cs) != 0 {
		t.Errorf("a new subscription has %q", describe(cs))
	}
	e.put(t, s, sc, unit{Name: "b"}, unit{Name: "a", N: 2})
	e.put(t, s, sc, unit{Name: "a", N: 3})
	cs := next(t, sub)
	want(t, cs, "+unit a")
	if u, err := units.Value(cs[0]); err != nil || u.N != 3 {
		t.Errorf("value %v, %v", u, err)
	}
	if u, err := units.Before(cs[0]); err != nil || u.N != 1 {
		t.Errorf("before %v, %v", u, err)
	}
	if cs[0].Scope != sc || cs[0].Key != units.Key(sc, "a") || cs[0].Rev != s.View().Rev() {
		t.Errorf("change %+v", cs[0])
	}
	select {
	case <-sub.C():
		want(t, sub.Take()) // coalesced
	default:
	}

	e.update(t, s, func(tx *state.Tx) error { return units.Delete(tx, sc, "a") })
	cs = next(t, sub)
	want(t, cs, "-unit a")
	var missing *state.NotFoundError
	if _, err := units.Value(cs[0]); !errors.As(err, &missing) {
		t.Errorf("value of a deleted row: %v", err)
	}
	if u, err := units.Before(cs[0]); err != nil || u.N != 3 {
		t.Errorf("before %v, %v", u, err)
	}

	sub.Add(units.Key(sc, "b"), units.Key(sc, "b"))
	sub.Remove(units.Key(sc, "a"), units.Key(sc, "never"))
	e.put(t, s, sc, unit{Name: "a"}, unit{Name: "b"})
	want(t, next(t, sub), "+unit b")

	sub.Close()
	sub.Close()
	sub.Add(units.Key(sc, "a"))
	e.put(t, s, sc, unit{Name: "a"}, unit{Name: "b"})
	want(t, sub.Take())
}

func subscribeAcross(t *testing.T, e env) {
	sc := state.Model("across")
	sub := e.ss[1].Subscribe(units.Keys(sc))
	defer sub.Close()
	e.put(t, e.ss[0], sc, unit{Name: "x"})
	want(t, next(t, sub), "+unit x")
	if !units.Has(e.ss[1].View(), sc, "x") {
		t.Error("woken before the view shows the change")
	}
}

func subscribePrefix(t *testing.T, e env) {
	sc, s := state.Model("prefix"), e.ss[0]
	status := state.Table[unit]{Kind: "unit-status", ID: units.ID}
	subs := map[string]*state.Subscription{
		"table": s.Subscribe(units.Keys(sc)),
		"app":   s.Subscribe(units.KeysUnder(sc, "wordpress/"), units.Key(sc, "wordpress/0")),
		"odd":   s.Subscribe(units.KeysUnder(sc, "wordp"), units.KeysUnder(sc, "m")),
		"model": s.Subscribe(state.ModelKeys("prefix")),
		"other": s.Subscribe(state.ModelKeys("prefix-x"), state.ModelKeys("pre"), state.ScopeKeys(state.Controller)),
		"all":   s.Subscribe(state.AllKeys()),
	}
	e.put(t, s, sc, unit{Name: "wordpress/0"}, unit{Name: "mysql/0"}, unit{Name: "zinc/0"})
	e.update(t, s, func(tx *state.Tx) error {
		return errors.Join(status.Put(tx, sc, unit{Name: "wordpress/0"}), units.Delete(tx, sc, "zinc/0"))
	})
	for name, w := range map[string][]string{
		"table": {"+unit mysql/0", "+unit wordpress/0", "-unit zinc/0"},
		"app":   {"+unit wordpress/0"},
		"odd":   {"+unit mysql/0", "+unit wordpress/0"},
		"model": {"+unit mysql/0", "+unit wordpress/0", "+unit-status wordpress/0", "-unit zinc/0"},
		"other": nil,
		"all":   {"+unit mysql/0", "+unit wordpress/0", "+unit-status wordpress/0", "-unit zinc/0"},
	} {
		t.Run(name, func(t *testing.T) {
			got := describe(subs[name].Take())
			slices.Sort(got)
			slices.Sort(w)
			if !slices.Equal(got, w) {
				t.Errorf("changes %q, want %q", got, w)
			}
			subs[name].Close()
		})
	}
	half := s.Subscribe(units.KeysUnder(sc, "a"), units.KeysUnder(sc, "b"))
	defer half.Close()
	half.Remove(units.KeysUnder(sc, "a"))
	e.put(t, s, sc, unit{Name: "a"}, unit{Name: "b"})
	want(t, half.Take(), "+unit b")
}

// subscribeAll checks that a follower that only takes changes ends up with what
// the view shows, while several stores write and delete.
func subscribeAll(t *testing.T, e env) {
	sc := state.Model("follow")
	sub := e.ss[0].Subscribe(units.Keys(sc))
	defer sub.Close()
	var wg sync.WaitGroup
	for i := range 4 {
		s := e.ss[i%len(e.ss)]
		wg.Go(func() {
			for n := range 40 {
				e.update(t, s, func(tx *state.Tx) error {
					name := fmt.Sprintf("u/%d", (n*7+i)%11)
					if n%3 == 0 && units.Has(tx, sc, name) {
						return units.Delete(tx, sc, name)
					}
					return units.Put(tx, sc, unit{Name: name, N: n*10 + i})
				})
			}
		})
	}
	finished := make(chan struct{})
	go func() { wg.Wait(); close(finished) }()
	have, rev := map[string]int{}, int64(0)
	take := func() {
		for _, c := range sub.Take() {
			if c.Rev < rev {
				t.Errorf("revision %d came after %d", c.Rev, rev)
			}
			rev = c.Rev
			if c.Deleted {
				delete(have, c.ID)
			} else if u, err := units.Value(c); err == nil {
				have[c.ID] = u.N
			}
		}
	}
	for done := false; !done; {
		select {
		case <-sub.C():
			take()
		case <-finished:
			done = true
		}
	}
	v := e.fresh(t, e.ss[0])
	take()
	n := 0
	for u, err := range units.All(v, sc) {
		if err != nil {
			t.Error(err)
		}
		if got, ok := have[u.Name]; !ok || got != u.N {
			t.Errorf("follower has %s = %d, %v; the view %d", u.Name, got, ok, u.N)
		}
		n++
	}
	if n != len(have) {
		t.Errorf("follower has %d rows, the view %d", len(have), n)
	}
}
