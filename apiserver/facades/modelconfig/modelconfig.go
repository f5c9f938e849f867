// Package modelconfig serves the facade ModelConfig: the settings and
// constraints of the connection's model; on a controller connection, of the
// controller's own. It never gives out a secret setting.
package modelconfig

import (
	"fmt"

	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/apiserver/facades/refuse"
	"github.com/scarab-ops/scarab/apiserver/facades/wiremap"
	"github.com/scarab-ops/scarab/authz"
	"github.com/scarab-ops/scarab/domain/block"
	"github.com/scarab-ops/scarab/domain/controller"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/sequence"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/wire"
	wiremc "github.com/scarab-ops/scarab/wire/modelconfig"
)

// A Service is what the facade needs: nothing but the call's own state.
type Service struct{}

func v3() facade.Facade[Service] {
	read, write := authz.PerItem(authz.Read).Reads(), authz.PerItem(authz.Write).Changes()
	// Settings may hold secrets, so what is set is not written down.
	secret := authz.PerItem(authz.Write)
	return facade.Facade[Service]{Name: "ModelConfig", Version: 3, Methods: []facade.Method[Service]{
		facade.None("ModelGet", read, get),
		facade.Act("ModelSet", secret, set),
		facade.Act("ModelUnset", write, unset),
		facade.None("GetModelConstraints", read, getConstraints),
		facade.Act("SetModelConstraints", write, setConstraints),
		facade.None("Sequences", read, sequences),
		facade.None("SLALevel", read, slaLevel),
		refuse.Method[Service]("SetSLALevel", write, "cannot set a support level: this controller has none"),
	}}
}

// Endpoints binds every version of the facade.
func Endpoints(s Service) ([]facade.Endpoint, error) { return facade.Bind(v3(), s) }

func bad(err error) error { return &facade.BadRequest{Reason: err.Error()} }

// subject is the model that a call is about, once the caller may do need to it.
func subject(c facade.Call, need authz.Level) (names.Model, error) {
	id := c.Caller.Model
	if id == "" {
		row, err := controller.Get(c.View())
		if err != nil {
			return "", err
		}
		id = row.Model
	}
	return id, c.Check(need, authz.Model(id))
}

func get(_ Service, c facade.Call) (wire.ModelConfigResults, error) {
	id, err := subject(c, authz.Read)
	if err != nil {
		return wire.ModelConfigResults{}, err
	}
	m, err := model.Get(c.View(), id)
	if err != nil {
		return wire.ModelConfigResults{}, err
	}
	cfg, err := model.EffectiveConfig(c.View(), m)
	if err != nil {
		return wire.ModelConfigResults{}, err
	}
	return wire.ModelConfigResults{Config: wiremap.Config(cfg)}, nil
}

// needed is the level that changing a setting takes: the keys that open
// machines are for admins.
func needed(key string) authz.Level {
	if key == "authorized-keys" {
		return authz.Admin
	}
	return authz.Write
}

func change(c facade.Call, id names.Model, f func(*state.Tx, model.Row) error) error {
	return c.Update(func(tx *state.Tx) error {
		m, err := model.Get(tx, id) // a setting can help a dying model on
		if err != nil {
			return err
		}
		if err := block.Check(tx, model.ScopeOf(id), block.Change); err != nil {
			return err
		}
		return f(tx, m)
	})
}

func set(_ Service, c facade.Call, a wiremc.ModelSet) error {
	id, err := subject(c, authz.Write)
	if err != nil {
		return err
	}
	text, err := wiremap.Settings(a.Config)
	if err != nil {
		return bad(err)
	}
	for k := range text {
		if err := c.Check(needed(k), authz.Model(id)); err != nil {
			return err
		}
	}
	return change(c, id, func(tx *state.Tx, m model.Row) error { return model.SetConfig(tx, m, text, nil) })
}

func unset(_ Service, c facade.Call, a wiremc.ModelUnset) error {
	id, err := subject(c, authz.Write)
	if err != nil {
		return err
	}
	for _, k := range a.Keys {
		if err := c.Check(needed(k), authz.Model(id)); err != nil {
			return err
		}
	}
	return change(c, id, func(tx *state.Tx, m model.Row) error { return model.SetConfig(tx, m, nil, a.Keys) })
}

func getConstraints(_ Service, c facade.Call) (wiremc.GetConstraintsResults, error) {
	id, err := subject(c, authz.Read)
	if err != nil {
		return wiremc.GetConstraintsResults{}, err
	}
	row, err := model.Constraints.Get(c.View(), model.ScopeOf(id), "constraints")
	if err != nil {
		return wiremc.GetConstraintsResults{}, err
	}
	return wiremc.GetConstraintsResults{Constraints: wiremap.FromConstraints(row.Value)}, nil
}

func setConstraints(_ Service, c facade.Call, a wire.SetConstraints) error {
	id, err := subject(c, authz.Write)
	if err != nil {
		return err
	}
	v, err := wiremap.Constraints(a.Constraints)
	if err != nil {
		return bad(err)
	}
	if v.ImageID != nil {
		return bad(fmt.Errorf("cannot set constraint image-id on a model"))
	}
	return change(c, id, func(tx *state.Tx, m model.Row) error {
		return model.Constraints.Put(tx, model.ScopeOf(id), model.ConstraintsRow{Value: v})
	})
}

func sequences(_ Service, c facade.Call) (wiremc.ModelSequencesResult, error) {
	id, err := subject(c, authz.Read)
	if err != nil {
		return wiremc.ModelSequencesResult{}, err
	}
	out := wiremc.ModelSequencesResult{Sequences: map[string]int{}}
	for row, err := range sequence.Table.All(c.View(), model.ScopeOf(id)) {
		if err == nil {
			out.Sequences[wireName(row.Name)] = row.Next
		}
	}
	return out, nil
}

// wireName is how bundles look a counter up: units count under their
// application's tag.
func wireName(name string) string {
	const units = "unit-"
	if len(name) > len(units) && name[:len(units)] == units {
		return "application-" + name[len(units):]
	}
	return name
}

func slaLevel(_ Service, c facade.Call) (wire.StringResult, error) {
	if _, err := subject(c, authz.Read); err != nil {
		return wire.StringResult{}, err
	}
	return wire.StringResult{Result: "unsupported"}, nil
}
