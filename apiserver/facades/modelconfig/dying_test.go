package modelconfig

import (
	"strings"
	"testing"

	"github.com/scarab-ops/scarab/apiserver/facades/facadetest"
	"github.com/scarab-ops/scarab/domain/removal"
	"github.com/scarab-ops/scarab/state"
)

// A setting, such as more logs, can help a dying model on.
func TestDyingModelCanBeHelped(t *testing.T) {
	w := facadetest.New(t)
	w.Deploy(t, "db", "db", 1)
	w.Update(t, func(tx *state.Tx) error {
		return removal.DestroyModel(tx, facadetest.Dev, removal.Options{}, w.Now())
	})
	raw, err := w.Call(w.Session("admin", facadetest.Dev), endpoints(t, w), "ModelConfig.3.ModelSet", "", `{"config":{"logging-config":"<root>=DEBUG"}}`)
	if err != nil || strings.Contains(string(raw), `"message"`) {
		t.Errorf("%s, %v", raw, err)
	}
}
