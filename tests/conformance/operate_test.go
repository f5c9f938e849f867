package conformance

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/wire/action"
	"github.com/scarab-ops/scarab/wire/application"
	"github.com/scarab-ops/scarab/wire/machinemanager"
)

// coalesceConfig: many changes while a hook runs are one hook after it.
func coalesceConfig(t *testing.T, w *world) {
	m := w.model(t, "coalesce-config")
	gate := m.gate(t)
	m.behave(t, "a", `
[ "$hook" = config-changed ] || exit 0
n=$(config-get count)
note "count=$n"
[ "$n" != 1 ] || read -r <"$world/gate"
note "still $(config-get count)"`)
	m.deploy(t, "probe", "a", 1)
	m.idle(t, "a/0")
	for i := 1; i <= 30; i++ {
		m.set(t, "a", "count", fmt.Sprint(i))
		if i == 1 {
			m.noted(t, "a/0", "^count=1$")
		}
	}
	gate()
	m.noted(t, "a/0", "^still 30$")
	var seen []string
	for _, r := range m.runs(t, "a/0") {
		seen = append(seen, r.notes...)
	}
	want := []string{"count=0", "still 0", "count=1", "still 1", "count=30", "still 30"}
	if !slices.Equal(seen, want) {
		t.Errorf("30 changes made these hooks: %q", seen)
	}
}

// configUnchanged: no hook without a change.
func configUnchanged(t *testing.T, w *world) {
	m := w.model(t, "unchanged")
	m.behave(t, "a", `[ "$hook" != config-changed ] || note "text=$(config-get text)"`)
	m.deploy(t, "probe", "a", 1)
	m.idle(t, "a/0")
	m.set(t, "a", "text", "none") // what it is by default
	m.set(t, "a", "text", "one")
	m.noted(t, "a/0", "^text=one$")
	m.set(t, "a", "text", "one")
	h := m.host(t, "0")
	h.kill()
	must(t, h.start())
	m.set(t, "a", "text", "two")
	m.noted(t, "a/0", "^text=two$")
	must(t, m.conn.UnsetConfig(ctx(t), "a", []string{"text"}))
	eventually(t, "the default again", func() bool {
		r := m.runs(t, "a/0")
		return slices.Equal(r[len(r)-1].notes, []string{"text=none"}) && r[len(r)-1].code != ""
	})
	want := []string{"install", "leader-elected", "config-changed", "start", "config-changed", "config-changed", "config-changed"}
	if got := m.hooks(t, "a/0"); !slices.Equal(got, want) {
		t.Errorf("ran %s", strings.Join(got, ", "))
	}
}

// removal: units, applications and machines go in the order that charms rely
// on.
func removal(t *testing.T, w *world) {
	m := w.model(t, "removal")
	m.deploy(t, "peer", "a", 3)
	m.deploy(t, "probe", "b", 1)
	m.relate(t, "a:server", "b:client")
	m.idle(t, "a/0", "a/1", "a/2", "b/0")
	for _, u := range []string{"a/0", "a/1", "a/2"} {
		m.until(t, u, "server-relation-changed b/0")
	}
	for _, u := range []string{"a/0", "a/2"} {
		m.until(t, u, "ring-relation-changed a/1")
	}
	m.removeUnit(t, "a/1", false)
	m.gone(t, "a/1")
	ordered(t, m.hooks(t, "a/1"), "start", "server-relation-departed b/0 departing=a/1", "server-relation-broken", "stop", "remove")
	if h := m.hooks(t, "a/1"); h[len(h)-1] != "remove" || h[len(h)-2] != "stop" || slices.Contains(h, "ring-relation-broken") {
		t.Errorf("a/1 ran %v", h)
	}
	for _, u := range []string{"a/0", "a/2"} {
		m.until(t, u, "ring-relation-departed a/1 departing=a/1")
	}
	m.unprovisioned(t, "1") // nothing is left on it

	rs, err := m.conn.DestroyApplications(ctx(t), []application.DestroyApplicationParams{{ApplicationTag: names.Application("b").Tag().String()}})
	must(t, err)
	if rs[0].Error != nil {
		t.Fatal(rs[0].Error)
	}
	m.gone(t, "b/0")
	ordered(t, m.hooks(t, "b/0"), "client-relation-broken", "stop", "remove")
	eventually(t, "application gone", func() bool { _, ok := m.status(t).Applications["b"]; return !ok })
	m.until(t, "a/0", "server-relation-broken")

	last, _ := m.unit(t, "a/2")
	id := last.Machine
	ds, err := m.conn.DestroyMachines(ctx(t), machinemanager.DestroyMachinesParams{MachineTags: []string{names.Machine(id).Tag().String()}, Force: true})
	must(t, err)
	if ds[0].Error != nil {
		t.Fatal(ds[0].Error)
	}
	m.gone(t, "a/2")
	m.unprovisioned(t, id)
	if _, ok := m.unit(t, "a/0"); !ok {
		t.Error("the last unit went too")
	}
}

// unprovisioned waits until a machine is gone, in the model and in the cloud.
func (m *modelT) unprovisioned(t *testing.T, id string) {
	t.Helper()
	eventually(t, "machine "+id+" gone", func() bool {
		all, err := m.w.cloud.Machines()
		must(t, err)
		_, left := all[string(m.uuid)+"/"+id]
		_, ok := m.status(t).Machines[id]
		return !left && !ok
	})
}

// tasks: commands and actions, with the tools of hooks.
func tasks(t *testing.T, w *world) {
	m := w.model(t, "tasks")
	m.behave(t, "a", `
[ "$hook" = greet ] || exit 0
note "params $(action-get name) as $JUJU_ACTION_NAME"
action-log "on the way"
action-set answer.text="hello $(action-get name)"
[ "$(action-get name)" != nobody ] || action-fail "nobody is here"
[ "$(action-get name)" != broken ] || exit 4
open-port 81/tcp`)
	m.deploy(t, "probe", "a", 1)
	m.idle(t, "a/0")
	if out := m.stdout(t, "open-port 80/tcp; config-get text; echo $JUJU_HOOK_NAME-${JUJU_DISPATCH_PATH-unset}", "a/0"); out != "none\n-unset" {
		t.Errorf("a command says %q", out)
	}
	eventually(t, "the port that the command opened", func() bool { u, _ := m.unit(t, "a/0"); return slices.Contains(u.OpenedPorts, "80/tcp") })
	r := m.exec(t, "open-port 90/tcp; echo out; echo err >&2; exit 7", "a/0")
	if r.Status != "failed" || fmt.Sprint(r.Output["return-code"]) != "7" || r.Output["stdout"] != "out\n" || r.Output["stderr"] != "err\n" {
		t.Errorf("a failing command: %+v", r)
	}
	q, err := m.conn.RunCommands(ctx(t), action.RunParams{Commands: "echo on the machine", Machines: []string{"0"}})
	must(t, err)
	if r := m.task(t, q); r.Status != "completed" || r.Output["stdout"] != "on the machine\n" {
		t.Errorf("a command on the machine: %+v", r)
	}
	greet := func(name string) action.ActionResult {
		q, err := m.conn.EnqueueActions(ctx(t), []action.Action{{Receiver: names.Unit("a/0").Tag().String(), Name: "greet", Parameters: map[string]any{"name": name}}})
		must(t, err)
		return m.task(t, q)
	}
	r = greet("world")
	answer, _ := r.Output["answer"].(map[string]any)
	if r.Status != "completed" || answer["text"] != "hello world" || len(r.Log) != 1 || r.Log[0].Message != "on the way" {
		t.Errorf("an action: %+v", r)
	}
	if r = greet("nobody"); r.Status != "failed" || r.Message != "nobody is here" {
		t.Errorf("an action that says it failed: %+v", r)
	}
	if r = greet("broken"); r.Status != "failed" || r.Message != "exit status 4" {
		t.Errorf("an action that failed: %+v", r)
	}
	if out := m.stdout(t, "opened-ports", "a/0"); out != "80/tcp\n81/tcp" {
		t.Errorf("open ports %q", out)
	}
	for _, r := range m.runs(t, "a/0") {
		if env := m.env(t, r); r.hook == "greet" && (env["JUJU_ACTION_NAME"] != "greet" || env["JUJU_HOOK_NAME"] != "" || env["JUJU_DISPATCH_PATH"] != "actions/greet") {
			t.Errorf("an action's environment: %q", env)
		}
	}
}
