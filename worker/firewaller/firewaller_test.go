package firewaller

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/domain/life"
	"github.com/scarab-ops/scarab/domain/machine"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/provider"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/worker/engine"
)

// stubborn refuses every rule for one machine, as a cloud does that finds them
// wrong, and takes the empty set.
type stubborn struct {
	mu   sync.Mutex
	bad  provider.InstanceID
	sets map[provider.InstanceID]int // times that rules were set
	shut bool
}

func (s *stubborn) SetRules(_ context.Context, id provider.InstanceID, rules []provider.Rule) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id == s.bad && rules != nil {
		return errors.New("rules refused")
	}
	s.shut = s.shut || id == s.bad
	s.sets[id]++
	return nil
}

// TestOneMachinesTroubleIsItsOwn: what one cloud call refuses shuts that
// machine and keeps no other from its rules.
func TestOneMachinesTroubleIsItsOwn(t *testing.T) {
	st, err := state.Open(t.Context(), state.NewMem())
	if err != nil {
		t.Fatal(err)
	}
	models := []names.Model{"11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"}
	err = st.Update(t.Context(), func(tx *state.Tx) error {
		for _, m := range models {
			row := model.Row{UUID: m, Name: "m" + string(m[:1]), Owner: "admin", Cloud: "localhost", Life: life.Alive}
			if err := model.Add(tx, row, nil); err != nil {
				return err
			}
			i := machine.Instance{Machine: "0", InstanceID: "i-" + string(m[:1])}
			if err := machine.Instances.Put(tx, model.ScopeOf(m), i); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	fw := &stubborn{bad: "i-1", sets: map[provider.InstanceID]int{}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- engine.Start(ctx, engine.Config{
			Store: st, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Now: time.Now,
		}, []engine.Spec{Spec(func(names.Cloud) (provider.Firewall, bool) { return fw, true })})
	}()
	deadline := time.After(10 * time.Second)
	for {
		fw.mu.Lock()
		ok := fw.sets["i-2"] > 0 && fw.shut
		fw.mu.Unlock()
		if ok {
			break
		}
		select {
		case <-deadline:
			t.Fatalf("the other machine has no rules, or the refused one is not shut: %+v", fw.sets)
		case <-time.After(5 * time.Millisecond):
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
