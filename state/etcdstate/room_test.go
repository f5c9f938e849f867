package etcdstate_test

import (
	"strings"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/state/etcdstate"
)

// TestChurnDoesNotFillTheStore writes one row over and over: what it was is
// forgotten, and a store that was full of it becomes writable again.
func TestChurnDoesNotFillTheStore(t *testing.T) {
	dir := t.TempDir()
	b, err := etcdstate.Open(t.Context(), etcdstate.Config{Dir: dir, Quota: 24 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, b)
	s, m := open(t, b), state.Model("x")
	refused := 0
	put := func(i int) error {
		return s.Update(t.Context(), func(tx *state.Tx) error {
			return accounts.Put(tx, m, account{ID: "a", Balance: i, Text: strings.Repeat("x", 1<<20)})
		})
	}
	end := time.Now().Add(3 * time.Minute)
	for i := 0; i < 60; {
		err := put(i)
		switch {
		case err == nil:
			i++
		case !strings.Contains(err.Error(), "the store is full"):
			t.Fatal(err)
		default:
			refused++
		}
		if time.Now().After(end) {
			t.Fatalf("%d of 60 were written, %d refused", i, refused)
		}
	}
	if refused == 0 {
		t.Error("24 MiB took 60 MiB of history")
	}
	row, err := accounts.Get(s.View(), m, "a")
	if err != nil || row.Balance != 59 {
		t.Errorf("the row is %d, %v", row.Balance, err)
	}
}
