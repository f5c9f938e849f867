package block

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/scarab-ops/scarab/state"
)

func update(t *testing.T, f func(*state.Tx) error) error {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	store, err := state.Open(ctx, state.NewMem())
	if err != nil {
		t.Fatal(err)
	}
	return store.Update(ctx, f)
}

func TestStrongerBlocksForbidMore(t *testing.T) {
	const s = state.Scope("m/x")
	forbids := map[Type][]Type{
		Change: {Change, Remove, Destroy}, Remove: {Remove, Destroy}, Destroy: {Destroy},
	}
	for on, want := range forbids {
		err := update(t, func(tx *state.Tx) error {
			if err := On(tx, s, on, "why"); err != nil {
				return err
			}
			var got []Type
			for _, x := range []Type{Change, Remove, Destroy} {
				var blocked *BlockedError
				if errors.As(Check(tx, s, x), &blocked) {
					got = append(got, x)
					if blocked.Error() != "why" || blocked.Code() != "operation is blocked" {
						t.Errorf("%s: %v, code %s", x, blocked, blocked.Code())
					}
				}
			}
			if len(got) != len(want) || got[0] != want[0] {
				t.Errorf("%s forbids %v, want %v", on, got, want)
			}
			if err := Off(tx, s, on); err != nil {
				return err
			}
			return Check(tx, s, on)
		})
		if err != nil {
			t.Error(err)
		}
	}
}

func TestSwitchRefusals(t *testing.T) {
	const s = state.Scope("m/x")
	err := update(t, func(tx *state.Tx) error {
		if On(tx, s, "BlockNothing", "") == nil || Off(tx, s, Change) == nil {
			t.Error("an unknown block went on, or one that was off went off")
		}
		if On(tx, s, Change, strings.Repeat("x", MaxMessage+1)) == nil {
			t.Error("a message past the limit was taken")
		}
		if err := On(tx, s, Change, ""); err != nil {
			return err
		}
		if err := On(tx, s, Change, ""); err == nil || !strings.Contains(err.Error(), "already") {
			t.Errorf("a second time: %v", err)
		}
		if all := All(tx, s); len(all) != 1 || all[0].Type != Change {
			t.Errorf("on are %v", all)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
