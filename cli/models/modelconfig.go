package models

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"gopkg.in/yaml.v3"

	"github.com/scarab-ops/scarab/cli/output"
	"github.com/scarab-ops/scarab/cli/session"
	"github.com/scarab-ops/scarab/cli/values"
	"github.com/scarab-ops/scarab/wire"
	"github.com/scarab-ops/scarab/wire/modelconfig"
)

func modelConfigCommand(s *session.Session) *cobra.Command {
	var file string
	var reset []string
	var format *output.Format
	c := s.Command(session.Spec{
		Use: "model-config [KEY | KEY=VALUE...]", Short: "Read, set or reset the configuration of a model", Group: group, Scope: session.OnModel, Max: -1,
		Example: "scarab model-config\nscarab model-config logging-config\nscarab model-config logging-config='<root>=DEBUG'\nscarab model-config --reset logging-config",
	}, func(ctx context.Context, args []string) error {
		set, key, err := assignments(s, args, file)
		if err != nil {
			return err
		}
		m, err := s.OpenModel(ctx)
		if err != nil {
			return err
		}
		if len(set) == 0 && len(reset) == 0 {
			return showModelConfig(ctx, s, m, key, format)
		}
		if len(reset) > 0 {
			if err := session.Run(ctx, m, "ModelConfig", "ModelUnset", modelconfig.ModelUnset{Keys: reset}); err != nil {
				return fmt.Errorf("cannot reset the configuration of model %q: %w", m.Name, err)
			}
		}
		if len(set) > 0 {
			if err := session.Run(ctx, m, "ModelConfig", "ModelSet", modelconfig.ModelSet{Config: set}); err != nil {
				err = fmt.Errorf("cannot set the configuration of model %q: %w", m.Name, err)
				if strings.Contains(err.Error(), "unknown option") {
					return session.Advise(err, "see the options there are: scarab model-config")
				}
				return err
			}
		}
		return nil
	})
	format = session.Lists(c)
	c.Flags().StringVar(&file, "file", "", "YAML file with values")
	c.Flags().StringSliceVar(&reset, "reset", nil, "Keys to put back to their defaults")
	return c
}

// assignments reads KEY=VALUE arguments and the file; a lone KEY is to be shown.
func assignments(s *session.Session, args []string, file string) (map[string]any, string, error) {
	set := map[string]any{}
	if file != "" {
		f, err := os.Open(s.Path(file))
		if err != nil {
			return nil, "", fmt.Errorf("cannot read the configuration: %w", err)
		}
		defer f.Close() //nolint:errcheck // read only
		data, err := io.ReadAll(io.LimitReader(f, 1<<20))
		if err == nil {
			err = yaml.Unmarshal(data, &set)
		}
		if err != nil {
			return nil, "", fmt.Errorf("cannot read the configuration in %s: %w", file, err)
		}
	}
	var edit []string
	key := ""
	for _, a := range args {
		switch {
		case strings.Contains(a, "="):
			edit = append(edit, a)
		case key != "":
			return nil, "", &session.Usage{Text: "cannot show several keys: name one, or none for all"}
		default:
			key = a
		}
	}
	if key != "" && len(edit)+len(set) > 0 {
		return nil, "", &session.Usage{Text: "cannot read and set keys at the same time"}
	}
	pairs, err := values.Pairs(edit, func(name string) ([]byte, error) { return os.ReadFile(s.Path(name)) })
	if err != nil {
		return nil, "", &session.Usage{Text: err.Error()}
	}
	for k, v := range pairs {
		set[k] = v
	}
	return set, key, nil
}

func showModelConfig(ctx context.Context, s *session.Session, m *session.Model, key string, format *output.Format) error {
	conf, err := session.Do[wire.ModelConfigResults](ctx, m, "ModelConfig", "ModelGet", nil)
	if err != nil {
		return err
	}
	if key != "" {
		v, ok := conf.Config[key]
		if !ok {
			return session.Advise(fmt.Errorf("cannot show key %q: model %q has no such key", key, m.Name), "see them all: scarab model-config")
		}
		if format.Name == "tabular" {
			fmt.Fprintln(s.Stdout, v.Value)
			return nil
		}
		conf.Config = map[string]wire.ConfigValue{key: v}
	}
	type row struct {
		Value  any    `yaml:"value" json:"Value"`
		Source string `yaml:"source" json:"Source"`
	}
	doc := map[string]row{}
	for k, v := range conf.Config {
		doc[k] = row{output.Numbers(v.Value), v.Source}
	}
	return s.Print(format, doc, func(t *output.Table) {
		t.Head("Attribute", "From", "Value")
		for _, k := range sortedKeys(doc) {
			text := fmt.Sprint(doc[k].Value)
			if doc[k].Value == nil {
				text = ""
			}
			t.Row(k, doc[k].Source, text)
		}
	})
}

func modelConstraintsCommand(s *session.Session) *cobra.Command {
	var format *output.Format
	c := s.Command(session.Spec{
		Use: "model-constraints", Short: "Show the constraints of a model", Group: group, Scope: session.OnModel,
		Example: "scarab model-constraints\nscarab model-constraints --format yaml",
	}, func(ctx context.Context, _ []string) error {
		m, err := s.OpenModel(ctx)
		if err != nil {
			return err
		}
		r, err := session.Do[modelconfig.GetConstraintsResults](ctx, m, "ModelConfig", "GetModelConstraints", nil)
		if err != nil {
			return err
		}
		return format.Write(s.Stdout.Raw(), values.ConstraintMap(r.Constraints), func(w io.Writer) error {
			_, err := fmt.Fprintln(w, output.Escape(values.FormatConstraints(r.Constraints)))
			return err
		})
	})
	format = session.Format(c, "constraints", "yaml", "json")
	return c
}

func setModelConstraintsCommand(s *session.Session) *cobra.Command {
	return s.Command(session.Spec{
		Use: "set-model-constraints KEY=VALUE...", Short: "Set the constraints of a model", Group: group, Scope: session.OnModel, Max: -1,
		Long:    "Sets the constraints that hold for machines made from now on, where their application sets none. All constraints are replaced.",
		Example: "scarab set-model-constraints mem=2G cores=2",
	}, func(ctx context.Context, args []string) error {
		v, err := values.Constraints(strings.Join(args, " "))
		if err != nil {
			return &session.Usage{Text: err.Error()}
		}
		m, err := s.OpenModel(ctx)
		if err != nil {
			return err
		}
		if err := session.Run(ctx, m, "ModelConfig", "SetModelConstraints", wire.SetConstraints{Constraints: v}); err != nil {
			return fmt.Errorf("cannot set the constraints of model %q: %w", m.Name, err)
		}
		return nil
	})
}
