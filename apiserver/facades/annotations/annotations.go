// Package annotations serves the facade Annotations: the notes that clients
// keep about the entities of a model.
package annotations

import (
	"fmt"

	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/authz"
	"github.com/scarab-ops/scarab/domain/annotation"
	"github.com/scarab-ops/scarab/domain/application"
	"github.com/scarab-ops/scarab/domain/block"
	"github.com/scarab-ops/scarab/domain/charmstore"
	"github.com/scarab-ops/scarab/domain/machine"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/unit"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/wire"
	wireann "github.com/scarab-ops/scarab/wire/annotations"
)

// A Service is what the facade needs: nothing but the call's own state.
type Service struct{}

// Endpoints binds the facade.
func Endpoints(s Service) ([]facade.Endpoint, error) {
	return facade.Bind(facade.Facade[Service]{Name: "Annotations", Version: 2, Methods: []facade.Method[Service]{
		facade.Each("Get", authz.OnModel(authz.Read).Reads(), wireann.GetShape, get),
		facade.Do("Set", authz.OnModel(authz.Write).Changes(), wireann.SetShape.Items, set),
	}}, s)
}

func get(_ Service, c facade.Call, e wire.Entity) (wireann.AnnotationsGetResult, error) {
	t, err := names.ParseTag(e.Tag)
	if err != nil {
		return wireann.AnnotationsGetResult{}, &facade.BadRequest{Reason: err.Error()}
	}
	return wireann.AnnotationsGetResult{
		Entity: e.Tag, Annotations: annotation.Of(c.View(), model.ScopeOf(c.Caller.Model), t),
		Error: &wire.ErrorResult{}, // clients read an empty object as success
	}, nil
}

type missingError struct{ tag names.Tag }

func (e *missingError) Error() string { return fmt.Sprintf("cannot annotate %s: not found", e.tag) }
func (e *missingError) Code() string  { return "not found" }

func set(_ Service, c facade.Call, a wireann.EntityAnnotations) error {
	t, err := names.ParseTag(a.Entity)
	if err != nil {
		return &facade.BadRequest{Reason: err.Error()}
	}
	c.Concerns(a.Entity)
	return c.Update(func(tx *state.Tx) error {
		m, err := model.Alive(tx, c.Caller.Model)
		if err != nil {
			return err
		}
		s := model.ScopeOf(m.UUID)
		if err := block.Check(tx, s, block.Change); err != nil {
			return err
		}
		if !exists(tx, s, m, t) {
			return &missingError{t}
		}
		return annotation.Set(tx, s, t, a.Annotations)
	})
}

func exists(r state.Reader, s state.Scope, m model.Row, t names.Tag) bool {
	switch t.Kind {
	case names.KindApplication:
		return application.Table.Has(r, s, t.ID)
	case names.KindUnit:
		return unit.Table.Has(r, s, t.ID)
	case names.KindMachine:
		return machine.Table.Has(r, s, t.ID)
	case names.KindCharm:
		return charmstore.Table.Has(r, s, t.ID)
	case names.KindModel:
		return t.ID == string(m.UUID)
	}
	return false
}
