package state_test

import (
	"testing"

	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/state/statetest"
)

func open(t testing.TB, b state.Backend) *state.Store {
	t.Helper()
	s, err := state.Open(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { <-s.Done() })
	return s
}

func TestMem(t *testing.T) {
	statetest.Run(t, func(t *testing.T) []*state.Store {
		b := state.NewMem()
		return []*state.Store{open(t, b), open(t, b)}
	})
}
