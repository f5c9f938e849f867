package application

import (
	"fmt"
	"maps"
	"strings"

	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/apiserver/facades/wiremap"
	"github.com/scarab-ops/scarab/charm"
	"github.com/scarab-ops/scarab/domain/application"
	"github.com/scarab-ops/scarab/domain/charmstore"
	"github.com/scarab-ops/scarab/domain/machine"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/wire"
	wireapp "github.com/scarab-ops/scarab/wire/application"
)

func deploy(_ Service, c facade.Call, a wireapp.ApplicationDeploy) error {
	if !names.ValidApplication(a.Application) {
		return bad(fmt.Errorf("cannot deploy: %.80q is not a valid application name", a.Application))
	}
	c.Concerns(names.Application(a.Application).Tag().String())
	if err := refuseParts(a); err != nil {
		return err
	}
	d, err := deployment(a)
	if err != nil {
		return bad(err)
	}
	return change(c, func(tx *state.Tx, m model.Row) error {
		d := d
		ch, err := charmstore.Get(tx, model.ScopeOf(m.UUID), a.CharmURL)
		if err != nil {
			return err
		}
		if err := needsNothingMissing(m, ch.Charm, a.Application); err != nil {
			return err
		}
		if d.Base, err = chooseBase(tx, m, d.Base, ch.Charm); err != nil {
			return err
		}
		d.Placement, err = placements(a.Placement, m)
		if err != nil {
			return err
		}
		d.Config, d.SettingsText = maps.Clone(d.Config), maps.Clone(d.SettingsText)
		_, err = application.Add(tx, m, d, c.Now())
		return err
	})
}

// refuseParts refuses what this release cannot give, rather than leaving it
// out without a word.
func refuseParts(a wireapp.ApplicationDeploy) error {
	switch {
	case !strings.HasPrefix(a.CharmURL, "local:"):
		return unsupported(fmt.Sprintf("cannot deploy %.80q: charms from a store are not in this release: download the charm and deploy the file", a.CharmURL))
	case len(a.Storage) > 0 || len(a.AttachStorage) > 0:
		return unsupported("cannot deploy with storage: this release makes no storage")
	case len(a.Devices) > 0:
		return unsupported("cannot deploy with devices: machine models have none")
	case len(a.Resources) > 0:
		return unsupported("cannot deploy with resources: this release keeps no resources")
	}
	return nil
}

// needsNothingMissing refuses a charm that cannot work here.
func needsNothingMissing(m model.Row, ch charm.Charm, app string) error {
	if err := ch.Meta.CheckAssumes([]charm.Feature{{Name: "juju", Version: m.AgentVersion}}); err != nil {
		return unsupported(fmt.Sprintf("cannot deploy %q: %v", app, err))
	}
	for name, s := range ch.Meta.Storage {
		if s.CountMin > 0 {
			return unsupported(fmt.Sprintf("cannot deploy %q: its charm needs storage %q, and this release makes no storage", app, name))
		}
	}
	return nil
}

// deployment maps what needs no look at the state.
func deployment(a wireapp.ApplicationDeploy) (application.Deploy, error) {
	cons, err := wiremap.Constraints(a.Constraints)
	if err != nil {
		return application.Deploy{}, err
	}
	set, err := readSettings(a.Application, a.Config, a.ConfigYAML)
	if err != nil {
		return application.Deploy{}, err
	}
	trust, err := set.takeTrust()
	if err != nil {
		return application.Deploy{}, err
	}
	d := application.Deploy{Units: a.NumUnits, SettingsText: set.text}
	d.Row = application.Row{
		Name: names.Application(a.Application), CharmURL: a.CharmURL, Channel: a.Channel, Constraints: cons,
		Config: set.typed, Trust: trust, Bindings: a.EndpointBindings,
	}
	if a.CharmOrigin != nil {
		d.Base = wiremap.Base(a.CharmOrigin.Base)
	}
	if a.NumUnits < 0 {
		return d, fmt.Errorf("cannot deploy %d units", a.NumUnits)
	}
	return d, nil
}

// chooseBase takes the base asked for, else the model's default, else the
// first that the charm names, else the cloud's.
func chooseBase(r state.Reader, m model.Row, want machine.Base, ch charm.Charm) (machine.Base, error) {
	if want.Name != "" {
		b, err := charm.ParseBase(want.Name, want.Channel)
		if err != nil {
			return machine.Base{}, bad(err)
		}
		return machine.Base{Name: b.Name, Channel: b.Channel}, nil
	}
	cfg, err := model.EffectiveConfig(r, m)
	if err != nil {
		return machine.Base{}, err
	}
	if name, channel, ok := strings.Cut(cfg.String("default-base"), "@"); ok {
		if b, err := charm.ParseBase(name, channel); err == nil {
			return machine.Base{Name: b.Name, Channel: b.Channel}, nil
		}
	}
	if bs := ch.Manifest.Bases; len(bs) > 0 {
		return machine.Base{Name: bs[0].Name, Channel: bs[0].Channel}, nil
	}
	return machine.DefaultBase(), nil
}

// placements maps directives; a container inside a machine is refused.
func placements(ps []wire.Placement, m model.Row) ([]application.Placement, error) {
	out := make([]application.Placement, 0, min(len(ps), application.MaxUnits))
	if len(ps) > application.MaxUnits {
		return nil, bad(fmt.Errorf("cannot place %d units at once: at most %d", len(ps), application.MaxUnits))
	}
	for _, p := range ps {
		switch p.Scope {
		case "#":
			if !names.ValidMachine(p.Directive) {
				return nil, bad(fmt.Errorf("cannot place unit: %.80q is not a machine", p.Directive))
			}
			out = append(out, application.Placement{Machine: names.Machine(p.Directive)})
		case "", string(m.UUID):
			if p.Directive != "" {
				return nil, unsupported(fmt.Sprintf("cannot place unit at %.80q: this cloud has no zones and no other places; name a machine or leave the placement out", p.Directive))
			}
			out = append(out, application.Placement{})
		default:
			return nil, unsupported(fmt.Sprintf("cannot place a unit in a new %.20q container: machines of this release hold no containers; name a machine or leave the placement out", p.Scope))
		}
	}
	return out, nil
}

func addUnits(_ Service, c facade.Call, a wireapp.AddApplicationUnits) (wireapp.AddApplicationUnitsResults, error) {
	var out wireapp.AddApplicationUnitsResults
	if len(a.AttachStorage) > 0 {
		return out, unsupported("cannot attach storage: this release makes no storage")
	}
	c.Concerns(names.Application(a.Application).Tag().String())
	err := change(c, func(tx *state.Tx, m model.Row) error {
		places, err := placements(a.Placement, m)
		if err != nil {
			return err
		}
		units, err := application.AddUnits(tx, m, names.Application(a.Application), a.NumUnits, places, c.Now())
		if err != nil {
			return err
		}
		out.Units = make([]string, len(units))
		for i, u := range units {
			out.Units[i] = string(u)
		}
		return nil
	})
	return out, err
}
