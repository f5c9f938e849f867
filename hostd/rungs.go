package hostd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scarab-ops/scarab/container"
	"github.com/scarab-ops/scarab/container/space"
)

// A host without the rights that machines need is used one rung lower. For
// rootless machines the supervisor has two halves: one stays with the user and
// runs the controller, on the host's network; the other is root in a user
// namespace with a network of its own, and has the machines, the socket and
// all that a privileged supervisor does. Each ends when the other does.

// rung is where a supervisor stands, and why not higher.
type rung struct {
	kind container.Isolation
	why  []string
	// relayed tells that the controller need not listen on the machines'
	// network: what they send there is handed on to the host's loopback.
	relayed bool
}

// controllerProcess is the running controller as the socket's server sees it.
type controllerProcess interface {
	state() (pid, restarts int)
	stop(ctx context.Context) error
}

func probe(cfg *Config) rung {
	kind, why := container.Probe()
	if k := cfg.Machines.Isolation; k != "" {
		kind, why = k, append(why, "this supervisor was told to")
	}
	switch kind {
	case container.IsolationRootless:
		return rung{kind, append(why, container.Lacks(kind)...), true}
	case container.IsolationProcess:
		return rung{kind, append(why, container.Lacks(kind)...), true}
	}
	return rung{kind, nil, false}
}

// NextRung tells what machines there would be here, and why no better ones.
func NextRung() (kind string, why []string) {
	r := probe(&Config{Machines: &container.Config{}})
	return string(r.kind), r.why
}

// processes are machines of the lowest rung.
func runProcesses(ctx context.Context, cfg Config, r rung) error {
	m := *cfg.Machines
	m.Isolation = container.IsolationProcess
	m.Subnet = netip.MustParsePrefix("127.66.0.0/16")
	cfg.Machines = &m
	return runHere(ctx, cfg, r, nil)
}

// InsideArg is the last argument of the half that runs in the namespace; it
// has the other half on descriptor 3.
const InsideArg = "--inside"

// guest is the controller's user, if it has one of its own.
func (c *Config) guest() int {
	if c.Controller == nil || c.Controller.UID == 0 {
		return DefaultUID
	}
	return c.Controller.UID
}

func spaceFile(cfg *Config) string { return filepath.Join(cfg.Machines.Dir, "space.json") }

// runRootless is the outer half.
func runRootless(ctx context.Context, cfg Config, r rung) error {
	for _, dir := range []string{cfg.Machines.Dir, cfg.Machines.RunDir} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("cannot run rootless machines: %w", err)
		}
	}
	if len(cfg.Program) == 0 {
		return errors.New("cannot run rootless machines: the configuration does not say how the supervisor is started")
	}
	sp, err := space.Open(ctx, space.Config{Record: spaceFile(&cfg), First: cfg.Machines.IDBase, Guest: cfg.guest()})
	if err != nil {
		return err
	}
	r.why = append(r.why, sp.Why...)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	o := &outer{cfg: cfg, space: sp, rung: r, ready: make(chan struct{})}
	o.child = newChild(cfg.Controller, filepath.Join(cfg.Machines.RunDir, "controller.json"), cfg.Log)
	errs := make(chan error, 2)
	go func() {
		select {
		case <-o.ready:
		case <-ctx.Done():
		}
		errs <- o.child.run(ctx)
	}()
	go func() { errs <- o.run(ctx) }()
	err = <-errs
	cancel()
	if err = errors.Join(err, <-errs); errors.Is(err, context.Canceled) {
		err = nil
	}
	if o.over {
		return errors.Join(err, sp.End())
	}
	return err
}

type outer struct {
	cfg   Config
	space *space.Space
	rung  rung
	child *child
	over  bool // everything was removed by order
	ready chan struct{}
	told  sync.Once
}

// run keeps the inner half running.
func (o *outer) run(ctx context.Context) error {
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		began := time.Now()
		err := o.once(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil {
			o.over = true
			return nil
		}
		o.cfg.Log.Error("the machines' supervisor ended, starting it again", "error", err)
		if time.Since(began) > healthyAfter {
			pause = firstPause
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// inside is what the inner half is told, and what it is kept informed of.
type inside struct {
	Kind     container.Isolation `json:"kind,omitempty"`
	Why      []string            `json:"why,omitempty"`
	IDs      int                 `json:"ids,omitempty"`
	Guest    bool                `json:"guest,omitempty"` // the controller has a user of its own
	Pid      int                 `json:"pid"`
	Restarts int                 `json:"restarts"`
	Stopped  bool                `json:"stopped,omitempty"`
}

// asked is what it says: serve a network connection, or stop the controller.
type asked struct {
	Stop  bool   `json:"stop,omitempty"`
	Ready bool   `json:"ready,omitempty"` // the socket answers
	Port  uint16 `json:"port,omitempty"`  // a listener comes with this
}

// once runs the inner half until it ends; nil means that it ended by order.
func (o *outer) once(ctx context.Context) error {
	ours, theirs, err := packetPair()
	if err != nil {
		return err
	}
	defer ours.Close()
	cmd, err := o.space.Command(append(append([]string{}, o.cfg.Program...), InsideArg)...)
	if err != nil {
		_ = theirs.Close()
		return err
	}
	cmd.Env = []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=" + os.Getenv("HOME"),
		"USER=" + os.Getenv("USER"),
	}
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = "/", os.Stdout, os.Stderr, []*os.File{theirs}
	err = cmd.Start()
	_ = theirs.Close()
	if err != nil {
		return fmt.Errorf("cannot start the machines' supervisor: %w", err)
	}
	work, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { o.inform(work, ours) })
	wg.Go(func() { o.obey(work, &wg, ours) })
	// The end of the connection is the order to end.
	stop := context.AfterFunc(ctx, func() { _ = ours.Close() })
	defer stop()
	return endOf(cmd)
}

func endOf(cmd *exec.Cmd) error {
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("cannot go on: %w", err)
	}
	return nil
}

// inform tells the inner half how the controller is.
func (o *outer) inform(ctx context.Context, conn *net.UnixConn) {
	last := inside{Kind: o.rung.kind, Why: o.rung.why, IDs: o.space.IDs, Guest: os.Geteuid() == 0}
	_ = say(conn, last)
	last = inside{}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		now := inside{}
		now.Pid, now.Restarts = o.child.state()
		if now.Pid != last.Pid || now.Restarts != last.Restarts {
			if say(conn, now) != nil {
				return
			}
			last = now
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// obey does what the inner half asks.
func (o *outer) obey(ctx context.Context, wg *sync.WaitGroup, conn *net.UnixConn) {
	for {
		var a asked
		fd, err := hear(conn, &a)
		if err != nil {
			return
		}
		switch {
		case a.Ready:
			o.told.Do(func() { close(o.ready) })
		case a.Stop:
			wg.Go(func() {
				if err := o.child.stop(ctx); err == nil {
					_ = say(conn, inside{Stopped: true})
				}
			})
		case fd >= 0:
			if l, err := listenerOf(fd); err == nil {
				wg.Go(func() { relay(ctx, wg, l, net.JoinHostPort("127.0.0.1", strconv.Itoa(int(a.Port)))) })
			}
		}
	}
}

// RunInside is the inner half. It runs in the namespace, as its root.
func RunInside(ctx context.Context, cfg Config) error {
	file := os.NewFile(3, "outside")
	unix.CloseOnExec(3)
	plain, err := net.FileConn(file)
	_ = file.Close()
	conn, ok := plain.(*net.UnixConn)
	if err != nil || !ok {
		return errors.New("cannot run inside a user namespace: the supervisor's other half is missing")
	}
	defer conn.Close()
	var first inside
	if _, err := hear(conn, &first); err != nil || first.Kind != container.IsolationRootless {
		return errors.New("cannot run inside a user namespace: the supervisor's other half said nothing")
	}
	cfg.inner, cfg.hasGuest = true, first.Guest
	cfg.fill()
	m := *cfg.Machines
	m.Isolation, m.IDs, m.IDBase = container.IsolationRootless, first.IDs, 1
	if first.IDs == 1 {
		m.IDBase = 0
	}
	cfg.Machines = &m
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	o := &outside{conn: conn, stopped: make(chan struct{})}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { defer cancel(); o.listen() })
	defer conn.Close()
	return runHere(ctx, cfg, rung{first.Kind, first.Why, true}, o)
}

// outside is the other half as the inner one sees it.
type outside struct {
	conn    *net.UnixConn
	stopped chan struct{}
	once    sync.Once

	mu   sync.Mutex
	last inside
}

func (o *outside) listen() {
	for {
		var i inside
		if _, err := hear(o.conn, &i); err != nil {
			return
		}
		if i.Stopped {
			o.once.Do(func() { close(o.stopped) })
			continue
		}
		o.mu.Lock()
		o.last = i
		o.mu.Unlock()
	}
}

func (o *outside) state() (pid, restarts int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.last.Pid, o.last.Restarts
}

func (o *outside) stop(ctx context.Context) error {
	if err := say(o.conn, asked{Stop: true}); err != nil {
		return err
	}
	select {
	case <-o.stopped:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("cannot stop the controller: %w", ctx.Err())
	}
}

// handOver opens a port on the machines' network and gives it to the other
// half, which hands its connections on to the controller.
func (o *outside) handOver(ctx context.Context, host string, port uint16) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(int(port))))
	if err != nil {
		return fmt.Errorf("cannot listen for machines: %w", err)
	}
	defer l.Close()
	file, err := l.(*net.TCPListener).File()
	if err != nil {
		return fmt.Errorf("cannot listen for machines: %w", err)
	}
	defer file.Close()
	data, err := json.Marshal(asked{Port: port})
	if err == nil {
		_, _, err = o.conn.WriteMsgUnix(data, unix.UnixRights(int(file.Fd())), nil)
	}
	if err != nil {
		return fmt.Errorf("cannot listen for machines: %w", err)
	}
	return nil
}
