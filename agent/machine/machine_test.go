package machine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scarab-ops/scarab/agent/sandbox"
	"github.com/scarab-ops/scarab/agent/unit/tools"
	"github.com/scarab-ops/scarab/charm"
	"github.com/scarab-ops/scarab/pki"
	"github.com/scarab-ops/scarab/rpc"
	"github.com/scarab-ops/scarab/wire/agentapi"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == sandbox.HelperArg {
		os.Exit(sandbox.HelperMain(os.Args[2:]))
	}
	if os.Getuid() != 0 {
		fmt.Fprintln(os.Stderr, "these tests need root")
		os.Exit(1)
	}
	dir, err := os.MkdirTemp("", "scm")
	if err == nil {
		err = errors.Join(os.Chmod(dir, 0o755), os.Setenv("SCARAB_TEST_TOOL", filepath.Join(dir, "hooktool")))
	}
	if err == nil {
		build := exec.Command("go", "build", "-o", os.Getenv("SCARAB_TEST_TOOL"), "../../cmd/scarab-hooktool")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		err = build.Run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

func unpack(archive, dir, state string) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	a, err := charm.OpenArchive(f, fi.Size(), charm.DefaultLimits())
	if err != nil {
		return err
	}
	return a.Deploy(dir, state)
}

type bench struct {
	t    *testing.T
	s    *server
	cfg  Config
	conf string
	stop func() error
	end  func() error
}

func newBench(t *testing.T, script string) *bench {
	t.Helper()
	s := startServer(t, script)
	dir, err := os.MkdirTemp("", "scm")
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, s: s, cfg: Config{
		Machine: "0", DataDir: filepath.Join(dir, "data"), RunDir: filepath.Join(dir, "run"), LogDir: filepath.Join(dir, "log"),
		HookTool: os.Getenv("SCARAB_TEST_TOOL"), Path: "/usr/bin:/bin", ServerVersion: "3.6.12", Isolation: "container",
		LoginHome: filepath.Join(dir, "home"), Helper: []string{"/proc/self/exe", sandbox.HelperArg}, Unpack: unpack,
		CheckAction: func(_, _ string, p map[string]any) (map[string]any, error) { return p, nil },
		Cgroup:      filepath.Join(sandbox.FindCgroup(), filepath.Base(dir)),
	}}
	for _, tool := range tools.All() {
		b.cfg.ToolNames = append(b.cfg.ToolNames, tool.Name)
	}
	b.conf = filepath.Join(b.cfg.DataDir, "agents/machine-0/agent.conf")
	data, err := json.Marshal(map[string]any{
		"tag": "machine-0", "controller": ctl, "model": model, "nonce": "n1", "ca-cert": string(s.ca.CertPEM()),
		"api-addresses": []string{s.addr}, "token": "machine-token",
	})
	err = errors.Join(err, os.Chmod(dir, 0o755), os.MkdirAll(filepath.Dir(b.conf), 0o755), os.MkdirAll(b.cfg.LoginHome, 0o755), os.WriteFile(b.conf, data, 0o600))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = unix.Unmount(filepath.Join(b.cfg.DataDir, "agents"), unix.MNT_DETACH)
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return b
}

func (b *bench) start() {
	b.t.Helper()
	m, err := New(b.cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	b.end = sync.OnceValue(func() error { return <-done })
	b.stop = func() error { cancel(); return b.end() }
	b.t.Cleanup(func() { _ = b.stop() })
}

func (b *bench) readConf() conf {
	b.t.Helper()
	c, err := readConf(b.conf)
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

func TestMachineAndUnit(t *testing.T) {
	b := newBench(t, `echo "hello from $JUJU_HOOK_NAME"; [ $JUJU_HOOK_NAME != start ] || status-set active up`)
	b.s.machine.Units = []agentapi.MachineUnit{{Unit: "app/0", Life: "alive"}}
	b.s.machine.LoggingConfig = "<root>=INFO;unit=DEBUG"
	b.s.machine.AuthorizedKeys = []string{"ssh-ed25519 AAAA user"}
	b.s.machine.Tasks = []agentapi.Task{{ID: "3", Name: "juju-exec", Params: map[string]any{"command": "echo on $((1+1)); exit 3"}}}
	b.start()
	first := []string{"install", "leader-elected", "config-changed", "start"}
	b.s.until("first run", func() bool { return slices.Equal(b.s.hooks, first) })
	b.s.until("observation", func() bool { return b.s.observed.Cores > 0 && b.s.observed.Isolation == "container" })
	b.s.until("task", func() bool { return len(b.s.finished) == 1 })
	var f agentapi.FinishTaskArgs
	b.s.edit(func() { f = b.s.finished[0] })
	if f.Status != "failed" || f.Output["stdout"] != "on 2\n" || f.Message != "exit status 3" {
		t.Errorf("task ended as %+v", f)
	}
	b.s.until("log", func() bool {
		return slices.ContainsFunc(b.s.records, func(r agentapi.LogRecord) bool {
			return r.Entity == "unit-app-0" && r.Message == "hello from install" && r.Module == "unit.app/0.install"
		})
	})
	c := b.readConf()
	if c.Token != "" || c.Certificate == "" || len(c.Password) < 24 {
		t.Errorf("after enrolment the file holds token %d, certificate %d, password %d bytes", len(c.Token), len(c.Certificate), len(c.Password))
	}
	u, err := readConf(filepath.Join(b.cfg.DataDir, "agents/unit-app-0/agent.conf"))
	if err != nil || u.Key == c.Key || u.Password == c.Password || u.Certificate == "" {
		t.Errorf("the unit's identity: %v", err)
	}
	for _, p := range []string{b.conf, filepath.Join(b.cfg.DataDir, "agents/unit-app-0/agent.conf")} {
		if fi, err := os.Stat(p); err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", p, fi.Mode(), err)
		}
	}
	if k, err := os.ReadFile(filepath.Join(b.cfg.LoginHome, ".ssh/authorized_keys")); err != nil || string(k) != "ssh-ed25519 AAAA user\n" {
		t.Errorf("authorised keys %q, %v", k, err)
	}
	b.s.edit(func() { b.s.unit.Life = "dying" })
	b.s.until("removal", func() bool { return slices.Contains(b.s.calls, "MachineAgent.RemoveUnit machine-0") })
	if err := b.stop(); !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
	if _, err := os.Stat(filepath.Join(b.cfg.DataDir, "agents/unit-app-0")); !os.IsNotExist(err) {
		t.Errorf("the removed unit's files: %v", err)
	}
}

// TestPanicIsContained: a unit's agent that panics is started again.
func TestPanicIsContained(t *testing.T) {
	b := newBench(t, "true")
	b.s.machine.Units = []agentapi.MachineUnit{{Unit: "app/0", Life: "alive"}}
	panicked := false
	b.cfg.Unpack = func(archive, dir, state string) error {
		if !panicked {
			panicked = true
			panic("once")
		}
		return unpack(archive, dir, state)
	}
	b.start()
	b.s.until("start", func() bool { return slices.Contains(b.s.hooks, "start") })
	if !panicked {
		t.Error("it never panicked")
	}
}

// TestFollower: a refused claim is an answer, and the unit goes on without.
func TestFollower(t *testing.T) {
	b := newBench(t, "true")
	b.s.follower = true
	b.s.machine.Units = []agentapi.MachineUnit{{Unit: "app/0", Life: "alive"}}
	b.start()
	b.s.until("first run", func() bool {
		return slices.Equal(b.s.hooks, []string{"install", "leader-settings-changed", "config-changed", "start"})
	})
}

// TestNoSelfHarm: whatever the controller answers, short of a signed order for
// this machine, the agent and its files stay.
func TestNoSelfHarm(t *testing.T) {
	b := newBench(t, "true")
	b.s.machine.Units = []agentapi.MachineUnit{{Unit: "app/0", Life: "alive"}}
	b.start()
	b.s.until("start", func() bool { return slices.Contains(b.s.hooks, "start") })
	order := func(ca *pki.Authority, nonce string) string {
		o, err := ca.SignRemovalOrder(model, "0", nonce)
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	other, err := pki.New(pki.Config{Controller: ctl, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	calls := func() (n int) {
		b.s.edit(func() { n = len(b.s.calls) })
		return n
	}
	harm := []func(){
		func() { b.s.machine = agentapi.MachineWant{} },
		func() { b.s.machine = agentapi.MachineWant{Life: "dead"} },
		func() { b.s.machine = agentapi.MachineWant{Life: "dead", RemovalOrder: "x.y"} },
		func() { b.s.machine = agentapi.MachineWant{Life: "dead", RemovalOrder: order(other, "n1")} },
		func() { b.s.machine = agentapi.MachineWant{Life: "dead", RemovalOrder: order(b.s.ca, "n2")} },
	}
	for i, h := range harm {
		b.s.edit(h)
		n := calls()
		b.s.until(fmt.Sprintf("answer after harm %d", i), func() bool { return len(b.s.calls) > n })
	}
	for _, code := range []string{"not found", "unauthorized access", "model not found", "", "stopped"} {
		b.s.edit(func() { b.s.broken = &rpc.Error{Message: "gone", Code: code} })
	}
	b.s.edit(func() { b.s.broken = nil; b.s.machine = agentapi.MachineWant{Life: "alive"} })
	n := calls()
	b.s.until("work goes on", func() bool { return len(b.s.calls) > n+1 })
	for _, p := range []string{b.conf, filepath.Join(b.cfg.DataDir, "agents/unit-app-0/charm/dispatch")} {
		if _, err := os.Stat(p); err != nil {
			t.Errorf("lost: %v", err)
		}
	}
	b.s.edit(func() { b.s.machine = agentapi.MachineWant{Life: "dead", RemovalOrder: order(b.s.ca, "n1")} })
	if err := b.end(); !errors.Is(err, ErrRemoved) {
		t.Errorf("after a signed order: %v", err)
	}
	if _, err := os.Stat(b.conf); !os.IsNotExist(err) {
		t.Errorf("after a signed order the file is there: %v", err)
	}
}

func TestCertificateLife(t *testing.T) {
	b := newBench(t, "true")
	b.s.life = 2 * time.Second
	b.start()
	b.s.until("observation", func() bool { return b.s.observed.Cores > 0 })
	if err := b.stop(); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	before := b.readConf()
	l, err := newLink(b.conf, "3.6.12", func(string, string, ...any) {})
	if err != nil {
		t.Fatal(err)
	}
	if err := pause(context.Background(), time.Until(l.certificate().Leaf.NotAfter)+50*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	b.s.edit(func() { b.s.life = time.Hour; b.s.observed = agentapi.MachineObserved{} })
	b.start()
	b.s.until("work after the certificate ran out", func() bool { return b.s.observed.Cores > 0 })
	after := b.readConf()
	if after.Key != before.Key || after.Password != before.Password || after.Certificate == before.Certificate {
		t.Error("renewal changed the key or the password, or not the certificate")
	}
	var calls []string
	b.s.edit(func() { calls = slices.Clone(b.s.calls) })
	if !slices.Contains(calls, "Enrolment.Renew machine-0") {
		t.Errorf("no renewal in %v", calls)
	}
}

// TestEnrolmentIsRepeated: trouble on the way leaves the same token, key and
// password for the next try.
func TestEnrolmentIsRepeated(t *testing.T) {
	b := newBench(t, "true")
	b.s.tokens["machine-0"] = "later"
	l, err := newLink(b.conf, "3.6.12", func(string, string, ...any) {})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.get(context.Background()); err == nil {
		t.Fatal("enrolled with a token that the server does not know")
	}
	first := b.readConf()
	if first.Token != "machine-token" || first.Key == "" || first.Password == "" || first.Certificate != "" {
		t.Error("the failed try did not leave its means on disk")
	}
	b.s.tokens["machine-0"] = "machine-token"
	if _, err := l.get(context.Background()); err != nil {
		t.Fatal(err)
	}
	defer l.close()
	if c := b.readConf(); c.Key != first.Key || c.Password != first.Password {
		t.Error("the second try made other means")
	}
}

// TestLostEnrolmentAnswer: the server has used up the token, and the agent never
// heard: its password and its key get the certificate after all.
func TestLostEnrolmentAnswer(t *testing.T) {
	b := newBench(t, "true")
	b.s.lose = true
	l, err := newLink(b.conf, "3.6.12", func(string, string, ...any) {})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.get(context.Background()); err == nil {
		t.Fatal("enrolled without an answer")
	}
	if _, err := l.get(context.Background()); err != nil {
		t.Fatal(err)
	}
	l.close()
	if c := b.readConf(); c.Certificate == "" || c.Token != "" {
		t.Error("no certificate")
	}
}

func TestWrongAuthority(t *testing.T) {
	b := newBench(t, "true")
	other, err := pki.New(pki.Config{Controller: ctl, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	for name, ca := range map[string]string{"other": string(other.CertPEM()), "empty": "", "garbage": "-----BEGIN"} {
		c := conf{Tag: "machine-0", Controller: string(ctl), Model: string(model), CACert: ca, APIAddresses: []string{b.s.addr}, Token: "machine-token"}
		if err := c.write(b.conf); err != nil {
			t.Fatal(err)
		}
		l, err := newLink(b.conf, "3.6.12", func(string, string, ...any) {})
		if err == nil {
			_, err = l.get(context.Background())
		}
		if err == nil {
			t.Errorf("%s authority: connected", name)
		}
	}
	if len(b.s.calls) > 0 {
		t.Errorf("the server was told something: %v", b.s.calls)
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	c := conf{Token: "MARK", Password: "MARK", Key: "MARK"}
	if s := fmt.Sprintf("%v %+v %#v %s", c, c, c, c.Token); strings.Contains(s, "MARK") {
		t.Errorf("printed %s", s)
	}
}

func TestKeysStayInHome(t *testing.T) {
	home, outside := t.TempDir(), t.TempDir()
	if err := os.Symlink(outside, filepath.Join(home, ".ssh")); err != nil {
		t.Fatal(err)
	}
	if err := keys(home, []string{"ssh-ed25519 AAAA x"}); err == nil {
		t.Error("followed a link out of the home")
	}
	if left, err := os.ReadDir(outside); err != nil || len(left) > 0 {
		t.Errorf("wrote outside: %v %v", left, err)
	}
	if err := keys(t.TempDir(), []string{"a\nb"}); err == nil {
		t.Error("two keys in one")
	}
}

func TestLogsAreBounded(t *testing.T) {
	l, err := newLogs(filepath.Join(t.TempDir(), "x.log"), "machine-0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	text := strings.Repeat("x", maxMessage/8)
	for range maxQueue + 100 {
		l.add("unit-a-0", "INFO", "m", text)
	}
	if n := l.dropped.Load(); n != 100 {
		t.Errorf("%d dropped", n)
	}
	fi, err := os.Stat(l.path)
	if err != nil || fi.Size() > maxLogFile {
		t.Errorf("log of %d bytes, %v", fi.Size(), err)
	}
}
