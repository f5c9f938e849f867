package client

import (
	"context"

	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/wire"
	"github.com/scarab-ops/scarab/wire/annotations"
	"github.com/scarab-ops/scarab/wire/application"
	"github.com/scarab-ops/scarab/wire/charms"
)

// Deploy deploys an application of a charm that was added before.
func (c *Conn) Deploy(ctx context.Context, a application.ApplicationDeploy) error {
	return oneError(Call[application.ApplicationsDeploy, wire.ErrorResults](ctx, c, "Application", "Deploy",
		application.ApplicationsDeploy{Applications: []application.ApplicationDeploy{a}}))
}

// DeployFromRepository lets the server find the charm and deploy it.
func (c *Conn) DeployFromRepository(ctx context.Context, a application.DeployFromRepositoryArg) (application.DeployFromRepositoryResult, error) {
	r, err := Call[application.DeployFromRepositoryArgs, application.DeployFromRepositoryResults](ctx, c, "Application", "DeployFromRepository",
		application.DeployFromRepositoryArgs{Args: []application.DeployFromRepositoryArg{a}})
	return only(r.Results, err)
}

// Application returns an application's settings, with their descriptions.
func (c *Conn) Application(ctx context.Context, a names.Application) (application.ApplicationGetResults, error) {
	return Call[application.ApplicationGet, application.ApplicationGetResults](ctx, c, "Application", "Get",
		application.ApplicationGet{Application: string(a), Branch: "master"})
}

// ApplicationsInfo describes applications.
func (c *Conn) ApplicationsInfo(ctx context.Context, as ...names.Application) ([]application.ApplicationInfoResult, error) {
	r, err := Call[wire.Entities, application.ApplicationInfoResults](ctx, c, "Application", "ApplicationsInfo", entities(tagsOf(as)...))
	return exactly(r.Results, len(as), err)
}

// tagged is an identifier that has a tag.
type tagged interface{ Tag() names.Tag }

func tagsOf[T tagged](ids []T) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = id.Tag().String()
	}
	return out
}

// UnitsInfo describes units with what their relations hold. An application
// stands for all of its units.
func (c *Conn) UnitsInfo(ctx context.Context, tags ...names.Tag) ([]application.UnitInfoResult, error) {
	texts := make([]string, len(tags))
	for i, t := range tags {
		texts[i] = t.String()
	}
	r, err := Call[wire.Entities, application.UnitInfoResults](ctx, c, "Application", "UnitsInfo", entities(texts...))
	return r.Results, err
}

// SetConfig changes settings: values by key, or a YAML text.
func (c *Conn) SetConfig(ctx context.Context, a names.Application, values map[string]string, yaml string) error {
	return oneError(Call[application.ConfigSetArgs, wire.ErrorResults](ctx, c, "Application", "SetConfigs", application.ConfigSetArgs{
		Args: []application.ConfigSet{{Application: string(a), Config: values, ConfigYAML: yaml, Generation: "master"}},
	}))
}

// UnsetConfig puts settings back to the charm's defaults.
func (c *Conn) UnsetConfig(ctx context.Context, a names.Application, keys []string) error {
	return oneError(Call[application.ApplicationConfigUnsetArgs, wire.ErrorResults](ctx, c, "Application", "UnsetApplicationsConfig",
		application.ApplicationConfigUnsetArgs{Args: []application.ApplicationUnset{{Application: string(a), Branch: "master", Options: keys}}}))
}

// AddUnits adds units and returns their names.
func (c *Conn) AddUnits(ctx context.Context, a application.AddApplicationUnits) ([]string, error) {
	r, err := Call[application.AddApplicationUnits, application.AddApplicationUnitsResults](ctx, c, "Application", "AddUnits", a)
	return r.Units, err
}

// DestroyApplications asks for the end of applications.
func (c *Conn) DestroyApplications(ctx context.Context, as []application.DestroyApplicationParams) ([]application.DestroyApplicationResult, error) {
	r, err := Call[application.DestroyApplicationsParams, application.DestroyApplicationResults](ctx, c, "Application", "DestroyApplication",
		application.DestroyApplicationsParams{Applications: as})
	return exactly(r.Results, len(as), err)
}

// DestroyUnits asks for the end of units.
func (c *Conn) DestroyUnits(ctx context.Context, us []application.DestroyUnitParams) ([]application.DestroyUnitResult, error) {
	r, err := Call[application.DestroyUnitsParams, application.DestroyUnitResults](ctx, c, "Application", "DestroyUnit",
		application.DestroyUnitsParams{Units: us})
	return exactly(r.Results, len(us), err)
}

// AddRelation relates two endpoints and returns what the server chose, by
// application.
func (c *Conn) AddRelation(ctx context.Context, endpoints []string) (map[string]wire.CharmRelation, error) {
	r, err := Call[application.AddRelation, application.AddRelationResults](ctx, c, "Application", "AddRelation",
		application.AddRelation{Endpoints: endpoints})
	return r.Endpoints, err
}

// DestroyRelation asks for the end of a relation.
func (c *Conn) DestroyRelation(ctx context.Context, a application.DestroyRelation) error {
	_, err := Call[application.DestroyRelation, none](ctx, c, "Application", "DestroyRelation", a)
	return err
}

// Expose opens an application's endpoints to the outside.
func (c *Conn) Expose(ctx context.Context, a application.ApplicationExpose) error {
	_, err := Call[application.ApplicationExpose, none](ctx, c, "Application", "Expose", a)
	return err
}

// Unexpose closes them again.
func (c *Conn) Unexpose(ctx context.Context, a application.ApplicationUnexpose) error {
	_, err := Call[application.ApplicationUnexpose, none](ctx, c, "Application", "Unexpose", a)
	return err
}

// SetCharm upgrades an application to another charm that was added before.
func (c *Conn) SetCharm(ctx context.Context, a application.ApplicationSetCharm) error {
	_, err := Call[application.ApplicationSetCharm, none](ctx, c, "Application", "SetCharm", a)
	return err
}

// CharmOriginOf returns the charm of an application and where it came from.
func (c *Conn) CharmOriginOf(ctx context.Context, a names.Application) (application.CharmURLOriginResult, error) {
	r, err := Call[application.ApplicationGet, application.CharmURLOriginResult](ctx, c, "Application", "GetCharmURLOrigin",
		application.ApplicationGet{Application: string(a), Branch: "master"})
	if err == nil {
		err = asError(r.Error)
	}
	return r, err
}

// Constraints returns an application's constraints.
func (c *Conn) Constraints(ctx context.Context, a names.Application) (wire.Value, error) {
	r, err := Call[wire.Entities, application.ApplicationGetConstraintsResults](ctx, c, "Application", "GetConstraints", entities(a.Tag().String()))
	one, err := only(r.Results, err)
	if err != nil {
		return wire.Value{}, err
	}
	return one.Constraints, asError(one.Error)
}

// SetConstraints replaces an application's constraints.
func (c *Conn) SetConstraints(ctx context.Context, a names.Application, v wire.Value) error {
	_, err := Call[wire.SetConstraints, none](ctx, c, "Application", "SetConstraints", wire.SetConstraints{Application: string(a), Constraints: v})
	return err
}

// Resolve marks failed units as resolved, all of them if none is named.
func (c *Conn) Resolve(ctx context.Context, retry bool, us ...names.Unit) ([]error, error) {
	a := application.UnitsResolved{Retry: retry, All: len(us) == 0}
	if len(us) > 0 {
		tags := entities(tagsOf(us)...)
		a.Tags = &tags
	}
	r, err := Call[application.UnitsResolved, wire.ErrorResults](ctx, c, "Application", "ResolveUnitErrors", a)
	if err != nil {
		return nil, err
	}
	return Errors(r, len(r.Results))
}

// Leader returns the unit that leads an application.
func (c *Conn) Leader(ctx context.Context, a names.Application) (names.Unit, error) {
	r, err := Call[wire.Entity, wire.StringResult](ctx, c, "Application", "Leader", wire.Entity{Tag: a.Tag().String()})
	if err == nil {
		err = asError(r.Error)
	}
	return names.Unit(r.Result), err
}

// CharmInfo describes a charm that the model knows.
func (c *Conn) CharmInfo(ctx context.Context, url string) (charms.Charm, error) {
	return Call[charms.CharmURL, charms.Charm](ctx, c, "Charms", "CharmInfo", charms.CharmURL{URL: url})
}

// AddCharm makes a charm known to the model.
func (c *Conn) AddCharm(ctx context.Context, a charms.AddCharmWithOrigin) (wire.CharmOrigin, error) {
	r, err := Call[charms.AddCharmWithOrigin, charms.CharmOriginResult](ctx, c, "Charms", "AddCharm", a)
	if err == nil {
		err = asError(r.Error)
	}
	return r.CharmOrigin, err
}

// ResolveCharm finds the charm that a reference and an origin mean.
func (c *Conn) ResolveCharm(ctx context.Context, a charms.ResolveCharmWithChannel) (charms.ResolveCharmWithChannelResult, error) {
	r, err := Call[charms.ResolveCharmsWithChannel, charms.ResolveCharmWithChannelResults](ctx, c, "Charms", "ResolveCharms",
		charms.ResolveCharmsWithChannel{Resolve: []charms.ResolveCharmWithChannel{a}})
	one, err := only(r.Results, err)
	if err == nil {
		err = asError(one.Error)
	}
	return one, err
}

// Annotations returns the annotations of an entity.
func (c *Conn) Annotations(ctx context.Context, t names.Tag) (map[string]string, error) {
	r, err := Call[wire.Entities, annotations.AnnotationsGetResults](ctx, c, "Annotations", "Get", entities(t.String()))
	one, err := only(r.Results, err)
	if err != nil {
		return nil, err
	}
	if one.Error != nil {
		err = asError(one.Error.Error)
	}
	return one.Annotations, err
}
