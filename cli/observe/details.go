package observe

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/scarab-ops/scarab/cli/output"
	"github.com/scarab-ops/scarab/cli/session"
	"github.com/scarab-ops/scarab/cli/status"
	"github.com/scarab-ops/scarab/cli/values"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/wire"
	"github.com/scarab-ops/scarab/wire/application"
	"github.com/scarab-ops/scarab/wire/client"
)

func machinesCommand(s *session.Session) *cobra.Command {
	var format *output.Format
	var utc bool
	c := s.Command(session.Spec{
		Use: "machines", Aliases: []string{"list-machines"}, Short: "List the machines of a model", Group: group, Scope: session.OnModel,
		Example: "scarab machines\nscarab machines --format yaml",
	}, func(ctx context.Context, _ []string) error { return printMachines(ctx, s, format, nil, utc) })
	format = session.Lists(c)
	c.Flags().BoolVar(&utc, "utc", false, "Show times in UTC")
	return c
}

func showMachineCommand(s *session.Session) *cobra.Command {
	var format *output.Format
	var utc bool
	c := s.Command(session.Spec{
		Use: "show-machine MACHINE...", Short: "Show machines in detail", Group: group, Scope: session.OnModel, Max: -1,
		Example: "scarab show-machine 0\nscarab show-machine 0 1 --format json",
	}, func(ctx context.Context, args []string) error {
		for _, a := range args {
			if !names.ValidMachine(a) {
				return &session.Usage{Text: fmt.Sprintf("cannot show %q: it is no machine id", a)}
			}
		}
		return printMachines(ctx, s, format, args, utc)
	})
	format = session.Format(c, "yaml", "tabular", "json")
	c.Flags().BoolVar(&utc, "utc", false, "Show times in UTC")
	return c
}

func printMachines(ctx context.Context, s *session.Session, format *output.Format, ids []string, utc bool) error {
	m, err := s.OpenModel(ctx)
	if err != nil {
		return err
	}
	fs, err := session.Do[client.FullStatus](ctx, m, "Client", "FullStatus", client.StatusParams{Patterns: []string{}})
	if err != nil {
		return err
	}
	if len(ids) > 0 {
		chosen := map[string]client.MachineStatus{}
		for _, id := range ids {
			ms, ok := findMachine(fs.Machines, id)
			if !ok {
				return session.Advise(fmt.Errorf("cannot find machine %s", id), "see the ones there are: scarab machines")
			}
			chosen[id] = ms
		}
		fs.Machines = chosen
	}
	d := status.Build(fs, status.Options{Controller: m.Controller, UTC: utc})
	doc := struct {
		Model    string                    `yaml:"model" json:"model"`
		Machines map[string]status.Machine `yaml:"machines" json:"machines"`
	}{fs.Model.Name, d.Machines}
	return format.Write(s.Stdout.Raw(), doc, func(w io.Writer) error { return d.MachineTable(w, s.Colour() && format.File == "") })
}

func findMachine(ms map[string]client.MachineStatus, id string) (client.MachineStatus, bool) {
	if m, ok := ms[id]; ok {
		return m, true
	}
	for _, m := range ms {
		if c, ok := findMachine(m.Containers, id); ok {
			return c, true
		}
	}
	return client.MachineStatus{}, false
}

type unitDoc struct {
	Opened   []string      `yaml:"opened-ports" json:"opened-ports"`
	Charm    string        `yaml:"charm" json:"charm"`
	Leader   bool          `yaml:"leader" json:"leader"`
	Life     string        `yaml:"life,omitempty" json:"life,omitempty"`
	Machine  string        `yaml:"machine,omitempty" json:"machine,omitempty"`
	Workload string        `yaml:"workload-version,omitempty" json:"workload-version,omitempty"`
	Relation []relationDoc `yaml:"relation-info,omitempty" json:"relation-info,omitempty"`
	Provider string        `yaml:"provider-id,omitempty" json:"provider-id,omitempty"`
	Address  string        `yaml:"address,omitempty" json:"address,omitempty"`
	Public   string        `yaml:"public-address,omitempty" json:"public-address,omitempty"`
}

type relationDoc struct {
	ID              int                     `yaml:"relation-id" json:"relation-id"`
	Endpoint        string                  `yaml:"endpoint" json:"endpoint"`
	CrossModel      bool                    `yaml:"cross-model,omitempty" json:"cross-model,omitempty"`
	RelatedEndpoint string                  `yaml:"related-endpoint" json:"related-endpoint"`
	Application     map[string]any          `yaml:"application-data" json:"application-data"`
	Local           *relationUnit           `yaml:"local-unit,omitempty" json:"local-unit,omitempty"`
	Related         map[string]relationUnit `yaml:"related-units,omitempty" json:"related-units,omitempty"`
}

type relationUnit struct {
	InScope bool           `yaml:"in-scope" json:"in-scope"`
	Data    map[string]any `yaml:"data" json:"data"`
}

func showUnitCommand(s *session.Session) *cobra.Command {
	var format *output.Format
	var endpoint, related string
	var appOnly bool
	c := s.Command(session.Spec{
		Use: "show-unit UNIT...", Short: "Show units and the data of their integrations", Group: group, Scope: session.OnModel, Min: 1, Max: -1,
		Example: "scarab show-unit mysql/0\nscarab show-unit mysql/0 --endpoint db --format json",
	}, func(ctx context.Context, args []string) error {
		entities, err := unitEntities(args)
		if err != nil {
			return err
		}
		m, err := s.OpenModel(ctx)
		if err != nil {
			return err
		}
		res, err := session.Do[application.UnitInfoResults](ctx, m, "Application", "UnitsInfo", entities)
		if err != nil {
			return err
		}
		doc := map[string]unitDoc{}
		for i, r := range res.Results {
			if r.Error != nil {
				return r.Error
			}
			if r.Result != nil && i < len(args) {
				doc[args[i]] = unitDocument(args[i], r.Result, endpoint, related, appOnly)
			}
		}
		return format.Write(s.Stdout.Raw(), doc, nil)
	})
	format = session.Format(c, "yaml", "json")
	c.Flags().StringVar(&endpoint, "endpoint", "", "Show only integrations of this endpoint")
	c.Flags().StringVar(&related, "related-unit", "", "Show only integrations with this unit")
	c.Flags().BoolVar(&appOnly, "app", false, "Show only the data of the application")
	return c
}

func unitEntities(args []string) (wire.Entities, error) {
	var e wire.Entities
	for _, a := range args {
		if !names.ValidUnit(a) {
			return e, &session.Usage{Text: fmt.Sprintf("cannot use %q: it is no unit, write application/number", a)}
		}
		e.Entities = append(e.Entities, wire.Entity{Tag: names.Unit(a).Tag().String()})
	}
	return e, nil
}

func unitDocument(name string, u *application.UnitResult, endpoint, related string, appOnly bool) unitDoc {
	d := unitDoc{
		Opened: u.OpenedPorts, Charm: u.Charm, Leader: u.Leader, Life: u.Life, Machine: u.Machine, Workload: u.WorkloadVersion,
		Provider: u.ProviderID, Address: u.Address, Public: u.PublicAddress,
	}
	for _, r := range u.RelationData {
		if _, has := r.UnitRelationData[related]; (endpoint != "" && r.Endpoint != endpoint) || (related != "" && !has) {
			continue
		}
		rd := relationDoc{ID: r.RelationID, Endpoint: r.Endpoint, CrossModel: r.CrossModel, RelatedEndpoint: r.RelatedEndpoint, Application: r.ApplicationData}
		for _, n := range slices.Sorted(maps.Keys(r.UnitRelationData)) {
			ud := r.UnitRelationData[n]
			switch {
			case appOnly || (related != "" && n != related):
			case n == name:
				rd.Local = &relationUnit{ud.InScope, ud.UnitData}
			default:
				if rd.Related == nil {
					rd.Related = map[string]relationUnit{}
				}
				rd.Related[n] = relationUnit{ud.InScope, ud.UnitData}
			}
		}
		d.Relation = append(d.Relation, rd)
	}
	return d
}

type applicationDoc struct {
	Charm       string                            `yaml:"charm" json:"charm"`
	Base        string                            `yaml:"base,omitempty" json:"base,omitempty"`
	Channel     string                            `yaml:"channel,omitempty" json:"channel,omitempty"`
	Constraints map[string]any                    `yaml:"constraints,omitempty" json:"constraints,omitempty"`
	Principal   bool                              `yaml:"principal" json:"principal"`
	Exposed     bool                              `yaml:"exposed" json:"exposed"`
	Endpoints   map[string]status.ExposedEndpoint `yaml:"exposed-endpoints,omitempty" json:"exposed-endpoints,omitempty"`
	Remote      bool                              `yaml:"remote" json:"remote"`
	Life        string                            `yaml:"life" json:"life"`
	Bindings    map[string]string                 `yaml:"endpoint-bindings,omitempty" json:"endpoint-bindings,omitempty"`
}

func showApplicationCommand(s *session.Session) *cobra.Command {
	var format *output.Format
	c := s.Command(session.Spec{
		Use: "show-application APPLICATION...", Short: "Show applications in detail", Group: group, Scope: session.OnModel, Min: 1, Max: -1,
		Example: "scarab show-application mysql\nscarab show-application mysql wordpress --format json",
	}, func(ctx context.Context, args []string) error {
		var e wire.Entities
		for _, a := range args {
			if !names.ValidApplication(a) {
				return &session.Usage{Text: fmt.Sprintf("cannot use %q: it is no application name", a)}
			}
			e.Entities = append(e.Entities, wire.Entity{Tag: "application-" + a})
		}
		m, err := s.OpenModel(ctx)
		if err != nil {
			return err
		}
		res, err := session.Do[application.ApplicationInfoResults](ctx, m, "Application", "ApplicationsInfo", e)
		if err != nil {
			return err
		}
		doc := map[string]applicationDoc{}
		for i, r := range res.Results {
			if r.Error != nil {
				return r.Error
			}
			if r.Result != nil && i < len(args) {
				doc[args[i]] = applicationDocument(r.Result)
			}
		}
		return format.Write(s.Stdout.Raw(), doc, nil)
	})
	format = session.Format(c, "yaml", "json")
	return c
}

func applicationDocument(a *application.ApplicationResult) applicationDoc {
	d := applicationDoc{Charm: a.Charm, Channel: a.Channel, Principal: a.Principal, Exposed: a.Exposed, Remote: a.Remote, Life: a.Life, Bindings: a.EndpointBindings}
	if a.Base != nil {
		d.Base = a.Base.Name + "@" + strings.TrimSuffix(a.Base.Channel, "/stable")
	}
	if a.Constraints != nil {
		d.Constraints = values.ConstraintMap(*a.Constraints)
	}
	for ep, e := range a.ExposedEndpoints {
		if d.Endpoints == nil {
			d.Endpoints = map[string]status.ExposedEndpoint{}
		}
		d.Endpoints[ep] = status.ExposedEndpoint{Spaces: e.ExposeToSpaces, CIDRs: e.ExposeToCIDRs}
	}
	return d
}
