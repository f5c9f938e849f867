package conformance

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/tests/cluster"
)

// TestFailover kills the leader's agent. In the short form the controller's
// clock is put forward past the lease's end; in the long form the lease runs
// its 60 seconds.
func TestFailover(t *testing.T) {
	t.Parallel()
	var ahead atomic.Int64
	w := newWorld(t, cluster.Options{Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }})
	flags := []string{"-lead", "500ms"}
	if long() {
		flags = nil
	}
	m := w.model(t, "failover", flags...)
	m.deploy(t, "peer", "p", 3)
	m.idle(t, "p/0", "p/1", "p/2")
	elected := func() (out []string) {
		for _, u := range []string{"p/0", "p/1", "p/2"} {
			if slices.Contains(m.hooks(t, u), "leader-elected") {
				out = append(out, u)
			}
		}
		return out
	}
	first := elected()
	if len(first) != 1 {
		t.Fatalf("elected: %v", first)
	}
	old := first[0]
	s, _ := m.unit(t, old)
	if !s.Leader {
		t.Errorf("the controller does not show %s as leader", old)
	}
	h := m.host(t, s.Machine)
	h.kill()
	if got := elected(); len(got) != 1 {
		t.Errorf("elected at once: %v", got)
	}
	if !long() {
		ahead.Store(int64(61 * time.Second))
	}
	eventually(t, "another leader", func() bool { return len(elected()) == 2 })
	must(t, h.start())
	var others []string
	for _, u := range []string{"p/0", "p/1", "p/2"} {
		if u != old {
			others = append(others, u)
		}
	}
	lead, _ := m.leaders(t, others[0], others[1])
	if out := m.stdout(t, "is-leader", old); out != "False" {
		t.Errorf("the old leader says %q", out)
	}
	if got := elected(); len(got) != 2 || !slices.Contains(got, lead) {
		t.Errorf("elected %v, but %s leads", got, lead)
	}
	// Who led learns that it does not from no hook but by asking.
	m.idle(t, old)
	if n := m.until(t, old, "leader-elected"); len(n) != 1 {
		t.Errorf("%s was elected %d times", old, len(n))
	}
}
