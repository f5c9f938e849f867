package unit

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/agent/sandbox"
	"github.com/scarab-ops/scarab/agent/unit/tools"
	"github.com/scarab-ops/scarab/wire/agentapi"
)

const killEnv = "SCARAB_TEST_KILL_AT"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == sandbox.HelperArg {
		os.Exit(sandbox.HelperMain(os.Args[2:]))
	}
	if at := os.Getenv(killEnv); at != "" {
		os.Exit(victim(at))
	}
	if os.Getuid() != 0 {
		fmt.Fprintln(os.Stderr, "these tests need root")
		os.Exit(1)
	}
	dir, err := os.MkdirTemp("", "scu")
	if err == nil {
		err = os.Setenv("SCARAB_TEST_TOOLS", dir)
	}
	if err == nil {
		err = buildTools(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

func buildTools(dir string) error {
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	bin := filepath.Join(dir, "scarab-hooktool")
	cmd := exec.Command("go", "build", "-o", bin, "../../cmd/scarab-hooktool")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %s", err, out)
	}
	for _, t := range tools.All() {
		if err := os.Symlink(bin, filepath.Join(dir, t.Name)); err != nil {
			return err
		}
	}
	return nil
}

// unpack makes a charm of an "archive" that is its dispatch script.
func unpack(archive, dir, _ string) error {
	data, err := os.ReadFile(archive)
	if err != nil {
		return err
	}
	return errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, "metadata.yaml"), []byte("name: app\n"), 0o644),
		os.WriteFile(filepath.Join(dir, "dispatch"), data, 0o755))
}

type everything interface {
	Controller
	Tasks
	tools.Live
}

func config(dir string, c everything, cgroup string) (Config, error) {
	box, err := sandbox.New(sandbox.Config{Helper: []string{"/proc/self/exe", sandbox.HelperArg}, Cgroup: cgroup, Tick: 50 * time.Millisecond})
	if err != nil {
		return Config{}, err
	}
	var lock sync.Mutex
	return Config{
		Unit: "app/0", Dir: filepath.Join(dir, "agents/unit-app-0"), AgentsDir: filepath.Join(dir, "agents"), RunDir: filepath.Join(dir, "run"),
		ToolsDir: os.Getenv("SCARAB_TEST_TOOLS"), Path: "/usr/bin:/bin", Version: "3.6.12", BootID: "b1",
		Controller: c, Tasks: c, Live: c, Unpack: unpack, Box: box,
		CheckAction: func(_, name string, p map[string]any) (map[string]any, error) {
			if name == "undefined" {
				return nil, errors.New("not defined")
			}
			return p, nil
		},
		Lock:     func(context.Context, string) (func(), error) { lock.Lock(); return lock.Unlock, nil },
		Log:      func(_, _, _ string) {},
		RetryMin: 20 * time.Millisecond, RetryMax: 100 * time.Millisecond, Lead: 200 * time.Millisecond,
	}, nil
}

// bench is an agent at work against a fake.
type bench struct {
	t    *testing.T
	f    *fake
	dir  string
	stop func() error
	end  func() error // waits for the agent's own end
	cfg  Config
	ctx  context.Context
}

func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "scu")
	if err == nil {
		err = errors.Join(os.Chmod(dir, 0o755), os.MkdirAll(filepath.Join(dir, "run"), 0o711), os.MkdirAll(filepath.Join(dir, "agents/unit-app-0"), 0o755))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func cgroup(t *testing.T) string {
	t.Helper()
	own := sandbox.FindCgroup()
	if own == "" {
		t.Fatal("no writable cgroup2")
	}
	dir := filepath.Join(own, fmt.Sprintf("scarab-unit-%d-%s", os.Getpid(), t.Name()))
	t.Cleanup(func() { _ = os.Remove(dir) })
	return dir
}

func newBench(t *testing.T, script string, change func(*Config)) *bench {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	b := &bench{t: t, f: newFake("#!/bin/bash\n" + script), dir: tempDir(t), ctx: ctx}
	cfg, err := config(b.dir, b.f, cgroup(t))
	if err != nil {
		t.Fatal(err)
	}
	cfg.Log = func(level, module, msg string) {
		b.f.edit(func(f *fake) { f.log = append(f.log, level+" "+module+" "+msg) })
	}
	if change != nil {
		change(&cfg)
	}
	b.cfg = cfg
	b.start()
	t.Cleanup(func() { _ = b.stop() })
	return b
}

func (b *bench) start() {
	ctx, cancel := context.WithCancel(b.ctx)
	done := make(chan error, 1)
	go func() { done <- New(b.cfg).Run(ctx) }()
	b.end = sync.OnceValue(func() error { return <-done })
	b.stop = func() error { cancel(); return b.end() }
}

func (b *bench) until(cond func(*fake) bool) {
	b.t.Helper()
	if err := b.f.until(b.ctx, cond); err != nil {
		b.f.mu.Lock()
		defer b.f.mu.Unlock()
		b.t.Fatalf("%v\nlog:\n%s", err, strings.Join(b.f.log, "\n"))
	}
}

func ran(hooks ...string) func(*fake) bool {
	return func(f *fake) bool { return slices.Equal(f.hooks(), hooks) }
}

func logged(text string) func(*fake) bool {
	return func(f *fake) bool {
		return slices.ContainsFunc(f.log, func(l string) bool { return strings.Contains(l, text) })
	}
}

func TestWholeLife(t *testing.T) {
	b := newBench(t, `
echo "out $JUJU_HOOK_NAME $JUJU_DISPATCH_PATH"
echo "err" >&2
case $JUJU_HOOK_NAME in
config-changed) [ "$(config-get k)" = v ] || exit 1; state-set a=1; open-port 80; [ "$(is-leader)" = True ] || exit 1;;
db-relation-changed) relation-set -r db:3 seen="$JUJU_REMOTE_UNIT";;
start) status-set active ready; juju-log -l ERROR started;;
esac`, nil)
	first := []string{"install", "leader-elected", "config-changed", "start"}
	b.until(ran(first...))
	b.until(func(f *fake) bool { return slices.Contains(f.statuses, "agent idle") })
	b.f.edit(func(f *fake) {
		rel := agentapi.WantRelation{ID: 3, Endpoint: "db", Role: "requirer", Life: "alive", RemoteApp: "pg", Members: map[string]int64{"pg/0": 1}}
		f.want.Relations = []agentapi.WantRelation{rel}
		f.picture.Relations = []agentapi.ContextRel{{ID: 3, Endpoint: "db", RemoteApp: "pg", RemoteUnits: map[string]agentapi.Settings{"pg/0": {}}}}
	})
	related := append(first, "db-relation-created", "db-relation-joined", "db-relation-changed")
	b.until(ran(related...))
	b.f.edit(func(f *fake) { f.want.Life = "dying" })
	b.until(func(f *fake) bool { return f.dead })
	all := append(related, "db-relation-departed", "db-relation-broken", "stop", "remove")
	b.until(ran(all...))
	if err := b.end(); err != nil {
		t.Errorf("a dead unit's agent ended with %v", err)
	}
	f := b.f
	for _, c := range f.commits {
		if c.Hook == "config-changed" && (c.StateSet["a"] != "1" || len(c.OpenPorts) != 1 || !c.RefreshAddresses) {
			t.Errorf("effects of config-changed: %+v", c)
		}
		if c.Hook == "db-relation-changed" && (len(c.Relations) != 1 || c.Relations[0].Unit["seen"] != "pg/0") {
			t.Errorf("effects of relation-changed: %+v", c)
		}
	}
	for _, want := range []string{
		"workload maintenance installing charm software", "agent executing running install hook", "workload active ready",
		"agent executing running db-relation-joined hook for pg/0", "agent idle", "workload maintenance stopping charm software", "workload terminated",
	} {
		if !slices.Contains(f.statuses, want) {
			t.Errorf("no status %q in %q", want, f.statuses)
		}
	}
	for _, want := range []string{"DEBUG unit.app/0.install out install hooks/install", "WARNING unit.app/0.install err", "ERROR unit.app/0.juju-log started"} {
		if !slices.Contains(f.log, want) {
			t.Errorf("no line %q", want)
		}
	}
	if left, err := os.ReadDir(filepath.Join(b.dir, "run")); err != nil || len(left) > 0 {
		t.Errorf("sockets left: %v %v", left, err)
	}
}

func TestFailureRetryAndResolution(t *testing.T) {
	b := newBench(t, `
case $JUJU_HOOK_NAME in
install) [ -e ../ok ] || [ -e tried ] || { touch tried; state-set lost=1; status-set blocked half; exit 3; };;
start) exit 4;;
esac`, nil)
	b.until(func(f *fake) bool { return slices.Contains(f.statuses, `agent error hook failed: "start"`) })
	b.f.edit(func(f *fake) { f.want.RetryHooks = false })
	if got := b.f.hooks(); !slices.Equal(got, []string{"install", "leader-elected", "config-changed"}) {
		t.Errorf("hooks %v", got)
	}
	if !slices.Contains(b.f.statuses, `agent error hook failed: "install"`) || !slices.Contains(b.f.statuses, "workload blocked half") {
		t.Errorf("statuses %v", b.f.statuses)
	}
	for _, c := range b.f.commits {
		if len(c.StateSet) > 0 {
			t.Errorf("a failed hook's change was sent: %+v", c)
		}
	}
	b.f.edit(func(f *fake) { f.want.Resolved = "no-hooks" })
	b.until(ran("install", "leader-elected", "config-changed", "start"))
	b.until(func(f *fake) bool { return f.want.Resolved == "" && f.statuses[len(f.statuses)-1] == "agent idle" })
}

func TestRefusedFlushFailsTheHook(t *testing.T) {
	b := newBench(t, `echo x >> runs-$JUJU_HOOK_NAME`, nil)
	b.f.edit(func(f *fake) { f.refuse = "config-changed" })
	b.until(func(f *fake) bool { return slices.Contains(f.statuses, `agent error hook failed: "config-changed"`) })
	b.f.edit(func(f *fake) { f.refuse = "" })
	b.until(ran("install", "leader-elected", "config-changed", "start"))
}

func TestOutageIsWaitedOut(t *testing.T) {
	b := newBench(t, `[ $JUJU_HOOK_NAME != config-changed ] || { echo waiting; while [ ! -e go ]; do sleep 0.02; done; echo x >> runs; }`, nil)
	b.until(logged("waiting"))
	b.f.edit(func(f *fake) { f.down = true })
	charm := filepath.Join(b.cfg.Dir, "charm")
	if err := os.WriteFile(filepath.Join(charm, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	b.until(logged("cannot reach the controller"))
	b.f.edit(func(f *fake) { f.down = false })
	b.until(ran("install", "leader-elected", "config-changed", "start"))
	if runs, err := os.ReadFile(filepath.Join(charm, "runs")); err != nil || string(runs) != "x\n" {
		t.Errorf("config-changed ran %q times, %v", runs, err)
	}
}

func TestActions(t *testing.T) {
	b := newBench(t, `
case $JUJU_DISPATCH_PATH in
actions/good) action-set a.b=1; action-log working; echo hi; open-port 99; [ "$(action-get p)" = 5 ]; [ -z "$JUJU_HOOK_NAME" ];;
actions/bad) echo no >&2; open-port 98; exit 9;;
actions/fail) action-fail "as told";;
actions/long) echo up; sleep 300;;
esac`, nil)
	first := ran("install", "leader-elected", "config-changed", "start")
	b.until(first)
	run := func(tasks ...agentapi.Task) {
		b.f.edit(func(f *fake) { f.want.Tasks = append(f.want.Tasks, tasks...) })
	}
	run(agentapi.Task{ID: "1", Name: "good", Params: map[string]any{"p": 5}}, agentapi.Task{ID: "2", Name: "bad"}, agentapi.Task{ID: "3", Name: "fail"},
		agentapi.Task{ID: "4", Name: "undefined"}, agentapi.Task{ID: "5", Name: "juju-exec", Params: map[string]any{"command": "echo $JUJU_UNIT_NAME; config-get k"}},
		agentapi.Task{ID: "6", Name: "long"})
	b.until(logged("unit.app/0.long up"))
	b.f.edit(func(f *fake) { f.want.Tasks[0].Cancelled = true })
	b.until(func(f *fake) bool { return len(f.finished) == 6 })
	fin := b.f.finished
	check := func(id, status, message string, output map[string]any) {
		t.Helper()
		got := fin[id]
		if got.Status != status || got.Message != message || fmt.Sprint(got.Output) != fmt.Sprint(output) {
			t.Errorf("task %s: %+v", id, got)
		}
	}
	check("1", "completed", "", map[string]any{"a": map[string]any{"b": "1"}, "return-code": 0, "stdout": "hi\n"})
	check("2", "failed", "exit status 9", map[string]any{"return-code": 9, "stderr": "no\n"})
	check("3", "failed", "as told", map[string]any{"return-code": 0})
	check("4", "failed", `cannot run "undefined" action: not defined`, nil)
	check("5", "completed", "", map[string]any{"return-code": 0, "stdout": "app/0\nv\n"})
	if fin["6"].Status != "aborted" {
		t.Errorf("cancelled task: %+v", fin["6"])
	}
	ports := 0
	for _, c := range b.f.commits {
		ports += len(c.OpenPorts)
	}
	if ports != 1 {
		t.Errorf("%d ports asked for: a failed action's change was sent", ports)
	}
}

func TestStopInterruptsAndResumes(t *testing.T) {
	b := newBench(t, `[ $JUJU_HOOK_NAME != install ] || { echo x >> runs; [ -e go ] || { touch go; echo waiting; sleep 300; }; }`, nil)
	b.until(logged("waiting"))
	if err := b.stop(); !errors.Is(err, context.Canceled) {
		t.Fatalf("stopped with %v", err)
	}
	b.start()
	b.until(ran("install", "leader-elected", "config-changed", "start"))
	if runs, err := os.ReadFile(filepath.Join(b.cfg.Dir, "charm/runs")); err != nil || string(runs) != "x\nx\n" {
		t.Errorf("install ran %q, %v", runs, err)
	}
}

// A charm that asks for a reboot gets one after its hook, or with --now in the
// middle of it; nothing else runs until the machine is back. Then an ended hook
// runs again, and a unit that had started starts.
func TestReboot(t *testing.T) {
	reboots := make(chan struct{}, 9)
	b := newBench(t, `echo $JUJU_HOOK_NAME >> runs
case $JUJU_HOOK_NAME in
install) [ -e now ] || { touch now; juju-reboot --now; echo still here >> runs; sleep 300; } ;;
start) [ -e later ] || { touch later; juju-reboot; echo and on >> runs; } ;;
esac`, func(c *Config) { c.Reboot = func() error { reboots <- struct{}{}; return nil } })
	again := func(boot string) {
		t.Helper()
		select {
		case <-reboots:
		case <-b.ctx.Done():
			t.Fatal("no reboot was asked for")
		}
		if err := b.stop(); !errors.Is(err, context.Canceled) {
			t.Fatalf("stopped with %v", err)
		}
		b.cfg.BootID = boot
		b.start()
	}
	again("b2")
	again("b3")
	b.until(ran("install", "leader-elected", "config-changed", "start", "start"))
	b.until(func(f *fake) bool { return slices.Contains(f.statuses, "agent rebooting") })
	want := "install\ninstall\nleader-elected\nconfig-changed\nstart\nand on\nstart\n"
	if runs, err := os.ReadFile(filepath.Join(b.cfg.Dir, "charm/runs")); err != nil || string(runs) != want {
		t.Errorf("ran %q, %v", runs, err)
	}
	if len(reboots) > 0 {
		t.Errorf("%d more reboots", len(reboots))
	}
}

// A machine that cannot reboot says so to the charm, and the agent goes on.
func TestRebootThatFails(t *testing.T) {
	b := newBench(t, `[ $JUJU_HOOK_NAME != start ] || [ -e x ] || { touch x; juju-reboot; }`, func(c *Config) {
		c.Reboot = func() error { return errors.New("the bus is broken") }
	})
	b.until(logged("cannot reboot the machine: the bus is broken"))
	b.until(ran("install", "leader-elected", "config-changed", "start"))
}

func TestHookTimeLimitAndUser(t *testing.T) {
	b := newBench(t, `
case $JUJU_HOOK_NAME in
install) id -u; cat ../state/state.json ../../*/agent.conf; touch mine;;
start) while :; do :; done;;
esac`, func(c *Config) {
		c.User = User{UID: 1234, GID: 1234, NoNewPrivs: true}
		secret := filepath.Join(c.AgentsDir, "machine-0")
		if err := errors.Join(os.MkdirAll(secret, 0o755), os.WriteFile(filepath.Join(secret, "agent.conf"), []byte("TOPSECRET"), 0o644)); err != nil {
			t.Fatal(err)
		}
	})
	b.f.edit(func(f *fake) { f.want.HookTimeout, f.want.RetryHooks = 500*time.Millisecond, false })
	b.until(logged("ended at its time limit"))
	if !logged("unit.app/0.install 1234")(b.f) || logged("TOPSECRET")(b.f) {
		t.Errorf("install as its user printed:\n%s", strings.Join(b.f.log, "\n"))
	}
}

// TestHostileHooks: output without end is cut, and a hook that takes too much
// is ended at its limit while the agent goes on.
func TestHostileHooks(t *testing.T) {
	b := newBench(t, `
case $JUJU_HOOK_NAME in
install) head -c 500000000 /dev/zero | tr '\\0' x; head -c 100000000 /dev/zero >&2;;
leader-elected) f() { f | f & }; f; wait; sleep 300;;
config-changed) x=$(head -c 400000000 /dev/zero | tr '\0' x); sleep 300;;
esac`, nil)
	b.f.edit(func(f *fake) { f.want.HookPids, f.want.HookMemory, f.want.RetryHooks = 150, 200<<20, false })
	failed := func(hook string) func(*fake) bool {
		return func(f *fake) bool { return slices.Contains(f.statuses, `agent error hook failed: "`+hook+`"`) }
	}
	b.until(failed("leader-elected"))
	if !logged("output cut")(b.f) || !logged("ended at its pids limit")(b.f) {
		t.Error("the flood was not cut, or the fork bomb not ended at its limit")
	}
	b.f.edit(func(f *fake) { f.want.Resolved = "no-hooks" })
	b.until(failed("config-changed"))
	if !logged("ended at its memory limit")(b.f) {
		t.Error("the allocation was not ended at its limit")
	}
	b.f.edit(func(f *fake) { f.want.Resolved = "no-hooks" })
	b.until(ran("install", "leader-elected", "config-changed", "start"))
}

// TestUpdateStatusAndLeadership: the timer goes off, and leadership that comes
// and goes is seen without a restart.
func TestUpdateStatusAndLeadership(t *testing.T) {
	b := newBench(t, `echo "ran $JUJU_HOOK_NAME"`, nil)
	b.f.edit(func(f *fake) { f.leader = false; f.want.UpdateStatusInterval = 100 * time.Millisecond })
	b.until(logged("ran update-status"))
	b.f.edit(func(f *fake) { f.leader = true })
	b.until(logged("ran leader-elected"))
	got := b.f.hooks()
	if len(got) < 4 || (got[1] != "leader-settings-changed" && got[1] != "leader-elected") {
		t.Errorf("hooks %v", got)
	}
}

// victim is an agent that ends itself at a step.
func victim(at string) int {
	n, err := strconv.Atoi(at)
	if err != nil {
		return 2
	}
	dir := os.Getenv("SCARAB_TEST_DIR")
	cfg, err := config(dir, dialFake(filepath.Join(dir, "controller")), os.Getenv("SCARAB_TEST_CGROUP"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	cfg.Fault = func(string) {
		if n--; n == 0 {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	if err := New(cfg).Run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	return 0
}

// TestKilledAtEveryStep ends an agent by SIGKILL at every step of its journal,
// one after the other, and lets another finish the unit's life. Every hook
// takes effect exactly once, and one that was completed never runs again.
func TestKilledAtEveryStep(t *testing.T) {
	group := cgroup(t)
	stride := 1 // make conformance takes every step
	if raceDetector {
		stride = 4
	}
	for n := 1; ; n += stride {
		dir := tempDir(t)
		f := newFake("#!/bin/bash\necho \"${JUJU_HOOK_NAME:-action}\" >> " + dir + "/runs\n")
		f.want.Tasks = []agentapi.Task{{ID: "7", Name: "act"}}
		l, err := net.Listen("unix", filepath.Join(dir, "controller"))
		if err != nil {
			t.Fatal(err)
		}
		s := f.serve(l)
		life := func(at int) error {
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = append(os.Environ(), killEnv+"="+strconv.Itoa(at), "SCARAB_TEST_DIR="+dir, "SCARAB_TEST_CGROUP="+group)
			cmd.Stderr = os.Stderr
			return cmd.Run()
		}
		// The unit is told to go as soon as it has started.
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			if f.until(ctx, func(f *fake) bool { return slices.Contains(f.hooks(), "start") && len(f.finished) == 1 }) == nil {
				f.edit(func(f *fake) { f.want.Life = "dying" })
			}
		}()
		killed := life(n)
		if killed != nil {
			if err := life(-1); err != nil {
				t.Fatalf("step %d: the second agent: %v", n, err)
			}
		}
		_ = s.Close()
		checkLife(t, n, f, dir)
		if killed == nil {
			if n < 40 {
				t.Errorf("only %d steps in a life", n)
			}
			return
		}
	}
}

func checkLife(t *testing.T, n int, f *fake, dir string) {
	t.Helper()
	all := []string{"install", "leader-elected", "config-changed", "start", "stop", "remove"}
	if got := f.hooks(); !slices.Equal(got, all) {
		t.Errorf("step %d: committed %v", n, got)
	}
	data, err := os.ReadFile(filepath.Join(dir, "runs"))
	if err != nil {
		t.Fatal(err)
	}
	runs := strings.Fields(string(data))
	twice := 0
	for _, h := range append(all, "action") {
		switch c := strings.Count("\n"+strings.Join(runs, "\n")+"\n", "\n"+h+"\n"); {
		case c == 2 && h != "action":
			twice++
		case c != 1 && (h != "action" || c != 0):
			t.Errorf("step %d: %s ran %d times: %v", n, h, c, runs)
		}
	}
	if twice > 1 {
		t.Errorf("step %d: more than one hook ran again: %v", n, runs)
	}
	if fin := f.finished["7"]; fin.Status != "completed" && fin.Message != "action terminated" || len(f.finished) != 1 {
		t.Errorf("step %d: the action ended as %+v", n, f.finished)
	}
}
