// Package fake is a cloud in memory. It keeps every promise of package
// provider, passes the same tests as real clouds, and can be told to fail.
package fake

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/scarab-ops/scarab/provider"
)

// Backend is the cloud's side: what stays when a controller comes and goes.
type Backend struct {
	mu       sync.Mutex
	machines map[provider.InstanceID]*machine
	rules    map[provider.InstanceID][]provider.Rule
	watchers map[chan struct{}]bool
	made     int
	fail     func(op string) error
	now      func() time.Time
}

type machine struct {
	controller string
	inst       provider.Instance
	spec       provider.StartSpec
}

// NewBackend makes an empty cloud with a clock.
func NewBackend(now func() time.Time) *Backend {
	return &Backend{
		machines: map[provider.InstanceID]*machine{}, rules: map[provider.InstanceID][]provider.Rule{},
		watchers: map[chan struct{}]bool{}, fail: func(string) error { return nil }, now: now,
	}
}

// FailWith lets f decide whether an operation ("start", "stop", "list",
// "rules", "watch", "prepare") fails. Nil never fails.
func (b *Backend) FailWith(f func(op string) error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if f == nil {
		f = func(string) error { return nil }
	}
	b.fail = f
}

// Rules gives the rules of a machine, for tests to look at.
func (b *Backend) Rules(id provider.InstanceID) []provider.Rule {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.rules[id])
}

// Spec gives what a machine was asked for, for tests to look at.
func (b *Backend) Spec(id provider.InstanceID) (provider.StartSpec, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	m, ok := b.machines[id]
	if !ok {
		return provider.StartSpec{}, false
	}
	return m.spec, true
}

// SetStatus changes a machine from the cloud's side, as a crash would.
func (b *Backend) SetStatus(id provider.InstanceID, status, message string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if m, ok := b.machines[id]; ok {
		m.inst.Status, m.inst.Message = status, message
		b.tell()
	}
}

func (b *Backend) tell() {
	for ch := range b.watchers {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

// Cloud is the cloud as one controller sees it.
type Cloud struct {
	b          *Backend
	controller string
}

var (
	_ provider.Instances = (*Cloud)(nil)
	_ provider.Watcher   = (*Cloud)(nil)
	_ provider.Firewall  = (*Cloud)(nil)
	_ provider.Progress  = (*Cloud)(nil)
)

// Open gives the cloud to a controller.
func (b *Backend) Open(controller string) *Cloud { return &Cloud{b, controller} }

func (c *Cloud) enter(ctx context.Context, op string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("cannot ask the cloud: %w", err)
	}
	c.b.mu.Lock()
	f := c.b.fail
	c.b.mu.Unlock()
	return f(op)
}

// Start makes the machine of s.Key, or returns the one that is there.
func (c *Cloud) Start(ctx context.Context, s provider.StartSpec) (provider.Instance, error) {
	if err := c.enter(ctx, "start"); err != nil {
		return provider.Instance{}, err
	}
	if s.Key == "" || s.Hostname == "" || strings.ContainsAny(s.Hostname, " /\n") {
		return provider.Instance{}, fmt.Errorf("cannot make a machine: key and host name must be given: %w", provider.ErrBadSpec)
	}
	if a := s.Constraints.Arch; a != "" && a != "amd64" {
		return provider.Instance{}, fmt.Errorf("cannot make a machine: arch %s is not to be had: %w", a, provider.ErrBadSpec)
	}
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	for _, m := range c.b.machines {
		if m.controller == c.controller && m.inst.Key == s.Key {
			return m.inst, nil
		}
	}
	c.b.made++
	n := c.b.made
	inst := provider.Instance{
		ID: provider.InstanceID(fmt.Sprintf("fake-%d", n)), Key: s.Key, Status: "running",
		Addresses: []string{netip.AddrFrom4([4]byte{10, 200, byte(n >> 8), byte(n)}).String()},
		Hardware: provider.Hardware{
			Arch: "amd64", Cores: max(1, s.Constraints.Cores), MemMiB: max(1024, s.Constraints.MemMiB),
			RootDiskMiB: max(8192, s.Constraints.RootDiskMiB),
		},
		Base: provider.Base{Name: "debian", Channel: "12"}, Ready: c.b.now(),
	}
	if s.Base.Name != "" {
		inst.Base = s.Base
	}
	c.b.machines[inst.ID] = &machine{c.controller, inst, s}
	c.b.tell()
	return inst, nil
}

// Stop ends machines; the unknown is no error.
func (c *Cloud) Stop(ctx context.Context, ids ...provider.InstanceID) error {
	if err := c.enter(ctx, "stop"); err != nil {
		return err
	}
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	for _, id := range ids {
		if m, ok := c.b.machines[id]; ok && m.controller == c.controller {
			delete(c.b.machines, id)
			delete(c.b.rules, id)
			c.b.tell()
		}
	}
	return nil
}

// List returns the machines this controller owns.
func (c *Cloud) List(ctx context.Context) ([]provider.Instance, error) {
	if err := c.enter(ctx, "list"); err != nil {
		return nil, err
	}
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	out := []provider.Instance{}
	for _, m := range c.b.machines {
		if m.controller == c.controller {
			out = append(out, m.inst)
		}
	}
	slices.SortFunc(out, func(a, b provider.Instance) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return out, nil
}

// Watch calls f at once and after changes until ctx ends.
func (c *Cloud) Watch(ctx context.Context, f func()) error {
	if err := c.enter(ctx, "watch"); err != nil {
		return err
	}
	ch := make(chan struct{}, 1)
	c.b.mu.Lock()
	c.b.watchers[ch] = true
	c.b.mu.Unlock()
	defer func() {
		c.b.mu.Lock()
		defer c.b.mu.Unlock()
		delete(c.b.watchers, ch)
	}()
	for f(); ; f() {
		select {
		case <-ch:
		case <-ctx.Done():
			return fmt.Errorf("cannot watch on: %w", ctx.Err())
		}
	}
}

// SetRules replaces all rules of one machine.
func (c *Cloud) SetRules(ctx context.Context, id provider.InstanceID, rules []provider.Rule) error {
	if err := c.enter(ctx, "rules"); err != nil {
		return err
	}
	for _, r := range rules {
		ports := r.From >= 1 && r.To <= 65535 && r.From <= r.To
		if r.Protocol == "icmp" && (r.From != 0 || r.To != 0) || r.Protocol != "icmp" && !ports || !slices.Contains([]string{"tcp", "udp", "icmp"}, r.Protocol) {
			return fmt.Errorf("cannot set a rule: %s %d-%d is none: %w", r.Protocol, r.From, r.To, provider.ErrBadSpec)
		}
	}
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	if m, ok := c.b.machines[id]; !ok || m.controller != c.controller {
		return fmt.Errorf("cannot set rules of %s: %w", id, provider.ErrNotFound)
	}
	c.b.rules[id] = slices.Clone(rules)
	return nil
}

// Prepare has nothing to do here.
func (c *Cloud) Prepare(ctx context.Context, report func(step string)) error {
	if err := c.enter(ctx, "prepare"); err != nil {
		return err
	}
	report("ready")
	return nil
}

// Close lets go of nothing.
func (c *Cloud) Close() error { return nil }
