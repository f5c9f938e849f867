package controller

import (
	"context"

	"github.com/scarab-ops/scarab/audit"
	"github.com/scarab-ops/scarab/domain/agentcred"
	"github.com/scarab-ops/scarab/domain/annotation"
	"github.com/scarab-ops/scarab/domain/application"
	"github.com/scarab-ops/scarab/domain/block"
	"github.com/scarab-ops/scarab/domain/charmstore"
	"github.com/scarab-ops/scarab/domain/cloud"
	"github.com/scarab-ops/scarab/domain/controller"
	"github.com/scarab-ops/scarab/domain/lease"
	"github.com/scarab-ops/scarab/domain/machine"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/relation"
	"github.com/scarab-ops/scarab/domain/sequence"
	"github.com/scarab-ops/scarab/domain/status"
	"github.com/scarab-ops/scarab/domain/task"
	"github.com/scarab-ops/scarab/domain/unit"
	"github.com/scarab-ops/scarab/domain/user"
	"github.com/scarab-ops/scarab/state/migrate"
	"github.com/scarab-ops/scarab/state/sealed"
)

// steps are the numbered, forward-only migrations of the store, oldest first.
// The first release has none: its store is at version 0.
func steps() []migrate.Step { return nil }

// migrate brings the store to this program's schema before anything is served.
func (p *parts) migrate(ctx context.Context) error {
	rep, err := migrate.Up(ctx, p.store, steps())
	if err != nil {
		return err
	}
	if rep.From != rep.To {
		p.cfg.Log.Info("store migrated", "from", rep.From, "to", rep.To)
	}
	return nil
}

// rows names every kind that is stored, with its type. What a test prints of
// it is the stored schema.
func rows() map[string]any {
	return map[string]any{
		"agent-credential": agentcred.Row{}, "annotation": annotation.Row{}, "application": application.Row{},
		"audit": audit.Record{}, "block": block.Row{}, "charm": charmstore.Row{}, "charm-state": unit.State{},
		"cloud": cloud.Row{}, "controller": controller.Row{}, "grant": user.Grant{}, "instance": machine.Instance{},
		"last-connection": user.Session{}, "leader-settings": application.LeaderSettings{}, "lease": lease.Row{},
		"machine": machine.Row{}, "model": model.Row{}, "model-config": model.ConfigRow{},
		"model-constraints": model.ConstraintsRow{}, "observed": machine.Observed{}, "operation": task.Operation{},
		"ports": unit.Ports{}, "relation": relation.Row{}, "relation-app": relation.AppBag{},
		"relation-unit": relation.Member{}, "sealed-key": sealed.Row{}, "sealed-token": sealed.Row{},
		"sequence": sequence.Row{}, "spare-machine": machine.Spare{}, "status": status.Row{}, "task": task.Row{}, "task-queue": task.Queue{},
		"unit": unit.Row{}, "unit-op": unit.Ops{}, "user": user.Row{},
	}
}
