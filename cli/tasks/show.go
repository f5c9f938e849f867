package tasks

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/scarab-ops/scarab/cli/output"
	"github.com/scarab-ops/scarab/cli/session"
	"github.com/scarab-ops/scarab/cli/status"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/wire"
	"github.com/scarab-ops/scarab/wire/action"
)

func printActions(s *session.Session, format *output.Format, app string, all map[string]action.ActionSpec, schema bool) error {
	doc := map[string]any{}
	for n, a := range all {
		if schema {
			doc[n] = output.NumbersIn(a.Params)
		} else {
			doc[n] = a.Description
		}
	}
	if schema && format.Name == "tabular" {
		format.Name = "yaml"
	}
	return s.Print(format, doc, func(t *output.Table) {
		if len(all) == 0 {
			s.Info("The charm of %q has no actions.", app)
			return
		}
		t.Head("Action", "Description")
		for _, n := range slices.Sorted(maps.Keys(all)) {
			first, _, _ := strings.Cut(all[n].Description, "\n")
			t.Row(n, first)
		}
	})
}

func showTaskCommand(s *session.Session) *cobra.Command {
	var wait time.Duration
	var utc, watch bool
	var format *output.Format
	c := s.Command(session.Spec{
		Use: "show-task ID", Short: "Show a task and its result", Group: group, Scope: session.OnModel, Min: 1, Max: 1,
		Example: "scarab show-task 2\nscarab show-task 2 --wait 30s",
	}, func(ctx context.Context, args []string) error {
		if !names.ValidNumber(args[0]) {
			return &session.Usage{Text: fmt.Sprintf("cannot show task %q: it is no number", args[0])}
		}
		m, err := s.OpenModel(ctx)
		if err != nil {
			return err
		}
		tags := []string{names.Task(args[0]).Tag().String()}
		var res []action.ActionResult
		if wait > 0 || watch {
			res, err = follow(ctx, s, m, tags, wait)
		} else {
			res, err = tasksByTag(ctx, m, tags)
		}
		if err != nil && !errors.Is(err, errTimeout) {
			return err
		}
		if len(res) == 1 && res[0].Error != nil {
			return fmt.Errorf("cannot show task %s: %w", args[0], res[0].Error)
		}
		if len(res) != 1 {
			return err
		}
		return format.Write(s.Stdout.Raw(), document(res[0], utc), nil)
	})
	format = session.Format(c, "yaml", "json")
	c.Flags().DurationVar(&wait, "wait", 0, "Wait this long for its end")
	c.Flags().BoolVar(&watch, "watch", false, "Wait for its end")
	c.Flags().BoolVar(&utc, "utc", false, "Show times in UTC")
	return c
}

type operationDoc struct {
	ID      string             `yaml:"id" json:"id"`
	Summary string             `yaml:"summary" json:"summary"`
	Status  string             `yaml:"status" json:"status"`
	Fail    string             `yaml:"error,omitempty" json:"error,omitempty"`
	Timing  map[string]string  `yaml:"timing,omitempty" json:"timing,omitempty"`
	Tasks   map[string]taskDoc `yaml:"tasks,omitempty" json:"tasks,omitempty"`
}

func operationDocument(o action.OperationResult, utc bool) operationDoc {
	d := operationDoc{ID: untag(o.Operation), Summary: o.Summary, Status: o.Status, Fail: o.Fail, Timing: map[string]string{}, Tasks: map[string]taskDoc{}}
	for key, t := range map[string]*time.Time{"enqueued": o.Enqueued, "started": o.Started, "completed": o.Completed} {
		if t != nil && !t.IsZero() {
			d.Timing[key] = stamp(*t, utc)
		}
	}
	for _, a := range o.Actions {
		t := document(a, utc)
		d.Tasks[t.ID] = t
	}
	return d
}

func showOperationCommand(s *session.Session) *cobra.Command {
	var utc bool
	var wait time.Duration
	var format *output.Format
	c := s.Command(session.Spec{
		Use: "show-operation ID", Short: "Show an operation and its tasks", Group: group, Scope: session.OnModel, Min: 1, Max: 1,
		Example: "scarab show-operation 1\nscarab show-operation 1 --format json",
	}, func(ctx context.Context, args []string) error {
		if !names.ValidNumber(args[0]) {
			return &session.Usage{Text: fmt.Sprintf("cannot show operation %q: it is no number", args[0])}
		}
		m, err := s.OpenModel(ctx)
		if err != nil {
			return err
		}
		tag := names.Operation(args[0]).Tag().String()
		deadline := s.Now().Add(wait)
		for {
			res, err := session.Do[action.OperationResults](ctx, m, "Action", "Operations", wire.Entities{Entities: []wire.Entity{{Tag: tag}}})
			if err != nil {
				return err
			}
			one, err := session.One(res.Results, func(o action.OperationResult) *wire.Error { return o.Error })
			if err != nil {
				return fmt.Errorf("cannot show operation %s: %w", args[0], err)
			}
			if ended(one.Status) || !s.Now().Before(deadline) {
				return format.Write(s.Stdout.Raw(), operationDocument(one, utc), nil)
			}
			select {
			case <-time.After(200 * time.Millisecond):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
	format = session.Format(c, "yaml", "json")
	c.Flags().BoolVar(&utc, "utc", false, "Show times in UTC")
	c.Flags().DurationVar(&wait, "wait", 0, "Wait this long for its end")
	return c
}

func operationsCommand(s *session.Session) *cobra.Command {
	var q action.OperationQueryArgs
	var utc bool
	var format *output.Format
	c := s.Command(session.Spec{
		Use: "operations", Aliases: []string{"list-operations"}, Short: "List operations", Group: group, Scope: session.OnModel,
		Example: "scarab operations\nscarab operations --units mysql/0 --status running,pending --limit 10",
	}, func(ctx context.Context, _ []string) error {
		m, err := s.OpenModel(ctx)
		if err != nil {
			return err
		}
		res, err := session.Do[action.OperationResults](ctx, m, "Action", "ListOperations", q)
		if err != nil {
			return err
		}
		docs := map[string]operationDoc{}
		for _, o := range res.Results {
			d := operationDocument(o, utc)
			docs[d.ID] = d
		}
		return s.Print(format, docs, func(t *output.Table) {
			if len(docs) == 0 {
				s.Info("no matching operations")
				return
			}
			t.Head("ID", "Status", "Started", "Finished", "Task IDs", "Summary")
			for _, id := range slices.SortedFunc(maps.Keys(docs), status.Natural) {
				d := docs[id]
				tasks := slices.SortedFunc(maps.Keys(d.Tasks), status.Natural)
				t.Cells(output.Text(id), output.Styled(d.Status, output.StatusStyle(d.Status)), output.Text(d.Timing["started"]), output.Text(d.Timing["completed"]),
					output.Text(strings.Join(tasks, ",")), output.Text(d.Summary))
			}
			if res.Truncated {
				s.Info("There are more; use --offset and --limit.")
			}
		})
	})
	format = session.Lists(c)
	fl := c.Flags()
	fl.StringSliceVar(&q.Applications, "applications", nil, "Only of these applications")
	fl.StringSliceVar(&q.Units, "units", nil, "Only of these units")
	fl.StringSliceVar(&q.Machines, "machines", nil, "Only of these machines")
	fl.StringSliceVar(&q.Actions, "actions", nil, "Only of these actions")
	fl.StringSliceVar(&q.Status, "status", nil, "Only in these states")
	fl.IntVar(&q.Limit, "limit", 50, "How many at most")
	fl.IntVar(&q.Offset, "offset", 0, "Leave this many out")
	fl.BoolVar(&utc, "utc", false, "Show times in UTC")
	return c
}

func cancelTaskCommand(s *session.Session) *cobra.Command {
	return s.Command(session.Spec{
		Use: "cancel-task ID...", Short: "Cancel tasks that wait or run", Group: group, Scope: session.OnModel, Min: 1, Max: -1,
		Example: "scarab cancel-task 3\nscarab cancel-task 3 4",
	}, func(ctx context.Context, args []string) error {
		var e wire.Entities
		for _, a := range args {
			if !names.ValidNumber(a) {
				return &session.Usage{Text: fmt.Sprintf("cannot cancel task %q: it is no number", a)}
			}
			e.Entities = append(e.Entities, wire.Entity{Tag: names.Task(a).Tag().String()})
		}
		m, err := s.OpenModel(ctx)
		if err != nil {
			return err
		}
		res, err := session.Do[action.ActionResults](ctx, m, "Action", "Cancel", e)
		if err != nil {
			return err
		}
		return cancelled(s, args, res.Results)
	})
}

// cancelled tells what became of each task: one that had ended before is not cancelled.
func cancelled(s *session.Session, ids []string, results []action.ActionResult) error {
	var now, later []string
	var errs []error
	for i, r := range results {
		id := ids[min(i, len(ids)-1)]
		switch {
		case r.Error != nil:
			errs = append(errs, fmt.Errorf("cannot cancel task %s: %w", id, r.Error))
		case r.Status == "aborting":
			later = append(later, id)
		case r.Status == "cancelled" || r.Status == "aborted" || r.Status == "":
			now = append(now, id)
		default:
			errs = append(errs, session.Advise(fmt.Errorf("cannot cancel task %s: it is %s already", id, r.Status), "see its result: scarab show-task "+id))
		}
	}
	if len(now) > 0 {
		s.Info("Cancelled: %s", strings.Join(now, ", "))
	}
	if len(later) > 0 {
		s.Info("Asked to end: %s", strings.Join(later, ", "))
	}
	return errors.Join(errs...)
}
