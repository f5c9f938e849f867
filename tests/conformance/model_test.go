package conformance

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/client"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/pki"
	"github.com/scarab-ops/scarab/tests/cluster"
	"github.com/scarab-ops/scarab/wire"
	"github.com/scarab-ops/scarab/wire/action"
	"github.com/scarab-ops/scarab/wire/application"
	wireclient "github.com/scarab-ops/scarab/wire/client"
)

// archive packs a charm of testdata; extra files replace or join its own.
func archive(t testing.TB, charm string, extra map[string]string) *bytes.Reader {
	t.Helper()
	var buf bytes.Buffer
	z := zip.NewWriter(&buf)
	put := func(name string, mode fs.FileMode, data []byte) {
		h := &zip.FileHeader{Name: name, Method: zip.Deflate}
		h.SetMode(mode)
		f, err := z.CreateHeader(h)
		must(t, err)
		_, err = f.Write(data)
		must(t, err)
	}
	root := filepath.Join("testdata", "charms", charm)
	if charm == "peer" {
		data, err := os.ReadFile("testdata/charms/probe/dispatch")
		must(t, err)
		put("dispatch", 0o755, data)
	}
	must(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if _, replaced := extra[rel]; replaced {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if rel == "dispatch" || strings.HasPrefix(rel, "hooks/") {
			mode = 0o755
		}
		put(rel, mode, data)
		return nil
	}))
	for name, data := range extra {
		put(name, 0o644, []byte(data))
	}
	must(t, z.Close())
	return bytes.NewReader(buf.Bytes())
}

// upload makes a charm known and returns its URL.
func (m *modelT) upload(t testing.TB, charm string, extra map[string]string) string {
	t.Helper()
	url, err := m.conn.UploadCharm(ctx(t), charm, 0, archive(t, charm, extra))
	must(t, err)
	return url
}

func origin() *wire.CharmOrigin {
	return &wire.CharmOrigin{Source: "local", Type: "charm", Architecture: "amd64", Base: &wire.Base{Name: "debian", Channel: "12"}}
}

func deployArgs(app, url string, units int, config map[string]string) application.ApplicationDeploy {
	return application.ApplicationDeploy{
		Application: app, CharmURL: url, CharmOrigin: origin(), NumUnits: units, Config: config,
	}
}

// deploy deploys a charm of testdata.
func (m *modelT) deploy(t testing.TB, charm, app string, units int) {
	t.Helper()
	if m.urls[charm] == "" {
		m.urls[charm] = m.upload(t, charm, nil)
	}
	must(t, m.conn.Deploy(ctx(t), deployArgs(app, m.urls[charm], units, nil)))
}

func (m *modelT) relate(t testing.TB, endpoints ...string) {
	t.Helper()
	_, err := m.conn.AddRelation(ctx(t), endpoints)
	must(t, err)
}

func (m *modelT) set(t testing.TB, app string, kv ...string) {
	t.Helper()
	values := map[string]string{}
	for i := 0; i < len(kv); i += 2 {
		values[kv[i]] = kv[i+1]
	}
	must(t, m.conn.SetConfig(ctx(t), names.Application(app), values, ""))
}

func (m *modelT) addUnits(t testing.TB, app string, n int) {
	t.Helper()
	_, err := m.conn.AddUnits(ctx(t), application.AddApplicationUnits{Application: app, NumUnits: n})
	must(t, err)
}

func (m *modelT) removeUnit(t testing.TB, unit string, force bool) {
	t.Helper()
	var noWait time.Duration
	rs, err := m.conn.DestroyUnits(ctx(t), []application.DestroyUnitParams{{UnitTag: names.Unit(unit).Tag().String(), Force: force, MaxWait: &noWait}})
	must(t, err)
	if rs[0].Error != nil {
		t.Fatalf("cannot remove %s: %v", unit, rs[0].Error)
	}
}

func (m *modelT) status(t testing.TB) wireclient.FullStatus {
	t.Helper()
	s, err := m.conn.FullStatus(ctx(t), wireclient.StatusParams{})
	must(t, err)
	return s
}

// unit finds a unit's status, a subordinate's too.
func (m *modelT) unit(t testing.TB, unit string) (wireclient.UnitStatus, bool) {
	t.Helper()
	return find(m.status(t), unit)
}

func find(s wireclient.FullStatus, unit string) (wireclient.UnitStatus, bool) {
	for _, a := range s.Applications {
		for name, u := range a.Units {
			if name == unit {
				return u, true
			}
			if s, ok := u.Subordinates[unit]; ok {
				return s, true
			}
		}
	}
	return wireclient.UnitStatus{}, false
}

// idle waits until the units have started and have nothing to do.
func (m *modelT) idle(t testing.TB, units ...string) {
	t.Helper()
	for _, u := range units {
		eventually(t, u+" started and idle", func() bool {
			if !slices.Contains(m.hooks(t, u), "start") {
				return false
			}
			s, ok := m.unit(t, u)
			return ok && s.AgentStatus.Status == "idle"
		})
	}
}

// gone waits until the units are removed.
func (m *modelT) gone(t testing.TB, units ...string) {
	t.Helper()
	for _, u := range units {
		eventually(t, u+" gone", func() bool { _, ok := m.unit(t, u); return !ok })
	}
}

// behave says what a charm does in its hooks: a bash text. who is "all", an
// application or a unit (a-0).
func (m *modelT) behave(t testing.TB, who, script string) {
	t.Helper()
	path := filepath.Join(m.dir, "behave", who)
	must(t, os.WriteFile(path+".new", []byte(script), 0o600))
	must(t, os.Rename(path+".new", path))
}

// A run is one execution of a charm.
type run struct {
	id, hook, relation     string
	remote, app, departing string
	code                   string // empty: did not end
	notes                  []string
}

func (r run) String() string {
	s := r.hook
	if r.remote != "" {
		s += " " + r.remote
	}
	if r.departing != "" {
		s += " departing=" + r.departing
	}
	if r.code != "0" {
		s += " code=" + r.code
	}
	return s
}

// runs returns what a unit has run, in order.
func (m *modelT) runs(t testing.TB, unit string) []run {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(m.dir, "log", strings.ReplaceAll(unit, "/", "-")))
	if os.IsNotExist(err) {
		return nil
	}
	must(t, err)
	var out []run
	at := map[string]int{}
	for _, line := range strings.Split(string(data), "\n") {
		f := strings.Split(line, "\t")
		switch {
		case f[0] == "begin" && len(f) == 7:
			at[f[1]] = len(out)
			out = append(out, run{id: f[1], hook: f[2], relation: f[3], remote: f[4], app: f[5], departing: f[6]})
		case f[0] == "note" && len(f) == 3:
			out[at[f[1]]].notes = append(out[at[f[1]]].notes, f[2])
		case f[0] == "end" && len(f) == 3:
			out[at[f[1]]].code = f[2]
		}
	}
	return out
}

// hooks are the runs as text.
func (m *modelT) hooks(t testing.TB, unit string) []string {
	t.Helper()
	var out []string
	for _, r := range m.runs(t, unit) {
		out = append(out, r.String())
	}
	return out
}

// until waits for a run that ended as its text says, and returns all of that
// text.
func (m *modelT) until(t testing.TB, unit, text string) []run {
	t.Helper()
	var found []run
	eventually(t, unit+" has run "+text, func() bool {
		found = nil
		for _, r := range m.runs(t, unit) {
			if r.String() == text {
				found = append(found, r)
			}
		}
		return len(found) > 0
	})
	return found
}

// noted waits for a note of a unit that matches, and returns it.
func (m *modelT) noted(t testing.TB, unit, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	note := ""
	eventually(t, unit+" noted "+pattern, func() bool {
		for _, r := range m.runs(t, unit) {
			for _, n := range r.notes {
				if re.MatchString(n) {
					note = n
					return true
				}
			}
		}
		return false
	})
	return note
}

func (m *modelT) envFile(r run) string {
	return filepath.Join(m.dir, "env", strings.ReplaceAll(r.id, "/", "-"))
}

// env returns the environment of a run.
func (m *modelT) env(t testing.TB, r run) map[string]string {
	t.Helper()
	data, err := os.ReadFile(m.envFile(r))
	must(t, err)
	out := map[string]string{}
	for _, kv := range strings.Split(string(data), "\x00") {
		if k, v, ok := strings.Cut(kv, "="); ok {
			out[k] = v
		}
	}
	return out
}

// exec runs a command on units and returns the last one's result.
func (m *modelT) exec(t testing.TB, command string, units ...string) action.ActionResult {
	t.Helper()
	q, err := m.conn.RunCommands(ctx(t), action.RunParams{Commands: command, Units: units})
	must(t, err)
	return m.task(t, q)
}

// task waits for the end of what was asked for.
func (m *modelT) task(t testing.TB, q action.EnqueuedActions) action.ActionResult {
	t.Helper()
	var last action.ActionResult
	for _, a := range q.Actions {
		if a.Error != nil {
			t.Fatalf("cannot enqueue: %v", a.Error)
		}
		id := names.Task(strings.TrimPrefix(a.Action.Tag, "action-"))
		eventually(t, fmt.Sprintf("end of task %s", id), func() bool {
			rs, err := m.conn.Tasks(ctx(t), id)
			must(t, err)
			last = rs[0]
			return last.Completed != nil && !last.Completed.IsZero()
		})
	}
	return last
}

// stdout runs a command on a unit that must succeed.
func (m *modelT) stdout(t testing.TB, command, unit string) string {
	t.Helper()
	r := m.exec(t, command, unit)
	if r.Status != "completed" {
		t.Fatalf("%q on %s: %s %q %v", command, unit, r.Status, r.Message, r.Output)
	}
	out, _ := r.Output["stdout"].(string)
	return strings.TrimSpace(out)
}

// ordered fails unless the texts are found in that order, other texts between
// them aside.
func ordered(t testing.TB, got []string, want ...string) {
	t.Helper()
	rest := got
	for _, w := range want {
		i := slices.Index(rest, w)
		if i < 0 {
			t.Fatalf("no %q where it was due in\n%s", w, strings.Join(got, "\n"))
		}
		rest = rest[i+1:]
	}
}

// pause holds back the machines of the model, or lets them come.
func (m *modelT) pause(on bool) {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	m.w.paused[string(m.uuid)] = on
}

// gate makes the pipe that a charm waits at, and returns what opens it.
func (m *modelT) gate(t testing.TB) func() {
	t.Helper()
	path := filepath.Join(m.dir, "gate")
	must(t, syscall.Mkfifo(path, 0o600))
	return func() {
		f, err := os.OpenFile(path, os.O_RDWR, 0) // never blocks
		must(t, err)
		t.Cleanup(func() { _ = f.Close() })
		_, err = f.WriteString("open\n")
		must(t, err)
	}
}

// unitConn logs in as a unit, with what its agent keeps on its machine.
func (m *modelT) unitConn(t testing.TB, unit string) *client.Conn {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(m.dir, "m*", "agents", names.Unit(unit).Tag().String(), "agent.conf"))
	must(t, err)
	if len(files) != 1 {
		t.Fatalf("the agents' files of %s are %v", unit, files)
	}
	data, err := os.ReadFile(files[0])
	must(t, err)
	var c struct{ Nonce, Password, Key, Certificate string }
	must(t, json.Unmarshal(data, &c))
	key, err := pki.ParseKey([]byte(c.Key))
	must(t, err)
	a := cluster.Agent{
		Tag: names.Unit(unit).Tag(), Model: m.uuid, Nonce: c.Nonce, Password: client.NewSecret(c.Password),
		Key: key, Chain: []byte(c.Certificate),
	}
	return a.Connect(t, m.w.Cluster)
}

func relationID(t testing.TB, text string) int {
	t.Helper()
	_, n, _ := strings.Cut(text, ":")
	id, err := strconv.Atoi(n)
	must(t, err)
	return id
}

type relationStatus = wireclient.RelationStatus
