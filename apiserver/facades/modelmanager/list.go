package modelmanager

import (
	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/apiserver/facades/wiremap"
	"github.com/scarab-ops/scarab/authz"
	"github.com/scarab-ops/scarab/domain/cloud"
	"github.com/scarab-ops/scarab/domain/machine"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/status"
	"github.com/scarab-ops/scarab/domain/unit"
	"github.com/scarab-ops/scarab/domain/user"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/wire"
	wiremm "github.com/scarab-ops/scarab/wire/modelmanager"
)

// whose reads a user's tag; only superusers may ask about others.
func whose(c facade.Call, tag string) (names.User, error) {
	u, err := names.ParseUser(tag)
	if err != nil {
		return "", bad(err)
	}
	if u.Local() != c.Caller.User.Local() && !c.Holds(authz.Superuser, authz.Controller) {
		return "", authz.ErrDenied
	}
	return u.Local(), nil
}

// visible tells whether u may see a model: superusers who ask for all see all.
func visible(r state.Reader, u names.User, all bool) func(model.Row) bool {
	return func(m model.Row) bool { return all || user.Level(r, u, string(m.UUID)) != "" }
}

func isSuper(r state.Reader, u names.User) bool {
	return user.Level(r, u, user.OnController) == "superuser"
}

func listModels(_ Service, c facade.Call, e wire.Entity) (wire.UserModelList, error) {
	u, err := whose(c, e.Tag)
	if err != nil {
		return wire.UserModelList{}, err
	}
	v := c.View()
	return wiremap.Owned(v, u, visible(v, u, isSuper(v, u))), nil
}

func listSummaries(s Service, c facade.Call, a wiremm.ModelSummariesRequest) (wiremm.ModelSummaryResults, error) {
	u, err := whose(c, a.UserTag)
	if err != nil {
		return wiremm.ModelSummaryResults{}, err
	}
	v := c.View()
	out := wiremm.ModelSummaryResults{Results: []wiremm.ModelSummaryResult{}}
	show := visible(v, u, a.All && isSuper(v, u))
	for m, err := range model.Table.All(v, state.Controller) {
		if err == nil && show(m) {
			out.Results = append(out.Results, wiremm.ModelSummaryResult{Result: summary(s, v, m, u)})
		}
	}
	return out, nil
}

func summary(s Service, v state.Reader, m model.Row, u names.User) *wiremm.ModelSummary {
	st := wiremap.Status(status.Get(v, model.ScopeOf(m.UUID), status.OfModel))
	out := &wiremm.ModelSummary{
		Name: m.Name, UUID: string(m.UUID), Type: wiremap.ModelKind, ControllerUUID: s.Controller,
		IsController: m.IsController, ProviderType: providerType(v, m.Cloud), CloudTag: m.Cloud.Tag().String(),
		CloudRegion: m.Region, OwnerTag: m.Owner.Tag().String(), Life: string(m.Life), Status: &st,
		UserAccess: user.Level(v, u, string(m.UUID)), LastConnection: wiremap.LastSeen(v, u, m.UUID),
		Counts: counts(v, m.UUID), SLA: sla(m), AgentVersion: m.AgentVersion,
	}
	if out.UserAccess == "" && isSuper(v, u) {
		out.UserAccess = "admin"
	}
	return out
}

func sla(m model.Row) wire.ModelSLAInfo {
	return wire.ModelSLAInfo{Level: "unsupported", Owner: string(m.Owner)}
}

func providerType(v state.Reader, c names.Cloud) string {
	row, err := cloud.Table.Get(v, state.Controller, string(c))
	if err != nil {
		return ""
	}
	return row.Type
}

func counts(v state.Reader, m names.Model) []wiremm.ModelEntityCount {
	s := model.ScopeOf(m)
	machines, cores, units := 0, 0, 0
	for _, err := range machine.Table.All(v, s) {
		if err == nil {
			machines++
		}
	}
	for i, err := range machine.Instances.All(v, s) {
		if err == nil {
			cores += i.Cores
		}
	}
	for _, err := range unit.Table.All(v, s) {
		if err == nil {
			units++
		}
	}
	out := []wiremm.ModelEntityCount{}
	for _, c := range []wiremm.ModelEntityCount{
		{Entity: "machines", Count: machines}, {Entity: "cores", Count: cores}, {Entity: "units", Count: units},
	} {
		if c.Count > 0 {
			out = append(out, c)
		}
	}
	return out
}

func modelStatus(_ Service, c facade.Call, e wire.Entity) (wire.ModelStatus, error) {
	id, err := names.ParseModel(e.Tag)
	if err != nil {
		return wire.ModelStatus{}, bad(err)
	}
	m, err := model.Get(c.View(), id)
	if err != nil {
		return wire.ModelStatus{}, &goneError{id}
	}
	if err := c.Check(authz.Admin, authz.Model(id)); err != nil {
		return wire.ModelStatus{}, err
	}
	return wiremap.ModelStatus(c.View(), m), nil
}

// goneError is how clients learn that a model's destruction is complete; they
// look for this code and no other.
type goneError struct{ m names.Model }

func (e *goneError) Error() string { return "model " + string(e.m) + " not found" }
func (e *goneError) Code() string  { return "not found" }
