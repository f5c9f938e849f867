// Package machine is the agent of one machine: it enrols with a one-time
// token, keeps a certificate and a password of its own, says what it sees of
// the machine, keeps the login user's keys as they should be, runs an agent
// for every unit that is assigned here (as goroutines: a machine has one agent
// process), and runs an operator's commands.
//
// It never harms itself on doubt. Nothing that the controller answers, and no
// silence of it, stops or removes anything here, but for one thing: an order
// that the pinned authority has signed for this machine, this model and this
// very instance. It never learns an authority over the network.
package machine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/scarab-ops/scarab/agent/sandbox"
	"github.com/scarab-ops/scarab/agent/unit"
	"github.com/scarab-ops/scarab/client"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/pki"
	"github.com/scarab-ops/scarab/wire/agentapi"
)

// ErrRemoved ends an agent that was ordered to take the machine down.
var ErrRemoved = errors.New("machine is removed by order")

// Intervals of looking at the machine.
const (
	bootLook    = 2 * time.Second
	steadyLook  = 30 * time.Second
	troubleLook = 5 * time.Second
)

// Config is what an agent needs of its machine.
type Config struct {
	Machine       names.Machine
	DataDir       string // /var/lib/scarab
	RunDir        string // of tool sockets: short, outside of DataDir
	LogDir        string
	HookTool      string // the hook tools' binary
	ToolNames     []string
	Path          string // PATH of hooks
	ServerVersion string // told to the controller and to charms
	Isolation     string // container, rootless, process
	LoginHome     string // home of the login user
	Helper        []string
	Cgroup        string // for hooks, below the agent's own; empty without
	Unpack        func(archive, dir, stateDir string) error
	CheckAction   func(charmDir, name string, params map[string]any) (map[string]any, error)
	// BootMark is a file that appears once the machine's services can be relied
	// on; empty where that is so from the start.
	BootMark string
	// Reboot reboots the machine; nil where that cannot be.
	Reboot func() error
	// Fault, RetryMin, RetryMax and Lead are for tests of the unit agents, as in
	// unit.Config; zero is what real agents have.
	Fault                    func(u names.Unit, point string)
	RetryMin, RetryMax, Lead time.Duration
}

// fault is a unit's hook for faults, nil where there is none.
func (c *Config) fault(u names.Unit) func(string) {
	if c.Fault == nil {
		return nil
	}
	return func(point string) { c.Fault(u, point) }
}

// Machine is a machine's agent.
type Machine struct {
	cfg    Config
	link   *link
	logs   *logs
	box    *sandbox.Box
	locks  locks
	bootID string

	wg      sync.WaitGroup
	running map[string]bool // units, and those that were; the loop's alone
	begun   map[string]bool // tasks; the loop's alone
	changed chan struct{}
	up      chan struct{}            // closed once hooks may run
	keys    atomic.Pointer[[]string] // of the login user, as wanted last
	keysMu  sync.Mutex               // held while they are restored
}

// passage makes a folder that workloads go through to what they may read,
// their charm's code, without seeing what else is there. A folder that was
// there already, of an earlier version or made with the machine, is shut too.
func passage(dir string) error {
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return err
	}
	return os.Chmod(dir, 0o711)
}

// New reads the agent's file and prepares the machine for hooks.
func New(cfg Config) (*Machine, error) {
	m := &Machine{
		cfg: cfg, running: map[string]bool{}, begun: map[string]bool{}, bootID: bootID(),
		changed: make(chan struct{}, 1), up: make(chan struct{}),
	}
	tag := cfg.Machine.Tag().String()
	for dir, mode := range map[string]os.FileMode{cfg.LogDir: 0o750, cfg.RunDir: 0o711} {
		if err := os.MkdirAll(dir, mode); err != nil {
			return nil, fmt.Errorf("cannot start machine agent: %w", err)
		}
	}
	err := errors.Join(passage(m.agentsDir()), passage(filepath.Join(m.agentsDir(), tag)))
	if err != nil {
		return nil, fmt.Errorf("cannot start machine agent: %w", err)
	}
	if m.logs, err = newLogs(filepath.Join(cfg.LogDir, tag+".log"), tag); err != nil {
		return nil, err
	}
	m.link, err = newLink(filepath.Join(m.agentsDir(), tag, confName), cfg.ServerVersion, m.logf)
	if err != nil {
		return nil, err
	}
	if m.link.conf.Tag != tag {
		return nil, fmt.Errorf("cannot start machine agent: its file is of %s, not %s", m.link.conf.Tag, tag)
	}
	if err := sandbox.PrepareHide(m.agentsDir()); err != nil {
		m.logf("WARNING", "hooks of root charms can see the agents' files: %v", err)
	}
	if m.box, err = sandbox.New(sandbox.Config{Helper: cfg.Helper, Cgroup: cfg.Cgroup}); err != nil {
		m.logf("WARNING", "hooks run without cgroups: %v", err)
		m.box, err = sandbox.New(sandbox.Config{Helper: cfg.Helper})
	}
	return m, err
}

func (m *Machine) agentsDir() string { return filepath.Join(m.cfg.DataDir, "agents") }

func (m *Machine) logf(level, format string, v ...any) {
	m.logs.add(m.cfg.Machine.Tag().String(), level, "agent.machine", fmt.Sprintf(format, v...))
}

// Run works until ctx ends, or returns ErrRemoved.
func (m *Machine) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer m.logs.close()
	defer m.box.Close()
	defer m.link.close()
	defer m.wg.Wait()
	defer cancel()
	m.logf("INFO", "machine agent started")
	m.wg.Go(func() { m.logs.stream(ctx, m.link.get) })
	m.wg.Go(func() { m.follow(ctx) })
	m.wg.Go(func() { m.look(ctx) })
	m.wg.Go(func() { m.awaitMark(ctx) })
	for ctx.Err() == nil {
		w, err := m.want(ctx)
		if err == nil {
			err = m.apply(ctx, w)
		}
		if errors.Is(err, ErrRemoved) {
			cancel()
			m.wg.Wait()
			return m.remove()
		}
		if err != nil {
			if ctx.Err() == nil {
				m.logf("WARNING", "cannot follow the controller: %v", err)
			}
			_ = pause(ctx, spread(minRedial))
		}
		m.sleep(ctx, err != nil)
	}
	return ctx.Err()
}

// sleep waits for a change; after trouble not for ever.
func (m *Machine) sleep(ctx context.Context, trouble bool) {
	var again <-chan time.Time
	if trouble {
		t := time.NewTimer(spread(troubleLook))
		defer t.Stop()
		again = t.C
	}
	select {
	case <-ctx.Done():
	case <-m.changed:
	case <-again:
	}
}

func (m *Machine) want(ctx context.Context) (w agentapi.MachineWant, err error) {
	err = m.link.call(ctx, func(ctx context.Context, c *client.Conn) (err error) {
		w, err = c.Machine().Want(ctx)
		return err
	})
	return w, err
}

// apply does what the controller wants.
func (m *Machine) apply(ctx context.Context, w agentapi.MachineWant) error {
	if w.RemovalOrder != "" {
		c := m.link.snapshot()
		err := pki.VerifyRemovalOrder([]byte(c.CACert), w.RemovalOrder, pki.RemovalOrder{
			Controller: names.ControllerID(c.Controller), Model: names.Model(c.Model), Machine: m.cfg.Machine, Nonce: c.Nonce,
		})
		if err == nil {
			return ErrRemoved
		}
		m.logf("ERROR", "a removal order was not followed: %v", err)
	}
	if w.Life == "" {
		return errors.New("the controller's answer is empty")
	}
	m.link.remember(w.APIAddresses)
	if w.LoggingConfig != "" {
		m.logs.configure(w.LoggingConfig)
	}
	if len(w.AuthorizedKeys) > 0 {
		m.keys.Store(&w.AuthorizedKeys)
		m.restoreKeys()
	}
	m.reconcile(ctx, w)
	m.tasks(ctx, w)
	return nil
}

func (m *Machine) restoreKeys() {
	list := m.keys.Load()
	if list == nil {
		return
	}
	m.keysMu.Lock()
	defer m.keysMu.Unlock()
	if err := keys(m.cfg.LoginHome, *list); err != nil {
		m.logf("WARNING", "cannot restore the authorised keys: %v", err)
	}
}

// follow turns the controller's watcher into wake-ups.
func (m *Machine) follow(ctx context.Context) {
	var w *client.NotifyWatcher
	var of *client.Conn
	for ctx.Err() == nil {
		conn, err := m.link.get(ctx)
		switch {
		case err != nil:
		case w == nil || of != conn:
			of = conn
			w, err = conn.Machine().WatchWant(ctx)
		default:
			err = w.Next(ctx)
		}
		if err != nil {
			w = nil
			_ = pause(ctx, spread(minRedial))
		}
		m.wake()
	}
}

func (m *Machine) wake() {
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// look tells the controller what the machine looks like whenever that changed,
// and has the keys checked.
func (m *Machine) look(ctx context.Context) {
	var sent agentapi.MachineObserved
	known := false
	for ctx.Err() == nil {
		o := observe(ctx, m.cfg.Isolation, m.marked())
		if !known || !reflect.DeepEqual(o, sent) {
			err := m.link.call(ctx, func(ctx context.Context, c *client.Conn) error {
				if err := c.Machine().SetObserved(ctx, o); err != nil {
					return err
				}
				return c.Machine().SetStatus(ctx, agentapi.SetStatusArgs{Kind: "agent", Status: "started"})
			})
			if err == nil {
				known, sent = true, o
			} else if ctx.Err() == nil {
				m.logf("WARNING", "cannot report the machine: %v", err)
			}
		}
		m.restoreKeys()
		wait := steadyLook
		if o.State != "booted" {
			wait = bootLook
		}
		_ = pause(ctx, wait)
	}
}

// remove clears away what the agent has here. It follows a verified order
// only.
func (m *Machine) remove() error {
	m.logf("WARNING", "removing the agent and its units, as the controller's authority ordered")
	entries, err := os.ReadDir(m.agentsDir())
	if err != nil {
		return fmt.Errorf("cannot remove agents: %w", err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(m.agentsDir(), e.Name())); err != nil {
			return fmt.Errorf("cannot remove agents: %w", err)
		}
	}
	return ErrRemoved
}

func isRefused(err error) bool {
	var r *unit.RefusedError
	return errors.As(err, &r)
}
