// Package controller is the composition root of the controller: it opens the
// state, the keys and the stores, makes the facades, the workers and the API
// server, and runs them until it is told to stop. It is the only package that
// knows them all, and it decides nothing itself.
package controller

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/scarab-ops/scarab/apiserver"
	"github.com/scarab-ops/scarab/audit"
	"github.com/scarab-ops/scarab/authz"
	"github.com/scarab-ops/scarab/blob"
	"github.com/scarab-ops/scarab/domain/controller"
	"github.com/scarab-ops/scarab/logstore"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/password"
	"github.com/scarab-ops/scarab/provider"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/state/etcdstate"
	"github.com/scarab-ops/scarab/state/sealed"
	"github.com/scarab-ops/scarab/tlspolicy"
)

// ServerVersion is what clients are told; Version is our own.
const (
	ServerVersion = "3.6.12"
	Version       = "0.1.0"
)

// Config is what a controller is made of.
type Config struct {
	// DataDir holds everything but the unseal key.
	DataDir string
	// UnsealKeyFile opens what is sealed; it lies outside of DataDir and is
	// made if absent.
	UnsealKeyFile string
	// InitFile is what an empty store begins from; it is removed once used. An
	// empty store waits for it as long as InitWait: whoever writes it may
	// start the controller first.
	InitFile string
	InitWait time.Duration
	// Listeners are plain TCP; TLS is put around them.
	Listeners []net.Listener
	// AgentAddresses are what machines dial, host:port, if they are known only
	// at start; empty means those of the init file.
	AgentAddresses []string
	// Clouds opens a cloud by its provider's name.
	Clouds map[string]provider.Instances
	// AgentBinary and HookTool are what new machines get.
	AgentBinary, HookTool string
	Commit                string
	Log                   *slog.Logger
	Now                   func() time.Time
	// Backend replaces the embedded store, for tests; nil means etcd in DataDir.
	Backend state.Backend
	// Quota bounds what may be stored; zero means what state takes by itself.
	Quota state.Quota
	// Limits of the API server; zero fields mean the defaults.
	Limits apiserver.Limits
	// BlobLimits are the quotas of the blob store; zero fields mean the defaults.
	BlobLimits blob.Config
	// Inspect is shown the API server before it serves, for whoever prints or
	// checks its tables; it may be nil.
	Inspect func(*apiserver.Server)
	// Ready is called once the API serves, with the CA certificate.
	Ready func(caCert string)
}

// parts are what Run holds open.
type parts struct {
	cfg      Config
	store    *state.Store
	box      *sealed.Box
	keys     keys
	row      controller.Row
	blobs    *blob.Store
	logs     *logstore.Store
	audit    *audit.Sequencer
	auth     *authenticator
	presence *presence
	cert     certificate
	networks *networks
	closers  []io.Closer

	tested func() error // the outcome of the self-test of TLS
}

// Run runs a controller until ctx ends. It returns when everything it started
// has stopped.
func Run(ctx context.Context, cfg Config) error {
	p := &parts{cfg: cfg, tested: sync.OnceValue(tlspolicy.SelfTest)}
	defer p.close()
	var early sync.WaitGroup // while the store waits for the disk; open asks for the outcome
	defer early.Wait()
	early.Go(func() { _ = p.tested() })
	if err := p.open(ctx); err != nil {
		return err
	}
	server, err := p.server()
	if err != nil {
		return err
	}
	if cfg.Inspect != nil {
		cfg.Inspect(server)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.auth.watchers.run(ctx) })
	g.Go(func() error { return p.audit.Run(ctx) })
	g.Go(func() error { return p.workers(ctx) })
	g.Go(func() error { return p.renew(ctx) })
	g.Go(func() error { return p.networks.run(ctx, p.store) })
	g.Go(func() error { return server.Run(ctx) })
	if cfg.Ready != nil {
		cfg.Ready(p.row.CACert)
	}
	g.Go(func() error { password.LargePages(password.MaxConcurrent); return nil }) // nobody waits for it
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func (p *parts) close() {
	for i := len(p.closers) - 1; i >= 0; i-- {
		if err := p.closers[i].Close(); err != nil {
			p.cfg.Log.Warn("cannot close cleanly", "error", err)
		}
	}
}

type closer func() error

func (c closer) Close() error { return c() }

func (p *parts) open(ctx context.Context) error {
	cfg := p.cfg
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return fmt.Errorf("cannot make the data directory: %w", err)
	}
	if err := os.Chmod(cfg.DataDir, 0o700); err != nil { //nolint:gosec // a directory needs x
		return fmt.Errorf("cannot make the data directory private: %w", err)
	}
	backend := cfg.Backend
	if backend == nil {
		b, err := etcdstate.Open(ctx, etcdstate.Config{Dir: filepath.Join(cfg.DataDir, "store"), Logger: cfg.Log})
		if err != nil {
			return err
		}
		p.closers = append(p.closers, closer(b.Close))
		backend = b
	}
	watching, stop := context.WithCancel(context.WithoutCancel(ctx))
	p.closers = append(p.closers, closer(func() error { stop(); return nil }))
	st, err := state.OpenQuota(watching, backend, cfg.Quota)
	if err != nil {
		return err
	}
	p.store = st
	if err := p.tested(); err != nil { // before anything is written or served
		return fmt.Errorf("cannot start: %w", err)
	}
	if err := p.migrate(ctx); err != nil {
		return err
	}
	p.box, err = sealed.Open(sealed.Config{KeyFile: cfg.UnsealKeyFile, DataDir: cfg.DataDir, Create: p.empty()})
	if err != nil {
		return err
	}
	if err := p.initialise(ctx); err != nil {
		return err
	}
	return p.stores()
}

// empty tells whether the store holds no controller yet.
func (p *parts) empty() bool {
	return !controller.Table.Has(p.store.View(), state.Controller, "controller")
}

func (p *parts) initialise(ctx context.Context) error {
	in, err := awaitInit(ctx, p.cfg.InitFile, p.empty(), p.cfg.InitWait)
	if err != nil {
		return err
	}
	if err := initialise(ctx, p.store, p.box, in, p.cfg.Now()); err != nil {
		return err
	}
	if in != nil {
		if err := os.Remove(p.cfg.InitFile); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("cannot remove the init file: %w", err)
		}
	}
	if err := p.addresses(ctx); err != nil {
		return err
	}
	if p.row, err = controller.Get(p.store.View()); err != nil {
		return err
	}
	p.keys, err = openKeys(p.store.View(), p.box, p.cfg.Now)
	return err
}

// addresses records what machines dial from now on.
func (p *parts) addresses(ctx context.Context) error {
	if len(p.cfg.AgentAddresses) == 0 {
		return nil
	}
	return p.store.Update(ctx, func(tx *state.Tx) error {
		row, err := controller.Get(tx)
		if err != nil || slices.Equal(row.AgentAddresses, p.cfg.AgentAddresses) {
			return err
		}
		row.AgentAddresses = p.cfg.AgentAddresses
		return controller.Table.Put(tx, state.Controller, row)
	})
}

func (p *parts) stores() error {
	var err error
	limits := p.cfg.BlobLimits
	p.blobs, err = blob.Open(blob.Config{
		MaxTotal: limits.MaxTotal, MaxModel: limits.MaxModel, MaxBlob: limits.MaxBlob, MaxAtOnce: limits.MaxAtOnce,
		Dir: filepath.Join(p.cfg.DataDir, "blobs"), Key: p.keys.blob,
		Detected: func(m string, d blob.Digest, why string) {
			p.cfg.Log.Error("blob-digest: a stored blob was changed", "model", m, "digest", string(d), "why", why)
		},
	})
	if err != nil {
		return err
	}
	p.closers = append(p.closers, p.blobs)
	p.logs, err = logstore.Open(logstore.Config{Dir: filepath.Join(p.cfg.DataDir, "logs"), Now: p.cfg.Now})
	if err != nil {
		return err
	}
	p.closers = append(p.closers, p.logs)
	p.audit, err = audit.Open(audit.Config{
		Store: p.store, Dir: filepath.Join(p.cfg.DataDir, "audit"), Key: p.keys.audit, Now: p.cfg.Now,
		Alarm: func(err error) { p.cfg.Log.Error("audit records cannot be moved", "error", err) },
	})
	if err != nil {
		return err
	}
	p.closers = append(p.closers, p.audit)
	checker, err := password.NewChecker()
	if err != nil {
		return err
	}
	p.presence = newPresence(p.cfg.Now)
	p.auth = &authenticator{store: p.store, now: p.cfg.Now, checker: checker, watchers: newWatchers(p.store)}
	return nil
}

// connected keeps presence of agents.
func (p *parts) connected(c *authz.Caller) func() {
	if c.Kind != authz.Machine && c.Kind != authz.Unit {
		return func() {}
	}
	return p.presence.Came(c.Model, c.Tag())
}

// wiped drops what a removed model has outside of the state.
func (p *parts) wiped(uuid string) error {
	if err := p.blobs.DeleteModel(context.Background(), uuid); err != nil {
		return err
	}
	return p.logs.DeleteModel(uuid)
}

// cloud opens a model's cloud.
func (p *parts) cloud(name names.Cloud) (provider.Instances, error) {
	c, ok := p.cfg.Clouds[string(name)]
	if !ok {
		return nil, fmt.Errorf("cannot open cloud %q: this controller has no provider for it", name)
	}
	return c, nil
}

func (p *parts) firewall(name names.Cloud) (provider.Firewall, bool) {
	fw, ok := p.cfg.Clouds[string(name)].(provider.Firewall)
	return fw, ok
}
