package container

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/image"
)

func TestMain(m *testing.M) {
	if IsInit(os.Args) {
		InitMain()
	}
	if os.Getenv(probeEnv) != "" {
		probeMain()
	}
	if text := os.Getenv(crashEnv); text != "" {
		supervisorMain(text)
	}
	os.Exit(m.Run())
}

// testRoot is the unpacked default image, made once for all packages' tests.
func testRoot(t testing.TB) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("these tests make real machines: run them as root")
	}
	s := image.Store{Dir: image.DefaultDir}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	img, err := s.Ensure(ctx, image.Default, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	return img.Root
}

// testConfig has names and ranges of its own, away from a real local cloud.
func testConfig(t testing.TB) Config {
	t.Helper()
	c := Defaults()
	c.Dir = filepath.Join(t.TempDir(), "state")
	c.RunDir = filepath.Join(t.TempDir(), "run")
	c.Bridge, c.PortPrefix, c.Table, c.Cgroups = "sctbr0", "sct", "scarabtest", "scarabtest"
	c.Subnet = netip.MustParsePrefix("10.99.0.0/16")
	c.IDBase = 0x78000000
	c.RestartPause = 10 * time.Millisecond
	return c
}

func newRuntime(t testing.TB, cfg Config) *Runtime {
	t.Helper()
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, m := range r.List() {
			if err := r.Destroy(context.Background(), m.ID); err != nil {
				t.Error(err)
			}
		}
		if err := r.Teardown(); err != nil {
			t.Error(err)
		}
		r.Close()
	})
	return r
}

func plain(root, key string) Spec {
	return Spec{Key: key, Controller: "test", Hostname: "m-" + key, Root: root, Profile: ProfilePlain, Resolvers: []string{"192.0.2.53"}}
}

func create(t testing.TB, r *Runtime, s Spec) Machine {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	m, err := r.Create(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func run(t testing.TB, r *Runtime, id string, argv ...string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var out bytes.Buffer
	res, err := r.Exec(ctx, id, argv, nil, &out, &out)
	if err != nil {
		t.Fatalf("%v: %v\n%s", argv, err, out.String())
	}
	return strings.TrimSpace(out.String()), res.Code
}

func sh(t testing.TB, r *Runtime, id, script string) string {
	t.Helper()
	out, code := run(t, r, id, "/bin/sh", "-c", script)
	if code != 0 {
		t.Fatalf("%s: exit %d\n%s", script, code, out)
	}
	return out
}

func waitFor(t testing.TB, what string, patience time.Duration, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if f() {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

func TestPlainMachine(t *testing.T) {
	root := testRoot(t)
	r := newRuntime(t, testConfig(t))
	s := plain(root, "0")
	s.Files = []File{{Path: "/etc/scarab/secret", Mode: 0o600, Data: []byte("x")}}
	began := time.Now()
	m := create(t, r, s)
	t.Logf("ready after %v", time.Since(began))
	if got := sh(t, r, m.ID, "id -u; hostname; cat /etc/hostname; stat -c %a:%u /etc/scarab/secret; ip -4 -o addr show eth0 | awk '{print $4}'"); got !=
		fmt.Sprintf("0\nm-0\nm-0\n600:0\n%s/32", m.Address) {
		t.Errorf("inside: %q", got)
	}
	if _, code := run(t, r, m.ID, "/bin/sh", "-c", "exit 7"); code != 7 {
		t.Errorf("exit code %d", code)
	}
	again := create(t, r, s)
	if again.ID != m.ID || again.Pid != m.Pid {
		t.Errorf("a second Create made another machine: %v", again)
	}
	began = time.Now()
	if err := r.Destroy(context.Background(), m.ID); err != nil {
		t.Fatal(err)
	}
	t.Logf("gone after %v", time.Since(began))
}

func TestSystemMachine(t *testing.T) {
	root := testRoot(t)
	r := newRuntime(t, testConfig(t))
	s := plain(root, "0")
	s.Profile = ProfileSystem
	s.Start = []string{"/bin/sh", "-c", `echo "started $HOME 50% 'q'" >> /run/started; sleep 1000`}
	m := create(t, r, s)
	waitFor(t, "the boot", 60*time.Second, func() bool {
		got, err := r.Get(m.ID)
		return err == nil && !got.Booted.IsZero()
	})
	got, _ := r.Get(m.ID)
	t.Logf("ready after %v, booted after %v", got.Ready.Sub(got.Created), got.Booted.Sub(got.Created))
	if out, _ := run(t, r, m.ID, "systemctl", "is-system-running"); out != "running" {
		t.Errorf("system is %q: %s", out, sh(t, r, m.ID, "systemctl --failed --no-legend; journalctl -b --no-pager -p err | tail -40"))
	}
	waitFor(t, "the service", 10*time.Second, func() bool {
		out, _ := run(t, r, m.ID, "cat", "/run/started")
		return strings.HasPrefix(out, "started")
	})
}

// BenchmarkMachine is how long it takes to make a plain machine and to remove
// it; BenchmarkBareClone is the kernel's own part of the making.
func BenchmarkMachine(b *testing.B) {
	root := testRoot(b)
	r := newRuntime(b, testConfig(b))
	for i := range b.N {
		m := create(b, r, plain(root, fmt.Sprint(i)))
		if err := r.Destroy(context.Background(), m.ID); err != nil {
			b.Fatal(err)
		}
	}
}

// bareClone makes and ends a process in the namespaces of a machine.
func bareClone() error {
	return tryClone(syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET |
		syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC)
}

func BenchmarkBareClone(b *testing.B) {
	for range b.N {
		if err := bareClone(); err != nil {
			b.Fatal(err)
		}
	}
}
