// Package usermanager serves the facade UserManager: people and their
// passwords. Passwords arrive, are hashed outside of any transaction and are
// never recorded; nothing here can show one, or its hash.
package usermanager

import (
	"context"
	"errors"
	"fmt"

	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/apiserver/facades/refuse"
	"github.com/scarab-ops/scarab/authz"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/user"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/password"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/wire"
	wireum "github.com/scarab-ops/scarab/wire/usermanager"
)

// A Service is what the facade needs: nothing but the call's own state.
type Service struct {
	// Passwords hashes new ones, however many are asked for at once.
	Passwords *password.Checker
}

// MinPassword is the shortest password that a person may choose.
const MinPassword = 8

func v3() facade.Facade[Service] {
	login, super := authz.OnController(authz.Login), authz.OnController(authz.Superuser)
	return facade.Facade[Service]{Name: "UserManager", Version: 3, Methods: []facade.Method[Service]{
		// The class of these two is secret: what they carry is never recorded.
		facade.Each("AddUser", super, wireum.AddUserShape, addUser),
		facade.Do("SetPassword", login, wireum.SetPasswordShape.Items, setPassword),
		facade.Do("RemoveUser", super.Changes(), wireum.RemoveUserShape.Items, removeUser),
		facade.Do("EnableUser", super.Changes(), wireum.EnableUserShape.Items, enableUser),
		facade.Do("DisableUser", super.Changes(), wireum.DisableUserShape.Items, disableUser),
		facade.One("UserInfo", login.Reads(), userInfo),
		facade.One("ModelUserInfo", login.Reads(), modelUserInfo),
		refuse.Method[Service]("ResetPassword", super, "cannot make a registration string in this release: set a password instead"),
	}}
}

// Endpoints binds the facade.
func Endpoints(s Service) ([]facade.Endpoint, error) {
	if s.Passwords == nil {
		return nil, errors.New("cannot bind UserManager: who hashes passwords is needed")
	}
	return facade.Bind(v3(), s)
}

func bad(err error) error { return &facade.BadRequest{Reason: err.Error()} }

func notFound(u names.User) error {
	return &user.AccessError{Text: fmt.Sprintf("user %q not found", string(u)), What: "user not found"}
}

// hash checks and hashes a password that a person chose.
func (s Service) hash(ctx context.Context, text string) (password.Hash, error) {
	if len(text) < MinPassword {
		return "", bad(fmt.Errorf("cannot use a password of less than %d characters", MinPassword))
	}
	h, err := s.Passwords.Of(ctx, password.NewSecret(text))
	if errors.Is(err, password.ErrBusy) {
		return "", err
	}
	if err != nil {
		return "", bad(err)
	}
	return h, nil
}

func addUser(s Service, c facade.Call, a wireum.AddUser) (wireum.AddUserResult, error) {
	u := names.User(a.Username)
	switch {
	case !names.ValidUser(a.Username) || u.Local() != u:
		return wireum.AddUserResult{}, bad(fmt.Errorf("cannot add user: %.80q is not a valid user name", a.Username))
	case len(a.DisplayName) > 256:
		return wireum.AddUserResult{}, bad(fmt.Errorf("cannot add user: the display name is too long"))
	case a.Password == "":
		return wireum.AddUserResult{}, &refuse.Error{Text: "cannot add a user without a password in this release: give one"}
	case user.Table.Has(c.View(), state.Controller, a.Username): // before the costly hash
		return wireum.AddUserResult{}, &user.ExistsError{Name: u}
	}
	h, err := s.hash(c, a.Password)
	if err != nil {
		return wireum.AddUserResult{}, err
	}
	c.Concerns(u.Tag().String())
	err = c.Update(func(tx *state.Tx) error {
		return user.Add(tx, user.Row{
			Name: u, DisplayName: a.DisplayName, Verifier: string(h), Created: c.Now(),
			CreatedBy: c.Caller.User.Local(), PasswordSet: c.Now(),
		})
	})
	return wireum.AddUserResult{Tag: u.Tag().String()}, err
}

func setPassword(s Service, c facade.Call, a wireum.EntityPassword) error {
	u, err := names.ParseUser(a.Tag)
	if err != nil {
		return bad(err)
	}
	self := u.Local() == c.Caller.User.Local()
	if !self && !c.Holds(authz.Superuser, authz.Controller) {
		return authz.ErrDenied
	}
	if !user.Table.Has(c.View(), state.Controller, string(u.Local())) {
		return notFound(u)
	}
	h, err := s.hash(c, a.Password)
	if err != nil {
		return err
	}
	c.Concerns(u.Tag().String())
	return c.Update(func(tx *state.Tx) error {
		if !self {
			if err := c.CheckIn(tx, authz.Superuser, authz.Controller); err != nil {
				return err
			}
		}
		if !user.Table.Has(tx, state.Controller, string(u.Local())) {
			return notFound(u)
		}
		return user.SetVerifier(tx, u.Local(), string(h), c.Now())
	})
}

// edit changes one person's row in a transaction that must leave somebody to
// rule the controller.
func edit(c facade.Call, tag string, f func(*state.Tx, user.Row) error) error {
	u, err := names.ParseUser(tag)
	if err != nil {
		return bad(err)
	}
	c.Concerns(tag)
	return c.Update(func(tx *state.Tx) error {
		row, err := user.Table.Get(tx, state.Controller, string(u.Local()))
		if err != nil {
			return notFound(u)
		}
		if err := f(tx, row); err != nil {
			return err
		}
		return user.SomebodyRules(tx)
	})
}

func setDisabled(c facade.Call, tag string, off bool) error {
	return edit(c, tag, func(tx *state.Tx, row user.Row) error {
		if row.Disabled != off {
			row.Disabled = off
			row.Generation++
		}
		return user.Table.Put(tx, state.Controller, row)
	})
}

func enableUser(_ Service, c facade.Call, e wire.Entity) error { return setDisabled(c, e.Tag, false) }

func disableUser(_ Service, c facade.Call, e wire.Entity) error { return setDisabled(c, e.Tag, true) }

// removeUser takes every right of a person with them, so that another one of
// the same name begins with none.
func removeUser(_ Service, c facade.Call, e wire.Entity) error {
	return edit(c, e.Tag, func(tx *state.Tx, row user.Row) error {
		for m, err := range model.Table.All(tx, state.Controller) {
			if err == nil && m.Owner.Local() == row.Name {
				return fmt.Errorf("cannot remove user %q: it owns model %q: destroy the model first, or disable the user", string(row.Name), m.Name)
			}
		}
		if err := forget(tx, user.Grants, row.Name); err != nil {
			return err
		}
		if err := forget(tx, user.Sessions, row.Name); err != nil {
			return err
		}
		return user.Table.Delete(tx, state.Controller, string(row.Name))
	})
}

func forget[V any](tx *state.Tx, t state.Table[V], u names.User) error {
	for v, err := range t.Under(tx, state.Controller, string(u)+"/") {
		if err != nil {
			return err
		}
		if err := t.Delete(tx, state.Controller, t.ID(v)); err != nil {
			return err
		}
	}
	return nil
}
