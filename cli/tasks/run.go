package tasks

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"gopkg.in/yaml.v3"

	"github.com/scarab-ops/scarab/cli/output"
	"github.com/scarab-ops/scarab/cli/session"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/wire"
	"github.com/scarab-ops/scarab/wire/action"
)

type runFlags struct {
	params                          string
	background, parallel, text, utc bool
	group                           string
	wait                            time.Duration
}

func runCommand(s *session.Session) *cobra.Command {
	var f runFlags
	var format *output.Format
	c := s.Command(session.Spec{
		Use: "run UNIT... ACTION [KEY=VALUE...]", Short: "Run an action of a charm", Group: group, Scope: session.OnModel, Min: 2, Max: -1,
		Long: `
Runs an action on units (APPLICATION/leader for the leader) and shows its result. A dotted key sets a value inside a map. Values are read as
YAML unless --string-args is given.`,
		Example: "scarab run mysql/0 backup\nscarab run mysql/leader create-user name=bob limits.connections=10\nscarab run mysql/0 backup --background",
	}, func(ctx context.Context, args []string) error {
		units, name, params, err := f.split(s, args)
		if err != nil {
			return err
		}
		m, err := s.OpenModel(ctx)
		if err != nil {
			return err
		}
		var p action.Actions
		for _, u := range units {
			receiver := u
			if names.ValidUnit(u) {
				receiver = names.Unit(u).Tag().String()
			}
			p.Actions = append(p.Actions, action.Action{Receiver: receiver, Name: name, Parameters: params, Parallel: f.parallel, ExecutionGroup: f.group})
		}
		res, err := session.Do[action.EnqueuedActions](ctx, m, "Action", "EnqueueOperation", p)
		if err != nil {
			return fmt.Errorf("cannot run action %q: %w", name, err)
		}
		return start(ctx, s, m, res, f.background, f.wait, f.utc, format)
	})
	format = session.Format(c, "plain", "yaml", "json")
	c.Flags().StringVar(&f.params, "params", "", "YAML file with parameters")
	c.Flags().BoolVar(&f.background, "background", false, "Do not wait for the end")
	c.Flags().BoolVar(&f.parallel, "parallel", false, "Run beside other tasks")
	c.Flags().BoolVar(&f.text, "string-args", false, "Take values as texts")
	c.Flags().StringVar(&f.group, "execution-group", "", "Run one after the other within this group")
	c.Flags().DurationVar(&f.wait, "wait", time.Minute, "How long to wait for the end")
	c.Flags().BoolVar(&f.utc, "utc", false, "Show times in UTC")
	return c
}

func (f runFlags) split(s *session.Session, args []string) (units []string, name string, params map[string]any, err error) {
	i := 0
	for ; i < len(args); i++ {
		app, isLeader := strings.CutSuffix(args[i], "/leader")
		if !names.ValidUnit(args[i]) && (!isLeader || !names.ValidApplication(app)) {
			break
		}
		units = append(units, args[i])
	}
	if len(units) == 0 {
		return nil, "", nil, &session.Usage{Text: fmt.Sprintf("cannot run on %q: it is no unit", args[0])}
	}
	if i == len(args) || strings.Contains(args[i], "=") {
		return nil, "", nil, &session.Usage{Text: "cannot run: the name of the action is missing"}
	}
	name = args[i]
	params = map[string]any{}
	if f.params != "" {
		data, err := os.ReadFile(s.Path(f.params))
		if err == nil {
			err = yaml.Unmarshal(data, &params)
		}
		if err != nil {
			return nil, "", nil, fmt.Errorf("cannot read the parameters: %w", err)
		}
	}
	for _, a := range args[i+1:] {
		key, text, ok := strings.Cut(a, "=")
		if !ok || key == "" {
			return nil, "", nil, &session.Usage{Text: fmt.Sprintf("cannot read parameter %q: write key=value", a)}
		}
		var v any = text
		if !f.text {
			if err := yaml.Unmarshal([]byte(text), &v); err != nil {
				return nil, "", nil, &session.Usage{Text: fmt.Sprintf("cannot read the value of %q: %v", key, err)}
			}
		}
		if err := setPath(params, strings.Split(key, "."), v); err != nil {
			return nil, "", nil, &session.Usage{Text: err.Error()}
		}
	}
	return units, name, params, nil
}

func setPath(m map[string]any, path []string, v any) error {
	for _, key := range path[:len(path)-1] {
		next, ok := m[key].(map[string]any)
		if !ok {
			if _, taken := m[key]; taken {
				return fmt.Errorf("cannot set %q: %q is a value already", strings.Join(path, "."), key)
			}
			next = map[string]any{}
			m[key] = next
		}
		m = next
	}
	m[path[len(path)-1]] = v
	return nil
}

func actionsCommand(s *session.Session) *cobra.Command {
	var schema bool
	var format *output.Format
	c := s.Command(session.Spec{
		Use: "actions APPLICATION", Aliases: []string{"list-actions"}, Short: "List the actions of an application's charm", Group: group,
		Scope: session.OnModel, Min: 1, Max: 1,
		Example: "scarab actions mysql\nscarab actions mysql --schema --format yaml",
	}, func(ctx context.Context, args []string) error {
		if !names.ValidApplication(args[0]) {
			return &session.Usage{Text: fmt.Sprintf("cannot use %q: it is no application name", args[0])}
		}
		m, err := s.OpenModel(ctx)
		if err != nil {
			return err
		}
		res, err := session.Do[action.ApplicationsCharmActionsResults](ctx, m, "Action", "ApplicationsCharmsActions",
			wire.Entities{Entities: []wire.Entity{{Tag: "application-" + args[0]}}})
		if err != nil {
			return err
		}
		one, err := session.One(res.Results, func(r action.ApplicationCharmActionsResult) *wire.Error { return r.Error })
		if err != nil {
			return err
		}
		return printActions(s, format, args[0], one.Actions, schema)
	})
	format = session.Lists(c)
	c.Flags().BoolVar(&schema, "schema", false, "Show the schemas of the parameters")
	return c
}
