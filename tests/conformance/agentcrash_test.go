package conformance

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/scarab-ops/scarab/tests/cluster"
)

// points are the steps of the journal at which an agent dies.
var points = []string{"begin", "begun", "ran-before", "ran", "save-before", "save-rename", "saved"}

// count does, in every hook, what must take effect once for every completed
// hook and never for another.
const count = `
n=$(state-get completed)
state-set completed=$((n + 1))
case $hook in
config-changed)
	note "count=$(config-get count)"
	for r in $(relation-ids ring); do relation-set -r "$r" count="$(config-get count)"; done;;
esac`

// TestAgentCrash kills an agent at every step of its journal, again and again,
// from its first hook on. What a hook does once completed is done once; no
// change is lost.
func TestAgentCrash(t *testing.T) {
	t.Parallel()
	kills := 21
	if long() {
		kills = 200
	}
	w := newWorld(t, cluster.Options{})
	m := w.model(t, "agent-crash", "-fault", "begun", "-after", "2")
	m.behave(t, "p", count)
	m.deploy(t, "peer", "p", 1)
	h := m.host(t, "0")
	for i := range kills {
		m.set(t, "p", "count", fmt.Sprint(i)) // there must be work
		h.wait(t)
		must(t, h.start("-fault", points[i%len(points)], "-after", "1"))
	}
	m.set(t, "p", "count", fmt.Sprint(kills))
	h.wait(t)
	must(t, h.start("-fault", ""))
	last := kills + 1
	m.set(t, "p", "count", fmt.Sprint(last))
	m.noted(t, "p/0", fmt.Sprintf("^count=%d$", last))
	m.idle(t, "p/0")
	m.settled(t, "p/0")
	completed(t, m, last)
}

// settled waits until a unit has nothing to do: its newest operation is over.
func (m *modelT) settled(t *testing.T, unit string) {
	t.Helper()
	m.stdout(t, "true", unit) // behind what was chosen before
	m.idle(t, unit)
}

// operation is what an agent recorded of one.
type operation struct{ id, kind, what string }

// trace returns what of a unit was begun, and what was completed. It fails if
// a value whose delivery was completed was delivered once more.
func (m *modelT) trace(t *testing.T, unit string) (begun, ran []operation) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(m.dir, "log", strings.ReplaceAll(unit, "/", "-")))
	must(t, err)
	delivered, value := map[string]bool{}, ""
	for _, line := range strings.Split(strings.TrimSpace(string(data)), "\n") {
		f := strings.Split(line, "\t")
		switch f[0] {
		case "begun":
			begun = append(begun, operation{f[1], f[2], f[3]})
		case "note":
			if value = f[2]; delivered[value] {
				t.Errorf("%s was delivered again after it was completed", value)
			}
		case "ran":
			ran = append(ran, operation{f[1], f[2], f[3]})
			if f[3] == "config-changed" {
				delivered[value] = true
			}
		}
	}
	return begun, ran
}

// completed compares what was completed with what took effect.
func completed(t *testing.T, m *modelT, last int) {
	t.Helper()
	begun, ran := m.trace(t, "p/0")
	hooks, ids, n, tries := map[string]int{}, map[string]bool{}, 0, 0
	for _, o := range ran {
		if ids[o.id] {
			t.Errorf("operation %s was completed twice", o.id)
		}
		ids[o.id] = true
		if o.kind == "hook" {
			hooks[o.what]++
			n++
		}
	}
	for _, o := range begun {
		if o.kind == "hook" {
			tries++
		}
	}
	for _, once := range []string{"install", "ring-relation-created", "leader-elected", "start"} {
		if hooks[once] != 1 {
			t.Errorf("%s was completed %d times", once, hooks[once])
		}
	}
	executions := m.runs(t, "p/0")
	if len(executions) > tries || len(executions) < n {
		t.Errorf("%d executions of %d operations begun and %d completed", len(executions), tries, n)
	}
	if got := m.stdout(t, "state-get completed", "p/0"); got != fmt.Sprint(n) {
		t.Errorf("%d hooks were completed, %s took effect", n, got)
	}
	id := m.stdout(t, "relation-ids ring", "p/0")
	if got := m.stdout(t, "relation-get -r "+id+" count p/0", "p/0"); got != fmt.Sprint(last) {
		t.Errorf("the last value said is %s, not %d", got, last)
	}
	t.Logf("%d hooks begun, %d executed, %d completed and in effect", tries, len(executions), n)
}
