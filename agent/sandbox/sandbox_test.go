package sandbox

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == HelperArg {
		os.Exit(HelperMain(os.Args[2:]))
	}
	if os.Getuid() != 0 {
		fmt.Fprintln(os.Stderr, "these tests need root")
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// box makes a box with cgroups, or one that has to do without.
func box(t *testing.T, cgroups bool) *Box {
	t.Helper()
	cfg := Config{Helper: []string{"/proc/self/exe", HelperArg}, Tick: 20 * time.Millisecond}
	if cgroups {
		own := FindCgroup()
		if own == "" {
			t.Fatal("no writable cgroup2 here")
		}
		cfg.Cgroup = filepath.Join(own, "scarab-test-"+strconv.Itoa(os.Getpid())+"-"+t.Name())
		cfg.Cgroup = strings.ReplaceAll(cfg.Cgroup, t.Name(), strings.ReplaceAll(t.Name(), "/", "-"))
		t.Cleanup(func() {
			left, _ := filepath.Glob(cfg.Cgroup + "/*" + leftSuffix)
			for _, d := range left {
				g := &group{dir: d, fd: -1}
				g.kill()
				g.remove()
			}
			if err := os.Remove(cfg.Cgroup); err != nil {
				t.Errorf("a run left its cgroup: %v", err)
			}
		})
	}
	b, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func sh(script string, out io.Writer) Spec {
	return Spec{
		Name: "run", Path: "/bin/bash", Args: []string{"bash", "-c", script}, Dir: "/",
		Env: []string{"PATH=/usr/bin:/bin"}, Stdout: out, Stderr: out,
	}
}

func run(t *testing.T, b *Box, s Spec) Result {
	t.Helper()
	r, err := b.Run(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestIdentityAndLimits(t *testing.T) {
	b := box(t, true)
	var out bytes.Buffer
	s := sh("id -u; id -g; id -G; ulimit -n; ulimit -Hn; ulimit -c; grep NoNewPrivs /proc/self/status; cat /proc/self/oom_score_adj; env; cat; exit 7", &out)
	s.UID, s.GID, s.Groups, s.NoNewPrivs = 1234, 1235, []int{1235}, true
	r := run(t, b, s)
	if r.Code != 7 || r.Signal != 0 || r.Limit != "" {
		t.Errorf("ended %+v", r)
	}
	for _, want := range []string{"1234\n1235\n1235\n1024\n", "\n0\nNoNewPrivs:\t1\n500\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in %q", want, out.String())
		}
	}
	if strings.Contains(out.String(), "HOME=") || strings.Contains(out.String(), os.Args[0]) {
		t.Errorf("inherited environment: %q", out.String())
	}
}

func TestHide(t *testing.T) {
	b := box(t, true)
	if !b.Hides() {
		t.Fatal("directories cannot be hidden here")
	}
	dir := t.TempDir()
	for _, f := range []string{"unit-a-0/agent.conf", "unit-a-0/charm/file", "unit-b-0/charm/file", "machine-0/agent.conf"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, f)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, f), []byte("SECRET"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	script := fmt.Sprintf("cd %s; find . -type f | sort; cat unit-a-0/charm/file; echo new > unit-a-0/charm/new; echo x > stray", dir)
	for _, prepared := range []bool{false, true} {
		if prepared {
			if err := PrepareHide(dir); err != nil {
				t.Fatal(err)
			}
			if err := PrepareHide(dir); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := unix.Unmount(dir, 0); err != nil {
					t.Error(err)
				}
			})
		}
		var out bytes.Buffer
		s := sh(script, &out)
		s.Hide, s.Keep = dir, []string{filepath.Join(dir, "unit-a-0/charm")}
		run(t, b, s)
		if !strings.HasPrefix(out.String(), "./unit-a-0/charm/file\n") && !strings.HasPrefix(out.String(), "./unit-a-0/charm/file\n./unit-a-0/charm/new\n") ||
			strings.Contains(out.String(), "agent.conf") || strings.Contains(out.String(), "unit-b") {
			t.Errorf("prepared %v: run sees %q", prepared, out.String())
		}
		if !strings.Contains(out.String(), "Read-only file system") {
			t.Errorf("the cover can be written: %q", out.String())
		}
		if got, err := os.ReadFile(filepath.Join(dir, "unit-a-0/charm/new")); err != nil || string(got) != "new\n" {
			t.Errorf("what the run wrote is lost: %v", err)
		}
		if _, err := os.Stat(filepath.Join(dir, "machine-0/agent.conf")); err != nil {
			t.Errorf("hidden from the machine too: %v", err)
		}
	}
}

func TestLimits(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		limits Limits
		want   string
	}{
		"fork bomb": {`f() { f | f & }; f; wait; sleep 60`, Limits{Pids: 100}, "pids"},
		"memory":    {`x=$(head -c 400000000 /dev/zero | tr '\0' x); sleep 60`, Limits{Memory: 200 << 20}, "memory"},
		"loop":      {`while :; do :; done`, Limits{Time: 200 * time.Millisecond}, "time"},
		"escape":    {`setsid sleep 300 & setsid bash -c 'sleep 300 & sleep 300' & sleep 300`, Limits{Time: 300 * time.Millisecond}, "time"},
	} {
		t.Run(name, func(t *testing.T) {
			b := box(t, true)
			s := sh(c.script, io.Discard)
			s.Limits = c.limits
			start := time.Now()
			r := run(t, b, s)
			if r.Limit != c.want || time.Since(start) > 20*time.Second {
				t.Errorf("ended %+v after %v, want limit %q", r, time.Since(start), c.want)
			}
		})
	}
}

func TestWithoutCgroups(t *testing.T) {
	b := box(t, false)
	s := sh(`(sleep 300; :) & (sleep 300; :) & (sleep 300; :) & wait`, io.Discard)
	s.Limits = Limits{Pids: 3}
	if r := run(t, b, s); r.Limit != "pids" {
		t.Errorf("ended %+v", r)
	}
}

func TestStopAndSignals(t *testing.T) {
	b := box(t, true)
	ctx, cancel := context.WithCancel(context.Background())
	started := make(chan struct{})
	s := sh("echo up; sleep 300", writer(func(p []byte) (int, error) { close(started); return len(p), nil }))
	go func() { <-started; cancel() }()
	r, err := b.Run(ctx, s)
	if err != nil || !r.Stopped || r.Signal != syscall.SIGKILL {
		t.Errorf("stopped run: %+v, %v", r, err)
	}
	if r := run(t, b, sh("kill -TERM $$; sleep 9", io.Discard)); r.Signal != syscall.SIGTERM || r.Stopped {
		t.Errorf("signalled run: %+v", r)
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

// TestDaemonSurvives: what a program leaves running on purpose goes on, and the
// next run of that name is not disturbed.
func TestDaemonSurvives(t *testing.T) {
	b := box(t, true)
	var out bytes.Buffer
	run(t, b, sh("setsid sleep 300 >/dev/null 2>&1 & echo $!", &out))
	pid := strings.TrimSpace(out.String())
	s := sh("sleep 60", io.Discard)
	s.Limits.Time = 50 * time.Millisecond
	run(t, b, s)
	if _, err := os.Stat("/proc/" + pid); err != nil {
		t.Errorf("the daemon %s died: %v", pid, err)
	}
}

// TestStaleRunsEnd: a new agent ends what an earlier one left in its cgroups.
func TestStaleRunsEnd(t *testing.T) {
	b := box(t, true)
	g, err := b.group(Spec{Name: "stale"})
	if err != nil {
		t.Fatal(err)
	}
	p, err := os.StartProcess("/bin/sleep", []string{"sleep", "300"}, &os.ProcAttr{Sys: &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: g.fd}})
	if err != nil {
		t.Fatal(err)
	}
	died := make(chan error, 1)
	go func() { _, err := p.Wait(); died <- err }()
	if _, err := New(b.cfg); err != nil {
		t.Fatal(err)
	}
	select {
	case <-died:
	case <-time.After(5 * time.Second):
		_ = p.Kill()
		t.Error("an earlier agent's hook still runs")
	}
	_ = syscall.Close(g.fd)
}

func TestMissingProgram(t *testing.T) {
	b := box(t, true)
	s := sh("", io.Discard)
	s.Path = "/nonexistent"
	if r := run(t, b, s); r.Code != exitHelper {
		t.Errorf("ended %+v", r)
	}
}

// TestMovedIntoCgroup: where a process cannot be born in its cgroup it is moved
// there before it does anything, with a spec of any size.
func TestMovedIntoCgroup(t *testing.T) {
	b := box(t, true)
	b.moves.Store(true)
	var out bytes.Buffer
	s := sh("grep ^0:: /proc/self/cgroup; echo ${#BIG}", &out)
	s.Env = append(s.Env, "BIG="+strings.Repeat("x", 100_000))
	if r := run(t, b, s); r.Code != 0 || !strings.Contains(out.String(), filepath.Base(b.cfg.Cgroup)+"/run\n100000\n") {
		t.Errorf("ended %+v: %q", r, out.String())
	}
}
