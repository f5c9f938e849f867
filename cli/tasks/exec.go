package tasks

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/scarab-ops/scarab/cli/output"
	"github.com/scarab-ops/scarab/cli/session"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/wire/action"
)

type execFlags struct {
	all, background, parallel, utc, operator bool
	machines, applications, units            []string
	wait                                     time.Duration
	execGroup                                string
}

func execCommand(s *session.Session) *cobra.Command {
	var f execFlags
	var format *output.Format
	c := s.Command(session.Spec{
		Names: "file", Use: "exec COMMAND...", Short: "Run a command on units or machines", Group: group, Scope: session.OnModel, Min: 1, Max: -1,
		Long: `
Runs a command line as root: on units inside a hook context, so that hook tools work, on machines without one. Put -- before the command
when it has flags of its own. With one target the exit code is that of the command.`,
		Example: "scarab exec --unit mysql/0 -- uptime\nscarab exec --application mysql --wait 2m -- 'relation-ids db'\nscarab exec --all -- apt-get update",
	}, func(ctx context.Context, args []string) error {
		p, err := f.params(args)
		if err != nil {
			return err
		}
		m, err := s.OpenModel(ctx)
		if err != nil {
			return err
		}
		method := "Run"
		if f.all {
			method = "RunOnAllMachines"
		}
		res, err := session.Do[action.EnqueuedActions](ctx, m, "Action", method, p)
		if err != nil {
			return fmt.Errorf("cannot run the command: %w", err)
		}
		return start(ctx, s, m, res, f.background, f.wait, f.utc, format)
	})
	format = session.Format(c, "plain", "yaml", "json")
	fl := c.Flags()
	fl.BoolVar(&f.all, "all", false, "On all machines")
	fl.StringSliceVar(&f.machines, "machine", nil, "On machines")
	fl.StringSliceVarP(&f.applications, "application", "a", nil, "On all units of applications")
	fl.StringSliceVar(&f.applications, "app", nil, "The same as --application")
	fl.StringSliceVarP(&f.units, "unit", "u", nil, "On units (mysql/leader for the leader)")
	fl.DurationVar(&f.wait, "wait", 5*time.Minute, "How long to wait for the end")
	fl.BoolVar(&f.background, "background", false, "Do not wait for the end")
	fl.BoolVar(&f.parallel, "parallel", true, "Run beside other tasks")
	fl.StringVar(&f.execGroup, "execution-group", "", "Run one after the other within this group")
	fl.BoolVar(&f.operator, "operator", false, "Run on the operator, on Kubernetes")
	fl.BoolVar(&f.utc, "utc", false, "Show times in UTC")
	fl.SetInterspersed(false)
	return c
}

func (f execFlags) params(args []string) (action.RunParams, error) {
	p := action.RunParams{
		Commands: commandLine(args), Machines: f.machines, Applications: f.applications, Units: f.units, Timeout: f.wait, ExecutionGroup: f.execGroup,
		Parallel: f.parallel,
	}
	targets := len(f.machines) + len(f.applications) + len(f.units)
	if f.operator {
		return p, &session.Usage{Text: "cannot use --operator: it is for Kubernetes models"}
	}
	if f.all == (targets > 0) {
		return p, &session.Usage{Text: "cannot tell where to run: use --unit, --application or --machine, or --all alone"}
	}
	for _, u := range f.units {
		app, isLeader := strings.CutSuffix(u, "/leader")
		if !names.ValidUnit(u) && (!isLeader || !names.ValidApplication(app)) {
			return p, &session.Usage{Text: fmt.Sprintf("cannot use %q: it is no unit", u)}
		}
	}
	for _, a := range f.applications {
		if !names.ValidApplication(a) {
			return p, &session.Usage{Text: fmt.Sprintf("cannot use %q: it is no application name", a)}
		}
	}
	for _, m := range f.machines {
		if !names.ValidMachine(m) {
			return p, &session.Usage{Text: fmt.Sprintf("cannot use %q: it is no machine id", m)}
		}
	}
	return p, nil
}

// commandLine joins arguments as the reference does: one alone is a line for the shell on the other side, several are
// quoted each.
func commandLine(args []string) string {
	if len(args) == 1 {
		return args[0]
	}
	out := make([]string, len(args))
	for i, a := range args {
		if a != "" && strings.Trim(a, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:=@%+,-") == "" {
			out[i] = a
		} else {
			out[i] = "'" + strings.ReplaceAll(a, "'", `'"'"'`) + "'"
		}
	}
	return strings.Join(out, " ")
}

// start says what was begun and, unless it runs in the background, follows it to its end.
func start(ctx context.Context, s *session.Session, m session.Conn, res action.EnqueuedActions, background bool, wait time.Duration, utc bool, format *output.Format) error {
	tags, err := enqueued(res)
	if err != nil && len(tags) > 0 {
		return session.Advise(fmt.Errorf("cannot run everywhere: %w", err), "it was started on the others; see it: scarab show-operation "+untag(res.Operation))
	}
	if err != nil {
		return fmt.Errorf("cannot run: %w", err)
	}
	if len(tags) == 0 {
		return session.Advise(fmt.Errorf("cannot run: nothing matches"), "see what there is: scarab status")
	}
	op := untag(res.Operation)
	if len(tags) == 1 {
		s.Info("Running operation %s with 1 task", op)
	} else {
		s.Info("Running operation %s with %d tasks", op, len(tags))
	}
	for _, a := range res.Actions {
		if a.Action != nil {
			s.Info("  - task %s on %s", untag(a.Action.Tag), untag(a.Action.Receiver))
		}
	}
	if background {
		s.Info("Check the result with: scarab show-operation %s", op)
		return nil
	}
	done, err := follow(ctx, s, m, tags, wait)
	if errors.Is(err, errTimeout) {
		return session.Advise(fmt.Errorf("cannot wait any longer: timed out after %s, operation %s still runs", wait, op), "check the result with: scarab show-operation "+op)
	}
	if errors.Is(err, context.Canceled) {
		ids := make([]string, len(tags))
		for i, t := range tags {
			ids[i] = untag(t)
		}
		return session.Advise(err, fmt.Sprintf("operation %s goes on; see it: scarab show-operation %s; end it: scarab cancel-task %s", op, op, strings.Join(ids, " ")))
	}
	if err != nil {
		return err
	}
	return results(s, format, done, utc)
}
