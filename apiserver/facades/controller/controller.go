// Package controller serves the facade Controller: the settings of the
// controller, all of its models, who may use it, and its end. It gives out no
// key and no credential.
package controller

import (
	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/apiserver/facades/refuse"
	"github.com/scarab-ops/scarab/authz"
	wirectl "github.com/scarab-ops/scarab/wire/controller"
)

// A Service is what the facade needs.
type Service struct {
	// Version is the server version that clients know, Commit what it was
	// built from.
	Version, Commit string
}

type methods = []facade.Method[Service]

func v12() facade.Facade[Service] {
	login, super := authz.OnController(authz.Login), authz.OnController(authz.Superuser)
	f := facade.Facade[Service]{Name: "Controller", Version: 12, Methods: methods{
		facade.None("ControllerConfig", login.Reads(), getConfig),
		facade.Act("ConfigSet", super.Changes(), setConfig),
		facade.None("ControllerVersion", login.Reads(), version),
		facade.None("MongoVersion", login.Reads(), storeVersion),
		facade.None("IdentityProviderURL", login.Reads(), identityURL),
		facade.None("AllModels", super.Reads(), allModels),
		facade.Each("ModelStatus", authz.PerItem(authz.Admin).Reads(), wirectl.ModelStatusShape, modelStatus),
		facade.Each("GetControllerAccess", login.Reads(), wirectl.GetControllerAccessShape, getAccess),
		facade.Do("ModifyControllerAccess", super.Changes(), wirectl.ModifyControllerAccessShape.Items, modifyAccess),
		facade.None("HostedModelConfigs", super.Reads(), hostedConfigs),
		facade.Each("CloudSpec", super.Reads(), wirectl.CloudSpecShape, cloudSpec),
		facade.Act("DestroyController", super.Changes(), destroy),
		facade.None("ListBlockedModels", super.Reads(), blockedModels),
		facade.Act("RemoveBlocks", super.Changes(), removeBlocks),
		facade.None("DashboardConnectionInfo", login.Reads(), dashboard),
	}}
	no := refuse.Method[Service]
	return f.With(
		no("InitiateMigration", super, "cannot migrate models in this release: deploy them anew on the other controller"),
		no("ControllerAPIInfoForModels", super, "cannot reach other controllers in this release"),
		no("GetCloudSpec", super, "cannot show a cloud this way: use CloudSpec"),
		no("WatchAllModels", super, "cannot watch all models at once in this release: watch each model"),
		no("WatchAllModelSummaries", super, "cannot watch summaries in this release: use ListModelSummaries"),
		no("WatchModelSummaries", login, "cannot watch summaries in this release: use ListModelSummaries"),
		no("WatchCloudSpecsChanges", super, "cannot watch clouds in this release: they do not change"),
	)
}

// Endpoints binds every version of the facade.
func Endpoints(s Service) ([]facade.Endpoint, error) {
	f := v12()
	v11 := f.At(11).With(facade.None("ModelConfig", authz.OnController(authz.Superuser).Reads(), modelConfig))
	es, err := facade.Bind(f, s)
	if err != nil {
		return nil, err
	}
	old, err := facade.Bind(v11, s)
	return append(es, old...), err
}

func bad(err error) error { return &facade.BadRequest{Reason: err.Error()} }
