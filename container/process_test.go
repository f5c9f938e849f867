package container

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scarab-ops/scarab/container/proc"
)

// ordinaryEnv makes the test binary run one test as another user.
const ordinaryEnv = "SCARAB_TEST_ORDINARY"

func processConfig(t *testing.T) Config {
	t.Helper()
	dir, err := os.MkdirTemp("", "process")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	c := Defaults()
	c.Log = slog.New(slog.DiscardHandler)
	c.Dir, c.RunDir, c.Isolation = filepath.Join(dir, "state"), filepath.Join(dir, "run"), IsolationProcess
	c.Subnet, c.IDBase, c.RestartPause = netip.MustParsePrefix("127.66.0.0/16"), 0x79000000, 10*time.Millisecond
	return c
}

// TestProcessMachines runs with a user for each machine, and again as a user
// who has no other.
func TestProcessMachines(t *testing.T) {
	if os.Getenv(ordinaryEnv) == "" {
		t.Run("ordinary", func(t *testing.T) {
			dir, err := os.MkdirTemp("", "ordinary")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(dir) })
			if err := os.Lchown(dir, 64804, 64804); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("/proc/self/exe", "-test.run=^TestProcessMachines$", "-test.v")
			cmd.Env = []string{"PATH=/usr/bin:/bin", "TMPDIR=" + dir, "HOME=" + dir, ordinaryEnv + "=1"}
			cmd.Dir = "/"
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 64804, Gid: 64804, Groups: []uint32{}}}
			if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
	r := newRuntime(t, processConfig(t))
	for name, f := range map[string]func(*testing.T, *Runtime){
		"Confined": confined, "Apart": apart, "TreeEnds": treeEnds, "Restarts": restarts,
	} {
		t.Run(name, func(t *testing.T) { f(t, r) })
	}
}

func confined(t *testing.T, r *Runtime) {
	home, err := os.MkdirTemp("", "home")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(home) })
	secret := filepath.Join(home, "secret")
	if err := errors.Join(os.Chmod(home, 0o755), os.WriteFile(secret, []byte("open to all but machines"), 0o644)); err != nil {
		t.Fatal(err)
	}
	s := plain("/", "confined")
	s.Files = []File{{Path: "/var/lib/x/own", Mode: 0o600, Data: []byte("mine")}}
	m := create(t, r, s)
	if m.Isolation != IsolationProcess || m.Limits != (Limits{}) {
		t.Errorf("the record is %+v", m)
	}
	if got := sh(t, r, m.ID, `cd "$SCARAB_MACHINE_DIR"; cat var/lib/x/own; echo; echo t > tmp/t && cat tmp/t; test $(id -u) != 0 && echo other`); got != "mine\nt\nother" {
		t.Errorf("inside: %q", got)
	}
	got := sh(t, r, m.ID, "grep -E '^(NoNewPrivs|Seccomp|CapEff|CapPrm):' /proc/self/status")
	if got != "CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2" {
		t.Errorf("privileges: %q", got)
	}
	for _, script := range []string{
		"cat " + secret, "ls " + home, "ls /root", "ls /home", "touch /tmp/x-$$", "touch /etc/x-$$", "ls /var/lib", "ls /dev/shm",
		"cat /proc/1/environ", "unshare -U true", "mount -t tmpfs x /mnt", "chroot / true", "ls " + r.cfg.RunDir,
		fmt.Sprintf("cat /proc/%d/environ", os.Getpid()), fmt.Sprintf("head -c 1 /proc/%d/mem", os.Getpid()), "cat " + r.store.dir + "/machines/" + m.ID + "/machine.json",
	} {
		if out, code := run(t, r, m.ID, "/bin/sh", "-c", script); code == 0 {
			t.Errorf("%s is allowed: %s", script, out)
		}
	}
}

func apart(t *testing.T, r *Runtime) {
	a, b := create(t, r, plain("/", "a")), create(t, r, plain("/", "b"))
	if a.Address == b.Address {
		t.Errorf("both have %v", a.Address)
	}
	sh(t, r, b.ID, `echo secret > "$SCARAB_MACHINE_DIR/tmp/s"`)
	if out, code := run(t, r, a.ID, "cat", r.folderOf(b.ID)+"/tmp/s"); code == 0 {
		t.Errorf("a reads b's file: %s", out)
	}
	if out, code := run(t, r, a.ID, "touch", r.runDirOf(b.ID)+"/x"); code == 0 {
		t.Errorf("a writes to b's sockets: %s", out)
	}
	// Nobody's signals arrive: not the supervisor's, not the other machine's,
	// not the own init's.
	for _, pid := range []int{os.Getpid(), b.Pid, a.Pid, 1} {
		if out, code := run(t, r, a.ID, "kill", "-9", fmt.Sprint(pid)); code == 0 {
			t.Errorf("a ends process %d: %s", pid, out)
		}
	}
	for _, m := range []Machine{a, b} {
		if !proc.Runs(m.Pid, m.PidStart, m.BootID) {
			t.Errorf("machine %s is gone", m.ID)
		}
	}
}

// treeEnds shows that what left its parent and its session ends with the
// machine all the same.
func treeEnds(t *testing.T, r *Runtime) {
	s := plain("/", "tree")
	s.Start = []string{"/bin/sh", "-c", `setsid setsid sh -c 'echo $$ > "$SCARAB_MACHINE_DIR/tmp/far"; exec sleep 1000' & sleep 0.1; exec sleep 1000`}
	m := create(t, r, s)
	far := 0
	waitFor(t, "the daemon", 10*time.Second, func() bool {
		data, err := os.ReadFile(filepath.Join(r.folderOf(m.ID), "tmp/far"))
		_, scan := fmt.Sscan(string(data), &far)
		return err == nil && scan == nil
	})
	if left := proc.Family(m.Pid, 0); len(left) < 2 {
		t.Errorf("the machine's processes are %v", left)
	}
	if err := r.Destroy(context.Background(), m.ID); err != nil {
		t.Fatal(err)
	}
	// A dead process stays listed until whoever inherited it takes its end.
	if _, living := proc.State(far); living {
		t.Errorf("the daemon outlived its machine")
	}
	for _, dir := range []string{r.store.machineDir(m.ID), r.runDirOf(m.ID)} {
		if _, err := os.Lstat(dir); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", dir, err)
		}
	}
}

func restarts(t *testing.T, r *Runtime) {
	s := plain("/", "again")
	s.Start = []string{"/bin/sh", "-c", `echo began >> "$SCARAB_MACHINE_DIR/tmp/log"; exec sleep 1000`}
	m := create(t, r, s)
	began := func(n int) func() bool {
		return func() bool {
			data, _ := os.ReadFile(filepath.Join(r.folderOf(m.ID), "tmp/log"))
			return strings.Count(string(data), "began") == n
		}
	}
	waitFor(t, "the command", 10*time.Second, began(1))
	if err := unix.Kill(m.Pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the command again", 10*time.Second, began(2))
	now, err := r.Get(m.ID)
	if err != nil || now.Pid == m.Pid {
		t.Errorf("after a restart it is %+v, %v", now, err)
	}
}
