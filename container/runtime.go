package container

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/scarab-ops/scarab/container/firewall"
	"golang.org/x/sys/unix"

	"github.com/scarab-ops/scarab/container/confine"

	"github.com/scarab-ops/scarab/container/cgroup"

	"github.com/scarab-ops/scarab/container/proc"
)

// Classes of errors.
var (
	ErrNotFound = errors.New("machine not found")
	ErrBadSpec  = errors.New("specification is not valid")
	ErrFull     = errors.New("the host is full")
)

// Config of a Runtime. Names must differ between two Runtimes of one host.
type Config struct {
	Dir        string           // state and writable layers; private to root
	RunDir     string           // sockets, gone with a reboot
	Bridge     string           // "scarabbr0"
	PortPrefix string           // 3 bytes, begins the interfaces' names: "scv"
	Table      string           // name of the packet filter's tables: "scarab"
	Cgroups    string           // name of the folder in each hierarchy: "scarab"
	Subnet     netip.Prefix     // wanted; the next free one is taken
	HostTCP    []uint16         // ports of the host open to machines
	HostDNS    bool             // machines may ask a name server on the host
	HostFiles  []string         // folders of the host whose files may be shown
	IDBase     int              // first id of the machines' ranges
	Log        *slog.Logger     `json:"-"`
	Now        func() time.Time `json:"-"`
	// Isolation is the rung of the ladder to stand on; empty is container, and
	// the only one that New tries out by itself. For rootless the process must be
	// inside a Space.
	Isolation Isolation
	// IDs is how many ids each machine has: 65,536 if 0, or 1.
	IDs int
	// RestartPause is how long after its end a machine is started again the
	// first time; it doubles up to a minute.
	RestartPause time.Duration
}

// Defaults gives the names and ranges of an ordinary host. The ids lie where
// neither users nor other container managers allocate.
func Defaults() Config {
	return Config{
		Dir: "/var/lib/scarab", RunDir: "/run/scarab", Bridge: "scarabbr0", PortPrefix: "scv",
		Table: "scarab", Cgroups: "scarab", Subnet: netip.MustParsePrefix("10.66.0.0/16"),
		HostTCP: []uint16{17070}, IDBase: 0x70000000, Log: slog.Default(), Now: time.Now, RestartPause: time.Second,
	}
}

const (
	idsPerMachine = 65536
	maxMachines   = 4000
	firstAddress  = 10 // of the subnet; those before are the host's
	lockPatience  = 2 * time.Second
)

// Runtime owns the machines of one host. All methods may be called at once.
type Runtime struct {
	cfg      Config
	store    store
	groups   *cgroup.Groups
	net      *network
	wall     filter
	exits    *proc.ExitWatch
	lockFile *os.File
	ctx      context.Context //nolint:containedctx // ends with Close
	cancel   context.CancelFunc
	wg       sync.WaitGroup

	mu       sync.Mutex
	machines map[string]*Machine // replaced, never changed in place
	busy     map[string]chan struct{}
	sweeping bool // flows of the gone are about to be forgotten
	watchers map[chan struct{}]bool
	nextAddr int
}

// New takes charge of a host: running machines are adopted, stopped ones
// started again, half-made and half-removed ones removed. It fails if another
// Runtime is in charge.
func New(cfg Config) (*Runtime, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	for _, dir := range []string{cfg.Dir, filepath.Join(cfg.Dir, "machines"), cfg.RunDir} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return nil, fmt.Errorf("cannot run containers: %w", err)
		}
	}
	if err := os.Chmod(filepath.Join(cfg.Dir, "machines"), 0o700); err != nil {
		return nil, fmt.Errorf("cannot run containers: %w", err)
	}
	r := &Runtime{
		cfg: cfg, store: store{cfg.Dir}, machines: map[string]*Machine{}, busy: map[string]chan struct{}{},
		watchers: map[chan struct{}]bool{},
	}
	if err := r.lock(); err != nil {
		return nil, err
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	if err := r.takeCharge(); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// check fills in what is left out and refuses a rung that cannot be stood on.
func (c *Config) check() error {
	if c.IDs == 0 {
		c.IDs = idsPerMachine
	}
	if len(c.PortPrefix) != 3 {
		return fmt.Errorf("cannot run machines: port prefix %q has not 3 bytes", c.PortPrefix)
	}
	if strings.ContainsAny(c.Dir, `,:\`) {
		return fmt.Errorf("cannot run machines: the name of the folder %s has a comma, a colon or a backslash", c.Dir)
	}
	switch c.Isolation {
	case "":
		c.Isolation = IsolationContainer
		if kind, why := Probe(); kind != IsolationContainer {
			return fmt.Errorf("cannot run containers (%s): run as root on a host that allows namespaces and mounts", strings.Join(why, "; "))
		}
	case IsolationProcess:
		return confine.CheckLandlock()
	case IsolationRootless:
		if os.Geteuid() != 0 {
			return errors.New("cannot run rootless machines: not inside a user namespace of our own")
		}
	}
	return nil
}

// lock makes sure that one Runtime is in charge. The lock ends with the process.
func (r *Runtime) lock() error {
	f, err := os.OpenFile(filepath.Join(r.cfg.Dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("cannot lock the machines: %w", err)
	}
	// A child that a killed supervisor was just making holds the lock for the
	// moment until it sees that it is alone.
	for deadline := time.Now().Add(lockPatience); ; time.Sleep(5 * time.Millisecond) { //nolint:forbidigo // a lock that is awaited cannot be given up
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
			r.lockFile = f
			return nil
		}
		if time.Now().After(deadline) {
			_ = f.Close()
			return fmt.Errorf("cannot take charge of %s: another supervisor is running", r.cfg.Dir)
		}
	}
}

func (r *Runtime) takeCharge() error {
	var err error
	if r.exits, err = proc.NewExitWatch(r.onExit); err != nil {
		return err
	}
	r.net = &network{
		file: filepath.Join(r.cfg.Dir, "network.json"),
		cfg:  networkConfig{r.cfg.Bridge, r.cfg.PortPrefix, r.cfg.Subnet},
	}
	if r.cfg.Isolation != IsolationContainer {
		r.groups = &cgroup.Groups{} // they belong to somebody else
	} else if err = r.takeGroups(); err != nil {
		return err
	}
	if r.cfg.Isolation == IsolationProcess {
		r.net.rec.Subnet, r.wall = r.cfg.Subnet.Masked(), noFilter{}
		return r.adopt()
	}
	if err := r.net.ensure(); err != nil {
		return err
	}
	r.wall = firewall.New(firewall.Config{
		Table: r.cfg.Table, Bridge: r.cfg.Bridge, PortPrefix: r.cfg.PortPrefix,
		Subnet: r.net.rec.Subnet, HostTCP: r.cfg.HostTCP, HostDNS: r.cfg.HostDNS, RouteOthers: r.net.routedOthers(),
	})
	return r.adopt()
}

// filter is what a Runtime needs of a packet filter.
type filter interface {
	Rebuild(machines []firewall.Machine) error
	Add(m firewall.Machine) error
	SetRules(id string, rules []firewall.Rule) error
	Remove(id string) error
	Sweep() error
	Delete() error
	Close()
}

// noFilter stands where the network is the host's own.
type noFilter struct{}

func (noFilter) Rebuild([]firewall.Machine) error       { return nil }
func (noFilter) Add(firewall.Machine) error             { return nil }
func (noFilter) SetRules(string, []firewall.Rule) error { return nil }
func (noFilter) Remove(string) error                    { return nil }
func (noFilter) Sweep() error                           { return nil }
func (noFilter) Delete() error                          { return nil }
func (noFilter) Close()                                 {}

func (r *Runtime) takeGroups() error {
	var err error
	if r.groups, err = cgroup.Detect(r.cfg.Cgroups, filepath.Join(r.cfg.RunDir, "cgroup2")); err != nil {
		return err
	}
	return r.groups.Prepare()
}

// Close lets go of the machines, which run on.
func (r *Runtime) Close() {
	r.mu.Lock()
	r.cancel() // from here on nothing new begins in the background
	r.mu.Unlock()
	r.wg.Wait()
	if r.exits != nil {
		r.exits.Close()
	}
	if r.wall != nil {
		r.wall.Close()
	}
	_ = r.lockFile.Close()
}

// Teardown removes what New made on the host. There must be no machine left.
func (r *Runtime) Teardown() error {
	if left := r.List(); len(left) > 0 {
		return fmt.Errorf("cannot remove the local cloud: %d machines are left", len(left))
	}
	if r.cfg.Isolation == IsolationProcess {
		return nil
	}
	return errors.Join(r.wall.Sweep(), r.wall.Delete(), r.net.remove(), r.groups.RemoveAll(), r.unmountPrivate())
}

func (r *Runtime) unmountPrivate() error {
	private := filepath.Join(r.cfg.RunDir, "cgroup2")
	if r.groups.V2 != private || r.groups.None() {
		return nil
	}
	return errors.Join(unix.Unmount(private, unix.MNT_DETACH), os.Remove(private))
}

// Gateway is the host's address on the machines' network.
func (r *Runtime) Gateway() netip.Addr {
	if r.cfg.Isolation == IsolationProcess {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return r.net.gateway()
}

// Isolation is the rung that machines are on.
func (r *Runtime) Isolation() Isolation { return r.cfg.Isolation }

// Subnet is the network of the machines.
func (r *Runtime) Subnet() netip.Prefix { return r.net.rec.Subnet }

// List gives all machines in the order of their making.
func (r *Runtime) List() []Machine {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]Machine, 0, len(r.machines))
	for _, m := range r.machines {
		out = append(out, *m)
	}
	slices.SortFunc(out, func(a, b Machine) int {
		if c := a.Created.Compare(b.Created); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return out
}

// Get gives one machine.
func (r *Runtime) Get(id string) (Machine, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m, ok := r.machines[id]
	if !ok {
		return Machine{}, fmt.Errorf("cannot find machine %q: %w", id, ErrNotFound)
	}
	return *m, nil
}

// Watch gives a channel that gets a value after changes, and its end. Changes
// that come close together may be told once.
func (r *Runtime) Watch() (<-chan struct{}, func()) {
	ch := make(chan struct{}, 1)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watchers[ch] = true
	return ch, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.watchers, ch)
	}
}

// put replaces what is known of a machine and tells the watchers.
func (r *Runtime) put(m *Machine) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.machines[m.ID] = m
	r.tell()
}

func (r *Runtime) tell() {
	for ch := range r.watchers {
		select {
		case ch <- struct{}{}:
		default: // it has a value to read already
		}
	}
}

// change stores a changed copy of a machine.
func (r *Runtime) change(id string, f func(*Machine)) (*Machine, error) {
	r.mu.Lock()
	m, ok := r.machines[id]
	if !ok {
		r.mu.Unlock()
		return nil, fmt.Errorf("cannot change machine %q: %w", id, ErrNotFound)
	}
	now := *m
	f(&now)
	r.machines[id] = &now
	r.tell()
	r.mu.Unlock()
	return &now, r.store.save(&now)
}

// hold waits until nobody else works on a machine and gives the release.
func (r *Runtime) hold(ctx context.Context, id string) (func(), error) {
	for {
		r.mu.Lock()
		other, taken := r.busy[id]
		if !taken {
			mine := make(chan struct{})
			r.busy[id] = mine
			r.mu.Unlock()
			return func() {
				r.mu.Lock()
				delete(r.busy, id)
				r.mu.Unlock()
				close(mine)
			}, nil
		}
		r.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, fmt.Errorf("cannot wait for machine %s: %w", id, ctx.Err())
		}
	}
}

// SetRules replaces what may reach a machine.
func (r *Runtime) SetRules(ctx context.Context, id string, rules []firewall.Rule) error {
	if err := firewall.Check(rules); err != nil {
		return err
	}
	release, err := r.hold(ctx, id)
	if err != nil {
		return err
	}
	defer release()
	m, err := r.change(id, func(m *Machine) { m.Rules = rules })
	if err != nil || m.State != StateRunning {
		return err // a stopped machine gets its rules when it starts
	}
	return r.wall.SetRules(id, rules)
}

// allocate finds a free range of ids and a free address. Addresses are used
// in turn, so that one is not reused while others still remember it.
func (r *Runtime) allocate(m *Machine) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.machines) >= maxMachines {
		return fmt.Errorf("cannot make a machine: the host has %d: %w", maxMachines, ErrFull)
	}
	bases, addrs := map[int]bool{}, map[netip.Addr]bool{}
	for o := range maps.Values(r.machines) {
		bases[o.IDBase], addrs[o.Address] = true, true
	}
	// In a user's own namespace all machines share the one range there is:
	// what keeps them apart is that none sees anything of another.
	for m.IDBase = r.cfg.IDBase; bases[m.IDBase] && r.cfg.Isolation != IsolationRootless; m.IDBase += idsPerMachine {
	}
	size := 1 << (32 - r.net.rec.Subnet.Bits())
	for range size {
		if r.nextAddr < firstAddress || r.nextAddr >= size-1 {
			r.nextAddr = firstAddress
		}
		m.Address = nth(r.net.rec.Subnet, r.nextAddr)
		r.nextAddr++
		if !addrs[m.Address] {
			r.machines[m.ID] = m
			return nil
		}
	}
	return fmt.Errorf("cannot make a machine: no address is free: %w", ErrFull)
}

func nth(p netip.Prefix, n int) netip.Addr {
	b := p.Masked().Addr().As4()
	b[3] += byte(n)
	b[2] += byte(n >> 8)
	b[1] += byte(n >> 16)
	return netip.AddrFrom4(b)
}
