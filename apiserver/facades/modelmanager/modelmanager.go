// Package modelmanager serves the facade ModelManager: making, listing,
// describing, sharing and destroying models. It shows nobody a model that
// they may not read, and no reader who else may.
package modelmanager

import (
	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/apiserver/facades/refuse"
	"github.com/scarab-ops/scarab/authz"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/wire"
	wiremm "github.com/scarab-ops/scarab/wire/modelmanager"
)

// A Service is what the facade needs.
type Service struct {
	// Controller is the controller's UUID.
	Controller string
	// AgentVersion is the version that new models report to clients.
	AgentVersion string
	// NewUUID makes the UUID of a new model.
	NewUUID func() names.Model
}

type methods = []facade.Method[Service]

func v10() facade.Facade[Service] {
	login := authz.OnController(authz.Login).Reads()
	f := facade.Facade[Service]{Name: "ModelManager", Version: 10, Methods: methods{
		facade.One("ListModels", login, listModels),
		facade.One("ListModelSummaries", login, listSummaries),
		facade.EachOn("ModelInfo", authz.PerItem(authz.Read).Reads(), modelOf, wiremm.ModelInfoShape, modelInfo),
		facade.Each("ModelStatus", authz.PerItem(authz.Admin).Reads(), wiremm.ModelStatusShape, modelStatus),
		// Settings may hold secrets: it is recorded without arguments.
		facade.One("CreateModel", authz.PerItem(authz.AddModel), createModel),
		facade.DoOn("DestroyModels", authz.PerItem(authz.Admin).Changes(), func(p wiremm.DestroyModelParams) (authz.Target, error) {
			return target(p.ModelTag)
		}, wiremm.DestroyModelsShape.Items, destroyModel),
		facade.DoOn("ModifyModelAccess", authz.PerItem(authz.Admin).Changes(), func(p wiremm.ModifyModelAccess) (authz.Target, error) {
			return target(p.ModelTag)
		}, wiremm.ModifyModelAccessShape.Items, modifyAccess),
		facade.Each("ModelDefaultsForClouds", login, wiremm.ModelDefaultsForCloudsShape, modelDefaults),
	}}
	no, admin := refuse.Method[Service], authz.OnController(authz.Superuser)
	return f.With(
		no("ChangeModelCredential", authz.OnController(authz.Login), "cannot change a model's credential: the clouds of this release need none"),
		no("SetModelDefaults", admin, "cannot set model defaults in this release: set the options of each model"),
		no("UnsetModelDefaults", admin, "cannot reset model defaults in this release: reset the options of each model"),
		no("DumpModels", admin, "cannot dump a model in this release: use status and show commands"),
		no("DumpModelsDB", admin, "cannot dump a model in this release: use status and show commands"),
	)
}

// Endpoints binds every version of the facade.
func Endpoints(s Service) ([]facade.Endpoint, error) {
	new10 := v10()
	old9 := new10.At(9).With(
		facade.EachOn("ModelInfo", authz.PerItem(authz.Read).Reads(), modelOf, wiremm.ModelInfoShape, modelInfoV9),
		facade.One("CreateModel", authz.PerItem(authz.AddModel), createModelV9),
	)
	es, err := facade.Bind(new10, s)
	if err != nil {
		return nil, err
	}
	old, err := facade.Bind(old9, s)
	return append(es, old...), err
}

func target(tag string) (authz.Target, error) {
	m, err := names.ParseModel(tag)
	if err != nil {
		return "", bad(err)
	}
	return authz.Model(m), nil
}

func modelOf(e wire.Entity) (authz.Target, error) { return target(e.Tag) }

func bad(err error) error { return &facade.BadRequest{Reason: err.Error()} }
