package controller

import (
	"fmt"

	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/apiserver/facades/wiremap"
	"github.com/scarab-ops/scarab/authz"
	"github.com/scarab-ops/scarab/domain/block"
	"github.com/scarab-ops/scarab/domain/cloud"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/removal"
	"github.com/scarab-ops/scarab/domain/user"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/wire"
	wirectl "github.com/scarab-ops/scarab/wire/controller"
)

func allModels(_ Service, c facade.Call) (wire.UserModelList, error) {
	return wiremap.Owned(c.View(), c.Caller.User, func(model.Row) bool { return true }), nil
}

// models lists rows; hosted leaves the controller's own out.
func models(r state.Reader, hosted bool) []model.Row {
	var out []model.Row
	for m, err := range model.Table.All(r, state.Controller) {
		if err == nil && !(hosted && m.IsController) {
			out = append(out, m)
		}
	}
	return out
}

type goneError struct{ m names.Model }

func (e *goneError) Error() string { return "model " + string(e.m) + " not found" }
func (e *goneError) Code() string  { return "not found" }

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

func hostedConfigs(_ Service, c facade.Call) (wirectl.HostedModelConfigsResults, error) {
	out := wirectl.HostedModelConfigsResults{Models: []wirectl.HostedModelConfig{}}
	for _, m := range models(c.View(), true) {
		x := wirectl.HostedModelConfig{Name: m.Name, Owner: m.Owner.Tag().String(), Config: map[string]any{}}
		cfg, err := model.EffectiveConfig(c.View(), m)
		if err != nil {
			x.Error = facade.ToWire(err)
		}
		for k, v := range wiremap.Public(cfg) {
			x.Config[k] = v.Value
		}
		if x.CloudSpec, err = spec(c.View(), m); err != nil {
			x.Error = facade.ToWire(err)
		}
		out.Models = append(out.Models, x)
	}
	return out, nil
}

func spec(r state.Reader, m model.Row) (*wire.CloudSpec, error) {
	row, err := cloud.Table.Get(r, state.Controller, string(m.Cloud))
	if err != nil {
		return nil, err
	}
	return &wire.CloudSpec{Name: string(row.Name), Type: row.Type, Region: m.Region, Endpoint: row.Endpoint}, nil
}

func cloudSpec(_ Service, c facade.Call, e wire.Entity) (wire.CloudSpecResult, error) {
	id, err := names.ParseModel(e.Tag)
	if err != nil {
		return wire.CloudSpecResult{}, bad(err)
	}
	m, err := model.Get(c.View(), id)
	if err != nil {
		return wire.CloudSpecResult{}, err
	}
	s, err := spec(c.View(), m)
	return wire.CloudSpecResult{Result: s}, err
}

type hostedError struct{ n int }

func (e *hostedError) Error() string {
	return fmt.Sprintf("cannot destroy the controller: it hosts %d other models; destroy them first or use --destroy-all-models", e.n)
}
func (e *hostedError) Code() string { return "controller has hosted models" }

// destroy marks every hosted model for destruction. The controller's own end
// is for whoever started it: no controller can end itself in good order.
func destroy(_ Service, c facade.Call, a wirectl.DestroyControllerArgs) error {
	hosted := models(c.View(), true)
	if len(hosted) > 0 && !a.DestroyModels {
		return &hostedError{len(hosted)}
	}
	if len(hosted) == 0 {
		return c.Update(func(tx *state.Tx) error { return unblocked(tx) })
	}
	if err := unblocked(c.View()); err != nil {
		return err
	}
	o := removal.Options{Force: a.Force, MaxWait: a.MaxWait}
	for _, m := range hosted {
		c.Concerns(m.UUID.Tag().String())
		err := c.Update(func(tx *state.Tx) error {
			if !model.Table.Has(tx, state.Controller, string(m.UUID)) {
				return nil
			}
			if err := block.Check(tx, model.ScopeOf(m.UUID), block.Destroy); err != nil {
				return err
			}
			return removal.DestroyModel(tx, m.UUID, o, c.Now())
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func unblocked(r state.Reader) error {
	for _, m := range models(r, false) {
		if err := block.Check(r, model.ScopeOf(m.UUID), block.Destroy); err != nil {
			return err
		}
	}
	return nil
}

func blockedModels(_ Service, c facade.Call) (wirectl.ModelBlockInfoList, error) {
	var out wirectl.ModelBlockInfoList
	for _, m := range models(c.View(), false) {
		x := wirectl.ModelBlockInfo{Name: m.Name, ModelUUID: string(m.UUID), OwnerTag: m.Owner.Tag().String()}
		for _, b := range block.All(c.View(), model.ScopeOf(m.UUID)) {
			x.Blocks = append(x.Blocks, string(b.Type))
		}
		if len(x.Blocks) > 0 {
			out.Models = append(out.Models, x)
		}
	}
	return out, nil
}

func removeBlocks(_ Service, c facade.Call, a wirectl.RemoveBlocksArgs) error {
	if !a.All {
		return bad(fmt.Errorf("cannot remove blocks: say all"))
	}
	return c.Update(func(tx *state.Tx) error {
		for _, m := range models(tx, false) {
			s := model.ScopeOf(m.UUID)
			for _, b := range block.All(tx, s) {
				if err := block.Off(tx, s, b.Type); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func getAccess(_ Service, c facade.Call, e wire.Entity) (wirectl.UserAccessResult, error) {
	u, err := names.ParseUser(e.Tag)
	if err != nil {
		return wirectl.UserAccessResult{}, bad(err)
	}
	if u.Local() != c.Caller.User.Local() && !c.Holds(authz.Superuser, authz.Controller) {
		return wirectl.UserAccessResult{}, authz.ErrDenied
	}
	level := user.Level(c.View(), u, user.OnController)
	if level == "" {
		return wirectl.UserAccessResult{}, &user.AccessError{Text: fmt.Sprintf("user %q not found", string(u)), What: "user not found"}
	}
	return wirectl.UserAccessResult{Result: &wirectl.UserAccess{Access: level, UserTag: u.Tag().String()}}, nil
}

func modifyAccess(_ Service, c facade.Call, a wirectl.ModifyControllerAccess) error {
	u, err := names.ParseUser(a.UserTag)
	if err != nil {
		return bad(err)
	}
	c.Concerns(a.UserTag)
	return c.Update(func(tx *state.Tx) error {
		if err := user.Modify(tx, u.Local(), user.OnController, []string{"login", "superuser"}, a.Action, a.Access); err != nil {
			return err
		}
		return user.SomebodyRules(tx)
	})
}

// dashboard answers in its result, where clients look for it.
func dashboard(Service, facade.Call) (wirectl.DashboardConnectionInfo, error) {
	return wirectl.DashboardConnectionInfo{Error: &wire.Error{
		Code: "not found", Message: "cannot find a dashboard: none is related to this controller",
	}}, nil
}
