package charms

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"testing"
	"time"
)

// model is a small model on one machine: it keeps in a file what a controller
// would keep, so that the fake hook tools, which are this test program under
// other names, can work on it.
type model struct {
	Apps      map[string]map[string]any // config
	Addresses map[string]string
	Status    map[string]string
	Ports     map[string][]string
	State     map[string]map[string]string
	Versions  map[string]string
	Results   map[string]string // of the last action
	Params    map[string]any
	Relations map[string]relation // by "app endpoint" joined with a comma
	Log       []string
}

type relation struct {
	ID    int
	Sides map[string]string // application to endpoint
	Units map[string]bag
	Apps  map[string]bag
}

type bag map[string]string

type harness struct {
	t    *testing.T
	dir  string
	path string
	m    model
}

func newHarness(t *testing.T) *harness {
	t.Helper()
	dir := t.TempDir()
	h := &harness{t: t, dir: dir, path: filepath.Join(dir, "model.json")}
	h.m = model{
		Apps: map[string]map[string]any{}, Addresses: map[string]string{}, Status: map[string]string{}, Ports: map[string][]string{},
		State: map[string]map[string]string{}, Versions: map[string]string{}, Results: map[string]string{}, Relations: map[string]relation{},
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	for name := range tools {
		if err := os.Symlink(self, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	h.save()
	t.Cleanup(h.killServices)
	return h
}

func (h *harness) save() {
	if err := saveModel(h.path, &h.m); err != nil {
		h.t.Fatal(err)
	}
}

func (h *harness) load() {
	m, err := loadModel(h.path)
	if err != nil {
		h.t.Fatal(err)
	}
	h.m = *m
}

func saveModel(path string, m *model) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func loadModel(path string) (*model, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var m model
	return &m, json.Unmarshal(data, &m)
}

func (h *harness) addUnit(unit, address string, config map[string]any) {
	app := strings.Split(unit, "/")[0]
	if h.m.Apps[app] == nil {
		h.m.Apps[app] = config
	}
	h.m.Addresses[unit] = address
	for key, r := range h.m.Relations {
		if _, ok := r.Sides[app]; ok {
			r.Units[unit] = bag{"ingress-address": address}
			h.m.Relations[key] = r
		}
	}
	h.save()
}

// relate makes a relation of "app:endpoint" sides; one side is a peer relation.
func (h *harness) relate(sides ...string) {
	r := relation{ID: len(h.m.Relations), Sides: map[string]string{}, Units: map[string]bag{}, Apps: map[string]bag{}}
	for _, s := range sides {
		app, ep, _ := strings.Cut(s, ":")
		r.Sides[app] = ep
		r.Apps[app] = bag{}
		for unit, address := range h.m.Addresses {
			if strings.HasPrefix(unit, app+"/") {
				r.Units[unit] = bag{"ingress-address": address}
			}
		}
	}
	h.m.Relations[strings.Join(sides, ",")] = r
	h.save()
}

func (h *harness) env(unit string) []string {
	root := h.root(unit)
	return append(os.Environ(),
		"PATH="+filepath.Join(h.dir, "bin")+":"+os.Getenv("PATH"), "PYTHONDONTWRITEBYTECODE=1",
		"FAKE_MODEL="+h.path, "FAKE_ROOT="+root, "JUJU_UNIT_NAME="+unit, "JUJU_MODEL_NAME=test",
		"JUJU_MODEL_UUID=00000000-1111-4222-8333-444444444444",
		"CHARM_STATE_DIR="+filepath.Join(root, "var/lib/ca"), "CHARM_ROOT="+root,
		"CHARM_NATS_DIR="+filepath.Join(root, "etc/nats-server"), "CHARM_SYSTEMD_DIR="+filepath.Join(root, "etc/systemd/system"),
		"CHARM_NATS_SERVER="+filepath.Join(h.dir, "bin", "nats-server"),
		"STREAM_AGENT_ETC="+filepath.Join(root, "etc/stream-agent"), "STREAM_AGENT_RUN="+filepath.Join(root, "run/stream-agent"),
		"STREAM_AGENT_LOG="+filepath.Join(root, "var/log/stream-agent"))
}

func (h *harness) root(unit string) string {
	return filepath.Join(h.dir, "root-"+strings.ReplaceAll(unit, "/", "-"))
}

// hook runs a hook, or "actions/x", of a unit as its agent would.
func (h *harness) hook(unit, name string) {
	h.t.Helper()
	for _, d := range []string{"etc", "run/stream-agent", "var/log/stream-agent"} {
		if err := os.MkdirAll(filepath.Join(h.root(unit), d), 0o755); err != nil {
			h.t.Fatal(err)
		}
	}
	charmDir, err := filepath.Abs(strings.Split(unit, "/")[0])
	if err != nil {
		h.t.Fatal(err)
	}
	if !strings.Contains(name, "/") {
		name = "hooks/" + name
	}
	program := filepath.Join(charmDir, "dispatch")
	if _, err := os.Stat(program); err != nil {
		program = filepath.Join(charmDir, name)
	}
	cmd := exec.Command(program)
	cmd.Dir = charmDir
	cmd.Env = append(h.env(unit), "JUJU_DISPATCH_PATH="+name)
	out, err := cmd.CombinedOutput()
	h.load()
	if err != nil {
		h.t.Fatalf("%s of %s: %v\n%s\nlog: %s", name, unit, err, out, strings.Join(h.m.Log, "\n"))
	}
	if strings.Contains(string(out), "expected: ") { // it would be a warning in everybody's log
		h.t.Errorf("%s of %s complains of what is expected:\n%s", name, unit, out)
	}
}

// run runs a command that a charm installed on a unit.
func (h *harness) run(unit, program string, args ...string) string {
	h.t.Helper()
	cmd := exec.Command(filepath.Join(h.root(unit), program), args...)
	cmd.Env = h.env(unit)
	out, err := cmd.CombinedOutput()
	if err != nil {
		h.t.Fatalf("%s on %s: %v\n%s", program, unit, err, out)
	}
	return string(out)
}

func (h *harness) wantStatus(unit, prefix string) {
	h.t.Helper()
	if got := h.m.Status[unit]; !strings.HasPrefix(got, prefix) {
		h.t.Errorf("status of %s is %q, want %q\nlog: %s", unit, got, prefix, strings.Join(h.m.Log, "\n"))
	}
}

func (h *harness) eventually(what string, ok func() bool) {
	h.t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(end) {
			h.t.Fatalf("%s did not happen", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// killServices ends what the fake service manager started.
func (h *harness) killServices() {
	files, _ := filepath.Glob(filepath.Join(h.dir, "root-*", "*.pid"))
	for _, f := range files {
		stopService(f)
	}
}

func stopService(pidFile string) {
	data, err := os.ReadFile(pidFile)
	if err != nil {
		return
	}
	var pid int
	if _, err := fmt.Sscan(string(data), &pid); err == nil && pid > 1 {
		if syscall.Kill(-pid, syscall.SIGKILL) == nil {
			for range 500 {
				if syscall.Kill(-pid, 0) != nil {
					break
				}
				time.Sleep(2 * time.Millisecond)
			}
		}
	}
	os.Remove(pidFile)
}

func sorted[V any](m map[string]V) []string {
	out := []string{}
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}
