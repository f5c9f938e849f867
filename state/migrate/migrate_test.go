package migrate_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/state/migrate"
)

var rewriteGolden = flag.Bool("update", false, "rewrite the golden files")

type unit1 struct{ Name, Machine string }

type unit2 struct {
	Name    string
	Machine int
}

type status2 struct{ Unit, Text string }

var (
	units1  = state.Table[unit1]{Kind: "unit", ID: func(u unit1) string { return u.Name }}
	units2  = state.Table[unit2]{Kind: "unit", ID: func(u unit2) string { return u.Name }}
	olds    = state.Table[status2]{Kind: "state", ID: func(s status2) string { return s.Unit }}
	renamed = state.Table[status2]{Kind: "unit-status", ID: func(s status2) string { return "unit/" + s.Unit }}
)

// steps are a history as a program could have it. Fail makes the conversion of
// units stop at a row, as a crash would.
func steps(fail string) []migrate.Step {
	return []migrate.Step{
		{Number: 1, Name: "machines are numbers", Apply: func(r *migrate.Run) error {
			return migrate.Rewrite(r, units1, units2, func(_ state.Scope, u unit1) (unit2, bool, error) {
				if u.Name == fail {
					return unit2{}, false, errors.New("power cut")
				}
				n := 0
				_, err := fmt.Sscan(u.Machine, &n)
				return unit2{u.Name, n}, !strings.HasPrefix(u.Name, "drop/"), err
			})
		}},
		{Number: 2, Name: "statuses have a kind of their own", Apply: func(r *migrate.Run) error {
			if err := r.Once(func(tx *state.Tx) error {
				return units2.Put(tx, state.Controller, unit2{Name: "once"})
			}); err != nil {
				return err
			}
			return migrate.Rewrite(r, olds, renamed, func(_ state.Scope, s status2) (status2, bool, error) { return s, true, nil })
		}},
	}
}

func newStore(t *testing.T) (*state.Mem, *state.Store) {
	t.Helper()
	b := state.NewMem()
	return b, another(t, b)
}

func another(t *testing.T, b *state.Mem) *state.Store {
	t.Helper()
	s, err := state.Open(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func update(t *testing.T, s *state.Store, f func(*state.Tx) error) {
	t.Helper()
	if err := s.Update(t.Context(), f); err != nil {
		t.Fatal(err)
	}
}

func dump(t *testing.T, s *state.Store) string {
	t.Helper()
	var b bytes.Buffer
	if err := s.View().Dump(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	path := "testdata/" + file
	if *rewriteGolden {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil { //nolint:gosec // a source file
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; go test -update rewrites it):\n%s", file, diff)
	}
}

func fillOld(t *testing.T, s *state.Store) {
	t.Helper()
	broken := state.Table[struct {
		Name    string
		Machine bool
	}]{Kind: "unit", ID: func(struct {
		Name    string
		Machine bool
	},
	) string {
		return "broken/0"
	}}
	for _, m := range []string{"m1", "m2"} {
		sc := state.Model(m)
		update(t, s, func(tx *state.Tx) error {
			return errors.Join(
				units1.Put(tx, sc, unit1{"app/0", "3"}), units1.Put(tx, sc, unit1{"drop/0", "4"}), units1.Put(tx, sc, unit1{"zinc/0", "12"}),
				olds.Put(tx, sc, status2{"app/0", "active"}))
		})
	}
	update(t, s, func(tx *state.Tx) error {
		return broken.Put(tx, state.Model("m2"), struct {
			Name    string
			Machine bool
		}{})
	})
}

func TestUp(t *testing.T) {
	_, s := newStore(t)
	fillOld(t, s)
	golden(t, "before.golden", dump(t, s))
	rep, err := migrate.Up(t.Context(), s, steps(""))
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "after.golden", dump(t, s))
	var bad *state.RowError
	if rep.From != 0 || rep.To != 2 || rep.Rows != 8 || len(rep.Ran) != 2 || len(rep.Skipped) != 1 || !errors.As(rep.Skipped[0], &bad) || bad.ID != "broken/0" {
		t.Errorf("report %+v", rep)
	}
	rev := s.View().Rev()
	if rep, err := migrate.Up(t.Context(), s, steps("")); err != nil || len(rep.Ran) != 0 || s.View().Rev() != rev {
		t.Errorf("again: %+v, %v", rep, err)
	}
}

// TestInterrupted stops a step at every row and goes on: no row may be converted
// twice, which the conversion of a number to a number would refuse.
func TestInterrupted(t *testing.T) {
	want := ""
	for _, fail := range []string{"", "app/0", "drop/0", "zinc/0", "many/0499", "many/0500", "many/1100"} {
		b, s := newStore(t)
		fillOld(t, s)
		for i := range 1200 {
			update(t, s, func(tx *state.Tx) error {
				return units1.Put(tx, state.Model("m1"), unit1{fmt.Sprintf("many/%04d", i), "1"})
			})
		}
		if _, err := migrate.Up(t.Context(), s, steps(fail)); (err != nil) != (fail != "") {
			t.Fatalf("stopping at %q: %v", fail, err)
		}
		if n, _, err := migrate.Version(s.View()); err != nil || fail != "" && n != 0 {
			t.Errorf("stopped at %q: version %d, %v", fail, n, err)
		}
		if _, err := migrate.Up(t.Context(), another(t, b), steps("")); err != nil {
			t.Fatalf("after %q: %v", fail, err)
		}
		if err := s.Fresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		got := dump(t, s)
		if want == "" {
			want = got
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("after %q:\n%s", fail, diff)
		}
	}
}

func TestTwoAtOnce(t *testing.T) {
	b, s := newStore(t)
	fillOld(t, s)
	errs := make(chan error)
	for range 3 {
		go func() {
			s, err := state.Open(t.Context(), b)
			if err == nil {
				_, err = migrate.Up(t.Context(), s, steps(""))
			}
			errs <- err
		}()
	}
	for range 3 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if err := s.Fresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	golden(t, "after.golden", dump(t, s))
}

func TestEmptyAndNewer(t *testing.T) {
	_, s := newStore(t)
	if rep, err := migrate.Up(t.Context(), s, steps("")); err != nil || len(rep.Ran) != 0 {
		t.Fatalf("empty store: %+v, %v", rep, err)
	}
	if n, ok, err := migrate.Version(s.View()); n != 2 || !ok || err != nil {
		t.Errorf("version %d, %v, %v", n, ok, err)
	}
	var newer *migrate.NewerError
	_, err := migrate.Up(t.Context(), s, steps("")[:1])
	if !errors.As(err, &newer) || newer.Store != 2 || newer.Binary != 1 || !strings.Contains(err.Error(), "newer program") {
		t.Errorf("older program: %v", err)
	}
	if _, err := migrate.Up(t.Context(), s, steps("")[1:]); err == nil {
		t.Error("steps with a gap were accepted")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := migrate.Up(ctx, s, steps("")); err == nil {
		t.Error("a cancelled migration succeeded")
	}
}

type level int

type nested struct {
	Port  int `json:"port,omitempty"`
	Inner []nested
}

type sample struct {
	nested
	Name    string `json:"name"`
	Level   level
	When    time.Time
	Bag     map[string]*nested
	Raw     []byte
	Skipped string `json:"-"`
	private int
}

func TestDescribe(t *testing.T) {
	golden(t, "schema.golden", migrate.Describe(map[string]any{
		"unit": unit2{}, "sample": sample{private: 1}, "list": []level{}, "status": &status2{},
	}))
}
