package application_test

import (
	"errors"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/charm"
	"github.com/scarab-ops/scarab/domain/application"
	"github.com/scarab-ops/scarab/domain/charmstore"
	"github.com/scarab-ops/scarab/domain/controller"
	"github.com/scarab-ops/scarab/domain/life"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/relation"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
)

// Who relates what is related is told so; who wants one relation too many of an endpoint is told that.
func TestRelatedAlreadyIsNotTheLimit(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	m := model.Row{UUID: "11111111-1111-4111-8111-111111111111", Name: "dev", Owner: "admin", Cloud: "localhost", Created: now, Life: life.Alive}
	st, err := state.Open(t.Context(), state.NewMem())
	if err != nil {
		t.Fatal(err)
	}
	end := func(role charm.Role, limit int) map[string]charm.Relation {
		return map[string]charm.Relation{"certs": {Name: "certs", Role: role, Interface: "tls", Scope: charm.ScopeGlobal, Limit: limit}}
	}
	err = st.Update(t.Context(), func(tx *state.Tx) error {
		if err := controller.Table.Put(tx, state.Controller, controller.Row{UUID: "c"}); err != nil {
			return err
		}
		if err := model.Add(tx, m, nil); err != nil {
			return err
		}
		for name, meta := range map[string]charm.Meta{
			"nats": {Requires: end(charm.RoleRequirer, 1)}, "ca": {Provides: end(charm.RoleProvider, 0)}, "other": {Provides: end(charm.RoleProvider, 0)},
		} {
			meta.Name = name
			row, err := charmstore.AddLocal(tx, model.ScopeOf(m.UUID), charmstore.Row{SHA256: name, Charm: charm.Charm{Meta: meta}})
			if err != nil {
				return err
			}
			if _, err := application.Add(tx, m, application.Deploy{Row: application.Row{Name: names.Application(name), CharmURL: row.URL}}, now); err != nil {
				return err
			}
		}
		_, err := application.Relate(tx, model.ScopeOf(m.UUID), "nats", "ca", now)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	relate := func(a, b string) error {
		return st.Update(t.Context(), func(tx *state.Tx) error {
			_, err := application.Relate(tx, model.ScopeOf(m.UUID), a, b, now)
			return err
		})
	}
	for _, pair := range [][2]string{{"nats", "ca"}, {"ca:certs", "nats:certs"}} {
		var exists *relation.ExistsError
		if err := relate(pair[0], pair[1]); !errors.As(err, &exists) || err.Error() != "relation nats:certs ca:certs already exists" {
			t.Errorf("%v: %v", pair, err)
		}
	}
	var limit *application.LimitError
	if err := relate("nats", "other"); !errors.As(err, &limit) {
		t.Errorf("one too many: %v", err)
	}
}
