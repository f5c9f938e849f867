package annotation

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
)

func TestSet(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	store, err := state.Open(ctx, state.NewMem())
	if err != nil {
		t.Fatal(err)
	}
	const s = state.Scope("m/x")
	db := names.Application("db").Tag()
	err = store.Update(ctx, func(tx *state.Tx) error {
		if err := Set(tx, s, db, map[string]string{"a": "1", "b": "2"}); err != nil {
			return err
		}
		if err := Set(tx, s, db, map[string]string{"a": "", "c": "3"}); err != nil {
			return err
		}
		if got := Of(tx, s, db); len(got) != 2 || got["b"] != "2" || got["c"] != "3" {
			t.Errorf("notes are %v", got)
		}
		many := map[string]string{}
		for i := range MaxKeys + 1 {
			many[fmt.Sprint("k", i)] = "v"
		}
		for name, bad := range map[string]map[string]string{
			"too many": many, "no key": {"": "v"}, "dot": {"a.b": "v"}, "long key": {strings.Repeat("k", MaxKey+1): "v"},
			"long value": {"k": strings.Repeat("v", MaxValue+1)},
		} {
			if Set(tx, s, db, bad) == nil {
				t.Errorf("%s: was taken", name)
			}
		}
		if err := Set(tx, s, db, map[string]string{"b": "", "c": ""}); err != nil {
			return err
		}
		if Table.Has(tx, s, db.String()) {
			t.Error("an entity without notes keeps a row")
		}
		return Forget(tx, s, db)
	})
	if err != nil {
		t.Fatal(err)
	}
}
