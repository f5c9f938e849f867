package hostd

import (
	"context"
	"io/fs"
	"net"
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

	"github.com/scarab-ops/scarab/hostd/hostapi"
)

// hostEnv makes the test binary a supervisor, as an installation starts it.
const hostEnv = "SCARAB_TEST_HOST"

func hostMain(name string) {
	cfg, err := LoadConfig(name)
	if err == nil {
		m := testMachines(filepath.Dir(name))
		cfg.Machines = &m
		err = Run(context.Background(), cfg)
	}
	if err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
	os.Exit(0)
}

// TestInstallation goes once round: installed, again, gone, started, removed.
func TestInstallation(t *testing.T) {
	if underSystemd() {
		t.Fatal("this test is for a host whose init is not systemd")
	}
	cfg := testConfig(t)
	dir := filepath.Dir(filepath.Dir(cfg.Socket))
	file := filepath.Join(dir, "host.json")
	t.Setenv(hostEnv, file)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	inst := Installation{Program: []string{self}, File: file, Log: filepath.Join(dir, "log", "host.log")}
	cfg.Controller = &ControllerConfig{Argv: []string{"/bin/sleep", "1000"}, Dir: filepath.Join(dir, "controller"), UID: testUID, GID: testUID}
	cfg.Version = "7"
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var first hostapi.Status
	for i := range 2 { // the second time changes nothing
		if err := Install(ctx, inst, cfg); err != nil {
			t.Fatal(err)
		}
		st := statusOf(t, cfg.Socket)
		if st.Version != "7" || st.Isolation != "container" || len(st.Why) != 0 || st.Relayed || st.ControllerUID != testUID {
			t.Errorf("the supervisor is %+v", st)
		}
		if i == 1 && st.ControllerPid != first.ControllerPid {
			t.Errorf("installing again started the controller again: %+v, was %+v", st, first)
		}
		first = st
	}
	for name, want := range map[string]fs.FileMode{file: 0o600, inst.Log: 0o600, filepath.Dir(inst.Log): 0o711, cfg.Controller.Dir: 0o700} {
		if st, err := os.Stat(name); err != nil || st.Mode().Perm() != want {
			t.Errorf("%s is %v, %v", name, st.Mode(), err)
		}
	}
	privileges(t, first.ControllerPid)
	if err := Start(ctx, inst); err != nil { // it runs
		t.Error(err)
	}
	if err := Uninstall(ctx, inst, func(string) {}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{file, cfg.Socket} {
		if _, err := os.Lstat(name); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", name, err)
		}
	}
	if err := syscall.Kill(first.ControllerPid, 0); err != syscall.ESRCH {
		t.Errorf("the controller outlived its supervisor: %v", err)
	}
	if err := Uninstall(ctx, inst, func(string) {}); err != nil { // nothing is installed
		t.Error(err)
	}
	if err := Start(ctx, inst); err == nil {
		t.Error("what is not installed was started")
	}
}

func statusOf(t *testing.T, socket string) hostapi.Status {
	t.Helper()
	c := hostapi.NewClient(socket)
	defer c.Close()
	var st hostapi.Status
	waitFor(t, "the controller", func() bool {
		var err error
		st, err = c.Status(context.Background())
		return err == nil && st.ControllerPid != 0
	})
	return st
}

// privileges sees that the controller has none and can get none.
func privileges(t *testing.T, pid int) {
	t.Helper()
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"NoNewPrivs:\t1", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "Uid:\t64790\t64790\t64790\t64790", "Groups:\t \n"} {
		if !strings.Contains(string(data), line) {
			t.Errorf("the controller is not %q:\n%s", line, data)
		}
	}
}

// TestConfinedCallers: where all have one user, what a machine's processes are
// told by is the filter they are under.
func TestConfinedCallers(t *testing.T) {
	ours, err := filters("self")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := filters("0"); err == nil {
		t.Errorf("no process has %d filters", n)
	}
	dir := t.TempDir()
	name := filepath.Join(dir, "s")
	l := listenUnix(t, name)
	for _, want := range []bool{false, true} {
		cmd := connectCommand(name, want)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		conn, err := l.AcceptUnix()
		if err != nil {
			t.Fatal(err)
		}
		if got := confined(conn); got != want {
			t.Errorf("a caller whose filters are more than our %d: %v, told %v", ours, want, got)
		}
		_ = conn.Close()
		_ = out.Close()
		_ = cmd.Wait()
	}
}

// connectEnv makes the test binary connect to a socket and wait; under a filter
// of its own if the name begins with a plus.
const connectEnv = "SCARAB_TEST_CONNECT"

func connectCommand(name string, filtered bool) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	if filtered {
		name = "+" + name
	}
	cmd.Env = append(os.Environ(), connectEnv+"="+name)
	return cmd
}

func connectMain(name string) {
	name, filtered := strings.CutPrefix(name, "+")
	runtime.LockOSThread()
	if filtered {
		allow := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}
		prog := unix.SockFprog{Len: 1, Filter: &allow}
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			panic(err)
		}
		if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0); err != nil {
			panic(err)
		}
	}
	conn, err := net.Dial("unix", name)
	if err != nil {
		panic(err)
	}
	_, _ = conn.Read(make([]byte, 1)) // until the other side has looked
	os.Exit(0)
}

func listenUnix(t *testing.T, name string) *net.UnixListener {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}
