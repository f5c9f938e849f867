// Package provisioner asks clouds for the machines that are wanted and gives
// back those that are not. It issues each machine's one-time enrolment token,
// bound to the machine, before the machine is asked for, so that a start that
// crashed half-way is repeated with the same token and the same key: there is
// never a second machine.
package provisioner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/scarab-ops/scarab/domain/agentcred"
	"github.com/scarab-ops/scarab/domain/controller"
	"github.com/scarab-ops/scarab/domain/life"
	"github.com/scarab-ops/scarab/domain/machine"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/removal"
	"github.com/scarab-ops/scarab/domain/status"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/password"
	"github.com/scarab-ops/scarab/provider"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/state/sealed"
	"github.com/scarab-ops/scarab/worker/engine"
)

// Config is what the worker needs.
type Config struct {
	// Cloud opens a cloud; it may be called often and returns the same one.
	Cloud func(names.Cloud) (provider.Instances, error)
	// Box seals one-time tokens.
	Box *sealed.Box
	// AgentBinary and HookTool are files of the controller's host.
	AgentBinary, HookTool string
}

// Where things lie inside a machine.
const (
	dataDir = "/var/lib/scarab"
	toolDir = dataDir + "/tools"
)

// Spec declares the worker.
func Spec(cfg Config) engine.Spec {
	w := &worker{Config: cfg, failed: map[string]failure{}}
	return engine.Spec{
		Name:  "provisioner",
		Reads: []string{"model", "machine", "instance"},
		Shared: []string{
			"instance", "machine", "agent-credential", "sealed-token", "status", "observed", "task", "task-queue", "fence", "model", "spare-machine", "annotation",
		},
		Step: w.step,
	}
}

// Tries of one machine before an operator has to ask again.
const (
	maxTries  = 10
	firstWait = 2 * time.Second
	longWait  = time.Minute
)

type failure struct {
	tries, retry int
	next         time.Time
}

type worker struct {
	Config
	mu     sync.Mutex
	failed map[string]failure // by instance key
}

func (w *worker) step(ctx context.Context, r *engine.Run) (time.Time, error) {
	var errs []error
	var next time.Time
	for m, err := range model.Table.All(r.View(), state.Controller) {
		if err != nil {
			continue
		}
		due, err := w.model(ctx, r, m)
		if err != nil {
			errs = append(errs, err)
		}
		if next.IsZero() || (!due.IsZero() && due.Before(next)) {
			next = due
		}
	}
	return next, errors.Join(errs...)
}

// parallel bounds how many machines are started at once.
const parallel = 8

func (w *worker) model(ctx context.Context, r *engine.Run, m model.Row) (time.Time, error) {
	s := model.ScopeOf(m.UUID)
	var todo []machine.Row
	for mc, err := range machine.Table.All(r.View(), s) {
		if err == nil && (mc.Life == life.Dead || !machine.Instances.Has(r.View(), s, string(mc.ID))) {
			todo = append(todo, mc)
		}
	}
	if len(todo) == 0 {
		return time.Time{}, nil
	}
	cloud, err := w.Cloud(m.Cloud)
	if err != nil {
		return time.Time{}, fmt.Errorf("cannot open cloud %q: %w", m.Cloud, err)
	}
	var next time.Time
	var g errgroup.Group
	g.SetLimit(parallel)
	for _, mc := range todo {
		if mc.Life == life.Dead {
			g.Go(func() error { return w.stop(ctx, r, cloud, m, mc) })
			continue
		}
		wait, ok := w.due(key(m, mc), mc.Retry, r.Now())
		if ok {
			g.Go(func() error { return w.start(ctx, r, cloud, m, mc) })
		} else if next.IsZero() || (!wait.IsZero() && wait.Before(next)) {
			next = wait
		}
	}
	return next, g.Wait()
}

func key(m model.Row, mc machine.Row) string { return string(m.UUID) + "/" + string(mc.ID) }

// due tells whether a machine may be tried now, else when.
func (w *worker) due(k string, retry int, now time.Time) (time.Time, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f, bad := w.failed[k]
	switch {
	case !bad || f.retry != retry:
		return time.Time{}, true
	case f.tries >= maxTries:
		return time.Time{}, false
	}
	return f.next, !f.next.After(now)
}

func (w *worker) stop(ctx context.Context, r *engine.Run, c provider.Instances, m model.Row, mc machine.Row) error {
	i, err := machine.Instances.Get(r.View(), model.ScopeOf(m.UUID), string(mc.ID))
	id := provider.InstanceID(i.InstanceID)
	if err != nil {
		// A start that was not recorded may have left an instance under our key.
		if id, err = w.unrecorded(ctx, c, key(m, mc)); err != nil {
			return err
		}
	}
	if id != "" && !mc.Keep {
		if err := c.Stop(ctx, id); err != nil {
			return fmt.Errorf("cannot stop machine %s: %w", mc.ID, err)
		}
	}
	return r.Update(ctx, func(tx *state.Tx) error { return removal.MachineGone(tx, m, mc.ID, r.Now()) })
}

func (w *worker) unrecorded(ctx context.Context, c provider.Instances, k string) (provider.InstanceID, error) {
	list, err := c.List(ctx)
	if err != nil {
		return "", fmt.Errorf("cannot list machines: %w", err)
	}
	for _, i := range list {
		if i.Key == k {
			return i.ID, nil
		}
	}
	return "", nil
}

func (w *worker) start(ctx context.Context, r *engine.Run, c provider.Instances, m model.Row, mc machine.Row) error {
	token, nonce, err := w.token(ctx, r, m, mc)
	if err != nil {
		return err
	}
	spec, err := w.spec(r, m, mc, token, nonce)
	if err != nil {
		return err
	}
	inst, err := c.Start(ctx, spec)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return w.failedStart(ctx, r, m, mc, err)
	}
	w.mu.Lock()
	delete(w.failed, key(m, mc))
	w.mu.Unlock()
	return r.Update(ctx, func(tx *state.Tx) error { return record(tx, r.Now(), m, mc.ID, nonce, inst) })
}

func record(tx *state.Tx, now time.Time, m model.Row, id names.Machine, nonce string, i provider.Instance) error {
	s := model.ScopeOf(m.UUID)
	if !machine.Table.Has(tx, s, string(id)) {
		return nil // removed while it started; stopped by the next step
	}
	row := machine.Instance{
		Machine: id, InstanceID: string(i.ID), DisplayName: string(i.ID), Nonce: nonce, Addresses: i.Addresses,
		Arch: i.Hardware.Arch, Cores: i.Hardware.Cores, MemMiB: i.Hardware.MemMiB,
		RootDiskMiB: i.Hardware.RootDiskMiB, Zone: i.Hardware.Zone, Isolation: i.Isolation, BaseNote: i.BaseNote,
		Base: machine.Base{Name: i.Base.Name, Channel: i.Base.Channel}, Started: now,
	}
	if err := machine.Instances.Put(tx, s, row); err != nil {
		return err
	}
	return status.Set(tx, s, status.OfInstance(string(id)), status.Entry{Status: "running", Message: "Running", Since: now})
}

func (w *worker) failedStart(ctx context.Context, r *engine.Run, m model.Row, mc machine.Row, cause error) error {
	k := key(m, mc)
	w.mu.Lock()
	f := w.failed[k]
	if f.retry != mc.Retry {
		f = failure{retry: mc.Retry}
	}
	f.tries++
	f.next = r.Now().Add(min(firstWait<<min(f.tries-1, 6), longWait))
	w.failed[k] = f
	w.mu.Unlock()
	message := fmt.Sprintf("%v (try %d of %d)", cause, f.tries, maxTries)
	r.Log().Warn("cannot start machine", "model", m.Name, "machine", mc.ID, "error", cause, "try", f.tries)
	return r.Update(ctx, func(tx *state.Tx) error {
		return status.Set(tx, model.ScopeOf(m.UUID), status.OfInstance(string(mc.ID)),
			status.Entry{Status: "provisioning error", Message: message, Since: r.Now()})
	})
}

// token returns the machine's one-time token and nonce, new ones if it has
// none that can still be used.
func (w *worker) token(ctx context.Context, r *engine.Run, m model.Row, mc machine.Row) (token, nonce string, err error) {
	fresh, n := password.NewAgent(), password.NewAgent()
	hash, err := password.OfAgent(fresh)
	if err != nil {
		return "", "", err
	}
	tag, s := mc.ID.Tag().String(), model.ScopeOf(m.UUID)
	err = r.Update(ctx, func(tx *state.Tx) error {
		if _, err := machine.Get(tx, s, mc.ID); err != nil {
			return err
		}
		row, err := agentcred.Table.Get(tx, s, tag)
		if err == nil && row.TokenVerifier != "" && r.Now().Add(agentcred.TokenLife/2).Before(row.TokenExpiry) {
			if t, err := controller.Tokens.Get(tx, w.Box, s, tag); err == nil {
				token, nonce = t.Token, row.Nonce
				return nil
			}
		}
		token, nonce = fresh.Reveal(), "machine-0:"+n.Reveal()
		if err := agentcred.Issue(tx, s, tag, string(hash), nonce, r.Now()); err != nil {
			return err
		}
		err = status.Set(tx, s, status.OfInstance(string(mc.ID)),
			status.Entry{Status: "allocating", Message: "starting", Since: r.Now()})
		if err != nil {
			return err
		}
		return controller.Tokens.Put(tx, w.Box, s, controller.Token{Tag: tag, Token: token})
	})
	return token, nonce, err
}

// settings are the model settings that a cloud may need.
var settings = [...]string{
	"apt-mirror", "apt-security-mirror", "apt-options", "apt-http-proxy", "apt-https-proxy", "resolvers",
}

// agentConf is the file that a new machine's agent starts from.
type agentConf struct {
	Tag          string   `json:"tag"`
	Controller   string   `json:"controller"`
	Model        string   `json:"model"`
	Nonce        string   `json:"nonce"`
	CACert       string   `json:"ca-cert"`
	APIAddresses []string `json:"api-addresses"`
	Token        string   `json:"token"`
}

func (w *worker) spec(r *engine.Run, m model.Row, mc machine.Row, token, nonce string) (provider.StartSpec, error) {
	ctl, err := controller.Get(r.View())
	if err != nil {
		return provider.StartSpec{}, err
	}
	cfg, err := model.EffectiveConfig(r.View(), m)
	if err != nil {
		return provider.StartSpec{}, err
	}
	tag := mc.ID.Tag().String()
	conf, err := json.Marshal(agentConf{
		Tag: tag, Controller: string(ctl.UUID), Model: string(m.UUID), Nonce: nonce, CACert: ctl.CACert,
		APIAddresses: ctl.AgentAddresses, Token: token,
	})
	if err != nil {
		return provider.StartSpec{}, err
	}
	s := provider.StartSpec{
		Key: key(m, mc), ControllerID: string(ctl.UUID), ModelUUID: string(m.UUID), ModelName: m.Name,
		MachineID: string(mc.ID), Hostname: "scarab-" + string(m.UUID[:6]) + "-" + string(mc.ID),
		Base: provider.Base{Name: mc.Base.Name, Channel: mc.Base.Channel}, Placement: mc.Placement,
		Files: []provider.File{
			{Path: dataDir + "/agents/" + tag + "/agent.conf", Mode: 0o600, Data: conf},
			{Path: toolDir + "/scarab-agent", Mode: 0o755, Host: w.AgentBinary},
			{Path: toolDir + "/scarab-hooktool", Mode: 0o755, Host: w.HookTool},
		},
		Start:    []string{toolDir + "/scarab-agent", "machine", "--data-dir", dataDir, "--machine", string(mc.ID)},
		Settings: map[string]string{},
	}
	for _, k := range settings {
		s.Settings[k] = cfg.String(k)
	}
	s.Constraints = constraints(mc)
	return s, nil
}

func constraints(mc machine.Row) provider.Constraints {
	var out provider.Constraints
	v := mc.Constraints
	if v.Arch != nil {
		out.Arch = *v.Arch
	}
	if v.Cores != nil {
		out.Cores = int(min(*v.Cores, 1<<16))
	}
	if v.Mem != nil {
		out.MemMiB = int64(min(*v.Mem, 1<<40))
	}
	if v.RootDisk != nil {
		out.RootDiskMiB = int64(min(*v.RootDisk, 1<<40))
	}
	if v.Zones != nil {
		out.Zones = *v.Zones
	}
	return out
}
