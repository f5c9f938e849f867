// Package controllers holds the commands about controllers as a whole: making, finding, trusting and destroying them, who
// one is on them, their users, clouds and configuration, and the base images of the local cloud.
package controllers

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/scarab-ops/scarab/cli/output"
	"github.com/scarab-ops/scarab/cli/session"
	"github.com/scarab-ops/scarab/cli/store"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/wire"
)

const group = "controllers"

// Commands are the commands of this package.
func Commands(s *session.Session) []*cobra.Command {
	return []*cobra.Command{
		bootstrapCommand(s), controllersCommand(s), showControllerCommand(s), loginCommand(s), logoutCommand(s), whoamiCommand(s),
		unregisterCommand(s), destroyControllerCommand(s), killControllerCommand(s), controllerConfigCommand(s), cloudsCommand(s), regionsCommand(s),
		usersCommand(s), showUserCommand(s), addUserCommand(s), userSwitchCommand(s, "disable-user", "DisableUser", "Keep a user from logging in"),
		userSwitchCommand(s, "enable-user", "EnableUser", "Let a disabled user log in again"), removeUserCommand(s), passwordCommand(s),
		grantCommand(s, "grant", "Give a user access to models or to the controller"), grantCommand(s, "revoke", "Take access away from a user"),
		imageCommand(s), repairCommand(s),
	}
}

func untag(tag string) string {
	if t, err := names.ParseTag(tag); err == nil {
		return t.ID
	}
	return tag
}

type controllerRow struct {
	CurrentModel string   `yaml:"current-model,omitempty" json:"current-model,omitempty"`
	User         string   `yaml:"user,omitempty" json:"user,omitempty"`
	Access       string   `yaml:"access,omitempty" json:"access,omitempty"`
	UUID         string   `yaml:"uuid" json:"uuid"`
	Endpoints    []string `yaml:"api-endpoints,flow" json:"api-endpoints"`
	CACert       string   `yaml:"ca-cert" json:"ca-cert"`
	Cloud        string   `yaml:"cloud" json:"cloud"`
	Region       string   `yaml:"region,omitempty" json:"region,omitempty"`
	AgentVersion string   `yaml:"agent-version,omitempty" json:"agent-version,omitempty"`
	Models       *int     `yaml:"model-count,omitempty" json:"model-count,omitempty"`
	Machines     *int     `yaml:"machine-count,omitempty" json:"machine-count,omitempty"`
	HA           struct {
		Active int `yaml:"active" json:"active"`
		Total  int `yaml:"total" json:"total"`
	} `yaml:"controller-machines" json:"controller-machines"`
}

func controllersCommand(s *session.Session) *cobra.Command {
	var refresh, managed bool
	var format *output.Format
	c := s.Command(session.Spec{
		Use: "controllers", Aliases: []string{"list-controllers"}, Short: "List the controllers this client knows", Group: group,
		Example: "scarab controllers\nscarab controllers --refresh\nscarab controllers --format json",
	}, func(ctx context.Context, _ []string) error {
		if refresh {
			if err := refreshAll(ctx, s); err != nil {
				return err
			}
		}
		rows, current, err := controllerRows(s)
		if err != nil {
			return err
		}
		if managed {
			maps.DeleteFunc(rows, func(name string, _ controllerRow) bool {
				_, err := s.Store().Bootstrap(name)
				return err != nil
			})
		}
		if len(rows) == 0 && format.Name == "tabular" {
			s.Info("No controllers are known. Make one with: scarab bootstrap localhost")
			return nil
		}
		doc := map[string]any{"controllers": rows}
		if current != "" {
			doc["current-controller"] = current
		}
		return s.Print(format, doc, func(t *output.Table) {
			t.Head("Controller", "Model", "User", "Access", "Cloud/Region", "Models", "Nodes", "HA", "Version")
			for _, n := range slices.Sorted(maps.Keys(rows)) {
				r := rows[n]
				name := n
				if n == current {
					name += "*"
				}
				t.Cells(output.Text(name), output.Text(or(r.CurrentModel, "-")), output.Text(or(r.User, "-")), output.Text(or(r.Access, "-")),
					output.Text(strings.TrimSuffix(r.Cloud+"/"+r.Region, "/")), output.Right(num(r.Models)), output.Right(num(r.Machines)), output.Right(ha(r)),
					output.Text(r.AgentVersion))
			}
		})
	})
	format = session.Lists(c)
	c.Flags().BoolVar(&refresh, "refresh", false, "Ask every controller first")
	c.Flags().BoolVar(&managed, "managed", false, "Show only those bootstrapped from here")
	return c
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func num(n *int) string {
	if n == nil {
		return "-"
	}
	return fmt.Sprint(*n)
}

func ha(r controllerRow) string {
	switch {
	case r.HA.Total <= 1:
		return "none"
	case r.HA.Active == r.HA.Total:
		return fmt.Sprint(r.HA.Total)
	}
	return fmt.Sprintf("%d/%d", r.HA.Active, r.HA.Total)
}

func controllerRows(s *session.Session) (map[string]controllerRow, string, error) {
	all, current, err := s.Store().Controllers()
	if err != nil {
		return nil, "", err
	}
	rows := map[string]controllerRow{}
	for name, c := range all {
		r := controllerRow{UUID: c.UUID, Endpoints: c.Endpoints, CACert: c.CACert, Cloud: c.Cloud, Region: c.Region, AgentVersion: c.AgentVersion, Machines: c.MachineCount}
		r.HA.Active, r.HA.Total = c.ActiveMachines, c.Machines
		if a, err := s.Store().Account(name); err == nil {
			r.User, r.Access = a.User, a.Access
		}
		models, cur, err := s.Store().Models(name)
		if err != nil {
			return nil, "", err
		}
		if len(models) > 0 {
			n := len(models)
			r.Models = &n
		}
		r.CurrentModel = strings.TrimPrefix(cur, r.User+"/")
		rows[name] = r
	}
	return rows, current, nil
}

func refreshAll(ctx context.Context, s *session.Session) error {
	all, _, err := s.Store().Controllers()
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		c, err := s.OpenNamed(ctx, name)
		if err != nil {
			s.Info("%s: %v", name, err)
			continue
		}
		if _, err := s.RefreshModels(ctx, c); err != nil {
			s.Info("%s: %v", name, err)
			continue
		}
		if err := refreshCounts(ctx, s, c); err != nil {
			s.Verbose("%s: %v", name, err)
		}
	}
	return nil
}

func refreshCounts(ctx context.Context, s *session.Session, c *session.Controller) error {
	list, err := session.Do[wire.UserModelList](ctx, c, "Controller", "AllModels", nil)
	if err != nil {
		return err
	}
	var e wire.Entities
	for _, m := range list.UserModels {
		e.Entities = append(e.Entities, wire.Entity{Tag: names.Model(m.Model.UUID).Tag().String()})
	}
	st, err := session.Do[wire.ModelStatusResults](ctx, c, "Controller", "ModelStatus", e)
	if err != nil {
		return err
	}
	n := 0
	for _, m := range st.Models {
		n += m.HostedMachineCount
	}
	fresh, err := s.Store().Controller(c.Name)
	if err != nil {
		return err
	}
	fresh.MachineCount = &n
	return s.Store().SetController(ctx, c.Name, fresh, false)
}

func whoamiCommand(s *session.Session) *cobra.Command {
	var format *output.Format
	c := s.Command(session.Spec{
		Use: "whoami", Short: "Show the current controller, model and user", Group: group, Scope: session.OnController, Example: "scarab whoami\nscarab whoami --format json",
	}, func(_ context.Context, _ []string) error {
		name, err := s.ControllerName()
		if err != nil {
			return err
		}
		a, err := s.Account(name)
		if err != nil {
			return err
		}
		_, model, err := s.Store().Models(name)
		if err != nil {
			return err
		}
		doc := struct {
			Controller string `yaml:"controller" json:"controller"`
			Model      string `yaml:"model,omitempty" json:"model,omitempty"`
			User       string `yaml:"user" json:"user"`
		}{name, strings.TrimPrefix(model, a.User+"/"), a.User}
		return s.Print(format, doc, func(t *output.Table) {
			t.Row("Controller:", doc.Controller)
			t.Row("Model:", or(doc.Model, "<no-current-model>"))
			t.Row("User:", doc.User)
		})
	})
	format = session.Lists(c)
	return c
}

func unregisterCommand(s *session.Session) *cobra.Command {
	var noPrompt bool
	c := s.Command(session.Spec{
		Names: "controller", Use: "unregister CONTROLLER", Short: "Forget a controller on this client", Group: group, Min: 1, Max: 1,
		Long:    "Removes a controller, its account and its models from this client's files. The controller itself is not touched.",
		Example: "scarab unregister prod\nscarab unregister prod --no-prompt",
	}, func(ctx context.Context, args []string) error {
		if _, err := s.Store().Controller(args[0]); err != nil {
			return err
		}
		if !noPrompt {
			s.Info("This client will forget controller %q and the account on it. The controller goes on running.", args[0])
			if err := s.ConfirmName("", args[0]); err != nil {
				return err
			}
		}
		return s.Store().RemoveController(ctx, args[0])
	})
	c.Flags().BoolVar(&noPrompt, "no-prompt", false, "Do not ask")
	return c
}

func repairCommand(s *session.Session) *cobra.Command {
	return s.Command(session.Spec{
		Use: "repair-client-files", Short: "Put the last good copy in the place of broken client files", Group: group,
		Long:    "Looks through the client's files. A broken one is kept under a new name and replaced with the last copy that was written whole.",
		Example: "scarab repair-client-files",
	}, func(ctx context.Context, _ []string) error {
		done, err := s.Store().Repair(ctx, s.Now())
		for _, r := range done {
			s.Info("%s: %s; the last good copy is back", r.File, r.Reason)
			if r.Kept != "" {
				s.Info("  the broken one is kept as %s", r.Kept)
			}
		}
		if err == nil && len(done) == 0 {
			s.Info("All client files are whole.")
		}
		return err
	})
}

// checkTrust is the check of a target's authority before a credential is sent.
func checkTrust(known store.Controller, name, caPEM string) error {
	want, err := store.Fingerprint(known.CACert)
	if err != nil {
		return err
	}
	got, err := store.Fingerprint(caPEM)
	if err != nil {
		return err
	}
	if want != got {
		return &store.ChangedAuthorityError{Name: name, Want: want, Got: got}
	}
	return nil
}
