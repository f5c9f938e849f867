package realm

import (
	"os"
	"strings"
	"testing"
	"time"
)

// quickTime is how long the quickstart may take once programs and image exist.
// The short form runs beside other tests, which take their share of the host.
func quickTime() time.Duration {
	if long() {
		return time.Minute
	}
	return 2 * time.Minute
}

func testQuickstart(t *testing.T) {
	host.quickstart(t)
	t.Logf("the quickstart took %s", host.took.Round(100*time.Millisecond))
	if host.took > quickTime() {
		t.Errorf("the quickstart took %s, more than %s:\n%s", host.took, quickTime(), host.output)
	}
	for _, want := range []string{"stream-agent/1 received: hello from ", "What to try next", "scarab why nats/1"} {
		if !strings.Contains(host.output, want) {
			t.Errorf("its output lacks %q:\n%s", want, host.output)
		}
	}
	if strings.Contains(host.output, "ERROR") {
		t.Errorf("its output speaks of an error:\n%s", host.output)
	}
	host.settle(t, 5, demo()...)
	m := host.status(t)
	for _, u := range []string{"ca/0", "nats/0", "nats/1", "stream-agent/0", "stream-agent/1"} {
		if m.unit(u).Address == "" {
			t.Errorf("unit %s has no address: %+v", u, m.unit(u))
		}
	}
	if a, b := m.unit("nats/0").Machine, m.unit("nats/1").Machine; a == b {
		t.Errorf("both servers are on machine %s", a)
	}
	again := host.run("exec", "--unit", "stream-agent/1", "--", "stream-received")
	if again.code != 0 || !strings.Contains(again.out, "hello from") {
		t.Errorf("the receiver does not hold the message:\n%s", again)
	}
}

// testDown takes the quickstart back by its own command.
func testDown(t *testing.T, before picture) {
	if _, err := os.Stat(hostFile); err != nil {
		t.Fatalf("there is nothing to take down: %v", err)
	}
	t.Log(host.run("status", "--relations"))
	began := time.Now()
	out, err := host.script("down.sh").CombinedOutput()
	if err != nil {
		t.Fatalf("cannot take the quickstart down: %v\n%s", err, out)
	}
	t.Logf("taking the quickstart down took %s:\n%s", time.Since(began).Round(100*time.Millisecond), out)
	compare(t, before, take(t))
	if r := host.run("controllers", "--format", "json"); strings.Contains(r.out, "quickstart") {
		t.Errorf("the client still knows the controller:\n%s", r)
	}
	if out, err := host.script("down.sh").CombinedOutput(); err != nil { // nothing to do any more
		t.Errorf("doing it twice fails: %v\n%s", err, out)
	}
}
