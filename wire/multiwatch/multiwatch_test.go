package multiwatch_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/wire"
	"github.com/scarab-ops/scarab/wire/multiwatch"
)

func TestDeltaText(t *testing.T) {
	since := time.Date(2025, 2, 3, 4, 5, 6, 0, time.UTC)
	u := multiwatch.Unit{
		ModelUUID: "4c0", Name: "db/0", Application: "db", Base: "ubuntu@22.04", CharmURL: "ch:amd64/db-3", Life: "alive",
		MachineID: "0", WorkloadStatus: multiwatch.StatusInfo{Current: "active", Since: &since},
		AgentStatus: multiwatch.StatusInfo{Current: "idle", Since: &since, Version: "3.6.1"},
	}
	got, err := json.Marshal([]wire.Delta{multiwatch.Changed(multiwatch.KindUnit, u), multiwatch.Removed(multiwatch.KindBlock, multiwatch.Block{ID: "1"})})
	if err != nil {
		t.Fatal(err)
	}
	want := `[["unit","change",{"model-uuid":"4c0","name":"db/0","application":"db","base":"ubuntu@22.04","charm-url":"ch:amd64/db-3","life":"alive","public-address":"","private-address":"","machine-id":"0","ports":null,"port-ranges":null,"principal":"","subordinate":false,"workload-status":{"current":"active","message":"","since":"2025-02-03T04:05:06Z","version":""},"agent-status":{"current":"idle","message":"","since":"2025-02-03T04:05:06Z","version":"3.6.1"}}],["block","remove",{"model-uuid":"","id":"1","type":"","message":"","tag":""}]]`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	var back []wire.Delta
	if err := json.Unmarshal(got, &back); err != nil {
		t.Fatal(err)
	}
	if back[0].Kind != "unit" || back[0].Removed || !back[1].Removed {
		t.Errorf("decoded %+v", back)
	}
}

// TestModelKeys pins the keys of a model's delta, which clients index by name.
func TestModelKeys(t *testing.T) {
	b, err := json.Marshal(multiwatch.Model{Config: map[string]any{}})
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	for _, k := range []string{"model-uuid", "name", "life", "owner", "controller-uuid", "is-controller", "config", "status", "constraints", "sla", "type", "cloud", "cloud-region", "version"} {
		if _, ok := m[k]; !ok {
			t.Errorf("key %q is missing", k)
		}
	}
	if m["config"] == nil {
		t.Error("config must not be null")
	}
}

func FuzzDelta(f *testing.F) {
	f.Add([]byte(`["unit","change",{"name":"a/0"}]`))
	f.Add([]byte(`["x","y"]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var d wire.Delta
		if json.Unmarshal(b, &d) != nil {
			return
		}
		out, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		var parts []json.RawMessage
		if json.Unmarshal(out, &parts) != nil || len(parts) != 3 {
			t.Fatalf("%s is no delta", out)
		}
		if !slices.Contains([]string{`"change"`, `"remove"`}, string(parts[1])) {
			t.Fatalf("verb %s", parts[1])
		}
	})
}
