// Package application serves the facade Application: deploying, configuring,
// relating, exposing, scaling and removing applications and units. It maps
// and asks; the rules are those of domain/application, domain/unit,
// domain/relation and domain/removal.
//
// What this release does not have (charms from a store, refresh, cross-model
// relations, storage) it refuses by name, with what to do instead.
package application

import (
	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/apiserver/facades/refuse"
	"github.com/scarab-ops/scarab/authz"
	"github.com/scarab-ops/scarab/domain/block"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/state"
	wireapp "github.com/scarab-ops/scarab/wire/application"
)

// A Service is what the facade needs: nothing but the call's own state.
type Service struct{}

type methods = []facade.Method[Service]

func v22() facade.Facade[Service] {
	read, write := authz.OnModel(authz.Read).Reads(), authz.OnModel(authz.Write).Changes()
	// What configures a charm may hold passwords: it is recorded without arguments.
	secret := authz.OnModel(authz.Write)
	f := facade.Facade[Service]{Name: "Application", Version: 22, Methods: methods{
		facade.Do("Deploy", secret, wireapp.DeployShape.Items, deploy),
		facade.One("AddUnits", write, addUnits),
		facade.One("AddRelation", write, addRelation),
		facade.Act("DestroyRelation", write, destroyRelation),
		facade.Each("DestroyUnit", write, wireapp.DestroyUnitShape, destroyUnit),
		facade.Each("DestroyApplication", write, wireapp.DestroyApplicationShape, destroyApplication),
		facade.One("Get", read, get),
		facade.Each("GetConfig", read, wireapp.GetConfigShape, getConfig),
		facade.Each("CharmConfig", read, wireapp.CharmConfigShape, charmConfig),
		facade.Do("SetConfigs", secret, wireapp.SetConfigsShape.Items, setConfig),
		facade.Do("UnsetApplicationsConfig", write, wireapp.UnsetApplicationsConfigShape.Items, unsetConfig),
		facade.Each("GetConstraints", read, wireapp.GetConstraintsShape, getConstraints),
		facade.Act("SetConstraints", write, setConstraints),
		facade.Act("Expose", write, expose),
		facade.Act("Unexpose", write, unexpose),
		facade.Each("ApplicationsInfo", read, wireapp.ApplicationsInfoShape, applicationInfo),
		facade.One("UnitsInfo", read, unitsInfo),
		facade.Do("ResolveUnitErrors", write, resolveItems, resolveUnit),
		facade.One("CharmRelations", read, charmRelations),
		facade.One("Leader", read, leader),
		facade.One("GetCharmURLOrigin", read, charmURLOrigin),
		facade.Do("MergeBindings", write, wireapp.MergeBindingsShape.Items, mergeBindings),
	}}
	return f.With(absent()...)
}

// absent are the methods whose feature this release does not have.
func absent() methods {
	read, write := authz.OnModel(authz.Read), authz.OnModel(authz.Write)
	no := refuse.Method[Service]
	crossModel := "cannot relate across models in this release: deploy both applications into one model"
	return methods{
		no("DeployFromRepository", write, "cannot deploy from a charm store in this release: download the charm and deploy the file"),
		no("SetCharm", write, "cannot refresh a charm in this release: deploy the new charm under another name and move over to it"),
		no("Consume", write, crossModel),
		no("DestroyConsumedApplications", write, crossModel),
		no("SetRelationsSuspended", write, "cannot suspend a relation within one model: remove it and add it again"),
		no("ScaleApplications", write, "cannot scale an application of a machine model: use add-unit and remove-unit"),
		no("SetMetricCredentials", write, "cannot set metric credentials: this controller collects no metrics"),
		no("UpdateApplicationBase", write, "cannot change the base of an application in this release: deploy it again on the new base"),
		no("GetApplicationStorage", read, "cannot show storage of applications: this release makes no storage"),
		no("UpdateApplicationStorage", write, "cannot change storage of applications: this release makes no storage"),
	}
}

// facades are the versions; each differs from the next as clients expect.
func facades() []facade.Facade[Service] {
	write := authz.OnModel(authz.Write).Changes()
	v20 := v22().At(20).Without("GetApplicationStorage", "UpdateApplicationStorage")
	v19, v18 := v20.At(19), v20.At(18)
	v17 := v18.At(17).Without("DeployFromRepository")
	v16 := v17.At(16).With(
		facade.Act("DestroyUnits", write, destroyUnitsByName),
		facade.Act("Destroy", write, destroyByName),
	)
	return []facade.Facade[Service]{v22(), v20, v19, v18, v17, v16, v16.At(15)}
}

// Endpoints binds every version of the facade.
func Endpoints(s Service) ([]facade.Endpoint, error) {
	var all []facade.Endpoint
	for _, f := range facades() {
		es, err := facade.Bind(f, s)
		if err != nil {
			return nil, err
		}
		all = append(all, es...)
	}
	return all, nil
}

// change runs f in a transaction on the connection's living model, unless a
// block forbids changes.
func change(c facade.Call, f func(tx *state.Tx, m model.Row) error) error {
	return c.Update(func(tx *state.Tx) error {
		m, err := model.Alive(tx, c.Caller.Model)
		if err != nil {
			return err
		}
		if err := block.Check(tx, model.ScopeOf(m.UUID), block.Change); err != nil {
			return err
		}
		return f(tx, m)
	})
}

// help is change for what can help a removal on, such as another setting or a
// resolved hook: a dying model permits it too.
func help(c facade.Call, f func(tx *state.Tx, m model.Row) error) error {
	return c.Update(func(tx *state.Tx) error {
		m, err := model.Get(tx, c.Caller.Model)
		if err != nil {
			return err
		}
		if err := block.Check(tx, model.ScopeOf(m.UUID), block.Change); err != nil {
			return err
		}
		return f(tx, m)
	})
}

// remove is change for removals, which also a dying model permits.
func remove(c facade.Call, f func(tx *state.Tx, m model.Row) error) error {
	return c.Update(func(tx *state.Tx) error {
		m, err := model.Get(tx, c.Caller.Model)
		if err != nil {
			return err
		}
		if err := block.Check(tx, model.ScopeOf(m.UUID), block.Remove); err != nil {
			return err
		}
		return f(tx, m)
	})
}

func scope(c facade.Call) state.Scope { return model.ScopeOf(c.Caller.Model) }

func unsupported(text string) error { return &refuse.Error{Text: text} }

func bad(err error) error { return &facade.BadRequest{Reason: err.Error()} }
