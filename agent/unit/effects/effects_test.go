package effects

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/scarab-ops/scarab/wire/agentapi"
)

func TestMergeInOrder(t *testing.T) {
	e := New()
	base := agentapi.Settings{"old": "1", "gone": "x"}
	must(t, e.SetRelation(3, false, base, agentapi.Settings{"a": "1", "gone": ""}))
	must(t, e.SetRelation(3, false, base, agentapi.Settings{"a": "2"}))
	must(t, e.SetState(nil, agentapi.Settings{"k": "v", "d": "1"}))
	must(t, e.DeleteState("d"))
	p := agentapi.PortRange{From: 80, To: 80, Protocol: "tcp"}
	must(t, e.OpenPort(p))
	must(t, e.ClosePort(p))
	must(t, e.OpenPort(p))
	if got, want := e.Bag(base, 3, false), (agentapi.Settings{"old": "1", "a": "2"}); !reflect.DeepEqual(got, want) {
		t.Errorf("bag %v, want %v", got, want)
	}
	var a agentapi.CommitArgs
	e.Fill(&a)
	want := agentapi.CommitArgs{
		Relations: []agentapi.RelationSettings{{ID: 3, Unit: agentapi.Settings{"a": "2", "gone": ""}}},
		OpenPorts: []agentapi.PortRange{p}, StateSet: agentapi.Settings{"k": "v"}, StateDelete: []string{"d"},
	}
	if len(a.ClosePorts) != 0 {
		t.Errorf("a cancelled close is still there: %v", a.ClosePorts)
	}
	a.ClosePorts = nil
	if !reflect.DeepEqual(a, want) {
		t.Errorf("got %+v, want %+v", a, want)
	}
}

func TestLimits(t *testing.T) {
	big := strings.Repeat("x", MaxRelationValue)
	e := New()
	for name, err := range map[string]error{
		"value": e.SetRelation(1, false, nil, agentapi.Settings{"k": big + "x"}),
		"bag":   e.SetRelation(1, false, agentapi.Settings{"a": big}, agentapi.Settings{"b": big}),
		"key":   e.SetState(nil, agentapi.Settings{strings.Repeat("k", MaxStateKey+1): ""}),
		"state": e.SetState(nil, agentapi.Settings{"k": strings.Repeat("v", MaxStateValue+1)}),
	} {
		var le *LimitError
		if !errors.As(err, &le) {
			t.Errorf("%s: got %v, want a limit error", name, err)
		}
	}
	if !e.Empty() {
		t.Error("a refused change left something behind")
	}
	var err error
	for i := 0; i < 17 && err == nil; i++ {
		err = e.SetRelation(i, false, nil, agentapi.Settings{"k": big})
	}
	if err == nil {
		t.Error("a flush over the limit was accepted")
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
