package apps

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"gopkg.in/yaml.v3"

	"github.com/scarab-ops/scarab/cli/output"
	"github.com/scarab-ops/scarab/cli/session"
	"github.com/scarab-ops/scarab/cli/values"
	"github.com/scarab-ops/scarab/wire"
	"github.com/scarab-ops/scarab/wire/application"
)

func configCommand(s *session.Session) *cobra.Command {
	var file string
	var reset []string
	var format *output.Format
	c := s.Command(session.Spec{
		Use: "config APPLICATION [KEY | KEY=VALUE...]", Short: "Read, set or reset the configuration of an application", Group: group,
		Scope: session.OnModel, Min: 1, Max: -1,
		Long: `
Without a key all options are shown, with one key its value alone. KEY=VALUE sets, KEY=@FILE takes the value from a file, --file takes
many from a YAML file with the application's name as its key ("-": from the input), --reset puts options back to their defaults.`,
		Example: "scarab config mysql\nscarab config mysql tuning\nscarab config mysql tuning=fast key=@cert.pem\nscarab config mysql --reset tuning,key",
	}, func(ctx context.Context, args []string) error {
		if err := checkApp(args[0]); err != nil {
			return err
		}
		edit, keys, err := splitKeys(args[1:])
		if err != nil {
			return err
		}
		set, err := values.Pairs(edit, readFile(s))
		if err != nil {
			return &session.Usage{Text: err.Error()}
		}
		m, err := s.OpenModel(ctx)
		if err != nil {
			return err
		}
		if len(edit) == 0 && file == "" && len(reset) == 0 {
			return showConfig(ctx, s, m, args[0], keys, format)
		}
		return changeConfig(ctx, s, m, args[0], set, file, reset)
	})
	format = session.Format(c, "yaml", "json", "tabular")
	c.Flags().StringVar(&file, "file", "", "YAML file with values")
	c.Flags().StringSliceVar(&reset, "reset", nil, "Options to put back to their defaults")
	return c
}

// splitKeys separates KEY=VALUE from KEY.
func splitKeys(args []string) (edit, keys []string, err error) {
	for _, a := range args {
		if strings.Contains(a, "=") {
			edit = append(edit, a)
		} else {
			keys = append(keys, a)
		}
	}
	if len(edit) > 0 && len(keys) > 0 {
		return nil, nil, &session.Usage{Text: "cannot read and set options at the same time"}
	}
	if len(keys) > 1 {
		return nil, nil, &session.Usage{Text: "cannot show several options: name one, or none for all"}
	}
	return edit, keys, nil
}

func showConfig(ctx context.Context, s *session.Session, m *session.Model, app string, keys []string, format *output.Format) error {
	r, err := session.Do[application.ApplicationGetResults](ctx, m, "Application", "Get", application.ApplicationGet{Application: app, Branch: "master"})
	if err != nil {
		return err
	}
	r.Config, r.ApplicationConfig = output.NumbersIn(r.Config), output.NumbersIn(r.ApplicationConfig)
	if len(keys) == 1 {
		for _, src := range []map[string]any{r.Config, r.ApplicationConfig} {
			if o, ok := src[keys[0]].(map[string]any); ok {
				return printValue(s, o["value"])
			}
		}
		return session.Advise(fmt.Errorf("cannot show option %q: application %q has no such option", keys[0], app), "see them all: scarab config "+app)
	}
	doc := map[string]any{"application": r.Application, "charm": r.Charm, "settings": r.Config}
	if len(r.ApplicationConfig) > 0 {
		doc["application-config"] = r.ApplicationConfig
	}
	return s.Print(format, doc, func(t *output.Table) {
		t.Head("Option", "Value", "Source", "Type")
		for _, k := range slices.Sorted(maps.Keys(r.Config)) {
			o, _ := r.Config[k].(map[string]any)
			t.Row(k, text(o["value"]), text(o["source"]), text(o["type"]))
		}
	})
}

func text(v any) string {
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}

// printValue prints one value for scripts: as it is, with a line end.
func printValue(s *session.Session, v any) error {
	_, err := fmt.Fprintln(s.Stdout, text(v))
	return err
}

func changeConfig(ctx context.Context, s *session.Session, m *session.Model, app string, set map[string]string, file string, reset []string) error {
	text := ""
	if file != "" {
		data, err := readFile(s)(file)
		if err != nil {
			return fmt.Errorf("cannot read the configuration: %w", err)
		}
		var m map[string]any
		if err := yaml.Unmarshal(data, &m); err != nil {
			return fmt.Errorf("cannot read the configuration in %s: %w", file, err)
		}
		if _, ok := m[app]; !ok && m["settings"] == nil { // as this command prints it
			return session.Advise(fmt.Errorf("cannot use the configuration in %s: it has no entry for application %q", file, app),
				fmt.Sprintf("begin the file with the line %q, and indent the options below it", app+":"))
		}
		text = string(data)
	}
	if len(reset) > 0 {
		res, err := session.Do[wire.ErrorResults](ctx, m, "Application", "UnsetApplicationsConfig", application.ApplicationConfigUnsetArgs{
			Args: []application.ApplicationUnset{{Application: app, Branch: "master", Options: reset}},
		})
		if err == nil {
			err = session.Errors(res.Results, []string{app})
		}
		if err != nil {
			return optionHint(fmt.Errorf("cannot reset the configuration of %q: %w", app, err), app)
		}
	}
	if len(set) == 0 && text == "" {
		return nil
	}
	res, err := session.Do[wire.ErrorResults](ctx, m, "Application", "SetConfigs", application.ConfigSetArgs{
		Args: []application.ConfigSet{{Application: app, Config: set, ConfigYAML: text, Generation: "master"}},
	})
	if err == nil {
		err = session.Errors(res.Results, []string{app})
	}
	if err != nil {
		return optionHint(fmt.Errorf("cannot set the configuration of %q: %w", app, err), app)
	}
	return nil
}

// optionHint says where the options are.
func optionHint(err error, app string) error {
	if err == nil || !strings.Contains(err.Error(), "unknown option") {
		return err
	}
	return session.Advise(err, "see the options there are: scarab config "+app)
}

func trustCommand(s *session.Session) *cobra.Command {
	var remove bool
	var scope string
	c := s.Command(session.Spec{
		Use: "trust APPLICATION", Short: "Let an application use the cloud's credential", Group: group, Scope: session.OnModel, Min: 1, Max: 1,
		Example: "scarab trust mysql\nscarab trust mysql --remove",
	}, func(ctx context.Context, args []string) error {
		if err := checkApp(args[0]); err != nil {
			return err
		}
		if scope != "" && scope != "cluster" {
			return &session.Usage{Text: fmt.Sprintf("cannot use scope %q: the only one is cluster", scope)}
		}
		m, err := s.OpenModel(ctx)
		if err != nil {
			return err
		}
		return changeConfig(ctx, s, m, args[0], map[string]string{"trust": fmt.Sprint(!remove)}, "", nil)
	})
	c.Flags().BoolVar(&remove, "remove", false, "Take the trust back")
	c.Flags().StringVar(&scope, "scope", "", "Extent of the trust on Kubernetes (cluster)")
	return c
}
