package state_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/scarab-ops/scarab/state"
)

// scripted is a backend whose watch and revisions the test decides.
type scripted struct {
	watch   chan state.Batch
	lost    chan error
	commits chan int64 // revisions that Commit returns
}

func newScripted() *scripted {
	b := &scripted{watch: make(chan state.Batch), lost: make(chan error, 1), commits: make(chan int64, 10)}
	return b
}

func (b *scripted) Commit(ctx context.Context, _ state.Commit) (int64, error) {
	select {
	case rev := <-b.commits:
		return rev, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (b *scripted) Watch(ctx context.Context, f func(state.Batch)) error {
	f(state.Batch{Rev: 10, Reset: true})
	for {
		select {
		case x := <-b.watch:
			f(x)
		case err := <-b.lost:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// TestOwnCommitBeforeItsPast has a commit come back while an older one of
// someone else has not been seen: the view must not show the one without the other.
func TestOwnCommitBeforeItsPast(t *testing.T) {
	b := newScripted()
	s := open(t, b)
	m := state.Model("x")
	done := make(chan int64)
	b.commits <- 12
	go func() {
		rev, err := s.UpdateRev(t.Context(), func(tx *state.Tx) error { return rows.Put(tx, m, row{Name: "mine"}) })
		if err != nil {
			t.Error(err)
		}
		done <- rev
	}()
	for len(b.commits) > 0 { // until the commit is on its way
		if err := s.Wait(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
	}
	if v := s.View(); v.Rev() != 10 || rows.Has(v, m, "mine") {
		t.Errorf("the view went to %d without revision 11", v.Rev())
	}
	b.watch <- state.Batch{Rev: 11, Rows: []state.Row{{Key: "/m/x/unit/other", Val: []byte(`{}`), Mod: 11}}}
	if rev := <-done; rev != 12 {
		t.Errorf("revision %d", rev)
	}
	// The watch says the same again, and an old thing: nothing may change.
	b.watch <- state.Batch{Rev: 12, Rows: []state.Row{{Key: "/m/x/unit/mine", Val: []byte(`{"Name":"echo"}`), Mod: 12}}}
	b.watch <- state.Batch{Rev: 13}
	if err := s.Wait(t.Context(), 13); err != nil {
		t.Fatal(err)
	}
	if r, err := rows.Get(s.View(), m, "mine"); err != nil || r.Name != "mine" || !rows.Has(s.View(), m, "other") {
		t.Errorf("row %v, %v", r, err)
	}
}

func TestLostWatch(t *testing.T) {
	b := newScripted()
	s := open(t, b)
	if s.Err() != nil {
		t.Errorf("a store that follows has error %v", s.Err())
	}
	waited := make(chan error)
	go func() { waited <- s.Wait(t.Context(), 99) }()
	gone := errors.New("gone")
	b.lost <- gone
	if err := <-waited; !errors.Is(err, gone) {
		t.Errorf("Wait: %v, want %v", err, gone)
	}
	<-s.Done()
	if !errors.Is(s.Err(), gone) {
		t.Errorf("Err: %v, want %v", s.Err(), gone)
	}
	b2 := newScripted()
	b2.lost <- nil
	if s := open(t, b2); func() bool { <-s.Done(); return s.Err() == nil }() {
		t.Error("a watch that just ended is no error")
	}
}

func TestCancel(t *testing.T) {
	s := open(t, newScripted())
	ctx, cancel := context.WithCancelCause(t.Context())
	mine := errors.New("mine")
	cancel(mine)
	if err := s.Wait(ctx, 99); !errors.Is(err, mine) {
		t.Errorf("Wait: %v", err)
	}
	if err := s.Fresh(ctx); err == nil {
		t.Error("Fresh succeeded")
	}
	if err := s.Update(ctx, func(tx *state.Tx) error { return rows.Put(tx, "c", row{Name: "x"}) }); err == nil {
		t.Error("Update succeeded")
	}
	failing := newScripted()
	if _, err := state.Open(ctx, failing); err == nil {
		t.Error("Open succeeded")
	}
}

func TestKinds(t *testing.T) {
	s := open(t, state.NewMem())
	m := state.Model("x")
	status := state.Table[row]{Kind: "status", ID: rows.ID}
	put(t, s, m, row{Name: "a"})
	if err := s.Update(t.Context(), func(tx *state.Tx) error {
		for range status.All(tx, m) {
			return errors.New("there is no status")
		}
		if err := errors.Join(status.Put(tx, m, row{Name: "b"}), rows.Delete(tx, m, "a")); err != nil {
			return err
		}
		if got := tx.Reads(); !slices.Equal(got, []string{"status", "unit"}) {
			return fmt.Errorf("read %q", got)
		}
		if got := tx.WroteKinds(); !slices.Equal(got, []string{"status", "unit"}) {
			return fmt.Errorf("wrote %q", got)
		}
		if tx.View().Rev() != s.View().Rev() {
			return errors.New("the view is another")
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// TestSharedAndPrivate holds that a transaction may change what it read and that
// readers of views pay for decoding once.
func TestSharedAndPrivate(t *testing.T) {
	s := open(t, state.NewMem())
	put(t, s, "c", row{Name: "a", Ports: []int{80}})
	if err := s.Update(t.Context(), func(tx *state.Tx) error {
		r, err := rows.Get(tx, "c", "a")
		r.Ports[0] = 1
		return err
	}); err != nil {
		t.Fatal(err)
	}
	r1, err1 := rows.Get(s.View(), "c", "a")
	r2, err2 := rows.Get(s.View(), "c", "a")
	if err1 != nil || err2 != nil || r1.Ports[0] != 80 || &r1.Ports[0] != &r2.Ports[0] {
		t.Errorf("got %v and %v", r1, r2)
	}
}

// TestSlowSubscriber holds that what waits for a subscriber is bounded by the rows
// that it follows, not by the commits.
func TestSlowSubscriber(t *testing.T) {
	s := open(t, state.NewMem())
	sub := s.Subscribe(state.AllKeys())
	defer sub.Close()
	for i := range 2000 {
		put(t, s, "c", row{Name: fmt.Sprint(i % 10), Message: fmt.Sprint(i)})
	}
	cs := sub.Take()
	if len(cs) != 10 || cap(cs) > 512 {
		t.Fatalf("%d changes in room for %d, want 10", len(cs), cap(cs))
	}
	for i, c := range cs {
		if r, err := rows.Value(c); err != nil || r.Message != fmt.Sprint(1990+i) {
			t.Errorf("change %d is %v, %v", i, r, err)
		}
	}
}
