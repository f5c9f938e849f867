package keymanager

import (
	"strings"
	"testing"

	"github.com/scarab-ops/scarab/apiserver/facades/facadetest"
	"github.com/scarab-ops/scarab/domain/removal"
	"github.com/scarab-ops/scarab/state"
)

// Who helps a dying model on has to log in to its machines.
func TestDyingModelCanBeHelped(t *testing.T) {
	w := facadetest.New(t)
	w.Deploy(t, "db", "db", 1)
	w.Update(t, func(tx *state.Tx) error {
		return removal.DestroyModel(tx, facadetest.Dev, removal.Options{}, w.Now())
	})
	raw, err := w.Call(w.Session("admin", facadetest.Dev), endpoints(t, w), "KeyManager.1.AddKeys", "", `{"user":"admin","ssh-keys":["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIlH5pWrYjPyKZ2mqM8pMSIXo3d7mcPXxrUJDfYzy0YK"]}`)
	if err != nil || strings.Contains(string(raw), `"message"`) {
		t.Errorf("%s, %v", raw, err)
	}
}
