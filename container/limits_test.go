package container

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/container/confine"

	"github.com/scarab-ops/scarab/container/cgroup"
)

func TestLimitsHold(t *testing.T) {
	root := testRoot(t)
	r := newRuntime(t, testConfig(t))
	s := plain(root, "0")
	s.Limits = Limits{Cores: 1, MemMiB: 96, DiskMiB: 128, Pids: 64}
	m := create(t, r, s)

	if out, code := run(t, r, m.ID, "python3", "-c", "x = b'x' * (300 << 20)"); code == 0 {
		t.Errorf("300 MiB fit into 96: %s", out)
	}
	forks := `import os, time
kids = []
try:
    while len(kids) < 200:
        pid = os.fork()
        if pid == 0:
            time.sleep(60)
            os._exit(0)
        kids.append(pid)
except OSError:
    pass
print(len(kids))
for k in kids:
    os.kill(k, 9)
    os.waitpid(k, 0)
`
	out, _ := run(t, r, m.ID, "python3", "-c", forks)
	if n, err := strconv.Atoi(out); err != nil || n < 10 || n >= 64 {
		t.Errorf("%s processes run where 64 may: %v", out, err)
	}
	if out, code := run(t, r, m.ID, "dd", "if=/dev/zero", "of=/big", "bs=1M", "count=200"); code == 0 || !strings.Contains(out, "No space") {
		t.Errorf("200 MiB fit on a disk of 128: %s", out)
	}
	favour(t, r, m.ID) // a busy host would never let it reach its limit
	ctx, cancel := context.WithCancel(context.Background())
	busy := make(chan struct{})
	go func() {
		defer close(busy)
		_, _ = r.Exec(ctx, m.ID, []string{"/bin/sh", "-c", "(while :; do :; done) & (while :; do :; done) & while :; do :; done"}, nil, nil, nil)
	}()
	waitFor(t, "busy loops to be throttled to one core", 30*time.Second, func() bool { return throttled(t, r, m.ID) > 0 })
	cancel()
	<-busy
}

// favour gives a machine precedence over everything else on the host.
func favour(t *testing.T, r *Runtime, id string) {
	t.Helper()
	top, file, value := r.groups.V2Dir(), "cpu.weight", "10000"
	if mount := r.groups.V1["cpu"]; mount != "" {
		top, file, value = filepath.Join(mount, r.groups.Folder), "cpu.shares", "262144"
	}
	for _, dir := range []string{top, filepath.Join(top, id)} {
		if err := cgroup.WriteControl(dir, file, value); err != nil {
			t.Fatal(err)
		}
	}
}

// throttled reads how often a machine waited for its share.
func throttled(t *testing.T, r *Runtime, id string) int {
	t.Helper()
	dir := r.groups.V2Dir(id)
	if mount := r.groups.V1["cpu"]; mount != "" {
		dir = filepath.Join(mount, r.groups.Folder, id)
	}
	data, err := os.ReadFile(filepath.Join(dir, "cpu.stat"))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`nr_throttled (\d+)`).FindStringSubmatch(string(data))
	if found == nil {
		t.Fatalf("cpu.stat is %s", data)
	}
	n, err := strconv.Atoi(found[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestRootInsideIsNobody(t *testing.T) {
	root := testRoot(t)
	cfg := testConfig(t)
	shared := t.TempDir()
	if err := os.Chmod(shared, 0o755); err != nil {
		t.Fatal(err)
	}
	tool := filepath.Join(shared, "tool")
	if err := os.WriteFile(tool, []byte("#!/bin/sh\necho tool\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	cfg.HostFiles = []string{shared}
	r := newRuntime(t, cfg)
	for _, profile := range []Profile{ProfilePlain, ProfileSystem} {
		t.Run(string(profile), func(t *testing.T) {
			s := plain(root, string(profile))
			s.Profile = profile
			s.Files = []File{{Path: "/usr/local/bin/tool", Mode: 0o755, Host: tool}}
			m := create(t, r, s)
			status, err := os.ReadFile("/proc/" + strconv.Itoa(m.Pid) + "/status")
			if err != nil {
				t.Fatal(err)
			}
			if want := "Uid:\t" + strconv.Itoa(m.IDBase); !strings.Contains(string(status), want) {
				t.Errorf("outside, the first process is %s", status)
			}
			checkInside(t, r, m, profile)
			if got := sh(t, r, m.ID, "tool"); got != "tool" {
				t.Errorf("the shared file says %q", got)
			}
			run(t, r, m.ID, "/bin/sh", "-c", "mount -o remount,bind,rw /usr/local/bin/tool; chmod 777 /usr/local/bin/tool; echo evil > /usr/local/bin/tool")
			if data, err := os.ReadFile(tool); err != nil || strings.Contains(string(data), "evil") {
				t.Errorf("the machine wrote a file of the host: %s, %v", data, err)
			}
		})
	}
}

// checkInside asks the kernel, from inside, what a machine's root may do.
func checkInside(t *testing.T, r *Runtime, m Machine, profile Profile) {
	t.Helper()
	var bits uint64
	caps := confine.SystemCaps()
	if profile == ProfilePlain {
		caps = confine.PlainCaps()
	}
	for _, c := range caps {
		bits |= 1 << c
	}
	for _, pid := range []string{"1", "self"} { // the init's, and what Exec gives
		text := sh(t, r, m.ID, "cat /proc/"+pid+"/status")
		field := func(name string) string {
			found := regexp.MustCompile(`(?m)^` + name + `:\s*(\S+)`).FindStringSubmatch(text)
			if found == nil {
				t.Fatalf("no %s in %s", name, text)
			}
			return found[1]
		}
		if got, err := strconv.ParseUint(field("CapBnd"), 16, 64); err != nil || got != bits {
			t.Errorf("%s: capabilities of %s are %x, want %x", profile, pid, got, bits)
		}
		if field("Seccomp") != "2" {
			t.Errorf("%s: %s has no filter", profile, pid)
		}
		if nnp := field("NoNewPrivs") == "1"; nnp != (profile == ProfilePlain) {
			t.Errorf("%s: no_new_privs of %s is %v", profile, pid, nnp)
		}
	}
	refused := map[string]string{
		"user namespace":        "unshare --user true",
		"block device":          "mknod /tmp/sda b 8 0",
		"host's root":           "ls /proc/1/root/work /proc/1/cwd/work",
		"kernel setting":        "echo 1 > /proc/sys/kernel/panic",
		"kernel log":            "dmesg",
		"clock":                 "date -s 2001-01-01",
		"bpf":                   `python3 -c "import ctypes,sys; sys.exit(0 if ctypes.CDLL(None).syscall(321, 0, 0, 0) >= 0 else 1)"`,
		"keyring":               `python3 -c "import ctypes,sys; sys.exit(0 if ctypes.CDLL(None).syscall(250, 0, -3, 0) >= 0 else 1)"`,
		"x32 call":              `python3 -c "import ctypes,sys; sys.exit(0 if ctypes.CDLL(None).syscall(0x40000027) >= 0 else 1)"`,
		"vsock":                 `python3 -c "import socket; socket.socket(40, socket.SOCK_STREAM)"`,
		"handle":                `python3 -c "import ctypes,sys; sys.exit(0 if ctypes.CDLL(None).syscall(304, -100, 0, 0) >= 0 or ctypes.get_errno() == 22 else 1)"`,
		"memory of init's host": "cat /proc/kcore | head -c 1 | grep .",
	}
	if profile == ProfilePlain {
		refused["mount"] = "mount -t tmpfs x /mnt"
		refused["mount namespace"] = "unshare --mount true"
		refused["network"] = "ip link add x type dummy"
		refused["trace"] = `python3 -c "import ctypes,sys; sys.exit(0 if ctypes.CDLL(None).ptrace(0, 0, 0, 0) >= 0 else 1)"`
	}
	for what, script := range refused {
		if out, code := run(t, r, m.ID, "/bin/sh", "-c", script); code == 0 {
			t.Errorf("%s: %s was allowed: %s", profile, what, out)
		}
	}
	if out := sh(t, r, m.ID, "ls /proc | grep -c '^[0-9]'; ls -d /var/lib/scarab /var/cache/scarab /srv/scarab 2>/dev/null | wc -l"); strings.HasSuffix(out, "\n0") == false {
		t.Errorf("%s: files of the host are in view: %s", profile, out)
	}
	if out := sh(t, r, m.ID, "cat /proc/self/cgroup"); strings.Contains(out, m.ID) {
		t.Errorf("%s: the host's control groups are in view: %s", profile, out)
	}
}

func TestHostFilesAreRefused(t *testing.T) {
	root := testRoot(t)
	cfg := testConfig(t)
	shared := t.TempDir()
	cfg.HostFiles = []string{shared}
	r := newRuntime(t, cfg)
	secret := filepath.Join(shared, "secret")
	if err := os.WriteFile(secret, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	writable := filepath.Join(shared, "writable")
	if err := os.WriteFile(writable, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(writable, 0o666); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(shared, "link")
	if err := os.Symlink("/etc/passwd", link); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"/etc/shadow", "/etc/passwd", secret, writable, link, shared, shared + "/../x"} {
		s := plain(root, "0")
		s.Files = []File{{Path: "/stolen", Mode: 0o644, Host: name}}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		if _, err := r.Create(ctx, s); err == nil {
			t.Errorf("%s was shared", name)
		}
		cancel()
		if left := r.List(); len(left) != 0 {
			t.Errorf("a refused machine is left: %v", left)
		}
	}
}
