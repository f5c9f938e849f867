package application

import (
	"errors"

	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/removal"
	"github.com/scarab-ops/scarab/domain/status"
	"github.com/scarab-ops/scarab/domain/unit"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/wire"
	wireapp "github.com/scarab-ops/scarab/wire/application"
)

func destroyUnit(_ Service, c facade.Call, a wireapp.DestroyUnitParams) (wireapp.DestroyUnitResult, error) {
	u, err := names.ParseUnit(a.UnitTag)
	if err != nil {
		return wireapp.DestroyUnitResult{}, bad(err)
	}
	c.Concerns(a.UnitTag)
	o := removal.Options{Force: a.Force, MaxWait: a.MaxWait, DryRun: a.DryRun}
	err = remove(c, func(tx *state.Tx, m model.Row) error {
		_, err := removal.DestroyUnit(tx, m, u, o, c.Now())
		return err
	})
	return wireapp.DestroyUnitResult{Info: &wireapp.DestroyUnitInfo{}}, err
}

func destroyApplication(_ Service, c facade.Call, a wireapp.DestroyApplicationParams) (wireapp.DestroyApplicationResult, error) {
	app, err := names.ParseApplication(a.ApplicationTag)
	if err != nil {
		return wireapp.DestroyApplicationResult{}, bad(err)
	}
	c.Concerns(a.ApplicationTag)
	o := removal.Options{Force: a.Force, MaxWait: a.MaxWait, DryRun: a.DryRun}
	var rep removal.Report
	err = remove(c, func(tx *state.Tx, m model.Row) error {
		var err error
		rep, err = removal.DestroyApplication(tx, m, app, o, c.Now())
		return err
	})
	info := &wireapp.DestroyApplicationInfo{}
	for _, u := range rep.Units {
		info.DestroyedUnits = append(info.DestroyedUnits, wire.Entity{Tag: u.Tag().String()})
	}
	return wireapp.DestroyApplicationResult{Info: info}, err
}

// destroyUnitsByName is the old form: all or nothing, no result.
func destroyUnitsByName(_ Service, c facade.Call, a wireapp.DestroyApplicationUnits) error {
	if len(a.UnitNames) == 0 || len(a.UnitNames) > facade.MaxItems {
		return bad(errors.New("cannot remove units: name between one and 10000"))
	}
	for _, u := range a.UnitNames {
		if !names.ValidUnit(u) {
			return bad(errors.New("cannot remove units: a name is not a unit's"))
		}
		c.Concerns(names.Unit(u).Tag().String())
	}
	return remove(c, func(tx *state.Tx, m model.Row) error {
		for _, u := range a.UnitNames {
			if _, err := removal.DestroyUnit(tx, m, names.Unit(u), removal.Options{}, c.Now()); err != nil {
				return err
			}
		}
		return nil
	})
}

func destroyByName(s Service, c facade.Call, a wireapp.ApplicationDestroy) error {
	_, err := destroyApplication(s, c, wireapp.DestroyApplicationParams{
		ApplicationTag: names.Application(a.Application).Tag().String(),
	})
	return err
}

// resolveUnits has its own loop, for with All its items are not in its
// arguments.
func resolveUnits(_ Service, c facade.Call, a wireapp.UnitsResolved) (wire.ErrorResults, error) {
	var units []names.Unit
	var out wire.ErrorResults
	switch {
	case a.All:
		for u, err := range unit.Table.All(c.View(), scope(c)) {
			if err == nil && status.Get(c.View(), scope(c), status.OfUnitAgent(string(u.Name))).Status == "error" {
				units = append(units, u.Name)
			}
		}
	case a.Tags != nil:
		for _, e := range a.Tags.Entities {
			u, err := names.ParseUnit(e.Tag)
			if err != nil {
				return out, bad(err)
			}
			units = append(units, u)
		}
	}
	if len(units) > facade.MaxItems {
		return out, bad(errors.New("cannot resolve more than 10000 units at once"))
	}
	out.Results = make([]wire.ErrorResult, len(units))
	for i, u := range units {
		c.Concerns(u.Tag().String())
		err := change(c, func(tx *state.Tx, m model.Row) error { return resolve(tx, m, u, a.Retry) })
		out.Results[i].Error = facade.ToWire(err)
	}
	return out, nil
}

func resolve(tx *state.Tx, m model.Row, u names.Unit, retry bool) error {
	s := model.ScopeOf(m.UUID)
	row, err := unit.Get(tx, s, u)
	if err != nil {
		return err
	}
	if status.Get(tx, s, status.OfUnitAgent(string(u))).Status != "error" {
		return errors.New("cannot resolve unit " + string(u) + ": it is not in an error state")
	}
	if row.Resolved != "" {
		return errors.New("cannot resolve unit " + string(u) + ": it is being resolved already")
	}
	row.Resolved = "no-hooks"
	if retry {
		row.Resolved = "retry-hooks"
	}
	return unit.Table.Put(tx, s, row)
}
