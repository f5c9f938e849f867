package observe

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/scarab-ops/scarab/cli/output"
	"github.com/scarab-ops/scarab/cli/session"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/wire/client"
)

type historyRow struct {
	Time    string `yaml:"time" json:"time"`
	Type    string `yaml:"type" json:"type"`
	Status  string `yaml:"status" json:"status"`
	Message string `yaml:"message,omitempty" json:"message,omitempty"`
}

func statusLogCommand(s *session.Session) *cobra.Command {
	var kind, from string
	var n, days int
	var utc, updates bool
	var format *output.Format
	c := s.Command(session.Spec{
		Use: "show-status-log ENTITY", Short: "Show the past states of something", Group: group, Scope: session.OnModel, Min: 1, Max: 1,
		Long:    "Shows the past states of a unit, machine, application or the model (named by its name). Types: unit, workload, juju-unit, machine, juju-machine, container, juju-container, application, saas, model.",
		Example: "scarab show-status-log mysql/0\nscarab show-status-log 0 --type machine -n 50\nscarab show-status-log mysql --type application --days 2",
	}, func(ctx context.Context, args []string) error {
		m, err := s.OpenModel(ctx)
		if err != nil {
			return err
		}
		kind, tag, err := historyTarget(kind, args[0], m)
		if err != nil {
			return err
		}
		filter := client.StatusHistoryFilter{Size: n, Exclude: []string{}}
		if !updates {
			filter.Exclude = append(filter.Exclude, "running update-status hook")
		}
		if days > 0 {
			filter.Delta, filter.Size = time.Duration(days)*24*time.Hour, 0
		}
		if from != "" {
			if filter.Date, err = time.Parse("2006-01-02", from); err != nil {
				return &session.Usage{Text: fmt.Sprintf("cannot read the date %q: write YYYY-MM-DD", from)}
			}
			filter.Size = 0
		}
		rows, err := history(ctx, m, kind, tag, filter, utc)
		if err != nil {
			return err
		}
		return s.Print(format, rows, func(t *output.Table) {
			t.Head("Time", "Type", "Status", "Message")
			for _, r := range rows {
				t.Cells(output.Text(r.Time), output.Text(r.Type), output.Styled(r.Status, output.StatusStyle(r.Status)), output.Text(r.Message))
			}
		})
	})
	format = session.Lists(c)
	c.Flags().StringVar(&kind, "type", "unit", "Kind of states")
	c.Flags().IntVarP(&n, "n", "n", 20, "How many")
	c.Flags().IntVar(&days, "days", 0, "All of the last days")
	c.Flags().StringVar(&from, "from-date", "", "All since a day (YYYY-MM-DD)")
	c.Flags().BoolVar(&utc, "utc", false, "Show times in UTC")
	c.Flags().BoolVar(&updates, "include-status-updates", false, "Include runs of update-status")
	return c
}

func historyTarget(kind, name string, m *session.Model) (string, string, error) {
	bad := func() (string, string, error) {
		return "", "", &session.Usage{Text: fmt.Sprintf("cannot show states of type %q of %q: the name does not fit the type", kind, name)}
	}
	switch kind {
	case "unit", "workload", "juju-unit":
		if names.ValidMachine(name) && kind == "unit" {
			return "machine", names.Machine(name).Tag().String(), nil
		}
		if names.ValidApplication(name) && kind == "unit" {
			return "application", "application-" + name, nil
		}
		if !names.ValidUnit(name) {
			return bad()
		}
		return kind, names.Unit(name).Tag().String(), nil
	case "machine", "juju-machine", "container", "juju-container":
		if !names.ValidMachine(name) {
			return bad()
		}
		return kind, names.Machine(name).Tag().String(), nil
	case "application", "saas":
		if !names.ValidApplication(name) {
			return bad()
		}
		return kind, "application-" + name, nil
	case "model":
		return kind, names.Model(m.UUID).Tag().String(), nil
	}
	return "", "", &session.Usage{Text: fmt.Sprintf("cannot show states of type %q: choose unit, workload, juju-unit, machine, application or model", kind)}
}

func history(ctx context.Context, m *session.Model, kind, tag string, filter client.StatusHistoryFilter, utc bool) ([]historyRow, error) {
	res, err := session.Do[client.StatusHistoryResults](ctx, m, "Client", "StatusHistory", client.StatusHistoryRequests{
		Requests: []client.StatusHistoryRequest{{HistoryKind: kind, Size: filter.Size, Filter: filter, Tag: tag}},
	})
	if err != nil {
		return nil, err
	}
	if len(res.Results) != 1 {
		return nil, fmt.Errorf("cannot read the controller's answer: %d histories for one question", len(res.Results))
	}
	if e := res.Results[0].Error; e != nil {
		return nil, e
	}
	if e := res.Results[0].History.Error; e != nil {
		return nil, e
	}
	rows := []historyRow{}
	// The controller answers newest first; people read downwards.
	slices.Reverse(res.Results[0].History.Statuses)
	slices.SortStableFunc(res.Results[0].History.Statuses, func(a, b client.DetailedStatus) int {
		if a.Since == nil || b.Since == nil {
			return 0
		}
		return a.Since.Compare(*b.Since)
	})
	for _, st := range res.Results[0].History.Statuses {
		r := historyRow{Type: st.Kind, Status: st.Status, Message: st.Info}
		if r.Type == "" {
			r.Type = kind
		}
		if st.Since != nil {
			r.Time = output.Stamp(*st.Since, utc)
		}
		rows = append(rows, r)
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("cannot show states: none are recorded for %s", strings.TrimPrefix(tag, kind+"-"))
	}
	return rows, nil
}
