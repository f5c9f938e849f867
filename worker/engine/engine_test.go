package engine_test

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/worker/engine"
)

type row struct{ ID string }

var (
	stones = state.Table[row]{Kind: "stone", ID: func(r row) string { return r.ID }}
	birds  = state.Table[row]{Kind: "bird", ID: func(r row) string { return r.ID }}
)

func open(t *testing.T) (*state.Store, engine.Config) {
	// The store outlives the engine, which is ended in a cleanup of its own.
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	st, err := state.Open(ctx, state.NewMem())
	if err != nil {
		t.Fatal(err)
	}
	return st, engine.Config{
		Store: st, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Now: time.Now,
		Backoff: [2]time.Duration{time.Millisecond, 10 * time.Millisecond},
	}
}

func put(t *testing.T, st *state.Store, id string) {
	t.Helper()
	if err := st.Update(t.Context(), func(tx *state.Tx) error { return stones.Put(tx, state.Controller, row{id}) }); err != nil {
		t.Fatal(err)
	}
}

// run starts workers and returns how to end them.
func run(t *testing.T, cfg engine.Config, specs ...engine.Spec) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- engine.Start(ctx, cfg, specs) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the engine ended with %v", err)
		}
	})
}

func TestAChangeWakes(t *testing.T) {
	st, cfg := open(t)
	seen := make(chan int, 100)
	run(t, cfg, engine.Spec{Name: "w", Reads: []string{"stone"}, Step: func(_ context.Context, r *engine.Run) (time.Time, error) {
		n := 0
		for range stones.All(r.View(), state.Controller) {
			n++
		}
		seen <- n
		return time.Time{}, nil
	}})
	for want := 0; want < 3; want++ {
		for got := range seen {
			if got == want {
				break
			}
		}
		put(t, st, strings.Repeat("x", want+1))
	}
}

func TestErrorsAndPanicsAreTriedAgain(t *testing.T) {
	_, cfg := open(t)
	var n atomic.Int32
	done := make(chan struct{})
	run(t, cfg, engine.Spec{Name: "w", Step: func(context.Context, *engine.Run) (time.Time, error) {
		switch n.Add(1) {
		case 1:
			panic("first")
		case 2:
			return time.Time{}, context.DeadlineExceeded
		case 3:
			close(done)
		}
		return time.Time{}, nil
	}})
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("the step was not tried again")
	}
}

func TestUndeclaredWritesAreRefused(t *testing.T) {
	st, cfg := open(t)
	got := make(chan error, 10)
	run(t, cfg, engine.Spec{Name: "w", Writes: []string{"stone"}, Step: func(ctx context.Context, r *engine.Run) (time.Time, error) {
		got <- r.Update(ctx, func(tx *state.Tx) error { return birds.Put(tx, state.Controller, row{"b"}) })
		return time.Time{}, nil
	}})
	if err := <-got; err == nil || !strings.Contains(err.Error(), `not declared to write "bird"`) {
		t.Errorf("got %v", err)
	}
	if birds.Has(st.View(), state.Controller, "b") {
		t.Error("the row was written")
	}
}

func TestTwoWritersDoNotStart(t *testing.T) {
	step := func(context.Context, *engine.Run) (time.Time, error) { return time.Time{}, nil }
	err := engine.Check([]engine.Spec{
		{Name: "a", Writes: []string{"stone"}, Step: step}, {Name: "b", Writes: []string{"stone"}, Step: step},
	})
	if err == nil || !strings.Contains(err.Error(), "both write") {
		t.Errorf("got %v", err)
	}
}
