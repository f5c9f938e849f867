package statetest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/scarab-ops/scarab/state"
)

func oldView(t *testing.T, e env) {
	sc := state.Model("old")
	e.put(t, e.ss[0], sc, unit{Name: "gone"}, unit{Name: "changed"})
	old := e.ss[0].View()
	e.put(t, e.ss[0], sc, unit{Name: "late"}, unit{Name: "changed", On: true})
	e.update(t, e.ss[0], func(tx *state.Tx) error { return units.Delete(tx, sc, "gone") })
	if n := count(t, old, sc, all); n != 2 {
		t.Errorf("old view shows %d rows, want 2", n)
	}
	if n := count(t, old, sc, on); n != 0 {
		t.Error("a row of an old view changed")
	}
}

func visible(t *testing.T, e env) {
	sc := state.Model("visible")
	for i := range 50 {
		rev, err := e.ss[0].UpdateRev(t.Context(), func(tx *state.Tx) error { return units.Put(tx, sc, unit{Name: "x", N: i}) })
		if err != nil {
			t.Fatal(err)
		}
		v := e.ss[0].View()
		u, err := units.Get(v, sc, "x")
		if err != nil || u.N != i || v.Rev() < rev {
			t.Fatalf("after commit %d at %d the view at %d shows %v, %v", i, rev, v.Rev(), u, err)
		}
		if err := e.ss[1].Wait(t.Context(), rev); err != nil {
			t.Fatal(err)
		}
		if u, err := units.Get(e.ss[1].View(), sc, "x"); err != nil || u.N != i {
			t.Fatalf("after Wait(%d) the other store shows %v, %v", rev, u, err)
		}
	}
}

// visibleAmongOthers is visible while other commits are on their way, so that
// own commits come back out of order.
func visibleAmongOthers(t *testing.T, e env) {
	sc := state.Model("among")
	var wg sync.WaitGroup
	for i := range 8 {
		s, name := e.ss[i%len(e.ss)], fmt.Sprint(i)
		wg.Go(func() {
			for n := range 100 {
				e.put(t, s, sc, unit{Name: name, N: n})
				if u, err := units.Get(s.View(), sc, name); err != nil || u.N != n {
					t.Errorf("after commit %d of %s the view shows %v, %v", n, name, u, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func fresh(t *testing.T, e env) {
	sc := state.Model("fresh")
	for i := range 50 {
		e.put(t, e.ss[i%2], sc, unit{Name: "x", N: i})
		if u, err := units.Get(e.fresh(t, e.ss[(i+1)%2]), sc, "x"); err != nil || u.N != i {
			t.Fatalf("after Fresh %d the view shows %v, %v", i, u, err)
		}
	}
}

func confusion(t *testing.T, e env) {
	longer := state.Table[unit]{Kind: "unit-status", ID: units.ID}
	plain, hostile := state.Model("x"), state.Model("x/unit")
	e.put(t, e.ss[0], hostile, unit{Name: "a"})
	e.update(t, e.ss[0], func(tx *state.Tx) error {
		return errors.Join(longer.Put(tx, plain, unit{Name: "s"}), units.Put(tx, plain, unit{Name: "unit/0"}))
	})
	v := e.ss[0].View()
	var got []string
	for u, err := range units.All(v, plain) {
		got = append(got, fmt.Sprint(u.Name, err))
	}
	if want := []string{"unit/0<nil>"}; !slices.Equal(got, want) {
		t.Errorf("rows %v, want %v", got, want)
	}
	if units.Has(v, plain, "unit/a") || units.Has(v, plain, "a") {
		t.Error("a row of another scope is visible")
	}
	if u, ok := hostile.ModelUUID(); !ok || u != "x/unit" {
		t.Errorf("ModelUUID = %q, %v", u, ok)
	}
	if u, ok := state.ModelOf(units.Key(plain, "unit/0")); !ok || u != "x" {
		t.Errorf("ModelOf = %q, %v", u, ok)
	}
	if _, ok := state.ModelOf(units.Key(state.Controller, "m/x")); ok {
		t.Error("ModelOf found a model in the controller's scope")
	}
}

func under(t *testing.T, e env) {
	sc := state.Model("under")
	e.put(t, e.ss[0], sc, unit{Name: "wordpress/0"}, unit{Name: "wordpress/10"}, unit{Name: "wordpress/2"},
		unit{Name: "wordpress-b/0"}, unit{Name: "word/0"}, unit{Name: "a b%c/\x00é"})
	names := func(r state.Reader, p string) (s []string) {
		for u, err := range units.Under(r, sc, p) {
			if err != nil {
				t.Error(err)
			}
			s = append(s, u.Name)
		}
		return s
	}
	check := func(r state.Reader) {
		t.Helper()
		for p, want := range map[string][]string{
			"wordpress/":  {"wordpress/0", "wordpress/10", "wordpress/2"},
			"wordpress/1": {"wordpress/10"},
			"wordpress":   {"wordpress-b/0", "wordpress/0", "wordpress/10", "wordpress/2"},
			"none":        nil,
			"a":           {"a b%c/\x00é"},
		} {
			if got := names(r, p); !slices.Equal(got, want) {
				t.Errorf("under %q: %q, want %q", p, got, want)
			}
		}
		if got := names(r, ""); len(got) != 6 || !slices.IsSorted(got) {
			t.Errorf("all: %q", got)
		}
	}
	check(e.ss[0].View())
	check(e.fresh(t, e.ss[1]))
	e.update(t, e.ss[0], func(tx *state.Tx) error { check(tx); return nil })
	ss := state.Scopes(e.ss[0].View())
	if !slices.Contains(ss, sc) || len(slices.Compact(slices.Sorted(slices.Values(ss)))) != len(ss) {
		t.Errorf("scopes %v", ss)
	}
	for range units.All(e.ss[0].View(), sc) {
		break // a loop may end early
	}
}

func undecodable(t *testing.T, e env) {
	sc := state.Model("undecodable")
	other := state.Table[struct{ Name, On string }]{Kind: "unit", ID: func(v struct{ Name, On string }) string { return v.Name }}
	e.put(t, e.ss[0], sc, unit{Name: "a"}, unit{Name: "c"})
	e.update(t, e.ss[0], func(tx *state.Tx) error { return other.Put(tx, sc, struct{ Name, On string }{"b", "yes"}) })
	var got []string
	var bad *state.RowError
	for u, err := range units.All(e.ss[0].View(), sc) {
		if err != nil && !errors.As(err, &bad) {
			t.Error(err)
		}
		got = append(got, u.Name)
	}
	if want := []string{"a", "", "c"}; !slices.Equal(got, want) {
		t.Errorf("rows %q, want %q", got, want)
	}
	if bad == nil || bad.Kind != "unit" || bad.ID != "b" || bad.Scope != sc {
		t.Errorf("reported %v, want unit b", bad)
	}
	if _, err := other.Get(e.ss[0].View(), sc, "b"); err != nil {
		t.Errorf("the type it was written with: %v", err)
	}
}

func bigValues(t *testing.T, e env) {
	sc := state.Model("big")
	text := strings.Repeat("x", state.MaxRow-1024)
	e.put(t, e.ss[0], sc, unit{Name: "big", Text: text})
	if u, err := units.Get(e.fresh(t, e.ss[1]), sc, "big"); err != nil || u.Text != text {
		t.Errorf("the other store has %d bytes, %v", len(u.Text), err)
	}
	// Half of this is one flush of a hook; all of it is the largest transaction.
	var flush []unit
	for i := range 31 {
		flush = append(flush, unit{Name: fmt.Sprintf("bag-%d", i), Text: text[:512<<10]})
	}
	e.put(t, e.ss[0], sc, flush...)
	if n := count(t, e.fresh(t, e.ss[1]), sc, all); n != 32 {
		t.Errorf("%d rows, want 32", n)
	}
	for {
		n := 0
		e.update(t, e.ss[0], func(tx *state.Tx) (err error) { n, err = state.Purge(tx, sc, 1000); return err })
		if n == 0 {
			return
		}
	}
}

func manyRows(t *testing.T, e env) {
	sc := state.Model("many")
	e.update(t, e.ss[0], func(tx *state.Tx) error {
		for i := range state.MaxTxRows / 2 {
			name := fmt.Sprintf("u/%d", i)
			if units.Has(tx, sc, name) {
				return fmt.Errorf("%s exists", name)
			}
			if err := units.Put(tx, sc, unit{Name: name}); err != nil {
				return err
			}
		}
		return nil
	})
	if n := count(t, e.fresh(t, e.ss[1]), sc, all); n != state.MaxTxRows/2 {
		t.Errorf("%d rows, want %d", n, state.MaxTxRows/2)
	}
	var dump bytes.Buffer
	if err := e.ss[0].View().Dump(&dump); err != nil || !strings.Contains(dump.String(), `/m/many/unit/u/7 {"Name":"u/7","On":false}`) {
		t.Errorf("dump of %d bytes lacks a row: %v", dump.Len(), err)
	}
}

func limits(t *testing.T, e env) {
	sc := state.Model("limits")
	put := func(u unit) func(*state.Tx) error {
		return func(tx *state.Tx) error { return units.Put(tx, sc, u) }
	}
	large := map[string]func(*state.Tx) error{
		"row": put(unit{Name: "x", Text: strings.Repeat("x", state.MaxRow)}),
		"id":  put(unit{Name: strings.Repeat("x", state.MaxID+1)}),
		"transaction": func(tx *state.Tx) (err error) {
			for i := 0; i < 3 && err == nil; i++ {
				err = put(unit{Name: fmt.Sprint(i), Text: strings.Repeat("x", state.MaxRow-100)})(tx)
			}
			return err
		},
		"rows": func(tx *state.Tx) (err error) {
			for i := 0; i <= state.MaxTxRows && err == nil; i++ {
				err = put(unit{Name: fmt.Sprint(i)})(tx)
			}
			return err
		},
		"reads": func(tx *state.Tx) error {
			for i := range state.MaxTxRows + 1 {
				units.Has(tx, sc, fmt.Sprint(i))
			}
			return nil
		},
	}
	for name, f := range large {
		if err := e.ss[0].Update(t.Context(), f); !errors.Is(err, state.ErrTooLarge) {
			t.Errorf("%s: %v, want ErrTooLarge", name, err)
		}
	}
	bad := map[string]func(*state.Tx) error{
		"empty id":  put(unit{}),
		"not UTF-8": put(unit{Name: "\xff"}),
		"kind fence": func(tx *state.Tx) error {
			return state.Table[unit]{Kind: "fence", ID: units.ID}.Put(tx, sc, unit{Name: "unit"})
		},
		"kind": func(tx *state.Tx) error {
			return state.Table[unit]{Kind: "a/b", ID: units.ID}.Put(tx, sc, unit{Name: "x"})
		},
		"scope": func(tx *state.Tx) error { return units.Put(tx, "m/a/b", unit{Name: "x"}) },
	}
	for name, f := range bad {
		if err := e.ss[0].Update(t.Context(), f); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	if n := count(t, e.fresh(t, e.ss[0]), sc, all); n != 0 {
		t.Errorf("%d refused rows were stored", n)
	}
}
