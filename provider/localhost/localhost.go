// Package localhost is the local cloud as the controller sees it: machines
// that are containers on the controller's own host. It holds no rights; it
// asks the host's supervisor over a private socket, and the supervisor decides.
package localhost

import (
	"context"
	"errors"

	"github.com/scarab-ops/scarab/hostd/hostapi"
	"github.com/scarab-ops/scarab/provider"
)

// Config of a Cloud.
type Config struct {
	Socket       string // of the supervisor; hostapi.Socket if empty
	ControllerID string
}

// Cloud is the local cloud of one controller.
type Cloud struct {
	controller string
	host       *hostapi.Client
}

var (
	_ provider.Instances = (*Cloud)(nil)
	_ provider.Watcher   = (*Cloud)(nil)
	_ provider.Firewall  = (*Cloud)(nil)
	_ provider.Progress  = (*Cloud)(nil)
)

// New gives the cloud; nothing is asked yet.
func New(cfg Config) (*Cloud, error) {
	if cfg.ControllerID == "" {
		return nil, errors.New("cannot open the local cloud: no controller was named")
	}
	if cfg.Socket == "" {
		cfg.Socket = hostapi.Socket
	}
	return &Cloud{cfg.ControllerID, hostapi.NewClient(cfg.Socket)}, nil
}

// Start makes the machine of s.Key, or returns the one that is there.
func (c *Cloud) Start(ctx context.Context, s provider.StartSpec) (provider.Instance, error) {
	s.ControllerID = c.controller
	return c.host.Start(ctx, s)
}

// Stop ends machines; the unknown is no error.
func (c *Cloud) Stop(ctx context.Context, ids ...provider.InstanceID) error {
	return c.host.Stop(ctx, c.controller, ids)
}

// List returns the machines this controller owns.
func (c *Cloud) List(ctx context.Context) ([]provider.Instance, error) {
	return c.host.List(ctx, c.controller)
}

// Watch calls f at once and after changes until ctx ends, or fails with
// provider.ErrTryAgain if the supervisor went away.
func (c *Cloud) Watch(ctx context.Context, f func()) error {
	return c.host.Watch(ctx, c.controller, f)
}

// SetRules replaces all rules of one machine.
func (c *Cloud) SetRules(ctx context.Context, id provider.InstanceID, rules []provider.Rule) error {
	return c.host.SetRules(ctx, c.controller, id, rules)
}

// Prepare makes the default image.
func (c *Cloud) Prepare(ctx context.Context, report func(string)) error {
	return c.host.Prepare(ctx, report)
}

// Close lets go of the connection.
func (c *Cloud) Close() error {
	c.host.Close()
	return nil
}
