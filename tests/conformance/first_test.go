package conformance

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/scarab-ops/scarab/tests/cluster"
)

// TestHooks holds the checks that share one controller; each has a model.
func TestHooks(t *testing.T) {
	w := newWorld(t, cluster.Options{})
	for _, c := range []struct {
		name string
		f    func(*testing.T, *world)
	}{
		{"first-run", firstRun},
		{"relations", relations},
		{"buffered", buffered},
		{"retry", retry},
		{"resolve", resolve},
		{"coalesce-config", coalesceConfig},
		{"coalesce-relation", coalesceRelation},
		{"config-unchanged", configUnchanged},
		{"leader", leader},
		{"subordinate", subordinate},
		{"removal", removal},
		{"removal-in-error", removalInError},
		{"tasks", tasks},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.f(t, w)
		})
	}
}

// firstRun: everything is there before the machines are, so that the whole
// first run of every unit can be foretold.
func firstRun(t *testing.T, w *world) {
	m := w.model(t, "first")
	m.pause(true)
	m.deploy(t, "peer", "p", 2)
	m.deploy(t, "probe", "a", 1)
	m.relate(t, "p:server", "a:client")
	m.pause(false)
	m.idle(t, "p/0", "p/1", "a/0")
	firstOrder(t, m, "a/0", "client-relation-created")
	first, second := "p/0", "p/1"
	if !slices.Contains(m.hooks(t, first), "leader-elected") {
		first, second = second, first
	}
	firstOrder(t, m, first, "ring-relation-created", "server-relation-created")
	firstOrder(t, m, second, "ring-relation-created", "server-relation-created")
	lead := func(u string) bool { return slices.Contains(m.hooks(t, u), "leader-elected") }
	if !lead(first) || lead(second) || !slices.Contains(m.hooks(t, second), "leader-settings-changed") {
		t.Errorf("leaders: %s %v, %s %v", first, lead(first), second, lead(second))
	}
	for _, u := range []string{"a/0", first, second} {
		if slices.Contains(m.hooks(t, u), "update-status") {
			t.Errorf("%s ran update-status in its first minute", u)
		}
	}
	firstEnvironment(t, m)
}

// firstOrder checks a unit's first run; created are its relations.
func firstOrder(t *testing.T, m *modelT, unit string, created ...string) {
	t.Helper()
	all := m.hooks(t, unit)
	n := len(created) + 4
	if len(all) < n {
		t.Fatalf("%s ran only %q", unit, all)
	}
	got := all[:n]
	slices.Sort(got[1 : 1+len(created)])
	lead := got[1+len(created)]
	if lead != "leader-elected" && lead != "leader-settings-changed" {
		t.Errorf("%s learned of leadership by %q", unit, lead)
	}
	want := append(append([]string{"install"}, created...), lead, "config-changed", "start")
	if !slices.Equal(got, want) {
		t.Errorf("%s ran %s", unit, strings.Join(got, ", "))
	}
}

func firstEnvironment(t *testing.T, m *modelT) {
	runs := m.runs(t, "a/0")
	install, created := m.env(t, runs[0]), m.env(t, runs[1])
	for k, want := range map[string]string{
		"JUJU_UNIT_NAME": "a/0", "JUJU_HOOK_NAME": "install", "JUJU_DISPATCH_PATH": "hooks/install",
		"JUJU_MODEL_UUID": string(m.uuid), "JUJU_MODEL_NAME": "first", "JUJU_VERSION": "3.6.12",
		"JUJU_PRINCIPAL_UNIT": "", "JUJU_AGENT_SOCKET_NETWORK": "unix", "LANG": "C.UTF-8",
	} {
		if got, ok := install[k]; !ok || got != want {
			t.Errorf("%s=%q in install, want %q", k, got, want)
		}
	}
	if !regexp.MustCompile(`^a/0-install-[0-9a-f]{32}$`).MatchString(install["JUJU_CONTEXT_ID"]) {
		t.Errorf("context id %q", install["JUJU_CONTEXT_ID"])
	}
	for _, k := range []string{"HOME", "SCARAB_BIN", "USER", "JUJU_RELATION", "JUJU_REMOTE_UNIT", "JUJU_DEPARTING_UNIT"} {
		if v, ok := install[k]; ok {
			t.Errorf("%s=%q in install", k, v)
		}
	}
	for k, want := range map[string]string{
		"JUJU_RELATION": "client", "JUJU_REMOTE_APP": "p", "JUJU_REMOTE_UNIT": "", "JUJU_HOOK_NAME": "client-relation-created",
	} {
		if got, ok := created[k]; !ok || got != want {
			t.Errorf("%s=%q in client-relation-created, want %q", k, got, want)
		}
	}
	if !regexp.MustCompile(`^client:\d+$`).MatchString(created["JUJU_RELATION_ID"]) {
		t.Errorf("relation id %q", created["JUJU_RELATION_ID"])
	}
}
