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

// resolveItem is one unit in error, or with an empty tag all of them.
type resolveItem struct {
	tag   string
	retry bool
}

func resolveItems(a wireapp.UnitsResolved) []resolveItem {
	if a.All {
		return []resolveItem{{"", a.Retry}}
	}
	if a.Tags == nil {
		return nil
	}
	out := make([]resolveItem, len(a.Tags.Entities))
	for i, e := range a.Tags.Entities {
		out[i] = resolveItem{e.Tag, a.Retry}
	}
	return out
}

func resolveUnit(_ Service, c facade.Call, r resolveItem) error {
	if r.tag == "" {
		return help(c, func(tx *state.Tx, m model.Row) error {
			s := model.ScopeOf(m.UUID)
			for u, err := range unit.Table.All(tx, s) {
				if err != nil || u.Resolved != "" || status.Get(tx, s, status.OfUnitAgent(string(u.Name))).Status != "error" {
					continue
				}
				if err := resolve(tx, m, u.Name, r.retry); err != nil {
					return err
				}
			}
			return nil
		})
	}
	u, err := names.ParseUnit(r.tag)
	if err != nil {
		return bad(err)
	}
	c.Concerns(r.tag)
	return help(c, func(tx *state.Tx, m model.Row) error { return resolve(tx, m, u, r.retry) })
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
