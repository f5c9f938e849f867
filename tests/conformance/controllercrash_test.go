package conformance

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/app/controller"
	"github.com/scarab-ops/scarab/client"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/password"
	"github.com/scarab-ops/scarab/tests/cluster"
	"github.com/scarab-ops/scarab/wire/application"
)

// child is a controller in a process of its own.
type child struct {
	w      *world
	config string
	proc   *exec.Cmd
	exited chan struct{}
}

// newChild starts one in an empty world.
func newChild(t *testing.T) *child {
	t.Helper()
	w := emptyWorld(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	addr := l.Addr().String()
	must(t, l.Close())
	h, err := password.Of(password.NewSecret(cluster.AdminPassword.Reveal()))
	must(t, err)
	keys := t.TempDir()
	must(t, initFile(keys, controller.Init{
		Name: "test", UUID: cluster.Controller, ModelUUID: cluster.AdminModel, Admin: cluster.Admin, Verifier: string(h),
		APIAddresses: []string{addr}, AgentAddresses: []string{addr}, ModelConfig: map[string]string{"resolvers": "192.0.2.53"},
	}))
	config, err := json.Marshal(map[string]string{
		"Addr": addr, "DataDir": filepath.Join(w.base, "data"), "KeyDir": keys, "CloudDir": w.cloud.Dir,
	})
	must(t, err)
	c := &child{w: w, config: string(config)}
	w.Cluster = &cluster.Cluster{Addr: addr}
	t.Cleanup(func() {
		if c.proc != nil {
			c.kill()
		}
	})
	must(t, c.start())
	w.keep(t)
	return c
}

// start returns once the controller serves.
func (c *child) start() error {
	c.proc = exec.Command(bins.testcontroller, c.config)
	c.proc.Stderr = c.w.log
	c.proc.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	out, err := c.proc.StdoutPipe()
	if err != nil {
		return err
	}
	if err := c.proc.Start(); err != nil {
		return err
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	proc, exited := c.proc, make(chan struct{})
	c.exited = exited
	go func() { _ = proc.Wait(); close(exited) }()
	if err != nil {
		return fmt.Errorf("the controller did not start: %w", err)
	}
	var ca string
	if err := json.Unmarshal(line, &ca); err != nil {
		return err
	}
	if c.w.CACert == "" {
		c.w.CACert = ca
	}
	if ca != c.w.CACert {
		return errors.New("the controller came back with another authority")
	}
	return nil
}

func (c *child) kill() {
	_ = c.proc.Process.Kill()
	<-c.exited
}

// killed kills and restarts the controller n times, each time after a random
// moment; every other time not before it has answered a few calls more.
func (c *child) killed(ctx context.Context, n int, answered func() int64) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for i := range n {
		for enough := answered() + 4; i%2 == 1 && answered() < enough; {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-tick.C:
			}
		}
		d, err := rand.Int(rand.Reader, big.NewInt(int64(time.Second)))
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Duration(d.Int64())):
		}
		c.kill()
		if err := c.start(); err != nil {
			return err
		}
	}
	return nil
}

// promises is what the controller has acknowledged.
type promises struct {
	apps      map[string]string // to the count that they were last told
	relations []string
	units     int // of the hub
	maybe     int // more that were asked for, without an answer
	calls     atomic.Int64
	repeats   int
}

// operator changes the model while its controller dies and comes back.
type operator struct {
	m    *modelT
	conn *client.Conn
	p    *promises
}

// call makes a call until the controller answers. It tells whether
// an earlier try of the same call may have taken effect.
func (o *operator) call(ctx context.Context, f func(context.Context, *client.Conn) error) (repeated bool, err error) {
	for ; ctx.Err() == nil; repeated = true {
		err := o.try(ctx, f)
		var lost *lostError
		if !errors.As(err, &lost) {
			o.p.calls.Add(1)
			return repeated, err
		}
		o.p.repeats++
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
	return repeated, ctx.Err()
}

// lostError is a call without an answer.
type lostError struct{ error }

func (o *operator) try(ctx context.Context, f func(context.Context, *client.Conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if o.conn == nil {
		conn, err := client.Dial(ctx, client.Config{
			Addresses: []string{o.m.w.Addr}, CACert: o.m.w.CACert, Model: o.m.uuid, Version: controller.ServerVersion,
		})
		if err != nil {
			return &lostError{err}
		}
		if _, err := conn.Login(ctx, client.Credentials{Tag: cluster.Admin.Tag(), Password: cluster.AdminPassword}); err != nil {
			_ = conn.Close()
			return &lostError{err}
		}
		o.conn = conn
	}
	err := f(ctx, o.conn)
	if err == nil || client.Code(err) != "" && client.Code(err) != client.CodeStopped && client.Code(err) != client.CodeTryAgain {
		return err
	}
	_ = o.conn.Close()
	o.conn = nil
	return &lostError{err}
}

// deploy deploys one more application of a charm of its own, and relates it to
// the hub.
func (o *operator) deploy(ctx context.Context, t *testing.T, app string) error {
	var url string
	if _, err := o.call(ctx, func(ctx context.Context, c *client.Conn) (err error) {
		url, err = c.UploadCharm(ctx, "probe", 0, archive(t, "probe", map[string]string{"for": app}))
		return err
	}); err != nil {
		return err
	}
	again, err := o.call(ctx, func(ctx context.Context, c *client.Conn) error {
		return c.Deploy(ctx, deployArgs(app, url, 1, nil))
	})
	if err != nil && !(again && strings.Contains(err.Error(), "already exists")) {
		return err
	}
	o.p.apps[app] = "0"
	again, err = o.call(ctx, func(ctx context.Context, c *client.Conn) error {
		_, err := c.AddRelation(ctx, []string{app + ":client", "hub:server"})
		return err
	})
	if err != nil && !(again && strings.Contains(err.Error(), "already exists")) {
		return err
	}
	o.p.relations = append(o.p.relations, app)
	return nil
}

// work goes on until stop is closed; what it has begun it finishes.
func (o *operator) work(ctx context.Context, t *testing.T, stop <-chan struct{}, apps, units int) error {
	for i := 1; ; i++ {
		var err error
		select {
		case <-stop:
			return nil
		default:
		}
		switch {
		case i%5 == 1 && len(o.p.apps) <= apps:
			err = o.deploy(ctx, t, fmt.Sprintf("a%d", len(o.p.apps)))
		case i%5 == 3 && o.p.units+o.p.maybe < units:
			var again bool
			again, err = o.call(ctx, func(ctx context.Context, c *client.Conn) error {
				_, err := c.AddUnits(ctx, application.AddApplicationUnits{Application: "hub", NumUnits: 1})
				return err
			})
			if err == nil {
				o.p.units++
			}
			if again {
				o.p.maybe++
			}
		default:
			for app := range o.p.apps {
				value := fmt.Sprint(i)
				if _, err = o.call(ctx, func(ctx context.Context, c *client.Conn) error {
					return c.SetConfig(ctx, names.Application(app), map[string]string{"count": value}, "")
				}); err == nil {
					o.p.apps[app] = value
				}
				break // one of them, whichever
			}
		}
		if err != nil {
			return err
		}
	}
}

// TestControllerCrash kills the controller at random moments while a model is
// built. What it acknowledged is there; what it had begun is finished; agents
// come back by themselves.
func TestControllerCrash(t *testing.T) {
	t.Parallel()
	kills, apps, units := 8, 2, 2
	if long() {
		kills, apps, units = 100, 8, 4
	}
	c := newChild(t)
	m := c.w.model(t, "controller-crash")
	m.behave(t, "all", `
case $hook in
start) status-set active "";;
config-changed) note "count=$(config-get count)";;
esac`)
	m.deploy(t, "peer", "hub", 1)
	o := &operator{m: m, p: &promises{apps: map[string]string{"hub": "0"}, units: 1}}
	work, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	worked, stop := make(chan error, 1), make(chan struct{})
	go func() { worked <- o.work(work, t, stop, apps, units) }()
	must(t, c.killed(work, kills, o.p.calls.Load))
	// One quiet round, so that all that was meant to be built is asked for.
	eventually(t, "calls after the last kill", func() bool {
		select {
		case err := <-worked:
			t.Fatalf("the operator stopped: %v", err)
		default:
		}
		return len(c.w.machines(t)) >= 1+apps
	})
	close(stop)
	must(t, <-worked)
	if o.conn != nil {
		must(t, o.conn.Close())
	}
	m.conn = c.w.Login(t, cluster.Admin, cluster.AdminPassword, m.uuid)
	m.kept(t, o.p)
	t.Logf("%d kills, %d calls answered, %d not and repeated", kills, o.p.calls.Load(), o.p.repeats)
}

func (w *world) machines(t *testing.T) []string {
	all, err := w.cloud.Machines()
	must(t, err)
	var out []string
	for key := range all {
		out = append(out, key)
	}
	return out
}

// kept compares what was promised with what is there, and waits until all of
// it runs.
func (m *modelT) kept(t *testing.T, p *promises) {
	t.Helper()
	s := m.status(t)
	if n := len(s.Applications["hub"].Units); n < p.units || n > p.units+p.maybe {
		t.Errorf("the hub has %d units, promised %d and maybe %d", n, p.units, p.maybe)
	}
	var all []string
	for app, count := range p.apps {
		a, ok := s.Applications[app]
		if !ok {
			t.Fatalf("application %s is lost", app)
		}
		got, err := m.conn.Application(ctx(t), names.Application(app))
		must(t, err)
		option, _ := got.Config["count"].(map[string]any)
		if v := fmt.Sprint(option["value"]); v != count {
			t.Errorf("%s has count %s, promised %s", app, v, count)
		}
		for u := range a.Units {
			all = append(all, u)
			m.noted(t, u, "^count="+count+"$")
		}
	}
	for _, app := range p.relations {
		key := app + ":client hub:server"
		if !slices.ContainsFunc(s.Relations, func(r relationStatus) bool { return r.Key == key }) {
			t.Errorf("relation %s is lost", key)
		}
		for u := range s.Applications["hub"].Units {
			m.until(t, app+"/0", "client-relation-changed "+u)
			m.until(t, u, "server-relation-changed "+app+"/0")
		}
	}
	for _, u := range all {
		eventually(t, u+" active and idle", func() bool {
			s, ok := m.unit(t, u)
			return ok && s.WorkloadStatus.Status == "active" && s.AgentStatus.Status == "idle"
		})
		for _, once := range []string{"install", "start"} {
			if n := len(m.until(t, u, once)); n != 1 {
				t.Errorf("%s ran %s %d times", u, once, n)
			}
		}
	}
	if n := len(m.w.machines(t)); n != len(all) {
		t.Errorf("%d machines for %d units", n, len(all))
	}
}
