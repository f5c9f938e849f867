package application

import (
	"strings"
	"testing"

	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/apiserver/facades/facadetest"
	"github.com/scarab-ops/scarab/audit"
	"github.com/scarab-ops/scarab/domain/block"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/unit"
	"github.com/scarab-ops/scarab/state"
)

func TestBlocksForbidWhatTheySay(t *testing.T) {
	for _, c := range []struct {
		block          block.Type
		change, remove bool // still possible
	}{{block.Destroy, true, true}, {block.Remove, true, false}, {block.Change, false, false}} {
		w := facadetest.New(t)
		w.Deploy(t, "db", "db", 2)
		w.Update(t, func(tx *state.Tx) error { return block.On(tx, model.ScopeOf(facadetest.Dev), c.block, "stop") })
		s, es := w.Session("wendy", facadetest.Dev), endpoints(t, w)
		_, err := w.Call(s, es, "Application.20.AddUnits", "", `{"application":"db","num-units":1}`)
		if (err == nil) != c.change {
			t.Errorf("%s: adding a unit: %v", c.block, err)
		}
		if err != nil {
			if e := facade.ToWire(err); e.Code != "operation is blocked" || e.Message != "stop" {
				t.Errorf("%s: got code %q, message %q", c.block, e.Code, e.Message)
			}
		}
		raw, err := w.Call(s, es, "Application.20.DestroyUnit", "", `{"units":[{"unit-tag":"unit-db-0"}]}`)
		if err != nil {
			t.Fatal(err)
		}
		if removed := !strings.Contains(string(raw), "operation is blocked"); removed != c.remove {
			t.Errorf("%s: removing a unit: %s", c.block, raw)
		}
	}
}

// A user who has lost their right between the check and the change changes
// nothing, and no other model is reached by name.
func TestOtherModelsAreOutOfReach(t *testing.T) {
	w := facadetest.New(t)
	w.Deploy(t, "db", "db", 1)
	other := w.Session("wendy", facadetest.ControllerName)
	for _, call := range [][2]string{
		{"Application.20.AddUnits", `{"application":"db","num-units":1}`},
		{"Application.20.DestroyUnit", `{"units":[{"unit-tag":"unit-db-0","force":true}]}`},
		{"Application.20.Get", `{"application":"db"}`},
	} {
		if _, err := w.Call(other, endpoints(t, w), call[0], "", call[1]); err == nil || err.Error() != "permission denied" {
			t.Errorf("%s: got %v, want permission denied", call[0], err)
		}
	}
	if n := len(unit.Of(w.Store.View(), model.ScopeOf(facadetest.Dev), "db")); n != 1 {
		t.Errorf("%d units, want 1", n)
	}
}

func TestSettingsAreNotRecorded(t *testing.T) {
	w := facadetest.New(t)
	w.Deploy(t, "db", "db", 1)
	s := w.Session("wendy", facadetest.Dev)
	const marker = "canary-7f3a"
	if _, err := w.Call(s, endpoints(t, w), "Application.20.SetConfigs", "", `{"Args":[{"application":"db","config":{"name":"`+marker+`"}}]}`); err != nil {
		t.Fatal(err)
	}
	records := 0
	for r, err := range audit.Table.All(w.Store.View(), state.Controller) {
		if err != nil {
			t.Fatal(err)
		}
		records++
		if strings.Contains(string(r.Args), marker) || strings.Contains(r.Error, marker) {
			t.Errorf("a setting is in the audit record of %s", r.Method)
		}
		if len(r.Targets) == 0 || r.Targets[0] != "application-db" {
			t.Errorf("record of %s names %v", r.Method, r.Targets)
		}
	}
	if records != 1 {
		t.Errorf("%d records, want 1", records)
	}
}
