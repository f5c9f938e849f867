package tools

import (
	"errors"
	"fmt"
	"maps"

	"gopkg.in/yaml.v3"

	"github.com/scarab-ops/scarab/wire/agentapi"
)

func relationSet() *Tool {
	return &Tool{
		Name: "relation-set", Args: "<key>=<value> [<key>=<value> ...]", In: Anywhere,
		Purpose: "Set relation settings.",
		Doc: `Writes the unit's own bag, or with --app its application's, which only the leader may. Values are strings; an
empty value deletes a key. The settings are sent once the hook succeeds. A file is a YAML mapping; arguments win over it.`,
		Setup: func(c *Call, f *Flags) func([]string) error {
			var app bool
			var file string
			f.Bool(&app, "app", "Set the relation data for the application instead of the unit")
			f.String(&file, "file", `Specify a file with settings, "-" for standard input`)
			ignoredFormat(c, f)
			rel := c.relationFlag(f, "Specify a relation by id")
			return func(args []string) error {
				kv, err := c.settings(args, file)
				if err != nil {
					return err
				}
				r, err := c.mustRelation(*rel)
				if err != nil {
					return err
				}
				base := r.Local
				if app {
					led, err := c.leader()
					if err != nil {
						return err
					}
					if !led {
						return errors.New("cannot write relation settings")
					}
					base = r.LocalApp
				}
				return c.Effects.SetRelation(r.ID, app, base, kv)
			}
		},
	}
}

// settings are a file's entries with the arguments over them.
func (c *Call) settings(args []string, file string) (agentapi.Settings, error) {
	kv, err := keyValues(args)
	if err != nil || file == "" {
		return kv, err
	}
	data, err := c.Input(file)
	if err != nil {
		return nil, err
	}
	out, err := yamlSettings(data)
	if err != nil {
		return nil, err
	}
	maps.Copy(out, kv)
	return out, nil
}

// yamlSettings reads a mapping of scalars as text. Values stay nodes, so no
// alias is ever expanded.
func yamlSettings(data []byte) (agentapi.Settings, error) {
	var m map[string]yaml.Node
	if err := yaml.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("cannot parse settings file: %v", err)
	}
	out := agentapi.Settings{}
	for k, n := range m {
		if n.Kind != yaml.ScalarNode {
			return nil, fmt.Errorf("cannot parse settings file: value of %q is not a string", k)
		}
		if n.Tag != "!!null" {
			out[k] = n.Value
			continue
		}
		out[k] = ""
	}
	return out, nil
}
