// Package statetest is the conformance suite that every state.Backend must
// pass. It owns what a backend and the store over it promise together; it
// refuses to know how a backend does it.
package statetest

import (
	"testing"

	"github.com/scarab-ops/scarab/state"
)

// unit is the row of the tests.
type unit struct {
	Name string
	On   bool
	Text string `json:",omitempty"`
	N    int    `json:",omitempty"`
}

var units = state.Table[unit]{Kind: "unit", ID: func(u unit) string { return u.Name }}

// Run checks the backend behind the stores. Open returns two or more stores on
// one empty backend, which stand for controllers.
func Run(t *testing.T, open func(t *testing.T) []*state.Store) {
	ss := open(t)
	if len(ss) < 2 {
		t.Fatalf("%d stores, want at least 2", len(ss))
	}
	e := env{ss: ss}
	for _, c := range []struct {
		name string
		f    func(*testing.T, env)
	}{
		{"allocate without gaps or doubles", allocate},
		{"no write skew", writeSkew},
		{"a phantom is seen", phantom},
		{"a delete conflicts with an earlier scan", deleteAgainstScan},
		{"a narrow scan conflicts only within", narrowScan},
		{"a stale refusal is retried", staleRefusal},
		{"a stale no-op is retried", staleNoop},
		{"a transaction sees its own writes", ownWrites},
		{"a failed transaction writes nothing", failed},
		{"an old view does not change", oldView},
		{"an update is visible at once", visible},
		{"an update is visible at once among others", visibleAmongOthers},
		{"fresh shows what others wrote", fresh},
		{"ids and kinds are not confused", confusion},
		{"under and scopes", under},
		{"an undecodable row is skipped", undecodable},
		{"values up to the limit", bigValues},
		{"many rows in one transaction", manyRows},
		{"limits are refused", limits},
		{"subscribe", subscribe},
		{"subscribe across stores", subscribeAcross},
		{"subscribe by prefix", subscribePrefix},
		{"a subscription loses nothing", subscribeAll},
		{"contention ends", contention},
		{"purge", purge},
	} {
		t.Run(c.name, func(t *testing.T) { c.f(t, e) })
	}
}

type env struct{ ss []*state.Store }

func (e env) update(t testing.TB, s *state.Store, f func(*state.Tx) error) {
	t.Helper()
	if err := s.Update(t.Context(), f); err != nil {
		t.Error(err)
	}
}

func (e env) put(t testing.TB, s *state.Store, sc state.Scope, us ...unit) {
	t.Helper()
	e.update(t, s, func(tx *state.Tx) error {
		for _, u := range us {
			if err := units.Put(tx, sc, u); err != nil {
				return err
			}
		}
		return nil
	})
}

func (e env) fresh(t testing.TB, s *state.Store) *state.View {
	t.Helper()
	if err := s.Fresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s.View()
}

func count(t testing.TB, r state.Reader, s state.Scope, match func(unit) bool) int {
	t.Helper()
	n := 0
	for u, err := range units.All(r, s) {
		if err != nil {
			t.Error(err)
		}
		if match(u) {
			n++
		}
	}
	return n
}

func all(unit) bool  { return true }
func on(u unit) bool { return u.On }
