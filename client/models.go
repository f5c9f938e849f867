package client

import (
	"context"

	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/wire"
	wireclient "github.com/scarab-ops/scarab/wire/client"
	"github.com/scarab-ops/scarab/wire/cloud"
	"github.com/scarab-ops/scarab/wire/controller"
	"github.com/scarab-ops/scarab/wire/modelconfig"
	"github.com/scarab-ops/scarab/wire/modelmanager"
	"github.com/scarab-ops/scarab/wire/usermanager"
)

// Models lists the models that a user may see. (controller connection)
func (c *Conn) Models(ctx context.Context, u names.User) ([]wire.UserModel, error) {
	r, err := Call[wire.Entity, wire.UserModelList](ctx, c, "ModelManager", "ListModels", wire.Entity{Tag: u.Tag().String()})
	return r.UserModels, err
}

// ModelSummaries lists models with counts; all needs a superuser.
func (c *Conn) ModelSummaries(ctx context.Context, u names.User, all bool) ([]modelmanager.ModelSummaryResult, error) {
	r, err := Call[modelmanager.ModelSummariesRequest, modelmanager.ModelSummaryResults](ctx, c, "ModelManager", "ListModelSummaries",
		modelmanager.ModelSummariesRequest{UserTag: u.Tag().String(), All: all})
	return r.Results, err
}

// CreateModel makes a model.
func (c *Conn) CreateModel(ctx context.Context, a modelmanager.ModelCreateArgs) (modelmanager.ModelInfo, error) {
	return Call[modelmanager.ModelCreateArgs, modelmanager.ModelInfo](ctx, c, "ModelManager", "CreateModel", a)
}

// ModelInfo describes a model.
func (c *Conn) ModelInfo(ctx context.Context, m names.Model) (*modelmanager.ModelInfo, error) {
	r, err := Call[wire.Entities, modelmanager.ModelInfoResults](ctx, c, "ModelManager", "ModelInfo", entities(m.Tag().String()))
	one, err := only(r.Results, err)
	if err != nil {
		return nil, err
	}
	return one.Result, asError(one.Error)
}

// ModelStatus counts what is in models, for instance while they go.
func (c *Conn) ModelStatus(ctx context.Context, ms ...names.Model) ([]wire.ModelStatus, error) {
	tags := make([]string, len(ms))
	for i, m := range ms {
		tags[i] = m.Tag().String()
	}
	r, err := Call[wire.Entities, wire.ModelStatusResults](ctx, c, "ModelManager", "ModelStatus", entities(tags...))
	return exactly(r.Models, len(ms), err)
}

// DestroyModel asks for a model's end. a.ModelTag says which.
func (c *Conn) DestroyModel(ctx context.Context, a modelmanager.DestroyModelParams) error {
	return oneError(Call[modelmanager.DestroyModelsParams, wire.ErrorResults](ctx, c, "ModelManager", "DestroyModels",
		modelmanager.DestroyModelsParams{Models: []modelmanager.DestroyModelParams{a}}))
}

// AllModels lists the models of the controller; for superusers.
func (c *Conn) AllModels(ctx context.Context) ([]wire.UserModel, error) {
	r, err := Call[none, wire.UserModelList](ctx, c, "Controller", "AllModels", none{})
	return r.UserModels, err
}

// ControllerConfig returns the controller's settings.
func (c *Conn) ControllerConfig(ctx context.Context) (map[string]any, error) {
	r, err := Call[none, controller.ControllerConfigResult](ctx, c, "Controller", "ControllerConfig", none{})
	return r.Config, err
}

// SetControllerConfig changes settings of the controller.
func (c *Conn) SetControllerConfig(ctx context.Context, config map[string]any) error {
	_, err := Call[controller.ControllerConfigSet, none](ctx, c, "Controller", "ConfigSet", controller.ControllerConfigSet{Config: config})
	return err
}

// ControllerVersion returns the server's version.
func (c *Conn) ControllerVersion(ctx context.Context) (controller.ControllerVersionResults, error) {
	return Call[none, controller.ControllerVersionResults](ctx, c, "Controller", "ControllerVersion", none{})
}

// DestroyController asks for the controller's end.
func (c *Conn) DestroyController(ctx context.Context, a controller.DestroyControllerArgs) error {
	_, err := Call[controller.DestroyControllerArgs, none](ctx, c, "Controller", "DestroyController", a)
	return err
}

// FullStatus returns the status of the model connected to.
func (c *Conn) FullStatus(ctx context.Context, a wireclient.StatusParams) (wireclient.FullStatus, error) {
	return Call[wireclient.StatusParams, wireclient.FullStatus](ctx, c, "Client", "FullStatus", a)
}

// StatusHistory returns the past statuses of one entity.
func (c *Conn) StatusHistory(ctx context.Context, a wireclient.StatusHistoryRequest) (wireclient.StatusHistoryResult, error) {
	r, err := Call[wireclient.StatusHistoryRequests, wireclient.StatusHistoryResults](ctx, c, "Client", "StatusHistory",
		wireclient.StatusHistoryRequests{Requests: []wireclient.StatusHistoryRequest{a}})
	return only(r.Results, err)
}

// WatchAll watches everything in the model connected to.
func (c *Conn) WatchAll(ctx context.Context) (*AllWatcher, error) {
	r, err := Call[none, wire.AllWatcherId](ctx, c, "Client", "WatchAll", none{})
	if err != nil {
		return nil, err
	}
	return &AllWatcher{c, r.WatcherID}, nil
}

// ModelConfig returns the model's settings with their sources.
func (c *Conn) ModelConfig(ctx context.Context) (map[string]wire.ConfigValue, error) {
	r, err := Call[none, wire.ModelConfigResults](ctx, c, "ModelConfig", "ModelGet", none{})
	return r.Config, err
}

// SetModelConfig changes settings of the model.
func (c *Conn) SetModelConfig(ctx context.Context, config map[string]any) error {
	_, err := Call[modelconfig.ModelSet, none](ctx, c, "ModelConfig", "ModelSet", modelconfig.ModelSet{Config: config})
	return err
}

// UnsetModelConfig puts settings back to what the controller says.
func (c *Conn) UnsetModelConfig(ctx context.Context, keys []string) error {
	_, err := Call[modelconfig.ModelUnset, none](ctx, c, "ModelConfig", "ModelUnset", modelconfig.ModelUnset{Keys: keys})
	return err
}

// ModelConstraints returns the model's constraints.
func (c *Conn) ModelConstraints(ctx context.Context) (wire.Value, error) {
	r, err := Call[none, modelconfig.GetConstraintsResults](ctx, c, "ModelConfig", "GetModelConstraints", none{})
	return r.Constraints, err
}

// SetModelConstraints replaces the model's constraints.
func (c *Conn) SetModelConstraints(ctx context.Context, v wire.Value) error {
	_, err := Call[wire.SetConstraints, none](ctx, c, "ModelConfig", "SetModelConstraints", wire.SetConstraints{Constraints: v})
	return err
}

// Clouds lists the controller's clouds by tag.
func (c *Conn) Clouds(ctx context.Context) (map[string]cloud.Cloud, error) {
	r, err := Call[none, cloud.CloudsResult](ctx, c, "Cloud", "Clouds", none{})
	return r.Clouds, err
}

// Cloud describes a cloud.
func (c *Conn) Cloud(ctx context.Context, n names.Cloud) (*cloud.Cloud, error) {
	r, err := Call[wire.Entities, cloud.CloudResults](ctx, c, "Cloud", "Cloud", entities(n.Tag().String()))
	one, err := only(r.Results, err)
	if err != nil {
		return nil, err
	}
	return one.Cloud, asError(one.Error)
}

// UserCredentials lists the tags of a user's credentials for a cloud.
func (c *Conn) UserCredentials(ctx context.Context, u names.User, n names.Cloud) ([]string, error) {
	r, err := Call[cloud.UserClouds, wire.StringsResults](ctx, c, "Cloud", "UserCredentials",
		cloud.UserClouds{UserClouds: []cloud.UserCloud{{UserTag: u.Tag().String(), CloudTag: n.Tag().String()}}})
	one, err := only(r.Results, err)
	if err != nil {
		return nil, err
	}
	return one.Result, asError(one.Error)
}

// UpdateCredentials stores credentials and reports the models that use them.
func (c *Conn) UpdateCredentials(ctx context.Context, a cloud.UpdateCredentialArgs) ([]cloud.UpdateCredentialResult, error) {
	r, err := Call[cloud.UpdateCredentialArgs, cloud.UpdateCredentialResults](ctx, c, "Cloud", "UpdateCredentialsCheckModels", a)
	return exactly(r.Results, len(a.Credentials), err)
}

// Users describes users, all of them if none is named.
func (c *Conn) Users(ctx context.Context, disabled bool, us ...names.User) ([]usermanager.UserInfoResult, error) {
	a := usermanager.UserInfoRequest{Entities: []wire.Entity{}, IncludeDisabled: disabled}
	for _, u := range us {
		a.Entities = append(a.Entities, wire.Entity{Tag: u.Tag().String()})
	}
	r, err := Call[usermanager.UserInfoRequest, usermanager.UserInfoResults](ctx, c, "UserManager", "UserInfo", a)
	return r.Results, err
}

// SetUserPassword replaces a user's password.
func (c *Conn) SetUserPassword(ctx context.Context, u names.User, p Secret) error {
	return oneError(Call[usermanager.EntityPasswords, wire.ErrorResults](ctx, c, "UserManager", "SetPassword",
		usermanager.EntityPasswords{Changes: []usermanager.EntityPassword{{Tag: u.Tag().String(), Password: p.Reveal()}}}))
}
