package application

import (
	"fmt"
	"maps"

	"gopkg.in/yaml.v3"

	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/apiserver/facades/wiremap"
	"github.com/scarab-ops/scarab/charm"
	"github.com/scarab-ops/scarab/domain/application"
	"github.com/scarab-ops/scarab/domain/charmstore"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/wire"
	wireapp "github.com/scarab-ops/scarab/wire/application"
)

// maxSettings bounds the text of one request's settings.
const maxSettings = 1 << 20

// settings are options as given: texts to be read by their type, typed values,
// and names to be reset.
type settings struct {
	text  map[string]string
	typed map[string]any
	reset []string
}

// readSettings merges texts over a settings file, which holds the options of
// applications by name.
func readSettings(app string, text map[string]string, file string) (settings, error) {
	s := settings{text: map[string]string{}, typed: map[string]any{}}
	if len(file) > maxSettings {
		return s, fmt.Errorf("cannot read settings: the file is longer than %d bytes", maxSettings)
	}
	if file != "" {
		var all map[string]yaml.Node
		if err := yaml.Unmarshal([]byte(file), &all); err != nil {
			return s, fmt.Errorf("cannot read settings: %v", err)
		}
		mine, ok := all[app]
		if !ok && len(all) > 0 {
			return s, fmt.Errorf("cannot read settings: no settings found for %q", app)
		}
		var options map[string]any
		if err := mine.Decode(&options); ok && err != nil {
			return s, fmt.Errorf("cannot read settings of %q: %v", app, err)
		}
		s.take(options)
	}
	for k, v := range text {
		delete(s.typed, k)
		s.text[k] = v
	}
	return s, nil
}

func (s *settings) take(options map[string]any) {
	for k, v := range options {
		switch x := v.(type) {
		case nil:
			s.reset = append(s.reset, k)
		case string:
			s.text[k] = x
		default:
			s.typed[k] = v
		}
	}
}

// takeTrust takes the one option that is no charm's.
func (s *settings) takeTrust() (bool, error) {
	trust := false
	if v, ok := s.text["trust"]; ok {
		switch v {
		case "true", "True":
			trust = true
		case "false", "False", "":
		default:
			return false, fmt.Errorf("option %q expected boolean, got %.80q", "trust", v)
		}
	}
	if v, ok := s.typed["trust"]; ok {
		b, is := v.(bool)
		if !is {
			return false, fmt.Errorf("option %q expected boolean", "trust")
		}
		trust = b
	}
	delete(s.text, "trust")
	delete(s.typed, "trust")
	return trust, nil
}

func onMaster(generation string) error {
	if generation != "" && generation != "master" {
		return unsupported("cannot change a branch: this controller has no branches")
	}
	return nil
}

func setConfig(_ Service, c facade.Call, a wireapp.ConfigSet) error {
	if err := onMaster(a.Generation); err != nil {
		return err
	}
	set, err := readSettings(a.Application, a.Config, a.ConfigYAML)
	if err != nil {
		return bad(err)
	}
	c.Concerns(names.Application(a.Application).Tag().String())
	return help(c, func(tx *state.Tx, m model.Row) error {
		return application.SetConfig(tx, model.ScopeOf(m.UUID), names.Application(a.Application),
			maps.Clone(set.typed), maps.Clone(set.text), set.reset)
	})
}

func unsetConfig(_ Service, c facade.Call, a wireapp.ApplicationUnset) error {
	if err := onMaster(a.Branch); err != nil {
		return err
	}
	c.Concerns(names.Application(a.Application).Tag().String())
	return help(c, func(tx *state.Tx, m model.Row) error {
		return application.SetConfig(tx, model.ScopeOf(m.UUID), names.Application(a.Application), nil, nil, a.Options)
	})
}

// load reads an application with its charm.
func load(r state.Reader, s state.Scope, a names.Application) (application.Row, charm.Charm, error) {
	row, err := application.Get(r, s, a)
	if err != nil {
		return row, charm.Charm{}, err
	}
	ch, err := charmstore.Get(r, s, row.CharmURL)
	return row, ch.Charm, err
}

// options writes every option with its value and where that comes from.
func options(ch charm.Charm, set map[string]any) map[string]any {
	out := make(map[string]any, len(ch.Config.Options))
	for name, o := range ch.Config.Options {
		out[name] = option(o.Type, o.Description, o.Default, set[name])
	}
	return out
}

func option(kind, description string, def, value any) map[string]any {
	m := map[string]any{"type": kind, "description": description, "source": "unset"}
	if def != nil {
		m["default"], m["value"], m["source"] = def, def, "default"
	}
	if value != nil {
		m["value"], m["source"] = value, "user"
	}
	return m
}

func get(_ Service, c facade.Call, a wireapp.ApplicationGet) (wireapp.ApplicationGetResults, error) {
	row, ch, err := load(c.View(), scope(c), names.Application(a.Application))
	if err != nil {
		return wireapp.ApplicationGetResults{}, err
	}
	var trust any
	if row.Trust {
		trust = true
	}
	return wireapp.ApplicationGetResults{
		Application: string(row.Name), Charm: ch.Meta.Name, Config: options(ch, row.Config),
		ApplicationConfig: map[string]any{
			"trust": option("bool", "Does this application have access to trusted credentials", false, trust),
		},
		Constraints: wiremap.FromConstraints(row.Constraints), Base: wiremap.FromBase(row.Base), Channel: row.Channel,
		EndpointBindings: bindings(ch),
	}, nil
}

func getConfig(_ Service, c facade.Call, e wire.Entity) (wireapp.ConfigResult, error) {
	a, err := names.ParseApplication(e.Tag)
	if err != nil {
		return wireapp.ConfigResult{}, bad(err)
	}
	row, ch, err := load(c.View(), scope(c), a)
	if err != nil {
		return wireapp.ConfigResult{}, err
	}
	return wireapp.ConfigResult{Config: options(ch, row.Config)}, nil
}

func charmConfig(_ Service, c facade.Call, a wireapp.ApplicationGet) (wireapp.ConfigResult, error) {
	row, ch, err := load(c.View(), scope(c), names.Application(a.Application))
	if err != nil {
		return wireapp.ConfigResult{}, err
	}
	return wireapp.ConfigResult{Config: options(ch, row.Config)}, nil
}

func getConstraints(_ Service, c facade.Call, e wire.Entity) (wireapp.ApplicationConstraint, error) {
	a, err := names.ParseApplication(e.Tag)
	if err != nil {
		return wireapp.ApplicationConstraint{}, bad(err)
	}
	row, err := application.Get(c.View(), scope(c), a)
	if err != nil {
		return wireapp.ApplicationConstraint{}, err
	}
	return wireapp.ApplicationConstraint{Constraints: wiremap.FromConstraints(row.Constraints)}, nil
}

func setConstraints(_ Service, c facade.Call, a wire.SetConstraints) error {
	cons, err := wiremap.Constraints(a.Constraints)
	if err != nil {
		return bad(err)
	}
	c.Concerns(names.Application(a.Application).Tag().String())
	return change(c, func(tx *state.Tx, m model.Row) error {
		s := model.ScopeOf(m.UUID)
		row, err := application.Get(tx, s, names.Application(a.Application))
		if err != nil {
			return err
		}
		if row.Subordinate {
			return fmt.Errorf("cannot set constraints of %q: it is a subordinate, set them on its principals", string(row.Name))
		}
		row.Constraints = cons
		return application.Table.Put(tx, s, row)
	})
}
