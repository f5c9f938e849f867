package conformance

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/names"
	wireclient "github.com/scarab-ops/scarab/wire/client"
)

// inError waits until a unit shows that a hook of it failed.
func (m *modelT) inError(t *testing.T, unit, hook string) {
	t.Helper()
	eventually(t, unit+" in error", func() bool {
		u, ok := m.unit(t, unit)
		return ok && u.WorkloadStatus.Status == "error" && u.WorkloadStatus.Info == fmt.Sprintf("hook failed: %q", hook)
	})
}

// noRetry keeps failed hooks from being tried again.
func (m *modelT) noRetry(t *testing.T) {
	t.Helper()
	must(t, m.conn.SetModelConfig(ctx(t), map[string]any{"automatically-retry-hooks": false}))
}

// resolved resolves a unit's error.
func (m *modelT) resolved(t *testing.T, unit string, again bool) {
	t.Helper()
	errs, err := m.conn.Resolve(ctx(t), again, names.Unit(unit))
	must(t, err)
	must(t, errs[0])
}

// buffered: what a hook that fails asked for does not happen, but for what
// takes effect at once.
func buffered(t *testing.T, w *world) {
	m := w.model(t, "buffered")
	m.noRetry(t)
	m.deploy(t, "probe", "a", 1)
	m.deploy(t, "probe", "b", 1)
	m.relate(t, "a:client", "b:server")
	m.idle(t, "a/0", "b/0")
	m.until(t, "b/0", "server-relation-changed a/0")
	client := m.until(t, "a/0", "client-relation-created")[0].relation
	server := m.until(t, "b/0", "server-relation-created")[0].relation
	ask := `
[ "$hook" = config-changed ] || exit 0
relation-set -r ` + client + ` word=said
relation-set -r ` + client + ` --app word=said
open-port 80/tcp
state-set word=said
status-set blocked "kept status"
juju-log "kept words"
application-version-set kept-7
note "own bag $(relation-get -r ` + client + ` word a/0)"
`
	m.behave(t, "a", ask+"exit 1")
	m.set(t, "a", "text", "one")
	m.inError(t, "a/0", "config-changed")
	m.noted(t, "a/0", "^own bag said$")
	read := func() []string {
		u, _ := m.unit(t, "a/0")
		return []string{
			m.stdout(t, "relation-get -r "+server+" word a/0", "b/0"), m.stdout(t, "relation-get -r "+server+" --app word a", "b/0"),
			strings.Join(u.OpenedPorts, ","), m.stdout(t, "state-get word", "a/0"),
		}
	}
	if got := read(); !slices.Equal(got, []string{"", "", "", ""}) {
		t.Errorf("after the failed hook: %q", got)
	}
	u, _ := m.unit(t, "a/0")
	if u.WorkloadVersion != "kept-7" || u.AgentStatus.Status != "idle" {
		t.Errorf("after the failed hook: %+v", u)
	}
	h, err := m.conn.StatusHistory(ctx(t), wireclient.StatusHistoryRequest{
		HistoryKind: "juju-unit", Size: 20, Tag: names.Unit("a/0").Tag().String(), Filter: wireclient.StatusHistoryFilter{Size: 20},
	})
	must(t, err)
	if !slices.ContainsFunc(h.History.Statuses, func(d wireclient.DetailedStatus) bool {
		return d.Status == "error" && d.Data["hook"] == "config-changed"
	}) {
		t.Errorf("no error of config-changed in %+v", h.History.Statuses)
	}
	eventually(t, "the words in the log", func() bool {
		files, err := filepath.Glob(filepath.Join(m.dir, "m*", "logs", "*.log"))
		must(t, err)
		for _, f := range files {
			data, err := os.ReadFile(f)
			must(t, err)
			if strings.Contains(string(data), "kept words") {
				return true
			}
		}
		return false
	})
	m.behave(t, "a", ask)
	m.resolved(t, "a/0", true)
	eventually(t, "a/0 out of error", func() bool {
		u, _ := m.unit(t, "a/0")
		return u.AgentStatus.Status == "idle" && u.WorkloadStatus.Status == "blocked" && u.WorkloadStatus.Info == "kept status"
	})
	if got := read(); !slices.Equal(got, []string{"said", "said", "80/tcp", "said"}) {
		t.Errorf("after the hook succeeded: %q", got)
	}
}

// retry: a failed hook is tried again by itself, after growing pauses. The
// agents' pauses begin at 300 ms here.
func retry(t *testing.T, w *world) {
	m := w.model(t, "retry", "-retry-min", "300ms", "-retry-max", "1m")
	m.behave(t, "a", `[ "$hook" != config-changed ] || exit 3`)
	m.deploy(t, "probe", "a", 1)
	failed := func() []run {
		var out []run
		for _, r := range m.runs(t, "a/0") {
			if r.hook == "config-changed" && r.code == "3" {
				out = append(out, r)
			}
		}
		return out
	}
	eventually(t, "five tries", func() bool { return len(failed()) >= 5 })
	m.behave(t, "a", "")
	m.idle(t, "a/0")
	var at []time.Time
	for _, r := range failed()[:5] {
		fi, err := os.Stat(m.envFile(r))
		must(t, err)
		at = append(at, fi.ModTime())
	}
	// 300, 600, 1200, 2400 ms, each 80 to 120 percent.
	if first, last := at[1].Sub(at[0]), at[4].Sub(at[3]); first < 240*time.Millisecond || last < 1920*time.Millisecond || last < first {
		t.Errorf("pauses %v, %v, %v, %v", first, at[2].Sub(at[1]), at[3].Sub(at[2]), last)
	}
	got := m.hooks(t, "a/0")
	if got[len(got)-1] != "start" || got[len(got)-2] != "config-changed" {
		t.Errorf("ran %s", strings.Join(got, ", "))
	}
	if u, _ := m.unit(t, "a/0"); u.WorkloadStatus.Status == "error" {
		t.Errorf("still shows %+v", u.WorkloadStatus)
	}
}

// resolve: an operator's ways out of an error.
func resolve(t *testing.T, w *world) {
	m := w.model(t, "resolve")
	m.noRetry(t)
	m.behave(t, "a", `[ "$hook" != config-changed ] || exit 1`)
	m.deploy(t, "probe", "a", 1)
	m.inError(t, "a/0", "config-changed")
	if out := m.stdout(t, "echo $JUJU_UNIT_NAME", "a/0"); out != "a/0" { // tasks run in error
		t.Errorf("a command in error says %q", out)
	}
	m.resolved(t, "a/0", true)
	eventually(t, "a second try", func() bool {
		return strings.Count(strings.Join(m.hooks(t, "a/0"), "\n"), "config-changed code=1") == 2
	})
	m.inError(t, "a/0", "config-changed")
	eventually(t, "a/0 may be resolved again", func() bool {
		errs, err := m.conn.Resolve(ctx(t), false, names.Unit("a/0"))
		must(t, err)
		return errs[0] == nil
	})
	m.idle(t, "a/0")
	want := []string{"install", "leader-elected", "config-changed code=1", "config-changed code=1", "start"}
	if got := m.hooks(t, "a/0"); !slices.Equal(got, want) {
		t.Errorf("ran %s", strings.Join(got, ", "))
	}
	errs, err := m.conn.Resolve(ctx(t), true, names.Unit("a/0"))
	must(t, err)
	if errs[0] == nil || !strings.Contains(errs[0].Error(), "is not in an error state") {
		t.Errorf("resolving a healthy unit says %v", errs[0])
	}
}

// removalInError: a unit in error waits; force does not.
func removalInError(t *testing.T, w *world) {
	m := w.model(t, "removal-in-error")
	m.noRetry(t)
	m.behave(t, "a", `[ "$hook" != config-changed ] || exit 1`)
	m.deploy(t, "probe", "a", 2)
	m.inError(t, "a/0", "config-changed")
	m.inError(t, "a/1", "config-changed")
	m.removeUnit(t, "a/0", false)
	m.removeUnit(t, "a/1", true)
	m.gone(t, "a/1")
	u, ok := m.unit(t, "a/0")
	if !ok || u.WorkloadStatus.Status != "error" {
		t.Fatalf("a unit in error did not wait: %+v", u)
	}
	m.resolved(t, "a/0", false)
	m.gone(t, "a/0")
	ordered(t, m.hooks(t, "a/0"), "config-changed code=1", "stop", "remove")
	if slices.Contains(m.hooks(t, "a/0"), "start") && slices.Index(m.hooks(t, "a/0"), "start") > slices.Index(m.hooks(t, "a/0"), "stop") {
		t.Errorf("ran %v", m.hooks(t, "a/0"))
	}
}
