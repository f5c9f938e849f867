package controllers

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"gopkg.in/yaml.v3"

	"github.com/scarab-ops/scarab/cli/output"
	"github.com/scarab-ops/scarab/cli/session"
	"github.com/scarab-ops/scarab/cli/store"
	"github.com/scarab-ops/scarab/cli/values"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/wire"
	"github.com/scarab-ops/scarab/wire/cloud"
	"github.com/scarab-ops/scarab/wire/controller"
)

type showDoc struct {
	Details struct {
		UUID        string   `yaml:"controller-uuid" json:"controller-uuid"`
		Endpoints   []string `yaml:"api-endpoints,flow" json:"api-endpoints"`
		Cloud       string   `yaml:"cloud" json:"cloud"`
		Region      string   `yaml:"region,omitempty" json:"region,omitempty"`
		Version     string   `yaml:"agent-version,omitempty" json:"agent-version,omitempty"`
		GitCommit   string   `yaml:"agent-git-commit,omitempty" json:"agent-git-commit,omitempty"`
		Model       string   `yaml:"controller-model-version,omitempty" json:"controller-model-version,omitempty"`
		Fingerprint string   `yaml:"ca-fingerprint,omitempty" json:"ca-fingerprint,omitempty"`
		CACert      string   `yaml:"ca-cert,omitempty" json:"ca-cert,omitempty"`
	} `yaml:"details" json:"details"`
	Models       map[string]showModel `yaml:"models,omitempty" json:"models,omitempty"`
	CurrentModel string               `yaml:"current-model,omitempty" json:"current-model,omitempty"`
	Account      struct {
		User   string `yaml:"user" json:"user"`
		Access string `yaml:"access,omitempty" json:"access,omitempty"`
	} `yaml:"account" json:"account"`
	Errors []string `yaml:"errors,omitempty" json:"errors,omitempty"`
}

type showModel struct {
	UUID     string `yaml:"model-uuid" json:"model-uuid"`
	Machines int    `yaml:"machine-count,omitempty" json:"machine-count,omitempty"`
	Units    int    `yaml:"unit-count,omitempty" json:"unit-count,omitempty"`
}

func showControllerCommand(s *session.Session) *cobra.Command {
	var password bool
	var format *output.Format
	c := s.Command(session.Spec{
		Names: "controller", Use: "show-controller [CONTROLLER...]", Short: "Show controllers in detail", Group: group, Max: -1,
		Example: "scarab show-controller\nscarab show-controller prod --format json",
	}, func(ctx context.Context, args []string) error {
		if password {
			return session.Advise(fmt.Errorf("cannot show passwords"), "it is in accounts.yaml of the client directory")
		}
		if len(args) == 0 {
			name, err := s.ControllerName()
			if err != nil {
				return err
			}
			args = []string{name}
		}
		doc := map[string]showDoc{}
		for _, name := range args {
			d, err := showOne(ctx, s, name)
			if err != nil {
				return err
			}
			doc[name] = d
		}
		return format.Write(s.Stdout.Raw(), doc, nil)
	})
	format = session.Format(c, "yaml", "json")
	c.Flags().BoolVar(&password, "show-password", false, "Refused: passwords are not printed")
	return c
}

func showOne(ctx context.Context, s *session.Session, name string) (showDoc, error) {
	var d showDoc
	entry, err := s.Store().Controller(name)
	if err != nil {
		return d, err
	}
	d.Details.UUID, d.Details.Endpoints, d.Details.Cloud, d.Details.Region = entry.UUID, entry.Endpoints, entry.Cloud, entry.Region
	d.Details.Version, d.Details.CACert = entry.AgentVersion, entry.CACert
	if fp, err := store.Fingerprint(entry.CACert); err == nil {
		d.Details.Fingerprint = fp
	}
	if a, err := s.Store().Account(name); err == nil {
		d.Account.User, d.Account.Access = a.User, a.Access
	}
	if _, d.CurrentModel, err = s.Store().Models(name); err != nil {
		return d, err
	}
	c, err := s.OpenNamed(ctx, name)
	if err != nil {
		d.Errors = append(d.Errors, err.Error())
		return d, nil
	}
	if v, err := session.Do[controller.ControllerVersionResults](ctx, c, "Controller", "ControllerVersion", nil); err == nil {
		d.Details.Version, d.Details.GitCommit = v.Version, v.GitCommit
	} else {
		d.Errors = append(d.Errors, err.Error())
	}
	if list, err := session.Do[wire.UserModelList](ctx, c, "Controller", "AllModels", nil); err == nil {
		d.Models = map[string]showModel{}
		for _, m := range list.UserModels {
			row := showModel{UUID: m.Model.UUID}
			st, err := session.Do[wire.ModelStatusResults](ctx, c, "Controller", "ModelStatus", wire.Entities{Entities: []wire.Entity{{Tag: names.Model(m.Model.UUID).Tag().String()}}})
			if err == nil && len(st.Models) == 1 && st.Models[0].Error == nil {
				row.Machines, row.Units = st.Models[0].HostedMachineCount, st.Models[0].UnitCount
			}
			d.Models[untag(m.Model.OwnerTag)+"/"+m.Model.Name] = row
		}
	}
	return d, nil
}

func controllerConfigCommand(s *session.Session) *cobra.Command {
	var format *output.Format
	c := s.Command(session.Spec{
		Use: "controller-config [KEY | KEY=VALUE...]", Short: "Read or set the configuration of a controller", Group: group, Scope: session.OnController, Max: -1,
		Example: "scarab controller-config\nscarab controller-config auditing-enabled\nscarab controller-config audit-log-max-size=500M",
	}, func(ctx context.Context, args []string) error {
		c, err := s.OpenController(ctx)
		if err != nil {
			return err
		}
		if len(args) > 0 && strings.Contains(args[0], "=") {
			pairs, err := values.Pairs(args, nil)
			if err != nil {
				return &session.Usage{Text: err.Error()}
			}
			set := map[string]any{}
			for k, text := range pairs {
				var v any
				if err := yaml.Unmarshal([]byte(text), &v); err != nil {
					v = text
				}
				set[k] = v
			}
			if err := session.Run(ctx, c, "Controller", "ConfigSet", controller.ControllerConfigSet{Config: set}); err != nil {
				return fmt.Errorf("cannot set the configuration of controller %q: %w", c.Name, err)
			}
			return nil
		}
		r, err := session.Do[controller.ControllerConfigResult](ctx, c, "Controller", "ControllerConfig", nil)
		if err != nil {
			return err
		}
		r.Config = output.NumbersIn(r.Config)
		if len(args) == 1 {
			v, ok := r.Config[args[0]]
			if !ok {
				return session.Advise(fmt.Errorf("cannot show key %q: the controller has no such key", args[0]), "see them all: scarab controller-config")
			}
			fmt.Fprintln(s.Stdout, v)
			return nil
		}
		return s.Print(format, r.Config, func(t *output.Table) {
			t.Head("Attribute", "Value")
			for _, k := range keys(r.Config) {
				t.Row(k, strings.TrimSpace(fmt.Sprint(r.Config[k])))
			}
		})
	})
	format = session.Lists(c)
	return c
}

func cloudsCommand(s *session.Session) *cobra.Command {
	var client bool
	var format *output.Format
	c := s.Command(session.Spec{
		Use: "clouds", Aliases: []string{"list-clouds"}, Short: "List the clouds", Group: group, Scope: session.OnController,
		Example: "scarab clouds\nscarab clouds --client",
	}, func(ctx context.Context, _ []string) error {
		all, err := clouds(ctx, s, client)
		if err != nil {
			return err
		}
		return s.Print(format, all, func(t *output.Table) {
			t.Head("Cloud", "Regions", "Default", "Type", "Description")
			for _, n := range keys(all) {
				r := all[n]
				first := ""
				if len(r.Regions) > 0 {
					first = r.Regions[0]
				}
				t.Cells(output.Text(n), output.Right(fmt.Sprint(len(r.Regions))), output.Text(first), output.Text(r.Type), output.Text(r.Description))
			}
		})
	})
	format = session.Lists(c)
	c.Flags().BoolVar(&client, "client", false, "Only those this client can bootstrap on")
	return c
}

type cloudRow struct {
	Defined     string   `yaml:"defined" json:"defined"`
	Type        string   `yaml:"type" json:"type"`
	Description string   `yaml:"description,omitempty" json:"description,omitempty"`
	Auth        []string `yaml:"auth-types,flow,omitempty" json:"auth-types,omitempty"`
	Endpoint    string   `yaml:"endpoint,omitempty" json:"endpoint,omitempty"`
	Regions     []string `yaml:"regions,omitempty" json:"regions,omitempty"`
}

func clouds(ctx context.Context, s *session.Session, clientOnly bool) (map[string]cloudRow, error) {
	out := map[string]cloudRow{"localhost": {Defined: "built-in", Type: "lxd", Description: "Containers on this machine", Auth: []string{"empty"}, Regions: []string{"localhost"}}}
	if clientOnly {
		return out, nil
	}
	c, err := s.OpenController(ctx)
	if errors.Is(err, session.ErrNoController) {
		return out, nil // nothing to ask
	}
	if err != nil {
		return nil, err
	}
	r, err := session.Do[cloud.CloudsResult](ctx, c, "Cloud", "Clouds", nil)
	if err != nil {
		return nil, err
	}
	for tag, cl := range r.Clouds {
		row := cloudRow{Defined: "controller", Type: cl.Type, Auth: cl.AuthTypes, Endpoint: cl.Endpoint}
		for _, g := range cl.Regions {
			row.Regions = append(row.Regions, g.Name)
		}
		out[untag(tag)] = row
	}
	return out, nil
}

func regionsCommand(s *session.Session) *cobra.Command {
	var client bool
	var format *output.Format
	c := s.Command(session.Spec{
		Names: "localhost", Use: "regions CLOUD", Aliases: []string{"list-regions"}, Short: "List the regions of a cloud", Group: group, Scope: session.OnController, Min: 1, Max: 1,
		Example: "scarab regions localhost",
	}, func(ctx context.Context, args []string) error {
		all, err := clouds(ctx, s, client)
		if err != nil {
			return err
		}
		r, ok := all[args[0]]
		if !ok {
			return session.Advise(fmt.Errorf("cannot find cloud %q", args[0]), "see the ones there are: scarab clouds")
		}
		doc := map[string]any{}
		for _, g := range r.Regions {
			doc[g] = map[string]any{}
		}
		return s.Print(format, doc, func(t *output.Table) {
			for _, g := range r.Regions {
				t.Row(g)
			}
		})
	})
	format = session.Lists(c)
	c.Flags().BoolVar(&client, "client", false, "Do not ask the controller")
	return c
}
