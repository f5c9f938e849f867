package application

import (
	"strings"
	"testing"

	"github.com/scarab-ops/scarab/apiserver/facades/facadetest"
	"github.com/scarab-ops/scarab/charm"
	"github.com/scarab-ops/scarab/domain/machine"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/state"
)

func TestBaseOfACharmThatNamesNone(t *testing.T) {
	w := facadetest.New(t)
	m, err := model.Get(w.Store.View(), facadetest.Dev)
	if err != nil {
		t.Fatal(err)
	}
	choose := func(ch charm.Charm) machine.Base {
		b, err := chooseBase(w.Store.View(), m, machine.Base{}, ch)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	w.Update(t, func(tx *state.Tx) error { return model.SetConfig(tx, m, nil, []string{"default-base"}) })
	if got := choose(charm.Charm{}); got != machine.DefaultBase() {
		t.Errorf("none named: %+v", got)
	}
	named := charm.Charm{Manifest: charm.Manifest{Bases: []charm.Base{{Name: "ubuntu", Channel: "24.04/stable"}}}}
	if got := choose(named); got.Name != "ubuntu" {
		t.Errorf("ubuntu named: %+v", got)
	}
}

// This cloud has no zones: who asks for one is told, and not given something else.
func TestPlacesThatThereAreNotAreRefused(t *testing.T) {
	w := facadetest.New(t)
	w.Deploy(t, "db", "db", 1)
	s, es := w.Session("wendy", facadetest.Dev), endpoints(t, w)
	_, err := w.Call(s, es, "Application.20.AddUnits", "", `{"application":"db","num-units":1,"placement":[{"scope":"`+string(facadetest.Dev)+`","directive":"zone=q"}]}`)
	if err == nil || !strings.Contains(err.Error(), "has no zones") {
		t.Errorf("zone=q: %v", err)
	}
}
