package models

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/scarab-ops/scarab/cli/output"
	"github.com/scarab-ops/scarab/cli/session"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/wire"
	"github.com/scarab-ops/scarab/wire/modelmanager"
)

type modelDoc struct {
	Name           string                `yaml:"name" json:"name"`
	Short          string                `yaml:"short-name" json:"short-name"`
	UUID           string                `yaml:"model-uuid" json:"model-uuid"`
	Type           string                `yaml:"model-type" json:"model-type"`
	ControllerUUID string                `yaml:"controller-uuid" json:"controller-uuid"`
	Controller     string                `yaml:"controller-name" json:"controller-name"`
	IsController   bool                  `yaml:"is-controller" json:"is-controller"`
	Owner          string                `yaml:"owner" json:"owner"`
	Cloud          string                `yaml:"cloud" json:"cloud"`
	Region         string                `yaml:"region,omitempty" json:"region,omitempty"`
	Provider       string                `yaml:"type,omitempty" json:"type,omitempty"`
	Life           string                `yaml:"life" json:"life"`
	Status         map[string]string     `yaml:"status,omitempty" json:"status,omitempty"`
	Users          map[string]userDoc    `yaml:"users,omitempty" json:"users,omitempty"`
	Machines       map[string]machineDoc `yaml:"machines,omitempty" json:"machines,omitempty"`
	SLA            string                `yaml:"sla,omitempty" json:"sla,omitempty"`
	AgentVersion   string                `yaml:"agent-version,omitempty" json:"agent-version,omitempty"`
	Features       []featureDoc          `yaml:"supported-features,omitempty" json:"supported-features,omitempty"`
}

type userDoc struct {
	DisplayName    string `yaml:"display-name,omitempty" json:"display-name,omitempty"`
	Access         string `yaml:"access" json:"access"`
	LastConnection string `yaml:"last-connection" json:"last-connection"`
}

type machineDoc struct {
	Cores int `yaml:"cores" json:"cores"`
}

type featureDoc struct {
	Name        string `yaml:"name" json:"name"`
	Description string `yaml:"description,omitempty" json:"description,omitempty"`
	Version     string `yaml:"version,omitempty" json:"version,omitempty"`
}

func showModelCommand(s *session.Session) *cobra.Command {
	var format *output.Format
	c := s.Command(session.Spec{
		Names: "model", Use: "show-model [MODEL]", Short: "Show a model in detail", Group: group, Scope: session.OnModel, Max: 1,
		Example: "scarab show-model\nscarab show-model prod:admin/dev --format json",
	}, func(ctx context.Context, args []string) error {
		if len(args) == 1 {
			s.ChooseModel(args[0])
		}
		controller, name, err := s.ModelName()
		if err != nil {
			return err
		}
		m, err := s.FindModel(ctx, controller, name)
		if err != nil {
			return err
		}
		c, err := s.OpenNamed(ctx, controller)
		if err != nil {
			return err
		}
		res, err := session.Do[modelmanager.ModelInfoResults](ctx, c, "ModelManager", "ModelInfo",
			wire.Entities{Entities: []wire.Entity{{Tag: names.Model(m.UUID).Tag().String()}}})
		if err != nil {
			return err
		}
		one, err := session.One(res.Results, func(r modelmanager.ModelInfoResult) *wire.Error { return r.Error })
		if err != nil {
			return fmt.Errorf("cannot show model %q: %w", name, err)
		}
		if one.Result == nil {
			return fmt.Errorf("cannot show model %q: the controller sent no details", name)
		}
		return format.Write(s.Stdout.Raw(), map[string]modelDoc{name[strings.Index(name, "/")+1:]: document(s, c.Name, one.Result)}, nil)
	})
	format = session.Format(c, "yaml", "json")
	return c
}

func document(s *session.Session, controller string, m *modelmanager.ModelInfo) modelDoc {
	d := modelDoc{
		Name: untag(m.OwnerTag) + "/" + m.Name, Short: m.Name, UUID: m.UUID, Type: m.Type, ControllerUUID: m.ControllerUUID, Controller: controller,
		IsController: m.IsController, Owner: untag(m.OwnerTag), Cloud: untag(m.CloudTag), Region: m.CloudRegion, Provider: m.ProviderType, Life: m.Life,
		SLA: m.SLA.Level, AgentVersion: m.AgentVersion, Users: map[string]userDoc{}, Machines: map[string]machineDoc{},
	}
	if m.Status != nil {
		d.Status = map[string]string{"current": m.Status.Status}
		if m.Status.Info != "" {
			d.Status["message"] = m.Status.Info
		}
		if m.Status.Since != nil {
			d.Status["since"] = output.Ago(s.Now(), *m.Status.Since)
		}
	}
	for _, u := range m.Users {
		row := userDoc{DisplayName: u.DisplayName, Access: u.Access, LastConnection: "never connected"}
		if u.LastConnection != nil {
			row.LastConnection = output.Ago(s.Now(), *u.LastConnection)
		}
		d.Users[u.User] = row
	}
	for _, x := range m.Machines {
		row := machineDoc{}
		if x.Hardware != nil && x.Hardware.Cores != nil {
			row.Cores = *x.Hardware.Cores
		}
		d.Machines[x.ID] = row
	}
	for _, f := range m.SupportedFeatures {
		d.Features = append(d.Features, featureDoc{f.Name, f.Description, f.Version})
	}
	return d
}
