package modelmanager

import (
	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/apiserver/facades/wiremap"
	"github.com/scarab-ops/scarab/authz"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/status"
	"github.com/scarab-ops/scarab/domain/user"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/wire"
	wiremm "github.com/scarab-ops/scarab/wire/modelmanager"
)

func modelInfo(s Service, c facade.Call, e wire.Entity) (wiremm.ModelInfoResult, error) {
	id, err := names.ParseModel(e.Tag)
	if err != nil {
		return wiremm.ModelInfoResult{}, bad(err)
	}
	m, err := model.Get(c.View(), id)
	if err != nil {
		return wiremm.ModelInfoResult{}, authz.ErrDenied // an unknown model looks like a forbidden one
	}
	return wiremm.ModelInfoResult{Result: info(s, c, m)}, nil
}

func modelInfoV9(s Service, c facade.Call, e wire.Entity) (wiremm.ModelInfoResult, error) {
	r, err := modelInfo(s, c, e)
	if err == nil {
		addV9(c, r.Result)
	}
	return r, err
}

// addV9 adds what only version 9 has.
func addV9(c facade.Call, i *wiremm.ModelInfo) {
	m, err := model.Get(c.View(), names.Model(i.UUID))
	if err != nil {
		return
	}
	// Clients of this version fail without the two keys, so a model that sets
	// none has the base that they know as the default.
	i.DefaultBase, i.DefaultSeries = "ubuntu@22.04/stable", "jammy"
	if cfg, err := model.EffectiveConfig(c.View(), m); err == nil && cfg.String("default-base") != "" {
		i.DefaultBase = cfg.String("default-base")
	}
}

func info(s Service, c facade.Call, m model.Row) *wiremm.ModelInfo {
	v := c.View()
	st := wiremap.Status(status.Get(v, model.ScopeOf(m.UUID), status.OfModel))
	t := authz.Model(m.UUID)
	out := &wiremm.ModelInfo{
		Name: m.Name, Type: wiremap.ModelKind, UUID: string(m.UUID), ControllerUUID: s.Controller, IsController: m.IsController,
		ProviderType: providerType(v, m.Cloud), CloudTag: m.Cloud.Tag().String(), CloudRegion: m.Region,
		OwnerTag: m.Owner.Tag().String(), Life: string(m.Life), Status: &st, SLA: sla(m), AgentVersion: m.AgentVersion,
		Users: users(v, m, c.Caller.User.Local(), c.Holds(authz.Admin, t)), SecretBackends: []wire.SecretBackendResult{},
		SupportedFeatures: []wiremm.SupportedFeature{{
			Name: "juju", Description: "the version of the agents of this model, as charms see it", Version: m.AgentVersion,
		}},
	}
	if c.Holds(authz.Write, t) {
		out.Machines = wiremap.Machines(v, m.UUID)
	}
	return out
}

// users lists who may use a model; without all, only the caller.
func users(v state.Reader, m model.Row, caller names.User, all bool) []wire.ModelUserInfo {
	out := []wire.ModelUserInfo{}
	for g, err := range user.Grants.All(v, state.Controller) {
		if err != nil || g.On != string(m.UUID) || (!all && g.User.Local() != caller) {
			continue
		}
		display := ""
		if row, err := user.Table.Get(v, state.Controller, string(g.User.Local())); err == nil {
			display = row.DisplayName
		}
		out = append(out, wire.ModelUserInfo{
			ModelTag: m.UUID.Tag().String(), User: string(g.User), DisplayName: display, Access: g.Level,
			LastConnection: wiremap.LastSeen(v, g.User, m.UUID),
		})
	}
	return out
}

func modelDefaults(_ Service, c facade.Call, e wire.Entity) (wiremm.ModelDefaultsResult, error) {
	if _, err := names.Parse(e.Tag, names.KindCloud); err != nil {
		return wiremm.ModelDefaultsResult{}, bad(err)
	}
	out := wiremm.ModelDefaultsResult{Config: map[string]wiremm.ModelDefaults{}}
	for _, k := range model.Keys() {
		if k.Default != "" {
			out.Config[k.Name] = wiremm.ModelDefaults{Default: k.Default}
		}
	}
	return out, nil
}
