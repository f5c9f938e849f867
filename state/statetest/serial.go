package statetest

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/scarab-ops/scarab/state"
)

func allocate(t *testing.T, e env) {
	const workers, each = 6, 8
	sc := state.Model("allocate")
	var wg sync.WaitGroup
	for i := range workers {
		s := e.ss[i%len(e.ss)]
		wg.Go(func() {
			for range each {
				e.update(t, s, func(tx *state.Tx) error {
					return units.Put(tx, sc, unit{Name: fmt.Sprintf("u-%03d", count(t, tx, sc, all))})
				})
			}
		})
	}
	wg.Wait()
	if n := count(t, e.fresh(t, e.ss[0]), sc, all); n != workers*each {
		t.Fatalf("%d rows, want %d", n, workers*each)
	}
}

func writeSkew(t *testing.T, e env) {
	for i := range 20 {
		sc := state.Model(fmt.Sprintf("skew-%d", i))
		e.put(t, e.ss[0], sc, unit{Name: "a"}, unit{Name: "b"})
		var wg sync.WaitGroup
		for j, name := range []string{"a", "b"} {
			wg.Go(func() {
				e.update(t, e.ss[j], func(tx *state.Tx) error {
					if count(t, tx, sc, on) > 0 {
						return nil
					}
					return units.Put(tx, sc, unit{Name: name, On: true})
				})
			})
		}
		wg.Wait()
		if n := count(t, e.fresh(t, e.ss[0]), sc, on); n != 1 {
			t.Fatalf("round %d: %d units on, want 1", i, n)
		}
	}
}

// interfere runs f in a transaction of the first store; before the first attempt
// ends, other runs on the second. It returns the number of attempts.
func (e env) interfere(t *testing.T, other, f func(*state.Tx) error) int {
	t.Helper()
	tries := 0
	e.update(t, e.ss[0], func(tx *state.Tx) error {
		err := f(tx)
		if tries++; tries == 1 {
			e.update(t, e.ss[1], other)
		}
		return err
	})
	return tries
}

func phantom(t *testing.T, e env) {
	sc := state.Model("phantom")
	seen := -1
	tries := e.interfere(t,
		func(tx *state.Tx) error { return units.Put(tx, sc, unit{Name: "new"}) },
		func(tx *state.Tx) error {
			seen = count(t, tx, sc, all)
			return units.Put(tx, state.Controller, unit{Name: "note"})
		})
	if tries != 2 || seen != 1 {
		t.Fatalf("committed with a stale scan: %d tries, saw %d rows", tries, seen)
	}
}

func deleteAgainstScan(t *testing.T, e env) {
	sc := state.Model("delete")
	for round := range 2 { // the fence exists in the second one
		e.put(t, e.ss[0], sc, unit{Name: "x"})
		e.fresh(t, e.ss[1])
		seen := -1
		tries := e.interfere(t,
			func(tx *state.Tx) error { return units.Delete(tx, sc, "x") },
			func(tx *state.Tx) error {
				seen = count(t, tx, sc, all)
				return units.Put(tx, state.Controller, unit{Name: "note"})
			})
		if tries != 2 || seen != 0 {
			t.Fatalf("round %d: committed with a stale scan: %d tries, saw %d rows", round, tries, seen)
		}
	}
}

func narrowScan(t *testing.T, e env) {
	sc := state.Model("narrow")
	for id, want := range map[string]int{"b/1": 1, "a/2": 2} {
		tries := e.interfere(t,
			func(tx *state.Tx) error { return units.Put(tx, sc, unit{Name: id}) },
			func(tx *state.Tx) error {
				for _, err := range units.Under(tx, sc, "a/") {
					if err != nil {
						return err
					}
				}
				return units.Put(tx, state.Controller, unit{Name: "note"})
			})
		if tries != want {
			t.Errorf("%d tries against a write to %s, want %d", tries, id, want)
		}
	}
}

func staleRefusal(t *testing.T, e env) {
	sc := state.Model("refusal")
	var verdicts []error
	tries := e.interfere(t,
		func(tx *state.Tx) error { return units.Put(tx, sc, unit{Name: "a"}) },
		func(tx *state.Tx) error {
			_, err := units.Get(tx, sc, "a")
			verdicts = append(verdicts, err)
			return err
		})
	var missing *state.NotFoundError
	if tries != 2 || !errors.As(verdicts[0], &missing) || verdicts[1] != nil {
		t.Fatalf("%d tries with verdicts %v, want a refusal and then none", tries, verdicts)
	}
	if missing.Kind != "unit" || missing.ID != "a" {
		t.Errorf("refusal names %s %q", missing.Kind, missing.ID)
	}
	// A refusal that is right is returned as it is.
	mine := errors.New("mine")
	err := e.ss[0].Update(t.Context(), func(tx *state.Tx) error {
		_ = units.Has(tx, sc, "a")
		return mine
	})
	if err != mine { //nolint:errorlint // unchanged is the promise
		t.Errorf("Update returned %v, want f's error unchanged", err)
	}
}

func staleNoop(t *testing.T, e env) {
	sc := state.Model("noop")
	seen := false
	tries := e.interfere(t,
		func(tx *state.Tx) error { return units.Put(tx, sc, unit{Name: "a"}) },
		func(tx *state.Tx) error {
			seen = units.Has(tx, sc, "a")
			return nil
		})
	if tries != 2 || !seen {
		t.Fatalf("a stale read was confirmed: %d tries, seen %v", tries, seen)
	}
}

func ownWrites(t *testing.T, e env) {
	sc := state.Model("own")
	e.put(t, e.ss[0], sc, unit{Name: "b"}, unit{Name: "d"}, unit{Name: "f"})
	names := func(tx *state.Tx) (s string) {
		for u := range units.All(tx, sc) {
			s += u.Name
		}
		return s
	}
	e.update(t, e.ss[0], func(tx *state.Tx) error {
		for _, n := range []string{"a", "c", "d", "g"} {
			if err := units.Put(tx, sc, unit{Name: n, On: true}); err != nil {
				return err
			}
		}
		if err := units.Delete(tx, sc, "b"); err != nil {
			return err
		}
		if err := units.Delete(tx, sc, "c"); err != nil {
			return err
		}
		if s := names(tx); s != "adfg" {
			return fmt.Errorf("scan saw %s, want adfg", s)
		}
		if u, err := units.Get(tx, sc, "d"); err != nil || !u.On {
			return fmt.Errorf("get saw %v, %v", u, err)
		}
		if units.Has(tx, sc, "b") || units.Has(tx, sc, "c") {
			return errors.New("deleted rows are still there")
		}
		for u, err := range units.All(tx, sc) { // writing while iterating
			if err != nil {
				return err
			}
			u.N = 7
			if err := units.Put(tx, sc, u); err != nil {
				return err
			}
		}
		return nil
	})
	if n := count(t, e.ss[0].View(), sc, func(u unit) bool { return u.N == 7 }); n != 4 {
		t.Errorf("%d rows changed in the loop, want 4", n)
	}
}

func failed(t *testing.T, e env) {
	sc := state.Model("failed")
	mine := errors.New("mine")
	err := e.ss[0].Update(t.Context(), func(tx *state.Tx) error {
		return errors.Join(units.Put(tx, sc, unit{Name: "x"}), mine)
	})
	if !errors.Is(err, mine) {
		t.Errorf("got %v, want %v", err, mine)
	}
	if units.Has(e.fresh(t, e.ss[0]), sc, "x") {
		t.Error("a failed transaction left a row")
	}
	var tx *state.Tx
	e.update(t, e.ss[0], func(x *state.Tx) error { tx = x; return nil })
	if err := units.Put(tx, sc, unit{Name: "late"}); err == nil {
		t.Error("a transaction that is over took a write")
	}
}

func contention(t *testing.T, e env) {
	sc := state.Model("contention")
	e.put(t, e.ss[0], sc, unit{Name: "x"})
	e.fresh(t, e.ss[1])
	tries := 0
	err := e.ss[0].Update(t.Context(), func(tx *state.Tx) error {
		tries++
		u, err := units.Get(tx, sc, "x")
		if err != nil {
			return err
		}
		e.update(t, e.ss[1], func(tx *state.Tx) error { return units.Put(tx, sc, unit{Name: "x", N: tries}) })
		return units.Put(tx, sc, u)
	})
	if !errors.Is(err, state.ErrContention) || tries < 10 || tries > 1000 {
		t.Fatalf("after %d tries: %v, want ErrContention", tries, err)
	}
}

func purge(t *testing.T, e env) {
	sc, near := state.Model("purge"), state.Model("purge-not")
	other := state.Table[unit]{Kind: "other", ID: units.ID}
	for i := range 25 {
		e.put(t, e.ss[0], sc, unit{Name: fmt.Sprint(i)})
	}
	e.put(t, e.ss[0], near, unit{Name: "kept"})
	e.update(t, e.ss[0], func(tx *state.Tx) error { return other.Put(tx, sc, unit{Name: "x"}) })
	total := 0
	for step := 0; ; step++ {
		n := -1
		e.update(t, e.ss[0], func(tx *state.Tx) (err error) {
			n, err = state.Purge(tx, sc, 10)
			return err
		})
		if total += n; n == 0 || step > 5 {
			break
		}
	}
	v := e.ss[0].View()
	if total != 26 || count(t, v, sc, all) != 0 || other.Has(v, sc, "x") || !units.Has(v, near, "kept") {
		t.Errorf("purged %d rows, want 26 and nothing else", total)
	}
}
