package controller

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/apiserver/facades/wiremap"
	"github.com/scarab-ops/scarab/domain/controller"
	"github.com/scarab-ops/scarab/domain/machine"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/wire"
	wirectl "github.com/scarab-ops/scarab/wire/controller"
)

// setting is one controller setting: its default tells its type.
type setting struct {
	name      string
	def       any
	updatable bool
}

// settings are those that mean something here; what belongs to a database
// server that this controller does not have is left out.
func settings() []setting {
	return []setting{
		{"agent-logfile-max-backups", 2, true},
		{"agent-logfile-max-size", "100M", true},
		{"agent-ratelimit-max", 100, true},
		{"agent-ratelimit-rate", "50ms", true},
		{controller.AllowedNetworks, "", true},
		{"api-port", 17070, false},
		{"application-resource-download-limit", 0, true},
		{"audit-log-capture-args", false, true},
		{"audit-log-max-backups", 10, true},
		{"audit-log-max-size", "300M", true},
		{"auditing-enabled", true, false},
		{"controller-resource-download-limit", 0, true},
		{"max-agent-state-size", 524288, true},
		{"max-charm-state-size", 2097152, true},
		{"max-debug-log-duration", "24h0m0s", true},
		{"migration-agent-wait-time", "15m0s", true},
		{"model-logfile-max-backups", 2, true},
		{"model-logfile-max-size", "10M", true},
		{"model-logs-size", "20M", true},
		{"public-dns-address", "", true},
		{"set-numa-control-policy", false, false},
	}
}

// read gives a setting's text its type.
func (s setting) read(text string) (any, error) {
	switch def := s.def.(type) {
	case int:
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("cannot set %q: %.80q is not a number from 0", s.name, text)
		}
		return n, nil
	case bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return nil, fmt.Errorf("cannot set %q: %.80q is neither true nor false", s.name, text)
		}
		return b, nil
	case string:
		if len(text) > 4096 {
			return nil, fmt.Errorf("cannot set %q: the value is too long", s.name)
		}
		if _, err := time.ParseDuration(def); err == nil {
			if d, err := time.ParseDuration(text); err != nil || d < 0 {
				return nil, fmt.Errorf("cannot set %q: %.80q is not a duration such as 15m", s.name, text)
			}
		} else if def != "" {
			if _, err := model.ParseSize(text); err != nil {
				return nil, fmt.Errorf("cannot set %q: %v", s.name, err)
			}
		}
	}
	return text, nil
}

func getConfig(_ Service, c facade.Call) (wirectl.ControllerConfigResult, error) {
	row, err := controller.Get(c.View())
	if err != nil {
		return wirectl.ControllerConfigResult{}, err
	}
	out := map[string]any{
		"controller-name": row.Name, "controller-uuid": string(row.UUID), "ca-cert": row.CACert,
	}
	for _, s := range settings() {
		if s.def != "" {
			out[s.name] = s.def
		}
		if text, ok := row.Config[s.name]; ok && text != "" {
			if v, err := s.read(text); err == nil {
				out[s.name] = v
			}
		}
	}
	return wirectl.ControllerConfigResult{Config: out}, nil
}

func setConfig(_ Service, c facade.Call, a wirectl.ControllerConfigSet) error {
	text, err := wiremap.Settings(a.Config)
	if err != nil {
		return bad(err)
	}
	known := settings()
	for k, v := range text {
		i := slices.IndexFunc(known, func(s setting) bool { return s.name == k })
		switch {
		case i < 0:
			return bad(fmt.Errorf("cannot set %.80q: there is no such controller setting", k))
		case !known[i].updatable:
			return bad(fmt.Errorf("cannot set %q: it cannot change after bootstrap", k))
		case v == "":
			continue
		}
		if _, err := known[i].read(v); err != nil {
			return bad(err)
		}
	}
	return c.Update(func(tx *state.Tx) error {
		if err := reachable(tx, c.Source(), text[controller.AllowedNetworks]); err != nil {
			return bad(err)
		}
		row, err := controller.Get(tx)
		if err != nil {
			return err
		}
		if row.Config == nil {
			row.Config = map[string]string{}
		}
		maps.Copy(row.Config, text)
		maps.DeleteFunc(row.Config, func(_, v string) bool { return v == "" })
		return controller.Table.Put(tx, state.Controller, row)
	})
}

// reachable refuses networks that would shut out who sets them, or a machine.
func reachable(r state.Reader, source, text string) error {
	list, err := controller.ParseNetworks(text)
	if err != nil || len(list) == 0 {
		return err
	}
	if a, err := controller.Source(source); err != nil || !list.Allow(a) {
		return fmt.Errorf("cannot set %q: you come from %s, which would be shut out: add its network", controller.AllowedNetworks, source)
	}
	for m, err := range model.Table.All(r, state.Controller) {
		if err != nil {
			return err
		}
		for i, err := range machine.Instances.All(r, model.ScopeOf(m.UUID)) {
			if err != nil {
				return err
			}
			for _, text := range i.Addresses {
				if a, err := controller.Source(text); err != nil || !list.Allow(a) {
					return fmt.Errorf("cannot set %q: machine %s of model %q at %s would be shut out: add its network",
						controller.AllowedNetworks, i.Machine, m.Name, text)
				}
			}
		}
	}
	return nil
}

func version(s Service, _ facade.Call) (wirectl.ControllerVersionResults, error) {
	return wirectl.ControllerVersionResults{Version: s.Version, GitCommit: s.Commit}, nil
}

// storeVersion answers the question after a database that is not there.
func storeVersion(Service, facade.Call) (wire.StringResult, error) {
	return wire.StringResult{Result: "none (embedded etcd)"}, nil
}

func identityURL(Service, facade.Call) (wire.StringResult, error) { return wire.StringResult{}, nil }

func modelConfig(_ Service, c facade.Call) (wire.ModelConfigResults, error) {
	row, err := controller.Get(c.View())
	if err != nil {
		return wire.ModelConfigResults{}, err
	}
	m, err := model.Get(c.View(), row.Model)
	if err != nil {
		return wire.ModelConfigResults{}, err
	}
	cfg, err := model.EffectiveConfig(c.View(), m)
	if err != nil {
		return wire.ModelConfigResults{}, err
	}
	return wire.ModelConfigResults{Config: wiremap.Config(cfg)}, nil
}
