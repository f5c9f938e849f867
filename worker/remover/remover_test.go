package remover_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/domain/life"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/worker/engine"
	"github.com/scarab-ops/scarab/worker/remover"
)

// TestOneModelHoldsUpNoOther: a model whose files cannot be removed stays, is
// tried again, and the others go.
func TestOneModelHoldsUpNoOther(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	open, closeStore := context.WithCancel(context.Background())
	t.Cleanup(closeStore)
	st, err := state.Open(open, state.NewMem())
	if err != nil {
		t.Fatal(err)
	}
	id := func(i int) names.Model { return names.Model(fmt.Sprintf("a1a1a1a1-0000-4000-8000-00000000000%d", i)) }
	err = st.Update(ctx, func(tx *state.Tx) error {
		var errs []error
		for i := range 4 {
			errs = append(errs, model.Table.Put(tx, state.Controller, model.Row{UUID: id(i), Name: fmt.Sprint("m", i), Owner: "o", Life: life.Dead}))
		}
		return errors.Join(errs...)
	})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	tries, at := map[string]int{}, map[string]int{}
	spec := remover.Spec(func(uuid string) error {
		mu.Lock()
		defer mu.Unlock()
		tries[uuid]++
		if uuid == string(id(1)) && tries[uuid] < 3 {
			return errors.New("its files cannot be removed")
		}
		at[uuid] = len(at)
		return nil
	})
	var log lines
	done := make(chan error, 1)
	cfg := engine.Config{
		Store: st, Log: slog.New(slog.NewTextHandler(&log, nil)), Now: time.Now,
		Backoff: [2]time.Duration{time.Millisecond, 10 * time.Millisecond},
	}
	go func() { done <- engine.Start(ctx, cfg, []engine.Spec{spec}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the engine ended with %v", err)
		}
	})
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		var left []names.Model
		for m, err := range model.Table.All(st.View(), state.Controller) {
			if err == nil {
				left = append(left, m.UUID)
			}
		}
		if len(left) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("left: %v\n%s", left, log.String())
		}
	}
	if !strings.Contains(log.String(), "model m1: its files cannot be removed") {
		t.Errorf("nobody is told which model is in trouble:\n%s", log.String())
	}
	mu.Lock()
	defer mu.Unlock()
	if at[string(id(1))] < at[string(id(3))] {
		t.Errorf("the models went in the order %v: those after the one in trouble waited for it", at)
	}
}

type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
