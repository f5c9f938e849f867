// Package bench is what attacks run on: a whole controller with two models,
// people of every degree, enrolled agents and planted markers; attackers that
// speak the wire themselves; and the oracles that say whether a control held.
//
// It is for the threat tests only and refuses nothing itself.
package bench

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/apiserver"
	"github.com/scarab-ops/scarab/app/controller"
	"github.com/scarab-ops/scarab/charm/charmtest"
	"github.com/scarab-ops/scarab/client"
	"github.com/scarab-ops/scarab/domain/application"
	"github.com/scarab-ops/scarab/domain/life"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/user"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/state/etcdstate"
	"github.com/scarab-ops/scarab/tests/cluster"
)

// The two tenants.
const (
	M1 = names.Model("a1a1a1a1-0000-4000-8000-000000000001")
	M2 = names.Model("b2b2b2b2-0000-4000-8000-000000000002")
)

// People beside the administrator.
const (
	Writer  = names.User("wr")    // write on M1
	ReaderU = names.User("rd")    // read on M1
	Stray   = names.User("login") // login and nothing else
	Owner1  = names.User("owner1")
	Owner2  = names.User("owner2") // admin of M2
)

// Password is a person's: it holds the name and is long enough to be hashed as
// a random one.
func Password(u names.User) client.Secret {
	if u == cluster.Admin {
		return cluster.AdminPassword
	}
	return client.NewSecret("the-password-of-" + string(u) + "-pw-mark")
}

// Relations of M1: a:link with c:link, and b:link with d:link. Those before
// them are the rings of the four applications, RelationA that of a.
const (
	RelationA  = 0
	RelationAC = 4
	RelationBD = 5
)

// A World is a running controller under attack.
type World struct {
	*cluster.Cluster
	// Store is a second look at the same state, with the rights of the disk.
	Store  *state.Store
	Server *apiserver.Server
	Log    *Buffer
	// Delay holds back each commit of the store, to play a slow disk.
	Delay *Delay

	backend *etcdstate.Backend
	stop    context.CancelFunc
	agents  map[string]*cluster.Agent
	charms  map[names.Model]string
}

// Options change a world.
type Options struct {
	Limits apiserver.Limits
	Change func(*controller.Config)
	Now    func() time.Time
	Empty  bool // no models, people and agents but the administrator's
	// Abroad lets the controller see who dials from 127.0.2.N as coming from
	// 192.0.2.N, and from 127.18.M.N as from 198.18.M.N, so that attackers can be
	// outside of this host and in many networks.
	Abroad bool
}

// New starts a world that ends with the test.
func New(t testing.TB, o Options) *World {
	t.Helper()
	w := &World{Log: &Buffer{}, Delay: &Delay{}, agents: map[string]*cluster.Agent{}, charms: map[names.Model]string{}}
	t.Cleanup(w.close)
	w.Cluster = cluster.Start(t, cluster.Options{Log: w.Log, Now: o.Now, Change: func(cfg *controller.Config) {
		cfg.Limits = o.Limits
		cfg.Log = slog.New(slog.NewTextHandler(w.Log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		cfg.Inspect = func(s *apiserver.Server) { w.Server = s }
		if o.Abroad {
			for i, l := range cfg.Listeners {
				cfg.Listeners[i] = abroad{l}
			}
		}
		if o.Change != nil {
			o.Change(cfg)
		}
		if err := w.open(cfg); err != nil {
			t.Fatal(err)
		}
	}})
	if !o.Empty {
		w.seed(t)
	}
	return w
}

// open gives the controller the store that it would open itself, and keeps a
// view of it.
func (w *World) open(cfg *controller.Config) error {
	w.close()
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	b, err := etcdstate.Open(ctx, etcdstate.Config{Dir: filepath.Join(cfg.DataDir, "store"), Logger: cfg.Log})
	if err != nil {
		cancel()
		return err
	}
	w.backend, w.stop = b, cancel
	cfg.Backend = &slow{b, w.Delay}
	w.Store, err = state.Open(ctx, b)
	return err
}

func (w *World) close() {
	if w.backend == nil {
		return
	}
	w.stop()
	_ = w.backend.Close() // the process is about to forget it
	w.backend = nil
}

// Halt stops the controller and its store, so that the disk can be looked at
// and changed; Restart starts both again.
func (w *World) Halt(t testing.TB) {
	t.Helper()
	w.Stop(t)
	w.close()
}

// Do changes the state directly.
func (w *World) Do(t testing.TB, f func(*state.Tx) error) {
	t.Helper()
	if err := w.Store.Update(cluster.Context(t), f); err != nil {
		t.Fatal(err)
	}
}

// Archive is a charm's archive with a marker inside.
func Archive(name, endpoint, extra string) []byte {
	meta := fmt.Sprintf("name: %s\nsummary: s\ndescription: d\n%s:\n  link: {interface: link}\npeers:\n  ring: {interface: ring}\n",
		name, endpoint)
	return charmtest.Build(charmtest.Tail{},
		charmtest.Entry{Name: "metadata.yaml", Data: meta},
		charmtest.Entry{Name: "manifest.yaml", Data: "bases: [{name: debian, channel: '12', architectures: [amd64]}]\n"},
		charmtest.Entry{Name: "config.yaml", Data: "options:\n  token: {type: string, default: '', description: d}\n"},
		charmtest.Entry{Name: "hooks/install", Data: "#!/bin/sh\n# " + extra + "\n", Mode: charmtest.TypeFile | 0o755})
}

func (w *World) seed(t testing.TB) {
	t.Helper()
	now := time.Now()
	w.Do(t, func(tx *state.Tx) error {
		for _, u := range []names.User{Writer, ReaderU, Stray, Owner1, Owner2} {
			h, err := cluster.Verifier(Password(u))
			if err != nil {
				return err
			}
			if err := user.Add(tx, user.Row{Name: u, Verifier: string(h), Created: now}); err != nil {
				return err
			}
		}
		for m, o := range map[names.Model]names.User{M1: Owner1, M2: Owner2} {
			row := model.Row{UUID: m, Name: "model-of-" + string(o), Owner: o, Cloud: "localhost", Created: now}
			if err := model.Add(tx, row, nil); err != nil {
				return err
			}
		}
		for u, l := range map[names.User]string{Writer: "write", ReaderU: "read"} {
			if err := user.Grants.Put(tx, state.Controller, user.Grant{User: u, On: string(M1), Level: l}); err != nil {
				return err
			}
		}
		return nil
	})
	for m, u := range map[names.Model]names.User{M1: Writer, M2: Owner2} {
		conn := w.Login(t, u, Password(u), m)
		for name, side := range map[string]string{"giver": "provides", "taker": "requires"} {
			url, err := conn.UploadCharm(cluster.Context(t), name, 0, bytes.NewReader(Archive(name, side, MarkerCharm+string(m)+name)))
			if err != nil {
				t.Fatal(err)
			}
			w.charms[m+names.Model(name)] = url
		}
	}
	w.deploy(t, M1, "a", "giver", 2, "")
	w.deploy(t, M1, "b", "giver", 1, "0")
	w.deploy(t, M1, "c", "taker", 1, "")
	w.deploy(t, M1, "d", "taker", 1, "")
	w.deploy(t, M2, "z", "giver", 1, "")
	w.Do(t, func(tx *state.Tx) error {
		for _, pair := range [][2]string{{"a", "c"}, {"b", "d"}} {
			if _, err := application.Relate(tx, model.ScopeOf(M1), pair[0]+":link", pair[1]+":link", now); err != nil {
				return err
			}
		}
		return nil
	})
}

// Markers planted where only some may read.
const (
	MarkerCharm  = "c4a3m-mark-"
	MarkerConfig = "c0nf19-mark-"
	MarkerBag    = "re1bag-mark-"
	MarkerState  = "5tate-mark-"
)

// Charm is the URL of a model's charm "giver" or "taker".
func (w *World) Charm(m names.Model, name string) string { return w.charms[m+names.Model(name)] }

func (w *World) deploy(t testing.TB, m names.Model, app names.Application, charm string, n int, host names.Machine) {
	t.Helper()
	w.Do(t, func(tx *state.Tx) error {
		row, err := model.Get(tx, m)
		if err != nil {
			return err
		}
		var places []application.Placement
		if host != "" {
			places = []application.Placement{{Machine: host}}
		}
		_, err = application.Add(tx, row, application.Deploy{
			Row:       application.Row{Name: app, CharmURL: w.Charm(m, charm), Life: life.Alive, Config: map[string]any{"token": MarkerConfig + string(app)}},
			Units:     n,
			Placement: places,
		}, time.Now())
		return err
	})
}

// Machine enrols a machine's agent, once.
func (w *World) Machine(t testing.TB, m names.Model, id names.Machine) *cluster.Agent {
	t.Helper()
	k := string(m) + id.Tag().String()
	if w.agents[k] == nil {
		w.agents[k] = w.EnrolMachine(t, m, id)
	}
	return w.agents[k]
}

// Unit enrols a unit's agent on its machine, once.
func (w *World) Unit(t testing.TB, m names.Model, u names.Unit) *cluster.Agent {
	t.Helper()
	k := string(m) + u.Tag().String()
	if w.agents[k] == nil {
		w.agents[k] = w.EnrolUnit(t, w.Machine(t, m, w.Host(t, m, u)), u)
	}
	return w.agents[k]
}

// A Buffer is a log that can be read while it is written.
type Buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// Bytes returns a copy of what was written.
func (b *Buffer) Bytes() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Clone(b.b.Bytes())
}

// A Delay is how long each commit waits, and how it ends.
type Delay struct {
	mu  sync.Mutex
	d   time.Duration
	err error
}

// Fail lets every commit end with an error after its wait; nil ends that.
func (d *Delay) Fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
}

// Set changes the delay.
func (d *Delay) Set(to time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.d = to
}

func (d *Delay) get() (time.Duration, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.d, d.err
}

// slow is a store on a slow disk.
type slow struct {
	state.Backend
	delay *Delay
}

// Commit waits, then commits.
func (s *slow) Commit(ctx context.Context, c state.Commit) (int64, error) {
	d, fail := s.delay.get()
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	if fail != nil {
		return 0, fail
	}
	return s.Backend.Commit(ctx, c)
}
