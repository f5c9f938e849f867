package action

import (
	"strings"
	"testing"

	"github.com/scarab-ops/scarab/apiserver/facades/facadetest"
	"github.com/scarab-ops/scarab/domain/removal"
	"github.com/scarab-ops/scarab/state"
)

// What runs on a unit can help a dying model on.
func TestDyingModelCanBeHelped(t *testing.T) {
	w := facadetest.New(t)
	w.Deploy(t, "db", "db", 1)
	w.Update(t, func(tx *state.Tx) error {
		return removal.DestroyModel(tx, facadetest.Dev, removal.Options{}, w.Now())
	})
	raw, err := w.Call(w.Session("admin", facadetest.Dev), endpoints(t, w), "Action.7.EnqueueOperation", "", `{"actions":[{"receiver":"unit-db-0","name":"juju-exec","parameters":{"command":"true","timeout":1000000000}}]}`)
	if err != nil || strings.Contains(string(raw), `"message"`) {
		t.Errorf("%s, %v", raw, err)
	}
}
