package wire_test

import (
	"encoding/json"
	"testing"

	"github.com/scarab-ops/scarab/wire"
	"github.com/scarab-ops/scarab/wire/application"
	"github.com/scarab-ops/scarab/wire/client"
)

// TestExactText pins the encodings that clients are picky about.
func TestExactText(t *testing.T) {
	zero, empty := 0, []string{}
	for _, c := range []struct {
		name string
		v    any
		want string
	}{
		{"success has no error key", wire.ErrorResults{Results: []wire.ErrorResult{{}}}, `{"results":[{}]}`},
		{"code is always there", wire.ErrorResult{Error: &wire.Error{Message: "no"}}, `{"error":{"code":"","message":"no"}}`},
		{"capital keys stay", application.ConfigSetArgs{Args: []application.ConfigSet{}}, `{"Args":[]}`},
		{"notify watcher", wire.NotifyWatchResult{NotifyWatcherID: "1"}, `{"NotifyWatcherId":"1"}`},
		{"zero differs from absent", wire.Value{Cores: &zero, Tags: empty}, `{"cores":0,"tags":[]}`},
		{"absent constraints", wire.Value{}, `{}`},
		{"unknown since is null", client.DetailedStatus{}.Since, `null`},
		{"revision nought", wire.CharmOrigin{Revision: &zero}.Revision, `0`},
	} {
		got, err := json.Marshal(c.v)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if string(got) != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
	s := 3
	b, err := json.Marshal(client.ApplicationStatus{Int: &s})
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	if m["int"] != 3.0 {
		t.Errorf("scale travels as %v, want the key int", m["int"])
	}
}

// TestShape shows that an item's error lands in that item's result.
func TestShape(t *testing.T) {
	sh := application.DestroyUnitShape
	items := sh.Items(application.DestroyUnitsParams{Units: []application.DestroyUnitParams{{UnitTag: "unit-a-0"}}})
	if len(items) != 1 || items[0].UnitTag != "unit-a-0" {
		t.Fatalf("items %+v", items)
	}
	e := &wire.Error{Message: "gone", Code: "not found"}
	r := sh.Wrap([]application.DestroyUnitResult{sh.Fail(e)})
	if len(r.Results) != 1 || r.Results[0].Error != e {
		t.Errorf("result %+v", r)
	}
}
