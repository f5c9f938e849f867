package controllers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/scarab-ops/scarab/cli/output"
	"github.com/scarab-ops/scarab/cli/session"
	"github.com/scarab-ops/scarab/cli/store"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/wire"
	"github.com/scarab-ops/scarab/wire/controller"
	"github.com/scarab-ops/scarab/wire/modelmanager"
	"github.com/scarab-ops/scarab/wire/usermanager"
)

func keys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

type userRow struct {
	Name           string `yaml:"user-name" json:"user-name"`
	DisplayName    string `yaml:"display-name,omitempty" json:"display-name,omitempty"`
	Access         string `yaml:"access" json:"access"`
	Created        string `yaml:"date-created,omitempty" json:"date-created,omitempty"`
	LastConnection string `yaml:"last-connection" json:"last-connection"`
	Disabled       bool   `yaml:"disabled,omitempty" json:"disabled,omitempty"`
}

func checkUser(name string) error {
	if !names.ValidUser(name) {
		return &session.Usage{Text: fmt.Sprintf("cannot use %q: it is no user name", name)}
	}
	return nil
}

func fetchUsers(ctx context.Context, s *session.Session, c session.Conn, entities []wire.Entity, disabled bool) ([]userRow, error) {
	res, err := session.Do[usermanager.UserInfoResults](ctx, c, "UserManager", "UserInfo", usermanager.UserInfoRequest{Entities: entities, IncludeDisabled: disabled})
	if err != nil {
		return nil, err
	}
	rows := []userRow{}
	for _, r := range res.Results {
		if r.Error != nil {
			return nil, r.Error
		}
		if r.Result == nil {
			continue
		}
		row := userRow{
			Name: r.Result.Username, DisplayName: r.Result.DisplayName, Access: r.Result.Access, Disabled: r.Result.Disabled, LastConnection: "never connected",
			Created: output.Ago(s.Now(), r.Result.DateCreated),
		}
		if r.Result.LastConnection != nil {
			row.LastConnection = output.Ago(s.Now(), *r.Result.LastConnection)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func usersCommand(s *session.Session) *cobra.Command {
	var all bool
	var format *output.Format
	c := s.Command(session.Spec{
		Use: "users [MODEL]", Aliases: []string{"list-users"}, Short: "List the users of a controller or a model", Group: group, Scope: session.OnController, Max: 1,
		Example: "scarab users\nscarab users dev\nscarab users --all",
	}, func(ctx context.Context, args []string) error {
		c, err := s.OpenController(ctx)
		if err != nil {
			return err
		}
		var rows []userRow
		if len(args) == 1 {
			rows, err = modelUsers(ctx, s, c, args[0])
		} else {
			rows, err = fetchUsers(ctx, s, c, nil, all)
		}
		if err != nil {
			return err
		}
		return s.Print(format, rows, func(t *output.Table) {
			t.Head("Name", "Display name", "Access", "Date created", "Last connection")
			for _, r := range rows {
				name := r.Name
				if r.Name == c.Account.User {
					name += "*"
				}
				if r.Disabled {
					name += " (disabled)"
				}
				t.Row(name, r.DisplayName, r.Access, r.Created, r.LastConnection)
			}
		})
	})
	format = session.Lists(c)
	c.Flags().BoolVar(&all, "all", false, "Disabled users too")
	return c
}

func modelUsers(ctx context.Context, s *session.Session, c *session.Controller, model string) ([]userRow, error) {
	m, err := s.FindModel(ctx, c.Name, store.Qualify(model, c.Account.User))
	if err != nil {
		return nil, err
	}
	res, err := session.Do[usermanager.ModelUserInfoResults](ctx, c, "UserManager", "ModelUserInfo",
		wire.Entities{Entities: []wire.Entity{{Tag: names.Model(m.UUID).Tag().String()}}})
	if err != nil {
		return nil, err
	}
	rows := []userRow{}
	for _, r := range res.Results {
		if r.Error != nil {
			return nil, r.Error
		}
		if r.Result == nil {
			continue
		}
		row := userRow{Name: r.Result.User, DisplayName: r.Result.DisplayName, Access: r.Result.Access, LastConnection: "never connected"}
		if r.Result.LastConnection != nil {
			row.LastConnection = output.Ago(s.Now(), *r.Result.LastConnection)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func showUserCommand(s *session.Session) *cobra.Command {
	var format *output.Format
	c := s.Command(session.Spec{
		Use: "show-user [USER]", Short: "Show a user", Group: group, Scope: session.OnController, Max: 1, Example: "scarab show-user\nscarab show-user bob",
	}, func(ctx context.Context, args []string) error {
		c, err := s.OpenController(ctx)
		if err != nil {
			return err
		}
		name := c.Account.User
		if len(args) == 1 {
			name = args[0]
		}
		if err := checkUser(name); err != nil {
			return err
		}
		rows, err := fetchUsers(ctx, s, c, []wire.Entity{{Tag: "user-" + name}}, true)
		if err != nil {
			return err
		}
		if len(rows) != 1 {
			return fmt.Errorf("cannot find user %q", name)
		}
		return format.Write(s.Stdout.Raw(), rows[0], nil)
	})
	format = session.Format(c, "yaml", "json")
	return c
}

func addUserCommand(s *session.Session) *cobra.Command {
	return s.Command(session.Spec{
		Use: "add-user NAME [DISPLAY-NAME]", Short: "Add a user to a controller", Group: group, Scope: session.OnController, Min: 1, Max: 2,
		Long:    "Adds a user with a password that you choose and hand over. The user logs in with it and changes it with change-user-password.",
		Example: "scarab add-user bob \"Bob Brown\"",
	}, func(ctx context.Context, args []string) error {
		if err := checkUser(args[0]); err != nil {
			return err
		}
		display := ""
		if len(args) == 2 {
			display = args[1]
		}
		c, err := s.OpenController(ctx)
		if err != nil {
			return err
		}
		password, err := twice(s, fmt.Sprintf("new password for %s: ", args[0]))
		if err != nil {
			return err
		}
		res, err := session.Do[usermanager.AddUserResults](ctx, c, "UserManager", "AddUser",
			usermanager.AddUsers{Users: []usermanager.AddUser{{Username: args[0], DisplayName: display, Password: password}}})
		if err == nil {
			_, err = session.One(res.Results, func(r usermanager.AddUserResult) *wire.Error { return r.Error })
		}
		if err != nil {
			return fmt.Errorf("cannot add user %q: %w", args[0], err)
		}
		fp, err := store.Fingerprint(c.Entry.CACert)
		if err != nil {
			return err
		}
		s.Info("User %q added.\nHave them run:\n  scarab login %s -c %s -u %s --fingerprint %s", args[0], c.Entry.Endpoints[0], c.Name, args[0], fp)
		s.Info("%q has no model access yet. Give some: scarab grant %s read MODEL", args[0], args[0])
		return nil
	})
}

func twice(s *session.Session, prompt string) (string, error) {
	one, err := s.Password(prompt)
	if err != nil {
		return "", err
	}
	two, err := s.Password("type it again: ")
	if err != nil {
		return "", err
	}
	if one != two {
		return "", errors.New("cannot set the password: the two do not match")
	}
	if len(one) < 8 {
		return "", errors.New("cannot set the password: it needs at least 8 characters")
	}
	return one, nil
}

func passwordCommand(s *session.Session) *cobra.Command {
	var noPrompt bool
	c := s.Command(session.Spec{
		Use: "change-user-password [USER]", Short: "Change a password", Group: group, Scope: session.OnController, Max: 1,
		Long:    "Asks for a new password twice and sets it. Your own is recorded in the client's files too. Administrators may name another user.",
		Example: "scarab change-user-password\nscarab change-user-password bob",
	}, func(ctx context.Context, args []string) error {
		c, err := s.OpenController(ctx)
		if err != nil {
			return err
		}
		user := c.Account.User
		if len(args) == 1 {
			user = args[0]
		}
		if err := checkUser(user); err != nil {
			return err
		}
		var password string
		if noPrompt {
			password, err = s.Password("")
		} else {
			password, err = twice(s, fmt.Sprintf("new password for %s: ", user))
		}
		if err != nil {
			return err
		}
		ctx = context.WithoutCancel(ctx) // both sides or none
		res, err := session.Do[wire.ErrorResults](ctx, c, "UserManager", "SetPassword",
			usermanager.EntityPasswords{Changes: []usermanager.EntityPassword{{Tag: "user-" + user, Password: password}}})
		if err == nil {
			err = session.Errors(res.Results, []string{user})
		}
		if err != nil {
			return fmt.Errorf("cannot change the password of %q: %w", user, err)
		}
		if user == c.Account.User {
			account := c.Account
			account.Password, account.Known = store.NewPassword(password), true
			if err := s.Store().SetAccount(ctx, c.Name, account); err != nil {
				return session.Advise(err, "the controller has the new password already; log in with it: scarab login -c "+c.Name)
			}
		}
		s.Info("Password of %q changed.", user)
		return nil
	})
	c.Flags().BoolVar(&noPrompt, "no-prompt", false, "Read the password from the input, once")
	return c
}

func userSwitchCommand(s *session.Session, name, method, short string) *cobra.Command {
	return s.Command(session.Spec{Use: name + " USER", Short: short, Group: group, Scope: session.OnController, Min: 1, Max: 1, Example: "scarab " + name + " bob"},
		func(ctx context.Context, args []string) error { return userCall(ctx, s, method, args[0]) })
}

func removeUserCommand(s *session.Session) *cobra.Command {
	var noPrompt bool
	c := s.Command(session.Spec{
		Use: "remove-user USER", Short: "Remove a user from a controller", Group: group, Scope: session.OnController, Min: 1, Max: 1, Example: "scarab remove-user bob --no-prompt",
	}, func(ctx context.Context, args []string) error {
		if !noPrompt {
			s.Info("User %q will be removed for good.", args[0])
			if err := s.ConfirmName("", args[0]); err != nil {
				return err
			}
		}
		return userCall(ctx, s, "RemoveUser", args[0])
	})
	c.Flags().BoolVar(&noPrompt, "no-prompt", false, "Do not ask")
	c.Flags().BoolVarP(&noPrompt, "yes", "y", false, "The same as --no-prompt")
	return c
}

func userCall(ctx context.Context, s *session.Session, method, user string) error {
	if err := checkUser(user); err != nil {
		return err
	}
	c, err := s.OpenController(ctx)
	if err != nil {
		return err
	}
	res, err := session.Do[wire.ErrorResults](ctx, c, "UserManager", method, wire.Entities{Entities: []wire.Entity{{Tag: "user-" + user}}})
	if err == nil {
		err = session.Errors(res.Results, []string{user})
	}
	if err != nil {
		return fmt.Errorf("cannot change user %q: %w", user, err)
	}
	return nil
}

// grantCommand makes grant and revoke: with models they act on these, without on the controller.
func grantCommand(s *session.Session, verb, short string) *cobra.Command {
	return s.Command(session.Spec{
		Use: verb + " USER ACCESS [MODEL...]", Short: short, Group: group, Scope: session.OnController, Min: 2, Max: -1,
		Long:    "Access to models is read, write or admin; to the controller login or superuser.",
		Example: fmt.Sprintf("scarab %s bob read dev\nscarab %s bob superuser", verb, verb),
	}, func(ctx context.Context, args []string) error {
		if err := checkUser(args[0]); err != nil {
			return err
		}
		allowed := []string{"login", "superuser"}
		if len(args) > 2 {
			allowed = []string{"read", "write", "admin"}
		}
		if !slices.Contains(allowed, args[1]) {
			return &session.Usage{Text: fmt.Sprintf("cannot use access %q here: choose one of %v", args[1], allowed)}
		}
		c, err := s.OpenController(ctx)
		if err != nil {
			return err
		}
		res, err := sendGrant(ctx, s, c, verb, args[0], args[1], args[2:])
		if err == nil {
			err = session.Errors(res.Results, args[2:])
		}
		if err != nil {
			return fmt.Errorf("cannot %s %s access: %w", verb, args[1], err)
		}
		return nil
	})
}

func sendGrant(ctx context.Context, s *session.Session, c *session.Controller, verb, user, access string, models []string) (wire.ErrorResults, error) {
	if len(models) == 0 {
		return session.Do[wire.ErrorResults](ctx, c, "Controller", "ModifyControllerAccess", controller.ModifyControllerAccessRequest{
			Changes: []controller.ModifyControllerAccess{{UserTag: "user-" + user, Action: verb, Access: access}},
		})
	}
	var p modelmanager.ModifyModelAccessRequest
	for _, name := range models {
		m, err := s.FindModel(ctx, c.Name, store.Qualify(name, c.Account.User))
		if err != nil {
			return wire.ErrorResults{}, err
		}
		p.Changes = append(p.Changes, modelmanager.ModifyModelAccess{UserTag: "user-" + user, Action: verb, Access: access, ModelTag: names.Model(m.UUID).Tag().String()})
	}
	return session.Do[wire.ErrorResults](ctx, c, "ModelManager", "ModifyModelAccess", p)
}
