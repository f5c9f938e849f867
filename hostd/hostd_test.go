package hostd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/container"
	"github.com/scarab-ops/scarab/hostd/hostapi"
	"github.com/scarab-ops/scarab/provider"
)

// askEnv makes the test binary ask a socket, as another user.
const askEnv = "SCARAB_TEST_ASK"

func TestMain(m *testing.M) {
	if container.IsInit(os.Args) {
		container.InitMain()
	}
	if name := os.Getenv(hostEnv); name != "" {
		hostMain(name)
	}
	if name := os.Getenv(connectEnv); name != "" {
		connectMain(name)
	}
	if socket := os.Getenv(askEnv); socket != "" {
		ask(socket)
	}
	os.Exit(m.Run())
}

// ask prints which requests are answered.
func ask(socket string) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c := hostapi.NewClient(socket)
	say := func(what string, err error) {
		class := "answered"
		switch {
		case errors.Is(err, provider.ErrCredential):
			class = "not its own"
		case err != nil && strings.Contains(err.Error(), "only root"):
			class = "only root"
		case err != nil:
			class = "refused"
		}
		fmt.Printf("%s: %s\n", what, class)
	}
	_, err := c.Status(ctx)
	say("status", err)
	_, err = c.List(ctx, "mine")
	say("own list", err)
	_, err = c.List(ctx, "other")
	say("other list", err)
	_, _, err = c.Exec(ctx, "sc000000000000", []string{"true"})
	say("exec", err)
	say("remove image", c.RemoveImage(ctx, "x@1"))
	say("shutdown", c.Shutdown(ctx, func(string) {}))
	os.Exit(0)
}

const testUID = 64790

func testConfig(t *testing.T) Config {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("these tests make real machines: run them as root")
	}
	// The controller's user must be able to walk to its socket.
	dir, err := os.MkdirTemp("", "hostd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	m := testMachines(dir)
	return Config{Socket: filepath.Join(dir, "host", "host.sock"), Machines: &m, ControllerID: "mine"}
}

func testMachines(dir string) container.Config {
	m := container.Defaults()
	m.Dir, m.RunDir = filepath.Join(dir, "state"), filepath.Join(dir, "run")
	m.Bridge, m.PortPrefix, m.Table, m.Cgroups = "schbr0", "sch", "scarabhosttest", "scarabhosttest"
	m.Subnet, m.IDBase = netip.MustParsePrefix("10.97.0.0/16"), 0x7c000000
	return m
}

func running(t *testing.T, cfg Config) (*hostapi.Client, chan error, context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, cfg) }()
	client := hostapi.NewClient(cfg.Socket)
	waitFor(t, "the supervisor", func() bool {
		_, err := client.Status(ctx)
		return err == nil
	})
	return client, done, cancel
}

func waitFor(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited too long for %s", what)
		}
	}
}

func shutdown(t *testing.T, c *hostapi.Client, done chan error) {
	t.Helper()
	if err := c.Shutdown(context.Background(), func(string) {}); err != nil {
		t.Error(err)
	}
	c.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func askAs(t *testing.T, uid uint32, socket string) string {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), askEnv+"="+socket)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid, Groups: []uint32{}}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

func TestWhoIsAnswered(t *testing.T) {
	cfg := testConfig(t)
	cfg.Controller = &ControllerConfig{UID: testUID, GID: testUID}
	old := syscall.Umask(0) // the socket must be private whatever the umask is
	defer syscall.Umask(old)
	c, done, _ := running(t, cfg)
	defer shutdown(t, c, done)
	for name, want := range map[string]fs.FileMode{cfg.Socket: 0o600, filepath.Dir(cfg.Socket): 0o700} {
		st, err := os.Stat(name)
		if err != nil || st.Mode().Perm() != want || st.Sys().(*syscall.Stat_t).Uid != testUID {
			t.Errorf("%s is %v, %v", name, st.Mode(), err)
		}
	}
	want := "status: answered\nown list: answered\nother list: not its own\nexec: only root\nremove image: only root\nshutdown: only root\n"
	if got := askAs(t, testUID, cfg.Socket); got != want {
		t.Errorf("the controller got %s", got)
	}
	// Even with the folder and the file open, a stranger is not answered.
	if err := errors.Join(os.Chmod(cfg.Socket, 0o666), os.Chmod(filepath.Dir(cfg.Socket), 0o755)); err != nil {
		t.Fatal(err)
	}
	if got := askAs(t, 65534, cfg.Socket); strings.Contains(got, "answered") || strings.Contains(got, "only root") {
		t.Errorf("a stranger got %s", got)
	}
	// A panic or a slow caller does not stop the others.
	for range 20 {
		conn, err := net.Dial("unix", cfg.Socket)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	if _, err := c.Status(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestControllerIsKeptRunning(t *testing.T) {
	cfg := testConfig(t)
	dir := filepath.Dir(filepath.Dir(cfg.Socket))
	log := filepath.Join(dir, "log")
	cfg.Controller = &ControllerConfig{
		Argv: []string{"/bin/sh", "-c", "echo began as $(id -u):$(id -G); exec sleep 1000"},
		Dir:  "/", UID: testUID, GID: testUID, Log: log,
	}
	c, done, cancel := running(t, cfg)
	began := func() int {
		data, _ := os.ReadFile(log)
		return strings.Count(string(data), fmt.Sprintf("began as %d:%d\n", testUID, testUID))
	}
	waitFor(t, "the controller", func() bool { return began() == 1 })
	pid := func() int {
		st, err := c.Status(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		return st.ControllerPid
	}
	first := pid()
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the controller's return", func() bool { return began() == 2 && pid() != 0 && pid() != first })
	// A second supervisor is refused while this one runs.
	if err := Run(context.Background(), cfg); err == nil || !strings.Contains(err.Error(), "another supervisor") {
		t.Errorf("a second supervisor: %v", err)
	}
	second := pid()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := syscall.Kill(second, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the controller outlived a clean stop: %v", err)
	}
	c, done, _ = running(t, cfg)
	waitFor(t, "the controller", func() bool { return began() == 3 })
	shutdown(t, c, done)
}

func TestMachineOnTheWire(t *testing.T) {
	cfg := testConfig(t)
	c, done, cancel := running(t, cfg)
	ctx, end := context.WithTimeout(context.Background(), 5*time.Minute)
	defer end()
	if err := c.Prepare(ctx, func(string) {}); err != nil {
		t.Fatal(err)
	}
	spec := provider.StartSpec{
		Key: "m/0", ControllerID: "mine", MachineID: "0", Hostname: "scarab-0", Base: provider.Base{Name: "ubuntu", Channel: "22.04/stable"},
		Files: []provider.File{{Path: "/etc/x", Mode: 0o600, Data: []byte("x")}}, Start: []string{"/bin/sleep", "1000"},
	}
	inst, err := c.Start(ctx, spec)
	if err != nil {
		t.Fatal(err)
	}
	if inst.BaseNote != "charm asked for ubuntu@22.04, runs on debian@12" || inst.Isolation != "container" || len(inst.ImageShort) != 12 {
		t.Errorf("got %+v", inst)
	}
	// A clean stop leaves machines running; the next supervisor has them.
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	c.Close()
	c, done, _ = running(t, cfg)
	defer shutdown(t, c, done)
	again, err := c.Start(ctx, spec)
	if err != nil || again.ID != inst.ID || !again.Ready.Equal(inst.Ready) {
		t.Errorf("after a restart the key gave %+v, %v", again, err)
	}
	waitFor(t, "the boot", func() bool {
		list, err := c.List(ctx, "mine")
		return err == nil && len(list) == 1 && strings.HasPrefix(list[0].Message, "booted")
	})
	for script, want := range map[string]string{
		"systemctl is-active scarab-machine.service": "active", "cat /etc/x": "x", "stat -c %a:%u /etc/x": "600:0",
		"systemctl is-system-running": "running", "su ubuntu -c 'sudo -n id -u'": "0", "wc -c < /etc/machine-id": "33",
		"systemctl is-active ssh": "active", "python3 -c 'import pty; pty.openpty(); print(1)'": "1", "ls /etc/ssh/ssh_host_ed25519_key": "/etc/ssh/ssh_host_ed25519_key",
	} {
		out, code, err := c.Exec(ctx, inst.ID, []string{"timeout", "20", "/bin/sh", "-c", script})
		if err != nil || strings.TrimSpace(out) != want {
			t.Errorf("%s: %q, %d, %v", script, out, code, err)
		}
	}
	// Packages can be had, under all confinement at once.
	out, code, err := c.Exec(ctx, inst.ID, []string{"/bin/sh", "-c", "apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends hello && hello"})
	if err != nil || code != 0 || !strings.Contains(out, "Hello, world!") {
		t.Errorf("apt: %d, %v\n%s", code, err, out)
	}
}
