// Package cluster runs a whole controller in the test's own process: the real
// store, the real API over real TLS, the real workers, and a cloud that hands
// out machines that exist only as records. Tests play the machines' agents
// themselves, with the same client that real agents use.
package cluster

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/app/controller"
	"github.com/scarab-ops/scarab/client"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/password"
	"github.com/scarab-ops/scarab/pki"
	"github.com/scarab-ops/scarab/provider"
	"github.com/scarab-ops/scarab/state"
)

// Fixed identities of every cluster.
const (
	Controller = names.ControllerID("c0c0c0c0-0000-4000-8000-000000000001")
	AdminModel = names.Model("c0c0c0c0-0000-4000-8000-000000000002")
	Admin      = names.User("admin")
)

// AdminPassword is the administrator's.
var AdminPassword = client.NewSecret("correct horse battery staple")

// Options change a cluster.
type Options struct {
	// Memory replaces the embedded store, for tests that need no restart.
	Memory bool
	// Log gets the controller's log; nil drops it.
	Log io.Writer
	// Now is the controller's clock; nil is the real one.
	Now func() time.Time
	// Change adjusts the configuration before the start.
	Change func(*controller.Config)
}

// A Cluster is one running controller.
type Cluster struct {
	Addr   string // host:port
	CACert string
	Dir    string // data directory
	KeyDir string // where the unseal key is
	Cloud  *Cloud

	opts   Options
	cancel context.CancelFunc
	done   chan error
	mem    state.Backend
}

// Start runs a controller until the test ends.
func Start(t testing.TB, o Options) *Cluster {
	t.Helper()
	c := &Cluster{Dir: filepath.Join(t.TempDir(), "data"), KeyDir: t.TempDir(), Cloud: NewCloud(), opts: o}
	if o.Memory {
		c.mem = state.NewMem()
	}
	h, err := Verifier(AdminPassword)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.Addr = l.Addr().String()
	in, err := json.Marshal(controller.Init{
		Name: "test", UUID: Controller, ModelUUID: AdminModel, Admin: Admin, Verifier: string(h),
		APIAddresses: []string{c.Addr}, AgentAddresses: []string{c.Addr},
		ModelConfig: map[string]string{"resolvers": "192.0.2.53"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.KeyDir, "init.json"), in, 0o600); err != nil {
		t.Fatal(err)
	}
	c.run(t, l)
	t.Cleanup(func() { c.Stop(t) })
	return c
}

// Verifier is what a cluster keeps of a person's password. It is a hash of the
// kind for random passwords, which takes no time to compare: tests that log in
// a hundred times are about something else. What the controller itself hashes
// for people is as costly as ever.
func Verifier(pw client.Secret) (password.Hash, error) {
	return password.OfAgent(password.NewSecret(pw.Reveal()))
}

func (c *Cluster) run(t testing.TB, l net.Listener) {
	t.Helper()
	w := c.opts.Log
	if w == nil {
		w = io.Discard
	}
	now := c.opts.Now
	if now == nil {
		now = time.Now
	}
	cfg := controller.Config{
		DataDir: c.Dir, UnsealKeyFile: filepath.Join(c.KeyDir, "unseal.key"), InitFile: filepath.Join(c.KeyDir, "init.json"),
		Listeners: []net.Listener{l}, Clouds: map[string]provider.Instances{"localhost": c.Cloud},
		Log: slog.New(slog.NewTextHandler(w, nil)), Now: now, Backend: c.mem,
	}
	ready := make(chan string, 1)
	cfg.Ready = func(ca string) { ready <- ca }
	if c.opts.Change != nil {
		c.opts.Change(&cfg)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel, c.done = cancel, make(chan error, 1)
	done := c.done
	go func() { done <- controller.Run(ctx, cfg) }()
	select {
	case c.CACert = <-ready:
	case err := <-done:
		t.Fatalf("the controller did not start: %v", err)
	case <-time.After(30 * time.Second):
		t.Fatal("the controller did not start in 30 s")
	}
}

// Stop stops the controller; it may be started again.
func (c *Cluster) Stop(t testing.TB) {
	t.Helper()
	if c.cancel == nil {
		return
	}
	c.cancel()
	c.cancel = nil
	select {
	case err := <-c.done:
		if err != nil {
			t.Errorf("the controller ended with: %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Error("the controller did not stop in 30 s")
	}
}

// Restart stops the controller and starts it again at the same address.
func (c *Cluster) Restart(t testing.TB) {
	t.Helper()
	c.Stop(t)
	l, err := net.Listen("tcp", c.Addr)
	if err != nil {
		t.Fatal(err)
	}
	c.run(t, l)
}

// Dial connects without logging in. cert may be nil.
func (c *Cluster) Dial(t testing.TB, m names.Model, cert *tls.Certificate) *client.Conn {
	t.Helper()
	cfg := client.Config{Addresses: []string{c.Addr}, CACert: c.CACert, Model: m, Version: controller.ServerVersion}
	if cert != nil {
		cfg.Certificate = func() (*tls.Certificate, error) { return cert, nil }
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	conn, err := client.Dial(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// Login connects a user to a model, or to the controller if m is empty.
func (c *Cluster) Login(t testing.TB, u names.User, pw client.Secret, m names.Model) *client.Conn {
	t.Helper()
	conn := c.Dial(t, m, nil)
	if _, err := conn.Login(Context(t), client.Credentials{Tag: u.Tag(), Password: pw}); err != nil {
		t.Fatalf("%s cannot log in: %v", u, err)
	}
	return conn
}

// Context ends with the test, or after a minute.
func Context(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// Eventually waits until f holds; f is asked again after each change that
// could matter to it, at most 30 s.
func Eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !f() {
		if time.Now().After(deadline) {
			t.Fatalf("after 30 s still not: %s", what)
		}
		select {
		case <-t.Context().Done():
			t.Fatal("the test ended")
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// An Agent is an agent's identity, as kept on its machine.
type Agent struct {
	Tag      names.Tag
	Model    names.Model
	Nonce    string
	Password client.Secret
	Key      pki.Key
	Chain    []byte
}

// Certificate is what the agent shows.
func (a *Agent) Certificate(t testing.TB) *tls.Certificate {
	t.Helper()
	cert, err := pki.TLSCertificate(a.Chain, a.Key)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// Connect logs the agent in.
func (a *Agent) Connect(t testing.TB, c *Cluster) *client.Conn {
	t.Helper()
	conn := c.Dial(t, a.Model, a.Certificate(t))
	if _, err := conn.Login(Context(t), client.Credentials{Tag: a.Tag, Password: a.Password, Nonce: a.Nonce}); err != nil {
		t.Fatalf("%s cannot log in: %v", a.Tag, err)
	}
	return conn
}

// Conf is the file that a new machine's agent starts from.
type Conf struct {
	Tag, Controller, Model, Nonce, Token string
	CACert                               string   `json:"ca-cert"`
	APIAddresses                         []string `json:"api-addresses"`
}

// Conf waits for a machine to be started and returns its agent's file.
func (c *Cluster) Conf(t testing.TB, m names.Model, id names.Machine) Conf {
	t.Helper()
	var conf Conf
	Eventually(t, "machine "+string(id)+" started", func() bool {
		spec, ok := c.Cloud.Spec(string(m) + "/" + string(id))
		return ok && json.Unmarshal(spec.Files[0].Data, &conf) == nil
	})
	return conf
}

// Enrol turns a one-time token into an identity.
func (c *Cluster) Enrol(t testing.TB, m names.Model, tag names.Tag, token client.Secret, nonce string) *Agent {
	t.Helper()
	key, err := pki.NewKey(pki.ECDSAP384)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := pki.NewCSR(key)
	if err != nil {
		t.Fatal(err)
	}
	conn := c.Dial(t, m, nil)
	if _, err := conn.Login(Context(t), client.Credentials{Tag: tag, Password: token, Nonce: nonce}); err != nil {
		t.Fatalf("%s cannot log in with its token: %v", tag, err)
	}
	a := &Agent{Tag: tag, Model: m, Nonce: nonce, Key: key, Password: client.NewSecret(password.NewAgent().Reveal())}
	res, err := conn.Enrol(Context(t), csr, a.Password)
	if err != nil {
		t.Fatalf("%s cannot enrol: %v", tag, err)
	}
	a.Chain = []byte(res.Certificate)
	return a
}

// EnrolMachine plays the first start of a machine's agent.
func (c *Cluster) EnrolMachine(t testing.TB, m names.Model, id names.Machine) *Agent {
	t.Helper()
	conf := c.Conf(t, m, id)
	return c.Enrol(t, m, id.Tag(), client.NewSecret(conf.Token), conf.Nonce)
}

// EnrolUnit plays the first start of a unit's agent on an enrolled machine.
func (c *Cluster) EnrolUnit(t testing.TB, machine *Agent, u names.Unit) *Agent {
	t.Helper()
	token, err := machine.Connect(t, c).Machine().UnitToken(Context(t), u)
	if err != nil {
		t.Fatalf("no token for %s: %v", u, err)
	}
	return c.Enrol(t, machine.Model, u.Tag(), token, "")
}

// A Cloud starts machines that exist only as records.
type Cloud struct {
	mu    sync.Mutex
	specs map[string]provider.StartSpec
	rules map[provider.InstanceID][]provider.Rule
	stops int
}

// NewCloud returns an empty cloud.
func NewCloud() *Cloud {
	return &Cloud{specs: map[string]provider.StartSpec{}, rules: map[provider.InstanceID][]provider.Rule{}}
}

// Spec returns what a machine was started from.
func (c *Cloud) Spec(key string) (provider.StartSpec, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, ok := c.specs[key]
	return s, ok
}

// Rules returns the firewall rules of a machine.
func (c *Cloud) Rules(key string) []provider.Rule {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rules[provider.InstanceID(key)]
}

// Start records a machine.
func (c *Cloud) Start(_ context.Context, s provider.StartSpec) (provider.Instance, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old, ok := c.specs[s.Key]; ok {
		s = old
	}
	c.specs[s.Key] = s
	return instance(s), nil
}

func instance(s provider.StartSpec) provider.Instance {
	return provider.Instance{
		ID: provider.InstanceID(s.Key), Key: s.Key, Status: "running", Addresses: []string{"10.99.0." + s.MachineID},
		Hardware: provider.Hardware{Arch: "amd64", Cores: 1, MemMiB: 512}, Isolation: "container",
		Base: provider.Base{Name: "debian", Channel: "12"},
	}
}

// Stop forgets machines.
func (c *Cloud) Stop(_ context.Context, ids ...provider.InstanceID) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range ids {
		delete(c.specs, string(id))
		c.stops++
	}
	return nil
}

// List returns the machines there are.
func (c *Cloud) List(context.Context) ([]provider.Instance, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []provider.Instance
	for _, s := range c.specs {
		out = append(out, instance(s))
	}
	return out, nil
}

// SetRules records firewall rules.
func (c *Cloud) SetRules(_ context.Context, id provider.InstanceID, rules []provider.Rule) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rules[id] = rules
	return nil
}

// Close does nothing: a stopped controller's machines stay.
func (c *Cloud) Close() error { return nil }
