package block

import (
	"strings"
	"testing"

	"github.com/scarab-ops/scarab/apiserver/facades/facadetest"
	"github.com/scarab-ops/scarab/domain/block"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/removal"
	"github.com/scarab-ops/scarab/state"
)

// Nobody is held up by a block on a dying model.
func TestDyingModelCanBeHelped(t *testing.T) {
	w := facadetest.New(t)
	w.Deploy(t, "db", "db", 1)
	w.Update(t, func(tx *state.Tx) error {
		return removal.DestroyModel(tx, facadetest.Dev, removal.Options{}, w.Now())
	})
	w.Update(t, func(tx *state.Tx) error { return block.On(tx, model.ScopeOf(facadetest.Dev), block.Remove, "") })
	raw, err := w.Call(w.Session("admin", facadetest.Dev), endpoints(t, w), "Block.2.SwitchBlockOff", "", `{"type":"BlockRemove"}`)
	if err != nil || strings.Contains(string(raw), `"message"`) {
		t.Errorf("%s, %v", raw, err)
	}
}
