package controller

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/scarab-ops/scarab/provider"
	"github.com/scarab-ops/scarab/worker/engine"
	"github.com/scarab-ops/scarab/worker/firewaller"
	"github.com/scarab-ops/scarab/worker/instances"
	"github.com/scarab-ops/scarab/worker/leases"
	"github.com/scarab-ops/scarab/worker/provisioner"
	"github.com/scarab-ops/scarab/worker/remover"
)

// specs lists every worker.
func (p *parts) specs(wake <-chan struct{}) []engine.Spec {
	return []engine.Spec{
		leases.Spec(),
		remover.Spec(p.wiped),
		provisioner.Spec(provisioner.Config{
			Cloud: p.cloud, Box: p.box, AgentBinary: p.cfg.AgentBinary, HookTool: p.cfg.HookTool,
		}),
		instances.Spec(instances.Config{Cloud: p.cloud, Wake: wake}),
		firewaller.Spec(p.firewall),
	}
}

// workers runs them, and the watches of the clouds that can tell of changes.
func (p *parts) workers(ctx context.Context) error {
	wake := make(chan struct{}, 1)
	g, ctx := errgroup.WithContext(ctx)
	for name, c := range p.cfg.Clouds {
		w, ok := c.(provider.Watcher)
		if !ok {
			continue
		}
		g.Go(func() error {
			err := w.Watch(ctx, func() {
				select {
				case wake <- struct{}{}:
				default: // it will look anyway
				}
			})
			if err != nil && ctx.Err() == nil {
				p.cfg.Log.Warn("lost the watch of a cloud", "cloud", name, "error", err)
			}
			return nil
		})
	}
	g.Go(func() error {
		return engine.Start(ctx, engine.Config{Store: p.store, Log: p.cfg.Log, Now: p.cfg.Now}, p.specs(wake))
	})
	return g.Wait()
}
