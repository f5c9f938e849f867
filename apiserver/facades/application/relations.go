package application

import (
	"errors"
	"fmt"
	"strings"

	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/domain/application"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/relation"
	"github.com/scarab-ops/scarab/domain/removal"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/wire"
	wireapp "github.com/scarab-ops/scarab/wire/application"
)

// checkEndpoints refuses offers and what is no "application[:endpoint]".
func checkEndpoints(eps []string) error {
	for _, e := range eps {
		app, ep, given := strings.Cut(e, ":")
		if strings.ContainsAny(e, "./") {
			return unsupported("cannot relate across models in this release: deploy both applications into one model")
		}
		if !names.ValidApplication(app) || given && !names.ValidEndpoint(ep) {
			return bad(fmt.Errorf("cannot relate: %.80q is not an application or application:endpoint", e))
		}
	}
	return nil
}

func addRelation(_ Service, c facade.Call, a wireapp.AddRelation) (wireapp.AddRelationResults, error) {
	var out wireapp.AddRelationResults
	if len(a.ViaCIDRs) > 0 {
		return out, unsupported("cannot relate via networks: relations of this release stay within a model")
	}
	if len(a.Endpoints) != 2 {
		return out, bad(errors.New("a relation must involve two applications"))
	}
	if err := checkEndpoints(a.Endpoints); err != nil {
		return out, err
	}
	c.Concerns(a.Endpoints...)
	err := change(c, func(tx *state.Tx, m model.Row) error {
		r, err := application.Relate(tx, model.ScopeOf(m.UUID), a.Endpoints[0], a.Endpoints[1], c.Now())
		if err != nil {
			return err
		}
		out.Endpoints = map[string]wire.CharmRelation{}
		for _, e := range r.Endpoints {
			out.Endpoints[string(e.Application)] = wire.CharmRelation{
				Name: e.Name, Role: e.Role, Interface: e.Interface, Optional: e.Optional, Limit: e.Limit, Scope: e.Scope,
			}
		}
		return nil
	})
	return out, err
}

func destroyRelation(_ Service, c facade.Call, a wireapp.DestroyRelation) error {
	if len(a.Endpoints) > 2 {
		return bad(errors.New("a relation must involve one or two applications"))
	}
	if err := checkEndpoints(a.Endpoints); err != nil {
		return err
	}
	c.Concerns(a.Endpoints...)
	o := removal.Options{Force: a.Force != nil && *a.Force, MaxWait: a.MaxWait}
	return remove(c, func(tx *state.Tx, m model.Row) error {
		id := a.RelationID
		if len(a.Endpoints) > 0 {
			r, err := findRelation(tx, model.ScopeOf(m.UUID), a.Endpoints)
			if err != nil {
				return err
			}
			id = r.ID
		}
		return removal.DestroyRelation(tx, m, id, o, c.Now())
	})
}

// findRelation finds the one relation that the endpoints can mean.
func findRelation(r state.Reader, s state.Scope, eps []string) (relation.Row, error) {
	app, _, _ := strings.Cut(eps[0], ":")
	var found []relation.Row
	for _, row := range relation.Of(r, s, names.Application(app)) {
		if len(row.Endpoints) == len(eps) && hasAll(row, eps) {
			found = append(found, row)
		}
	}
	switch len(found) {
	case 0:
		return relation.Row{}, &relation.NotFoundError{What: strings.Join(eps, " ")}
	case 1:
		return found[0], nil
	}
	keys := make([]string, len(found))
	for i, row := range found {
		keys[i] = fmt.Sprintf("%q", string(row.Key))
	}
	return relation.Row{}, bad(fmt.Errorf("ambiguous relation: %q could refer to %s", strings.Join(eps, " "), strings.Join(keys, "; ")))
}

func hasAll(row relation.Row, eps []string) bool {
	for _, e := range eps {
		app, ep, _ := strings.Cut(e, ":")
		local, _, ok := row.Sides(names.Application(app))
		if !ok || ep != "" && local.Name != ep {
			return false
		}
	}
	return len(eps) == 1 || !sameApplication(eps)
}

func sameApplication(eps []string) bool {
	a, _, _ := strings.Cut(eps[0], ":")
	b, _, _ := strings.Cut(eps[1], ":")
	return a == b
}

func expose(_ Service, c facade.Call, a wireapp.ApplicationExpose) error {
	eps := map[string]application.Exposure{}
	for ep, e := range a.ExposedEndpoints {
		for _, s := range e.ExposeToSpaces {
			if s != "alpha" {
				return bad(fmt.Errorf("cannot expose to space %.80q: this model has only the space alpha", s))
			}
		}
		eps[ep] = application.Exposure{Spaces: e.ExposeToSpaces, CIDRs: e.ExposeToCIDRs}
	}
	c.Concerns(names.Application(a.Application).Tag().String())
	return change(c, func(tx *state.Tx, m model.Row) error {
		return application.Expose(tx, model.ScopeOf(m.UUID), names.Application(a.Application), eps)
	})
}

func unexpose(_ Service, c facade.Call, a wireapp.ApplicationUnexpose) error {
	c.Concerns(names.Application(a.Application).Tag().String())
	return change(c, func(tx *state.Tx, m model.Row) error {
		return application.Unexpose(tx, model.ScopeOf(m.UUID), names.Application(a.Application), a.ExposedEndpoints)
	})
}

func mergeBindings(_ Service, c facade.Call, a wireapp.ApplicationMergeBindings) error {
	app, err := names.ParseApplication(a.ApplicationTag)
	if err != nil {
		return bad(err)
	}
	c.Concerns(a.ApplicationTag)
	return change(c, func(tx *state.Tx, m model.Row) error {
		row, ch, err := load(tx, model.ScopeOf(m.UUID), app)
		if err != nil {
			return err
		}
		known := bindings(ch)
		for ep, space := range a.Bindings {
			if _, ok := known[ep]; !ok {
				return bad(fmt.Errorf("cannot bind endpoint %.80q: unknown endpoint", ep))
			}
			if space != "alpha" && space != "" {
				return bad(fmt.Errorf("cannot bind endpoint %q: space %.80q not found", ep, space))
			}
		}
		return application.Table.Put(tx, model.ScopeOf(m.UUID), row)
	})
}
