package controllers

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/scarab-ops/scarab/cli/session"
	"github.com/scarab-ops/scarab/cli/values"
	"github.com/scarab-ops/scarab/wire"
	"github.com/scarab-ops/scarab/wire/controller"
	"github.com/scarab-ops/scarab/wire/modelconfig"
)

// settings is the configuration of a new controller: what it must know from its first moment, and what is set, and judged
// by it, as soon as it answers.
type settings struct {
	first       map[string]string // of the controller
	world       map[string]string // how all its machines reach the world
	controller  map[string]any
	model       map[string]any
	constraints *wire.Value
}

// worldKeys are the keys of a model that every model of the controller takes over.
func worldKeys() []string {
	return []string{"apt-mirror", "apt-security-mirror", "apt-options", "apt-http-proxy", "apt-https-proxy", "resolvers"}
}

// controllerKeys are the keys of a controller's configuration; every other one is a model's.
func controllerKeys() []string {
	return strings.Fields(`agent-logfile-max-backups agent-logfile-max-size agent-ratelimit-max agent-ratelimit-rate allow-model-access api-port
		api-port-open-delay application-resource-download-limit audit-log-capture-args audit-log-exclude-methods audit-log-max-backups
		audit-log-max-size auditing-enabled autocert-dns-name autocert-url caas-image-repo caas-operator-image-path controller-api-port
		controller-name controller-resource-download-limit features identity-public-key identity-url juju-db-snap-channel juju-ha-space
		juju-mgmt-space jujud-controller-snap-source login-token-refresh-url max-agent-state-size max-charm-state-size
		max-debug-log-duration max-prune-txn-batch-size max-prune-txn-passes max-txn-log-size metering-url migration-agent-wait-time
		model-logfile-max-backups model-logfile-max-size model-logs-size mongo-memory-profile prune-txn-query-count prune-txn-sleep-time
		public-dns-address query-tracing-enabled query-tracing-threshold set-numa-control-policy state-port`)
}

func (f bootstrapFlags) settings(s *session.Session) (settings, error) {
	out := settings{first: map[string]string{}, world: map[string]string{}, controller: map[string]any{}, model: map[string]any{}}
	config, err := values.Settings(f.config, s.Path)
	if err != nil {
		return out, err
	}
	defaults, err := values.Settings(f.modelDefault, s.Path)
	if err != nil {
		return out, err
	}
	for k, v := range defaults {
		if !slices.Contains(worldKeys(), k) {
			return out, session.Advise(fmt.Errorf("cannot bootstrap with --model-default %s: only these are kept for all models: %s", k, strings.Join(worldKeys(), ", ")),
				"set it for each model: scarab add-model NAME --config "+k+"="+v)
		}
		out.world[k] = v
	}
	for k, text := range config {
		switch {
		case k == "api-port":
			out.first[k] = text
		case slices.Contains(worldKeys(), k):
			out.world[k] = text
		case slices.Contains(controllerKeys(), k):
			var v any
			if err := yaml.Unmarshal([]byte(text), &v); err != nil {
				v = text
			}
			out.controller[k] = v
		default:
			out.model[k] = text
		}
	}
	if len(f.constraints) > 0 {
		v, err := values.Constraints(strings.Join(f.constraints, " "))
		if err != nil {
			return out, &session.Usage{Text: err.Error()}
		}
		out.constraints = &v
	}
	return out, nil
}

// refuse judges the flags that mean something on other clouds.
func (f bootstrapFlags) refuse(s *session.Session) error {
	if f.to != "" || len(f.storagePool) > 0 {
		return fmt.Errorf("cannot bootstrap with --to or --storage-pool: the controller of the local cloud runs on this host, and there are no pools; leave them out")
	}
	if v := s.Version(); f.version != "" && f.version != v.Juju && f.version != v.Scarab {
		return session.Advise(fmt.Errorf("cannot bootstrap with --agent-version %s: this build starts %s", f.version, v.Juju), "leave --agent-version out")
	}
	v, err := values.Constraints(strings.Join(f.bootstrapConstraints, " "))
	if err != nil {
		return &session.Usage{Text: err.Error()}
	}
	if v.Arch != nil && *v.Arch != "" && *v.Arch != runtime.GOARCH {
		return fmt.Errorf("cannot bootstrap with --bootstrap-constraints arch=%s: the controller runs on this host, which is %s", *v.Arch, runtime.GOARCH)
	}
	for flag, set := range map[string]bool{
		"--bootstrap-constraints": len(f.bootstrapConstraints) > 0, "--bootstrap-base": f.base != "", "--credential": f.credential != "",
	} {
		if set {
			s.Info("Note: %s has no effect: the controller of the local cloud runs on this host and needs no credential.", flag)
		}
	}
	return nil
}

// apply sets what is judged by the controller itself.
func (c settings) apply(ctx context.Context, s *session.Session, name string, t session.Target) error {
	if len(c.controller) > 0 {
		conn, err := s.OpenNamed(ctx, name)
		if err == nil {
			err = session.Run(ctx, conn, "Controller", "ConfigSet", controller.ControllerConfigSet{Config: c.controller})
		}
		if err != nil {
			return fmt.Errorf("cannot bootstrap with this --config: %w", err)
		}
	}
	if len(c.model) == 0 && c.constraints == nil {
		return nil
	}
	conn, err := s.Use(ctx, t)
	if err == nil && len(c.model) > 0 {
		err = session.Run(ctx, conn, "ModelConfig", "ModelSet", modelconfig.ModelSet{Config: c.model})
	}
	if err == nil && c.constraints != nil {
		err = session.Run(ctx, conn, "ModelConfig", "SetModelConstraints", wire.SetConstraints{Constraints: *c.constraints})
	}
	if err != nil {
		return fmt.Errorf("cannot bootstrap with these settings: %w", err)
	}
	return nil
}

// all is what the client's own record of the bootstrap keeps.
func (c settings) all() map[string]any {
	out := maps.Clone(c.controller)
	for k, v := range c.first {
		out[k] = v
	}
	return out
}
