package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/agent/sandbox"
	"github.com/scarab-ops/scarab/app/controller"
	"github.com/scarab-ops/scarab/client"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/provider"
	"github.com/scarab-ops/scarab/tests/cluster"
	"github.com/scarab-ops/scarab/tests/conformance/filecloud"
	"github.com/scarab-ops/scarab/wire/modelmanager"
)

// long tells whether the long form is wanted.
func long() bool { return os.Getenv("SCARAB_LONG") != "" }

// binaries are the folders of what the tests run.
type binaries struct{ agent, tool, testagent, testcontroller string }

var bins binaries

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "scarab-conf-bin-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	build := []string{"./testagent", "./testcontroller"}
	from := os.Getenv("SCARAB_BIN")
	if from == "" {
		from = dir
		build = append(build, "../../cmd/scarab-agent", "../../cmd/scarab-hooktool")
	}
	cmd := exec.Command("go", append([]string{"build", "-o", dir + "/"}, build...)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "cannot build: %v\n%s", err, out)
		return 1
	}
	bins = binaries{
		agent: filepath.Join(from, "scarab-agent"), tool: filepath.Join(from, "scarab-hooktool"),
		testagent: filepath.Join(dir, "testagent"), testcontroller: filepath.Join(dir, "testcontroller"),
	}
	// Most of the time is waiting: more checks than processors may run.
	flag.Parse()
	if err := flag.Set("test.parallel", "6"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// A world is one controller and the machines of its cloud.
type world struct {
	*cluster.Cluster
	base  string // short: the tools' sockets lie below
	cloud *filecloud.Cloud
	log   *os.File // the controller's

	mu     sync.Mutex
	hosts  map[string]*host // by key of the cloud
	flags  map[string][]string
	paused map[string]bool // models whose agents are not started
}

// newWorld starts a controller in this process.
func newWorld(t *testing.T, o cluster.Options) *world {
	w := emptyWorld(t)
	o.Log = w.log
	o.Change = func(c *controller.Config) { c.Clouds = map[string]provider.Instances{"localhost": w.cloud} }
	w.Cluster = cluster.Start(t, o)
	w.keep(t)
	return w
}

// emptyWorld makes the folders of a world whose controller comes later.
func emptyWorld(t *testing.T) *world {
	t.Helper()
	base, err := os.MkdirTemp("", "scarab-conf-")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		base: base, cloud: &filecloud.Cloud{Dir: filepath.Join(base, "cloud")},
		hosts: map[string]*host{}, flags: map[string][]string{}, paused: map[string]bool{},
	}
	t.Cleanup(func() {
		if os.Getenv("SCARAB_KEEP") != "" {
			t.Logf("kept %s", base)
			return
		}
		if err := os.RemoveAll(base); err != nil {
			t.Errorf("cannot clean up: %v", err)
		}
	})
	if err := os.Mkdir(w.cloud.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	w.log, err = os.Create(filepath.Join(base, "controller.log"))
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// keep brings the cloud's machines to life, and ends them with the test.
func (w *world) keep(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				w.reconcile(t)
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		for _, h := range w.hosts {
			h.end(t)
		}
	})
}

func (w *world) reconcile(t *testing.T) {
	want, err := w.cloud.Machines()
	if err != nil {
		t.Errorf("cannot read the cloud: %v", err)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for key, m := range want {
		model, _, _ := strings.Cut(key, "/")
		if w.hosts[key] != nil || w.paused[model] {
			continue
		}
		h, err := w.newHost(m.Spec)
		if err == nil {
			err = h.start()
		}
		if err != nil {
			t.Errorf("cannot start machine %s: %v", key, err)
			w.paused[model] = true
			continue
		}
		w.hosts[key] = h
	}
	for key, h := range w.hosts {
		if _, ok := want[key]; !ok && !h.stopped {
			h.stopped = true
			h.kill()
		}
	}
}

// host is a machine of the cloud: a data directory and an agent's process.
type host struct {
	key, dir string
	machine  string
	bin      string
	flags    []string
	cgroup   string

	stopped bool // by the cloud
	proc    *exec.Cmd
	exited  chan struct{}
}

func (w *world) newHost(s provider.StartSpec) (*host, error) {
	model := filepath.Join(w.base, s.ModelUUID[:8])
	h := &host{key: s.Key, machine: s.MachineID, dir: filepath.Join(model, "m"+s.MachineID), bin: bins.agent}
	if f, ok := w.flags[s.ModelUUID]; ok {
		h.bin, h.flags = bins.testagent, append([]string{"-trace", filepath.Join(model, "log")}, f...)
	}
	for _, f := range s.Files {
		if f.Host != "" {
			continue
		}
		path := filepath.Join(h.dir, strings.TrimPrefix(f.Path, "/var/lib/scarab/"))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(path, f.Data, os.FileMode(f.Mode)); err != nil {
			return nil, err
		}
	}
	tools := filepath.Join(h.dir, "tools")
	if err := os.MkdirAll(tools, 0o755); err != nil {
		return nil, err
	}
	tool := filepath.Join(tools, "scarab-hooktool")
	_ = os.Remove(tool) // the spec's, which is for clouds on the controller's host
	if err := os.Symlink(bins.tool, tool); err != nil {
		return nil, err
	}
	if own := sandbox.FindCgroup(); own != "" {
		h.cgroup = filepath.Join(own, filepath.Base(w.base)+"-"+s.ModelUUID[:8]+"-"+s.MachineID)
		if err := os.Mkdir(h.cgroup, 0o755); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// start starts the agent. Its mounts are its own and end with it.
func (h *host) start(extra ...string) error {
	out, err := os.OpenFile(filepath.Join(h.dir, "agent.out"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()
	args := []string{
		"machine", "-machine", h.machine, "-data-dir", h.dir, "-run-dir", filepath.Join(h.dir, "run"),
		"-log-dir", filepath.Join(h.dir, "logs"), "-login-home", filepath.Join(h.dir, "home"), "-isolation", "process",
	}
	h.proc = exec.Command(h.bin, append(append(args, h.flags...), extra...)...)
	h.proc.Stdout, h.proc.Stderr = out, out
	h.proc.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Setsid: true, Pdeathsig: syscall.SIGKILL}
	if h.cgroup != "" {
		dir, err := os.Open(h.cgroup)
		if err != nil {
			return err
		}
		defer func() { _ = dir.Close() }()
		h.proc.SysProcAttr.UseCgroupFD, h.proc.SysProcAttr.CgroupFD = true, int(dir.Fd())
	}
	if err := h.proc.Start(); err != nil {
		return err
	}
	proc, exited := h.proc, make(chan struct{})
	h.exited = exited
	go func() { _ = proc.Wait(); close(exited) }()
	return nil
}

// kill ends the agent's process, and nothing else, at once.
func (h *host) kill() {
	_ = h.proc.Process.Kill()
	<-h.exited
}

// end ends all of the machine.
func (h *host) end(t *testing.T) {
	h.kill()
	if err := h.clear(); err != nil {
		t.Errorf("cannot end what machine %s left: %v", h.machine, err)
	}
}

// wait waits for the agent to end by itself.
func (h *host) wait(t *testing.T) {
	t.Helper()
	select {
	case <-h.exited:
	case <-time.After(60 * time.Second):
		t.Fatalf("agent of machine %s does not end", h.machine)
	}
}

// clear ends what the agent's hooks left behind.
func (h *host) clear() error {
	if h.cgroup == "" {
		return nil
	}
	if _, err := os.Stat(h.cgroup); err != nil {
		return nil //nolint:nilerr // it is cleared already
	}
	if err := os.WriteFile(filepath.Join(h.cgroup, "cgroup.kill"), []byte("1"), 0); err != nil {
		return err
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		err := removeGroups(h.cgroup)
		if err == nil || time.Now().After(deadline) {
			return err
		}
		<-time.After(5 * time.Millisecond) // the kernel tells nobody when the last process is reaped
	}
}

// removeGroups removes a tree of cgroups from its leaves.
func removeGroups(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeGroups(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return os.Remove(dir)
}

// A modelT is a model of the world with a folder of its own, where its charms
// write what they saw.
type modelT struct {
	w    *world
	uuid names.Model
	dir  string
	conn *client.Conn
	urls map[string]string // of charms
}

// model makes a model. With flags its agents are the tests' own, with those
// flags.
func (w *world) model(t *testing.T, name string, flags ...string) *modelT {
	t.Helper()
	admin := w.Login(t, cluster.Admin, cluster.AdminPassword, "")
	info, err := admin.CreateModel(cluster.Context(t), modelmanager.ModelCreateArgs{
		Name: name, OwnerTag: cluster.Admin.Tag().String(), CloudTag: "cloud-localhost",
		Config: map[string]any{"update-status-hook-interval": "60m"},
	})
	if err != nil {
		t.Fatalf("cannot make model: %v", err)
	}
	m := &modelT{w: w, uuid: names.Model(info.UUID), dir: filepath.Join(w.base, info.UUID[:8]), urls: map[string]string{}}
	if flags != nil {
		w.mu.Lock()
		w.flags[info.UUID] = flags
		w.mu.Unlock()
	}
	for _, d := range []string{"log", "env", "behave"} {
		if err := os.MkdirAll(filepath.Join(m.dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	m.conn = w.Login(t, cluster.Admin, cluster.AdminPassword, m.uuid)
	t.Cleanup(func() { m.end(t) })
	return m
}

// end stops the model's machines, and shows what happened if the test failed.
func (m *modelT) end(t *testing.T) {
	m.w.mu.Lock()
	m.w.paused[string(m.uuid)] = true
	var own []*host
	for key, h := range m.w.hosts {
		if strings.HasPrefix(key, string(m.uuid)+"/") {
			own = append(own, h)
		}
	}
	m.w.mu.Unlock()
	for _, h := range own {
		h.end(t)
	}
	if t.Failed() {
		m.dump(t)
	}
}

func (m *modelT) dump(t *testing.T) {
	for _, pattern := range []string{"log/*", "m*/agent.out", "m*/logs/*.log"} {
		files, _ := filepath.Glob(filepath.Join(m.dir, pattern))
		for _, f := range files {
			data, _ := os.ReadFile(f)
			if len(data) > 12<<10 {
				data = data[len(data)-12<<10:]
			}
			t.Logf("--- %s\n%s", strings.TrimPrefix(f, m.dir), bytes.TrimSpace(data))
		}
	}
}

// host returns a machine of the model once it runs.
func (m *modelT) host(t *testing.T, id string) *host {
	t.Helper()
	var h *host
	eventually(t, "machine "+id, func() bool {
		m.w.mu.Lock()
		defer m.w.mu.Unlock()
		h = m.w.hosts[string(m.uuid)+"/"+id]
		return h != nil
	})
	return h
}

// ctx ends with the test, or after two minutes.
func ctx(t testing.TB) context.Context {
	c, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return c
}

// eventually waits until f holds.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	within(t, 90*time.Second, what, f)
}

func within(t testing.TB, d time.Duration, what string, f func() bool) {
	t.Helper()
	deadline := time.Now().Add(d)
	for !f() {
		if time.Now().After(deadline) {
			t.Fatalf("after %v still not: %s", d, what)
		}
		select {
		case <-t.Context().Done():
			t.Fatal("the test ended")
		case <-time.After(30 * time.Millisecond):
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// initFile writes what an empty controller begins from.
func initFile(dir string, i controller.Init) error {
	data, err := json.Marshal(i)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "init.json"), data, 0o600)
}
