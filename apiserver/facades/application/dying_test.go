package application

import (
	"strings"
	"testing"

	"github.com/scarab-ops/scarab/apiserver/facades/facadetest"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/removal"
	"github.com/scarab-ops/scarab/domain/status"
	"github.com/scarab-ops/scarab/domain/unit"
	"github.com/scarab-ops/scarab/state"
)

// A model that is being destroyed takes what helps it on, and nothing that
// holds it up.
func TestDyingModelCanBeHelped(t *testing.T) {
	w := facadetest.New(t)
	w.Deploy(t, "db", "db", 2)
	w.Report(t, "db/0", status.Entry{Status: "error", Message: `hook failed: "stop"`}, status.Entry{})
	w.Update(t, func(tx *state.Tx) error {
		return removal.DestroyModel(tx, facadetest.Dev, removal.Options{}, w.Now())
	})
	s, es := w.Session("wendy", facadetest.Dev), endpoints(t, w)
	for _, call := range [][2]string{
		{"Application.20.ResolveUnitErrors", `{"tags":{"entities":[{"tag":"unit-db-0"}]},"retry":false}`},
		{"Application.20.SetConfigs", `{"Args":[{"application":"db","config":{"name":"x"}}]}`},
		{"Application.20.DestroyUnit", `{"units":[{"unit-tag":"unit-db-1","force":true,"max-wait":0}]}`},
	} {
		raw, err := w.Call(s, es, call[0], "", call[1])
		if err != nil || strings.Contains(string(raw), `"message"`) {
			t.Errorf("%s: %s, %v", call[0], raw, err)
		}
	}
	u, err := unit.Get(w.Store.View(), model.ScopeOf(facadetest.Dev), "db/0")
	if err != nil || u.Resolved != "no-hooks" {
		t.Errorf("resolved %q, %v", u.Resolved, err)
	}
	if _, err := w.Call(s, es, "Application.20.AddUnits", "", `{"application":"db","num-units":1}`); err == nil || !strings.Contains(err.Error(), "is being destroyed") {
		t.Errorf("adding a unit: %v", err)
	}
}
