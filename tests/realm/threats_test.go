package realm

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/tests/threats/machineparts"
)

// times chooses between the short and the long form of a number.
func times(short, full int) int {
	if long() {
		return full
	}
	return short
}

// A world is one controller with three machines that the parts of the threat
// matrix share: site (a workload that listens), spy (a charm with a user of its
// own) and rogue (root) on the first, guest and stream on the second, ca, which
// is related to stream alone, on the third.
type world struct {
	site, spy, rogue, guest, stream, ca statusUnit

	wire  *recording // of every packet
	ports *sampler   // of what our processes listen on and dial
}

// attacks are the parts: machineparts has the words, this what is done.
func (w *world) attacks() map[string]func(*testing.T) {
	return map[string]func(*testing.T){
		"P3-10/host":           w.onePort,
		"P3-11/host":           w.apiAddresses,
		"P3-12/host":           w.noOtherPort,
		"P4-02/machine":        w.trustStore,
		"P4-06/charm":          w.charmKeys,
		"P3-31/machine":        w.expose,
		"P4-03/machine":        w.dataWithoutPorts,
		"F-SSH-AG-I/ssh":       w.otherHost,
		"A-AGENT-C/memory":     w.agentMemory,
		"A-WL-C/metadata":      w.metadata,
		"A-UNIT-C/machine":     w.neighbour,
		"A-WL-I/machine":       w.workloadTools,
		"F-AG-CHARM-C/machine": w.sniff,
		"A-UNIT-A/machine":     w.hostileHooks,
		"A-AGENT-A/kill":       w.killAgent,
		"A-WL-A/outage":        w.outage,
		"K-TLS/links":          w.links,
		"K-FSPERM/agent":       w.filesInside,
		"K-FSPERM/client":      w.filesOfClient,
	}
}

// TestThreat is the parts of the threat matrix that need real machines. They
// share one controller; the name of each subtest is ROW/NAME.
func TestThreat(t *testing.T) {
	before := take(t)
	began := time.Now()
	w := newWorld(t)
	t.Logf("the machines were ready after %s", time.Since(began).Round(100*time.Millisecond))
	attacks := w.attacks()
	var rows []string
	for _, p := range machineparts.All() {
		if attacks[p.ID()] == nil {
			t.Errorf("nobody attacks %s", p.ID())
		}
		rows = append(rows, p.ID())
	}
	for id := range attacks {
		if !slices.Contains(rows, id) {
			t.Errorf("the attack %s is on no list", id)
		}
	}
	parts := machineparts.All()
	for len(parts) > 0 {
		n := 1 // those of one row stand together
		for n < len(parts) && parts[n].Row == parts[0].Row {
			n++
		}
		t.Run(parts[0].Row, func(t *testing.T) {
			for _, p := range parts[:n] {
				t.Run(p.Name, attacks[p.ID()])
			}
		})
		parts = parts[n:]
	}
	if out := host.run("kill-controller", "--no-prompt", "threats"); out.code != 0 {
		t.Error(out)
	}
	compare(t, before, take(t))
}

// newWorld makes it, with a client that has umask 0 from its first file on.
func newWorld(t *testing.T) *world {
	t.Helper()
	home, mask := host.data, syscall.Umask(0)
	host.data = filepath.Join(filepath.Dir(home), "threats")
	t.Cleanup(func() { host.data = home; syscall.Umask(mask) })
	w := &world{wire: record(t), ports: sample(t)}
	host.ok(t, "bootstrap", "localhost", "threats", "--add-model", "attacks")
	t.Cleanup(func() { // the last resort; TestThreat does it in good order
		if _, err := os.Stat(hostFile); err == nil {
			t.Log(host.run("kill-controller", "--no-prompt", "threats"))
		}
	})
	spy := spyCharm(t)
	for _, d := range [][]string{
		{"./tests/realm/testdata/probe", "site", "--config", fmt.Sprint("port=", echoPort)},
		{"./tests/realm/testdata/probe", "guest"},
		{charmDir("self-signed-certificates"), "ca"},
		{"./tests/realm/testdata/hostile", "rogue", "--to", "0"},
		{spy, "spy", "--to", "0"},
		{charmDir("stream-agent"), "stream", "--to", "1"},
	} {
		host.ok(t, append([]string{"deploy"}, d...)...)
	}
	host.ok(t, "integrate", "stream:certificates", "ca:certificates")
	host.settle(t, 5, "site", "guest", "ca", "rogue", "spy")
	eventually(t, 90*time.Second, "stream has its certificate", func() bool {
		s := host.status(t).unit("stream/0").Workload
		return s.Current == "blocked" && !strings.Contains(s.Message, "certificate")
	})
	m := host.status(t)
	for name, u := range map[string]*statusUnit{"site": &w.site, "spy": &w.spy, "rogue": &w.rogue, "guest": &w.guest, "stream": &w.stream, "ca": &w.ca} {
		*u = m.unit(name + "/0")
	}
	if w.site.Machine != w.spy.Machine || w.site.Machine != w.rogue.Machine || w.guest.Machine != w.stream.Machine || w.ca.Machine == w.guest.Machine {
		t.Fatalf("the units are not where they should be:\n%s", host.run("status"))
	}
	return w
}

// charmDir is a sample charm, or the changed copy that a run of mutants names.
func charmDir(name string) string {
	if dir := os.Getenv("SCARAB_REALM_CHARMS"); dir != "" {
		return filepath.Join(dir, name)
	}
	return "./charms/" + name
}

// spyCharm is the hostile charm with a user of its own.
func spyCharm(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "spy")
	if err := os.CopyFS(dir, os.DirFS("testdata/hostile")); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "metadata.yaml"), os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString("charm-user: non-root\n")
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// hook runs a script as a hook of a unit would run it.
func hook(t *testing.T, unit, script string) string {
	t.Helper()
	return host.ok(t, "exec", "--unit", unit, "--", script)
}

// started is a script that runs as a hook until it is let go.
type started struct {
	done chan result
	stop func()
}

// holdHook runs a script as a hook of a unit and keeps the hook open; the
// script's last line is waited for in the machine.
func holdHook(t *testing.T, unit, machine, script string) *started {
	t.Helper()
	const flag = "/run/held-hook"
	s := &started{done: make(chan result, 1)}
	release := func() { host.inside(t, machine, "rm -f "+flag) }
	if r := host.inside(t, machine, "touch "+flag+"; rm -f "+flag+".there"); r.code != 0 {
		t.Fatal(r)
	}
	go func() {
		s.done <- host.run("exec", "--unit", unit, "--", script+"; touch "+flag+".there; for i in $(seq 300); do [ -e "+flag+" ] || break; sleep 0.1; done")
	}()
	eventually(t, 20*time.Second, "the hook of "+unit+" runs", func() bool { return host.inside(t, machine, "test -e "+flag+".there").code == 0 })
	s.stop = func() {
		release()
		if r := <-s.done; r.code != 0 {
			t.Error(r)
		}
	}
	return s
}

// An attempt is what an attack program tells.
type attempt struct {
	UID     int      `json:"uid"`
	Hits    []string `json:"hits"` // marks and keys, and where
	Worked  []string `json:"worked"`
	Out     string   `json:"out"`
	Read    int      `json:"read"`
	Refused int      `json:"refused"`
	Seen    int      `json:"seen"`
	Tried   int      `json:"tried"`
}

// attack runs the attack program in a machine as a user. Marks that it looks
// for are turned round, so that it does not find itself.
func attack(t *testing.T, machine, user string, order map[string]any, marks ...string) attempt {
	t.Helper()
	turned := make([]string, len(marks))
	for i, m := range marks {
		if len(m) < 8 {
			t.Fatalf("the mark %q is no mark", m)
		}
		b := []byte(m)
		slices.Reverse(b)
		turned[i] = string(b)
	}
	order["marks"] = turned
	text, err := json.Marshal(order)
	if err != nil {
		t.Fatal(err)
	}
	code, err := os.ReadFile("testdata/attack/attack.py")
	if err != nil {
		t.Fatal(err)
	}
	r := host.inside(t, machine, "exec setpriv --reuid "+user+" --regid "+user+" --clear-groups python3 -c 'exec(open(3).read())' 3<<'PROGRAM' <<'ORDER'\n"+
		string(code)+"\nPROGRAM\n"+string(text)+"\nORDER\n")
	var a attempt
	if err := json.Unmarshal([]byte(r.out), &a); r.code != 0 || err != nil {
		t.Fatalf("the attack did not run: %v\n%.2000s", err, r.out)
	}
	return a
}

// failed checks that nothing an attacker tried worked, and that it did try.
func (a attempt) failed(t *testing.T, who string) {
	t.Helper()
	for _, h := range a.Hits {
		t.Errorf("%s found %s", who, h)
	}
	for _, h := range a.Worked {
		t.Errorf("%s %s", who, h)
	}
	if a.Refused == 0 {
		t.Errorf("%s was refused nothing: the attack looks in the wrong place", who)
	}
}
