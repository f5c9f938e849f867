package modelmanager

import (
	"errors"
	"fmt"

	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/apiserver/facades/refuse"
	"github.com/scarab-ops/scarab/apiserver/facades/wiremap"
	"github.com/scarab-ops/scarab/authz"
	"github.com/scarab-ops/scarab/domain/block"
	"github.com/scarab-ops/scarab/domain/cloud"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/removal"
	"github.com/scarab-ops/scarab/domain/user"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
	wiremm "github.com/scarab-ops/scarab/wire/modelmanager"
)

// cloudFor finds the cloud of a new model: the one named, or the only one.
func cloudFor(r state.Reader, tag string) (cloud.Row, error) {
	if tag != "" {
		id, err := names.Parse(tag, names.KindCloud)
		if err != nil {
			return cloud.Row{}, bad(err)
		}
		row, err := cloud.Table.Get(r, state.Controller, id)
		if err != nil {
			return cloud.Row{}, authz.ErrDenied // an unknown cloud looks like a forbidden one
		}
		return row, nil
	}
	var all []cloud.Row
	for row, err := range cloud.Table.All(r, state.Controller) {
		if err == nil {
			all = append(all, row)
		}
	}
	if len(all) != 1 {
		return cloud.Row{}, bad(errors.New("cannot add model: name a cloud"))
	}
	return all[0], nil
}

func createModel(s Service, c facade.Call, a wiremm.ModelCreateArgs) (*wiremm.ModelInfo, error) {
	cl, err := cloudFor(c.View(), a.CloudTag)
	if err != nil {
		return nil, err
	}
	if err := c.Check(authz.AddModel, authz.Cloud(cl.Name)); err != nil {
		return nil, err
	}
	owner, err := ownerOf(c, a.OwnerTag)
	if err != nil {
		return nil, err
	}
	if a.Credential != "" {
		return nil, &refuse.Error{Text: fmt.Sprintf("cannot use a credential: cloud %q needs none", string(cl.Name))}
	}
	region, err := regionOf(cl, a.Region)
	if err != nil {
		return nil, err
	}
	cfg, err := wiremap.Settings(a.Config)
	if err != nil {
		return nil, bad(err)
	}
	for _, own := range []string{"name", "type", "uuid", "agent-version"} {
		delete(cfg, own)
	}
	m := model.Row{
		UUID: s.NewUUID(), Name: a.Name, Owner: owner, Cloud: cl.Name, Region: region,
		Created: c.Now(), AgentVersion: s.AgentVersion,
	}
	c.Concerns(m.UUID.Tag().String())
	err = c.Update(func(tx *state.Tx) error {
		if !user.Table.Has(tx, state.Controller, string(owner)) {
			return fmt.Errorf("cannot add model: there is no user %q", string(owner))
		}
		return model.Add(tx, m, cfg)
	})
	if err != nil {
		return nil, err
	}
	row, err := model.Get(c.View(), m.UUID)
	if err != nil {
		return nil, err
	}
	return info(s, c, row), nil
}

func createModelV9(s Service, c facade.Call, a wiremm.ModelCreateArgs) (*wiremm.ModelInfo, error) {
	i, err := createModel(s, c, a)
	if err == nil {
		addV9(c, i)
	}
	return i, err
}

// ownerOf reads the owner of a new model; only superusers make models for
// others.
func ownerOf(c facade.Call, tag string) (names.User, error) {
	owner, err := names.ParseUser(tag)
	if err != nil {
		return "", bad(err)
	}
	if owner.Local() != c.Caller.User.Local() {
		if err := c.Check(authz.Superuser, authz.Controller); err != nil {
			return "", err
		}
	}
	return owner.Local(), nil
}

func regionOf(cl cloud.Row, want string) (string, error) {
	for _, r := range cl.Regions {
		if want == "" || want == r {
			return r, nil
		}
	}
	if want == "" {
		return "", nil
	}
	return "", bad(fmt.Errorf("cannot add model: cloud %q has no region %.80q", string(cl.Name), want))
}

func destroyModel(_ Service, c facade.Call, a wiremm.DestroyModelParams) error {
	id, err := names.ParseModel(a.ModelTag)
	if err != nil {
		return bad(err)
	}
	return c.Update(func(tx *state.Tx) error {
		m, err := model.Get(tx, id)
		if err != nil {
			return err
		}
		if m.IsController {
			return errors.New("cannot destroy the controller's own model: destroy the controller")
		}
		if err := block.Check(tx, model.ScopeOf(id), block.Destroy); err != nil {
			return err
		}
		return removal.DestroyModel(tx, id, removal.Options{Force: a.Force, MaxWait: a.MaxWait}, c.Now())
	})
}

func modifyAccess(_ Service, c facade.Call, a wiremm.ModifyModelAccess) error {
	id, err := names.ParseModel(a.ModelTag)
	if err != nil {
		return bad(err)
	}
	u, err := names.ParseUser(a.UserTag)
	if err != nil {
		return bad(err)
	}
	c.Concerns(a.UserTag)
	return c.Update(func(tx *state.Tx) error {
		if _, err := model.Get(tx, id); err != nil {
			return authz.ErrDenied
		}
		return user.Modify(tx, u.Local(), string(id), []string{"read", "write", "admin"}, a.Action, a.Access)
	})
}
