package bootstrap_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/scarab-ops/scarab/container"
	"github.com/scarab-ops/scarab/image"
)

// denyEnv makes the test binary forbid user namespaces to itself and become
// its arguments: a host on which ordinary users may not make them.
const denyEnv = "SCARAB_TEST_DENY_USERNS"

func TestMain(m *testing.M) {
	if os.Getenv(denyEnv) != "" {
		denyNamespaces()
	}
	if container.IsInit(os.Args) {
		container.InitMain()
	}
	if text := os.Getenv(childEnv); text != "" {
		os.Exit(childMain(text))
	}
	if os.Getenv(hostEnv) != "" {
		os.Exit(hostMain())
	}
	os.Exit(m.Run())
}

func denyNamespaces() {
	runtime.LockOSThread()
	const (
		load, equal, anyBit, ret = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K,
			unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, unix.BPF_RET | unix.BPF_K
		refuse = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	)
	p := []unix.SockFilter{
		{Code: load, K: 0},
		{Code: equal, K: unix.SYS_CLONE3, Jf: 1},
		{Code: ret, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)},
		{Code: equal, K: unix.SYS_CLONE, Jt: 1},
		{Code: equal, K: unix.SYS_UNSHARE, Jf: 3},
		{Code: load, K: 16},
		{Code: anyBit, K: unix.CLONE_NEWUSER, Jf: 1},
		{Code: ret, K: refuse},
		{Code: ret, K: unix.SECCOMP_RET_ALLOW},
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		panic(err)
	}
	prog := unix.SockFprog{Len: uint16(len(p)), Filter: &p[0]}
	if _, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&prog))); e != 0 {
		panic(e)
	}
	panic(unix.Exec(os.Args[1], os.Args[1:], os.Environ()))
}

// person is an ordinary user of the host, with a home and nothing else.
type person struct {
	t    *testing.T
	uid  int
	home string
	bin  string
	deny bool
}

func newPerson(t *testing.T, uid int, deny bool) *person {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("these tests become other users: run them as root")
	}
	home, err := os.MkdirTemp("", "ladder")
	if err != nil {
		t.Fatal(err)
	}
	p := &person{t: t, uid: uid, home: home, bin: programs(t), deny: deny}
	t.Cleanup(func() {
		p.endAll()
		if err := os.RemoveAll(home); err != nil {
			t.Error(err)
		}
	})
	if err := os.Lchown(home, uid, uid); err != nil {
		t.Fatal(err)
	}
	return p
}

// programs is the folder of the four binaries: those that were built, or new
// ones.
func programs(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ladderbin")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "build", "-o", dir+"/", "../cmd/...")
	if built := os.Getenv("SCARAB_BIN"); built != "" {
		cmd = exec.Command("cp", "-a", built+"/.", dir)
	}
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return dir
}

// image gives the person a copy of the base image, as if built before.
func (p *person) image() {
	p.t.Helper()
	s := image.Store{Dir: image.DefaultDir}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	if _, err := s.Ensure(ctx, image.Default, func(string) {}); err != nil {
		p.t.Fatal(err)
	}
	dir := filepath.Join(p.home, ".cache/scarab/images", image.Default)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		p.t.Fatal(err)
	}
	for _, name := range []string{"image.json", "image.tar.zst"} {
		data, err := os.ReadFile(filepath.Join(image.DefaultDir, image.Default, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), data, 0o600)
		}
		if err != nil {
			p.t.Fatal(err)
		}
	}
	if out, err := exec.Command("chown", "-R", fmt.Sprintf("%d:%d", p.uid, p.uid), filepath.Join(p.home, ".cache")).CombinedOutput(); err != nil {
		p.t.Fatalf("%v: %s", err, out)
	}
}

// try runs a command as the person and gives all that it printed.
func (p *person) try(args ...string) (string, error) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if args[0] == "scarab" {
		args[0] = filepath.Join(p.bin, "scarab")
	}
	env := []string{"HOME=" + p.home, "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"}
	if p.deny {
		args = append([]string{"/proc/self/exe"}, args...)
		env = append(env, denyEnv+"=1")
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Env = p.home, env
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(p.uid), Gid: uint32(p.uid), Groups: []uint32{}}}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &out, &out, time.Second
	err := cmd.Run()
	return out.String(), err
}

func (p *person) run(args ...string) string {
	p.t.Helper()
	out, err := p.try(args...)
	if err != nil {
		log, _ := exec.Command("sh", "-c", "tail -n 20 "+p.home+"/.local/share/scarab/log/*").CombinedOutput()
		p.t.Fatalf("%v: %v\n%s\n%s", args, err, out, log)
	}
	return out
}

// processes are all living ones of the person.
func (p *person) processes() []string {
	names, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		p.t.Fatal(err)
	}
	var out []string
	for _, dir := range names {
		var st unix.Stat_t
		if unix.Stat(dir, &st) != nil || int(st.Uid) != p.uid && !p.owns(dir) {
			continue
		}
		if stat, err := os.ReadFile(dir + "/stat"); err != nil || strings.Contains(string(stat), ") Z ") {
			continue
		}
		cmd, _ := os.ReadFile(dir + "/cmdline")
		out = append(out, filepath.Base(dir)+" "+strings.ReplaceAll(string(cmd), "\x00", " "))
	}
	return out
}

// owns tells whether a process that cannot be traced has the person's id.
func (p *person) owns(dir string) bool {
	data, err := os.ReadFile(dir + "/status")
	return err == nil && strings.Contains(string(data), fmt.Sprintf("\nUid:\t%d\t", p.uid))
}

func (p *person) endAll() {
	for _, line := range p.processes() {
		pid, _, _ := strings.Cut(line, " ")
		if n, err := strconv.Atoi(pid); err == nil {
			_ = unix.Kill(n, unix.SIGKILL)
		}
	}
}

func (p *person) until(what string, f func() bool) {
	p.t.Helper()
	for end := time.Now().Add(time.Minute); !f(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			status, _ := p.try("scarab", "status")
			log, _ := exec.Command("sh", "-c", "tail -n 20 "+p.home+"/.local/share/scarab/log/* "+p.home+"/.local/share/scarab/machines/*/files/var/log/scarab/*").CombinedOutput()
			p.t.Fatalf("waited too long for %s\n%s\n%s", what, status, log)
		}
	}
}

// climb bootstraps, deploys and sees the isolation that is expected; what is
// wanted of the machines goes between that and the end.
func (p *person) climb(isolation string, port int, between func()) {
	p.t.Helper()
	out := p.run("scarab", "bootstrap", "localhost", "here", "--config", fmt.Sprintf("api-port=%d", port))
	if n := strings.Count(out, "WARNING"); n != 1 || !strings.Contains(out, "weak isolation: machines here will be "+isolation+", not containers: not root") {
		p.t.Errorf("bootstrap warned %d times:\n%s", n, out)
	}
	charm, err := filepath.Abs("testdata/noop")
	if err != nil {
		p.t.Fatal(err)
	}
	if out, err := exec.Command("cp", "-a", charm, p.home+"/noop").CombinedOutput(); err != nil {
		p.t.Fatalf("%v: %s", err, out)
	}
	p.run("scarab", "add-model", "m")
	p.run("scarab", "deploy", p.home+"/noop")
	p.until("active and idle", func() bool {
		out := p.run("scarab", "status")
		return strings.Contains(out, "idle") && strings.Contains(out, "active")
	})
	if out := p.run("scarab", "status"); !strings.Contains(out, "0 ("+isolation+")") {
		p.t.Errorf("status does not warn:\n%s", out)
	}
	if out := p.run("scarab", "status", "--format=yaml"); !strings.Contains(out, "isolation="+isolation) || !strings.Contains(out, "isolation: "+isolation) {
		p.t.Errorf("status does not tell the isolation:\n%s", out)
	}
	p.private()
	between()
	p.run("scarab", "kill-controller", "here", "--no-prompt")
	p.until("all processes to end", func() bool { return len(p.processes()) == 0 })
	for _, dir := range []string{".local/share/scarab", ".cache/scarab/run"} {
		if left, err := os.ReadDir(filepath.Join(p.home, dir)); err == nil {
			p.t.Errorf("kill-controller left %s with %v", dir, left)
		}
	}
}

// private sees that nobody else can look into the person's local cloud.
func (p *person) private() {
	p.t.Helper()
	lib, run := filepath.Join(p.home, ".local/share/scarab"), filepath.Join(p.home, ".cache/scarab/run")
	for name, want := range map[string]os.FileMode{
		lib: 0o700, lib + "/bin": 0o700, lib + "/log": 0o700, lib + "/keys": 0o700, lib + "/controller": 0o700, lib + "/machines": 0o700,
		lib + "/host.json": 0o600, lib + "/keys/unseal.key": 0o600, lib + "/log/host.log": 0o600, lib + "/log/controller.log": 0o600,
		run + "/host": 0o700, run + "/host/host.sock": 0o600,
	} {
		if st, err := os.Lstat(name); err != nil || st.Mode().Perm() != want {
			p.t.Errorf("%s is %v, %v", name, st, err)
		}
	}
}

func TestRootless(t *testing.T) {
	t.Parallel()
	p := newPerson(t, 64801, false)
	p.image()
	p.climb("rootless", 17281, func() {
		out, _ := p.try("scarab", "exec", "--unit", "noop/0", "--", "/bin/sh", "-c",
			"id -u; ls "+p.home+"; mount -t tmpfs x /mnt; unshare -U true; grep NoNewPrivs /proc/self/status")
		if strings.Contains(out, ".cache") || !strings.Contains(out, "cannot access '"+p.home) || !strings.Contains(out, "NoNewPrivs:\t1") ||
			strings.Count(out, "ermission denied")+strings.Count(out, "not permitted") < 2 {
			t.Errorf("inside: %s", out)
		}
	})
}

func TestProcess(t *testing.T) {
	t.Parallel()
	p := newPerson(t, 64802, true)
	secret := filepath.Join(p.home, "secret")
	if err := os.WriteFile(secret, []byte("the user's own"), 0o644); err != nil {
		t.Fatal(err)
	}
	p.climb("process", 17282, func() {
		out, _ := p.try("scarab", "exec", "--unit", "noop/0", "--", "/bin/sh", "-c", "cat "+secret+"; ls "+p.home+"; echo x > /tmp/ladder-x; "+
			"for d in /proc/[0-9]*; do kill -9 ${d#/proc/} 2>/dev/null; done; cat /etc/hostname >/dev/null && echo survived; id -u")
		if strings.Contains(out, "own") || strings.Contains(out, ".cache") {
			t.Errorf("inside: %s", out)
		}
		if out := p.run("scarab", "status"); !strings.Contains(out, "noop/0") {
			t.Errorf("after an attack: %s", out)
		}
	})
}
