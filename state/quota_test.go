package state_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/scarab-ops/scarab/state"
)

// limited opens a store of little room, and gives a way to write into it.
func limited(t *testing.T, q state.Quota) (*state.Store, func(state.Writer, state.Scope, string, int) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	s, err := state.OpenQuota(ctx, state.NewMem(), q)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); <-s.Done() })
	return s, func(w state.Writer, m state.Scope, name string, bytes int) error {
		return s.Update(t.Context(), func(tx *state.Tx) error {
			tx.By(w)
			return rows.Put(tx, m, row{Name: name, Message: strings.Repeat("x", bytes)})
		})
	}
}

func TestFullForAgentsIsNotFullForOthers(t *testing.T) {
	const mib = 1 << 20
	s, put := limited(t, state.Quota{Store: 32 * mib, Model: 16 * mib})
	m, other := state.Model("a"), state.Model("b")
	var full *state.FullError
	n := 0
	for ; n < 100; n++ {
		if err := put(state.Agents, m, fmt.Sprint("large", n), mib/2); err != nil {
			if !errors.As(err, &full) || full.Model != "a" {
				t.Fatal(err)
			}
			break
		}
	}
	if used, all := s.Used(m); used > 12*mib || used < 11*mib || all != used {
		t.Errorf("%d rows, %d bytes, in all %d", n, used, all)
	}
	for i := 0; i < 1e5; i++ { // until small changes are refused too
		if err := put(state.Agents, m, fmt.Sprint("small", i), 900); errors.As(err, &full) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if used, _ := s.Used(m); used > 14*mib || used < 13*mib {
		t.Errorf("small changes ended at %d bytes", used)
	}
	if err := put(state.Operators, m, "deploy", 2*mib); !errors.As(err, &full) {
		t.Errorf("a large change of an operator: %v", err)
	} else if !strings.HasPrefix(err.Error(), "cannot store more: model a is full") || full.Code() != "quota limit exceeded" {
		t.Errorf("it says %q, %q", err, full.Code())
	}
	if err := put(state.Operators, m, "destroy", 1000); err != nil {
		t.Errorf("an order to remove: %v", err)
	}
	if err := put(state.Agents, other, "large", mib); err != nil {
		t.Errorf("another model: %v", err)
	}
	if err := put(state.Controllers, m, "record", 4*mib); err != nil {
		t.Errorf("what the controller keeps: %v", err)
	}
	if err := put(state.Agents, m, "large0", 10); err != nil {
		t.Errorf("taking away: %v", err)
	}
	err := s.Update(t.Context(), func(tx *state.Tx) error {
		_, err := state.Purge(tx, m, state.MaxTxRows/2)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestStoreIsFullWhateverTheModel(t *testing.T) {
	const mib = 1 << 20
	s, put := limited(t, state.Quota{Store: 16 * mib, Model: 16 * mib})
	for i := range 12 {
		if err := put(state.Agents, state.Model(fmt.Sprint(i)), "x", mib-100); err != nil {
			t.Fatal(i, err)
		}
	}
	var full *state.FullError
	if err := put(state.Agents, state.Model("last"), "x", mib); !errors.As(err, &full) || full.Model != "" {
		t.Errorf("past the quota of the store: %v", err)
	}
	if _, all := s.Used(state.Controller); all > 12*mib {
		t.Errorf("%d bytes are stored", all)
	}
}

// What is counted as it changes is what is counted when a store opens.
func TestUsedIsWhatIsStored(t *testing.T) {
	b := state.NewMem()
	s, m := open(t, b), state.Model("x")
	for i := range 50 {
		err := s.Update(t.Context(), func(tx *state.Tx) error {
			if i%5 == 4 {
				return rows.Delete(tx, m, fmt.Sprint((i-1)%7))
			}
			return rows.Put(tx, m, row{Name: fmt.Sprint(i % 7), Message: strings.Repeat("x", i*10)})
		})
		var missing *state.NotFoundError
		if err != nil && !errors.As(err, &missing) {
			t.Fatal(err)
		}
	}
	again := open(t, b)
	a, all := s.Used(m)
	if x, y := again.Used(m); x != a || y != all || a == 0 {
		t.Errorf("counted %d and %d, opened anew %d and %d", a, all, x, y)
	}
}

func TestWeighAndAdds(t *testing.T) {
	s, put := limited(t, state.Quota{})
	m := state.Model("x")
	for _, name := range []string{"a/1", "a/2", "b/1"} {
		if err := put(state.Agents, m, name, 100); err != nil {
			t.Fatal(err)
		}
	}
	err := s.Update(t.Context(), func(tx *state.Tx) error {
		before := tx.Weigh(rows.KeysUnder(m, "a/"))
		if one := tx.Weigh(rows.Key(m, "a/1")); before != 2*one || one < 100 {
			t.Errorf("one weighs %d, two %d", one, before)
		}
		if err := rows.Put(tx, m, row{Name: "a/2", Message: strings.Repeat("x", 150)}); err != nil {
			return err
		}
		if now := tx.Weigh(rows.KeysUnder(m, "a/")); now != before+50 || tx.Adds(m) != 50 {
			t.Errorf("%d became %d; the transaction adds %d", before, now, tx.Adds(m))
		}
		if err := rows.Delete(tx, m, "a/1"); err != nil {
			return err
		}
		if now := tx.Weigh(rows.KeysUnder(m, "a/"), rows.Key(m, "a/1")); now != before/2+50 {
			t.Errorf("after a delete %d", now)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
