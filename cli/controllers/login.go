package controllers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/scarab-ops/scarab/cli/session"
	"github.com/scarab-ops/scarab/cli/store"
	"github.com/scarab-ops/scarab/names"
)

type loginFlags struct {
	controller, user, fingerprint, caFile string
	trust, trustNew, noPrompt             bool
}

func loginCommand(s *session.Session) *cobra.Command {
	var f loginFlags
	c := s.Command(session.Spec{
		Names: "controller", Use: "login [HOST:PORT | CONTROLLER]", Short: "Log in to a controller", Group: group, Max: 1,
		Long: `
With an address it shows the fingerprint of the controller's authority and asks whether to trust it; compare it with what the administrator
tells you. From then on another authority is refused. No password is sent before the authority is trusted.`,
		Example: "scarab login 10.0.0.5:17070 -c prod -u bob\nscarab login -c prod\nscarab login 10.0.0.5:17070 -c prod --fingerprint 3F:A2:...",
	}, func(ctx context.Context, args []string) error {
		address := ""
		if len(args) == 1 {
			if _, _, err := net.SplitHostPort(args[0]); err == nil {
				address = args[0]
			} else if f.controller == "" {
				f.controller = args[0]
			} else {
				return &session.Usage{Text: fmt.Sprintf("cannot use address %q: write HOST:PORT", args[0])}
			}
		}
		if f.user != "" && !names.ValidUser(f.user) {
			return &session.Usage{Text: fmt.Sprintf("cannot use %q: it is no user name", f.user)}
		}
		return login(ctx, s, f, address)
	})
	fl := c.Flags()
	fl.StringVarP(&f.controller, "controller", "c", "", "Name of the controller on this client")
	fl.StringVarP(&f.user, "user", "u", "", "User to log in as")
	fl.StringVar(&f.user, "username", "", "The same as --user")
	fl.BoolVar(&f.trust, "trust", false, "Trust the authority at first sight without asking; a changed one is refused all the same")
	fl.StringVar(&f.fingerprint, "fingerprint", "", "Trust this authority without asking (SHA-256)")
	fl.StringVar(&f.caFile, "ca-cert", "", "File with the controller's authority")
	fl.BoolVar(&f.trustNew, "trust-new-ca", false, "Accept that the controller has a new authority")
	fl.BoolVar(&f.noPrompt, "no-prompt", false, "Read the password from the input")
	return c
}

func login(ctx context.Context, s *session.Session, f loginFlags, address string) error {
	name := f.controller
	if name == "" {
		if address != "" {
			host, _, _ := net.SplitHostPort(address)
			name = strings.ReplaceAll(host, ":", "-")
		} else {
			var err error
			if name, err = s.ControllerName(); err != nil {
				return err
			}
		}
	}
	if err := store.CheckControllerName(name); err != nil {
		return &session.Usage{Text: err.Error()}
	}
	entry, err := s.Store().Controller(name)
	var missing *store.NotFoundError
	if err != nil && (!errors.As(err, &missing) || address == "") {
		return err
	}
	known := err == nil
	if f.trustNew && address == "" && len(entry.Endpoints) > 0 {
		address = entry.Endpoints[0] // the new authority has to be seen
	}
	if address != "" {
		if entry, err = f.introduce(ctx, s, name, address, entry, known); err != nil {
			return err
		}
	} else if err := s.Store().CheckTrust(ctx, name, entry); err != nil {
		return err
	}
	return f.enter(ctx, s, name, entry)
}

// introduce learns the authority of an address and has it trusted.
func (f loginFlags) introduce(ctx context.Context, s *session.Session, name, address string, old store.Controller, known bool) (store.Controller, error) {
	ca, err := f.authority(ctx, s, address)
	if err != nil {
		return old, err
	}
	fp, err := store.Fingerprint(ca)
	if err != nil {
		return old, err
	}
	if known && !f.trustNew {
		if err := checkTrust(old, name, ca); err != nil {
			return old, err
		}
	} else if err := f.confirm(s, address, fp); err != nil {
		return old, err
	}
	entry := old
	entry.Endpoints, entry.CACert = []string{address}, ca
	return entry, nil
}

func (f loginFlags) authority(ctx context.Context, s *session.Session, address string) (string, error) {
	if f.caFile == "" {
		return s.Authority(ctx, address)
	}
	file, err := os.Open(s.Path(f.caFile))
	if err != nil {
		return "", fmt.Errorf("cannot read the authority: %w", err)
	}
	defer file.Close() //nolint:errcheck // read only
	data, err := io.ReadAll(io.LimitReader(file, 1<<20))
	if err != nil {
		return "", fmt.Errorf("cannot read the authority: %w", err)
	}
	return string(data), nil
}

func (f loginFlags) confirm(s *session.Session, address, fp string) error {
	plain := func(t string) string { return strings.ToUpper(strings.ReplaceAll(t, ":", "")) }
	if f.fingerprint != "" {
		if plain(f.fingerprint) != plain(fp) {
			return fmt.Errorf("cannot trust %s: its authority has the fingerprint %s, not the one given", address, fp)
		}
		return nil
	}
	if f.caFile != "" {
		return nil
	}
	s.Info("Controller %s presents an authority that this client does not know yet.\nSHA-256 fingerprint:\n  %s", address, fp)
	if f.trust {
		return nil
	}
	return s.Confirm("Trust it?")
}

// enter logs in and records everything at once.
func (f loginFlags) enter(ctx context.Context, s *session.Session, name string, entry store.Controller) error {
	account, err := s.Store().Account(name)
	var missing *store.NotFoundError
	if err != nil && !errors.As(err, &missing) {
		return err
	}
	if f.user != "" {
		account.User = f.user
	}
	if account.User == "" {
		user, err := s.Term().ReadLine("username: ")
		if err != nil || !names.ValidUser(strings.TrimSpace(user)) {
			return session.Advise(errors.New("cannot log in: no user is named"), "name one with -u NAME")
		}
		account.User = strings.TrimSpace(user)
	}
	password, err := s.Password(fmt.Sprintf("please enter password for %s on %s: ", account.User, name))
	if err != nil {
		return err
	}
	account.Password, account.Known = store.NewPassword(password), true
	conn, err := s.Use(ctx, session.Target{
		Addresses: entry.Endpoints, CACert: entry.CACert, PublicHostname: entry.PublicHostname, ControllerUUID: entry.UUID,
		User: account.User, Secret: account.Password,
	})
	if session.Code(err) == "unauthorized access" {
		return session.Advise(fmt.Errorf("cannot log in to %q as %q: %w", name, account.User, err),
			"the user or the password is wrong; try again, or ask an administrator of the controller to set a new password")
	}
	if err != nil {
		return session.Unconnected(name, fmt.Errorf("cannot log in to %q: %w", name, err))
	}
	l := conn.Login()
	if entry.UUID != "" && entry.UUID != l.ControllerUUID {
		return session.Advise(fmt.Errorf("cannot log in: %q is the name of another controller here (%s)", name, entry.UUID), "choose another name with -c")
	}
	entry.UUID, account.Access = l.ControllerUUID, l.ControllerAccess
	if len(l.Addresses) > 0 {
		entry.Endpoints = l.Addresses
	}
	entry.AgentVersion = or(l.ServerVersion, entry.AgentVersion)
	return f.keep(context.WithoutCancel(ctx), s, name, entry, account, conn)
}

func (f loginFlags) keep(ctx context.Context, s *session.Session, name string, entry store.Controller, account store.Account, conn session.Conn) error {
	if f.trustNew {
		if err := s.Store().SetTrust(ctx, name, entry); err != nil {
			return err
		}
	} else if err := s.Store().CheckTrust(ctx, name, entry); err != nil {
		return err
	}
	if err := s.Store().SetAccount(ctx, name, account); err != nil {
		return err
	}
	if err := s.Store().SetController(ctx, name, entry, true); err != nil {
		return err
	}
	models, err := s.RefreshModels(ctx, &session.Controller{Conn: conn, Name: name, Entry: entry, Account: account})
	if err != nil {
		return fmt.Errorf("cannot list your models: %w", err)
	}
	s.Info("Welcome, %s. You are now logged in to %q.", account.User, name)
	_, current, err := s.Store().Models(name)
	if err != nil || current != "" {
		return err
	}
	switch len(models) {
	case 0:
		s.Info("There are no models you can use. Make one: scarab add-model NAME")
	case 1:
		for m := range models {
			s.Info("Current model set to %q.", m)
			return s.Store().SetCurrentModel(ctx, name, m)
		}
	default:
		s.Info("You can use %d models. Choose one: scarab switch MODEL", len(models))
	}
	return nil
}

func logoutCommand(s *session.Session) *cobra.Command {
	var force bool
	var controller string
	c := s.Command(session.Spec{
		Use: "logout", Short: "Log out of a controller", Group: group,
		Long:    "Forgets the account and its password. The administrator's generated password is known to nobody else; change it first, or use --force.",
		Example: "scarab logout\nscarab logout -c prod --force",
	}, func(ctx context.Context, _ []string) error {
		name := controller
		if name == "" {
			var err error
			if name, err = s.ControllerName(); err != nil {
				return err
			}
		}
		a, err := s.Account(name)
		if err != nil {
			return err
		}
		if _, err := s.Store().Bootstrap(name); err == nil && a.User == "admin" && !a.Known && !a.Password.Empty() && !force {
			return session.Advise(errors.New("cannot log out: this client may hold the only copy of the administrator's password"),
				"set one that you know: scarab change-user-password; or insist: scarab logout --force")
		}
		if err := s.Store().RemoveAccount(ctx, name); err != nil {
			return err
		}
		s.Info("Logged out of %q. You stay logged in to other controllers.", name)
		return nil
	})
	c.Flags().StringVarP(&controller, "controller", "c", "", "Controller to log out of")
	c.Flags().BoolVar(&force, "force", false, "Even when the password cannot be had again")
	return c
}
