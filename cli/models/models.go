// Package models holds the commands that make, list, choose, configure and destroy models.
package models

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/scarab-ops/scarab/cli/output"
	"github.com/scarab-ops/scarab/cli/session"
	"github.com/scarab-ops/scarab/cli/status"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/wire/modelmanager"
)

const group = "models"

// Commands are the commands of this package.
func Commands(s *session.Session) []*cobra.Command {
	return []*cobra.Command{
		addModelCommand(s), modelsCommand(s), switchCommand(s), showModelCommand(s), destroyModelCommand(s), modelConfigCommand(s),
		modelConstraintsCommand(s), setModelConstraintsCommand(s), sshKeysCommand(s), addSSHKeyCommand(s), removeSSHKeyCommand(s),
	}
}

// untag takes the id out of a tag, or leaves what is none.
func untag(tag string) string {
	if t, err := names.ParseTag(tag); err == nil {
		return t.ID
	}
	return tag
}

type modelRow struct {
	Name           string            `yaml:"name" json:"name"`
	Short          string            `yaml:"short-name" json:"short-name"`
	UUID           string            `yaml:"model-uuid" json:"model-uuid"`
	Type           string            `yaml:"model-type" json:"model-type"`
	ControllerUUID string            `yaml:"controller-uuid" json:"controller-uuid"`
	Controller     string            `yaml:"controller-name" json:"controller-name"`
	IsController   bool              `yaml:"is-controller" json:"is-controller"`
	Owner          string            `yaml:"owner" json:"owner"`
	Cloud          string            `yaml:"cloud" json:"cloud"`
	Region         string            `yaml:"region,omitempty" json:"region,omitempty"`
	Provider       string            `yaml:"type,omitempty" json:"type,omitempty"`
	Life           string            `yaml:"life" json:"life"`
	Status         map[string]string `yaml:"status,omitempty" json:"status,omitempty"`
	Access         string            `yaml:"access" json:"access"`
	LastConnection string            `yaml:"last-connection" json:"last-connection"`
	Machines       int               `yaml:"machine-count,omitempty" json:"machine-count,omitempty"`
	Cores          int               `yaml:"core-count,omitempty" json:"core-count,omitempty"`
	Units          int               `yaml:"unit-count,omitempty" json:"unit-count,omitempty"`
	AgentVersion   string            `yaml:"agent-version,omitempty" json:"agent-version,omitempty"`
}

func modelsCommand(s *session.Session) *cobra.Command {
	var all, uuids bool
	var user string
	var format *output.Format
	c := s.Command(session.Spec{
		Use: "models", Aliases: []string{"list-models"}, Short: "List the models of a controller", Group: group, Scope: session.OnController,
		Example: "scarab models\nscarab models --all --uuid\nscarab models -c prod --format json",
	}, func(ctx context.Context, _ []string) error {
		c, err := s.OpenController(ctx)
		if err != nil {
			return err
		}
		if _, err := s.RefreshModels(ctx, c); err != nil {
			return err
		}
		if user == "" {
			user = c.Account.User
		}
		res, err := session.Do[modelmanager.ModelSummaryResults](ctx, c, "ModelManager", "ListModelSummaries",
			modelmanager.ModelSummariesRequest{UserTag: "user-" + user, All: all})
		if err != nil {
			return err
		}
		_, current, err := s.Store().Models(c.Name)
		if err != nil {
			return err
		}
		rows, err := modelRows(s, c, res)
		if err != nil {
			return err
		}
		return printModels(s, format, c.Name, rows, current, uuids)
	})
	format = session.Lists(c)
	c.Flags().BoolVar(&all, "all", false, "The models of all users, for administrators of the controller")
	c.Flags().BoolVar(&uuids, "uuid", false, "Show the ids too")
	c.Flags().StringVar(&user, "user", "", "The models of another user")
	return c
}

func modelRows(s *session.Session, c *session.Controller, res modelmanager.ModelSummaryResults) ([]modelRow, error) {
	rows := []modelRow{}
	for _, r := range res.Results {
		if r.Error != nil {
			return nil, r.Error
		}
		m := r.Result
		if m == nil {
			continue
		}
		row := modelRow{
			Name: untag(m.OwnerTag) + "/" + m.Name, Short: m.Name, UUID: m.UUID, Type: m.Type, ControllerUUID: m.ControllerUUID, Controller: c.Name,
			IsController: m.IsController, Owner: untag(m.OwnerTag), Cloud: untag(m.CloudTag), Region: m.CloudRegion, Provider: m.ProviderType, Life: m.Life,
			Access: m.UserAccess, LastConnection: "never connected", AgentVersion: m.AgentVersion,
		}
		if m.LastConnection != nil {
			row.LastConnection = output.Ago(s.Now(), *m.LastConnection)
		}
		if m.Status != nil {
			row.Status = map[string]string{"current": m.Status.Status}
			if m.Status.Info != "" {
				row.Status["message"] = m.Status.Info
			}
		}
		for _, n := range m.Counts {
			switch n.Entity {
			case "machines":
				row.Machines = n.Count
			case "cores":
				row.Cores = n.Count
			case "units":
				row.Units = n.Count
			}
		}
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(a, b modelRow) int { return status.Natural(a.Name, b.Name) })
	return rows, nil
}

func printModels(s *session.Session, format *output.Format, controller string, rows []modelRow, current string, uuids bool) error {
	doc := map[string]any{"models": rows}
	if current != "" {
		doc["current-model"] = current[strings.Index(current, "/")+1:]
	}
	if format.Name == "tabular" && format.File == "" {
		fmt.Fprintf(s.Stdout, "Controller: %s\n\n", controller)
	}
	return s.Print(format, doc, func(t *output.Table) {
		head := []string{"Model", "Cloud/Region", "Type", "Status", "Machines", "Cores", "Units", "Access", "Last connection"}
		if uuids {
			head = slices.Insert(head, 1, "UUID")
		}
		t.Head(head...)
		for _, r := range rows {
			name := r.Short
			if r.Name == current {
				name += "*"
			}
			cells := []output.Cell{
				output.Text(name), output.Text(strings.TrimSuffix(r.Cloud+"/"+r.Region, "/")), output.Text(r.Provider),
				output.Styled(r.Status["current"], output.StatusStyle(r.Status["current"])), output.Right(fmt.Sprint(r.Machines)), output.Right(dash(r.Cores)),
				output.Right(dash(r.Units)), output.Text(r.Access), output.Text(r.LastConnection),
			}
			if uuids {
				cells = slices.Insert(cells, 1, output.Text(r.UUID))
			}
			t.Cells(cells...)
		}
	})
}

func dash(n int) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprint(n)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
