package firewall

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// inNetwork runs f on a thread with a network of its own, whose filters are
// nobody else's.
func inNetwork(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("these tests set packet filters: run them as root")
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread must die
		defer close(done)
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		f()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func ruleset(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("nft", "list", "ruleset").CombinedOutput()
	if err != nil {
		t.Errorf("nft: %v: %s", err, out)
	}
	return string(out)
}

func testMachine(n byte, rules ...Rule) Machine {
	return Machine{
		ID: "sc00000000000" + string('0'+rune(n)), Address: netip.AddrFrom4([4]byte{10, 99, 0, n}), MAC: net.HardwareAddr{2, 0x5c, 10, 99, 0, n},
		Port: "fwt" + string('0'+rune(n)), Rules: rules,
	}
}

func newTest() *Firewall {
	return New(Config{Table: "fwtest", Bridge: "fwtbr0", PortPrefix: "fwt", Subnet: netip.MustParsePrefix("10.99.0.0/16"), HostTCP: []uint16{17070}})
}

func has(t *testing.T, what string, texts ...string) {
	t.Helper()
	got := ruleset(t)
	for _, text := range texts {
		if !strings.Contains(got, text) {
			t.Errorf("%s: no %q in\n%s", what, text, got)
		}
	}
}

func hasNot(t *testing.T, what string, texts ...string) {
	t.Helper()
	got := ruleset(t)
	for _, text := range texts {
		if strings.Contains(got, text) {
			t.Errorf("%s: still %q in\n%s", what, text, got)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

func TestRulesComeAndGo(t *testing.T) {
	inNetwork(t, func() {
		if out, err := exec.Command("nft", "add", "table", "inet", "others").CombinedOutput(); err != nil {
			t.Errorf("nft: %v: %s", err, out)
		}
		f := newTest()
		a, b := testMachine(1), testMachine(2, Rule{Protocol: "tcp", From: 80, To: 90, Sources: []string{"192.0.2.0/24"}})
		must(t, f.Rebuild([]Machine{a}))
		has(t, "an empty cloud", "table inet fwtest", "table bridge fwtest", `oifname "fwtbr0" ip daddr vmap @machines`, `oifname "fwtbr0" meta l4proto tcp reject with tcp reset`, `iifname "fwt*" drop`, "17070", `"fwt1"`, "169.254")
		hasNot(t, "a machine without rules", "chain m-"+a.ID)
		must(t, f.Add(b))
		has(t, "rules of a new machine", "chain m-"+b.ID, "80-90", "192.0.2.0/24", "10.99.0.2 : jump m-"+b.ID, `"fwt2" . 02:5c:0a:63:00:02 . 10.99.0.2`)
		// A peer's address is in the rules only while the peer is there.
		peer := testMachine(3)
		must(t, f.SetRules(a.ID, []Rule{{Protocol: "udp", From: 53, To: 53, Peers: []string{peer.ID}}}))
		hasNot(t, "a peer to come", "10.99.0.3")
		must(t, f.Add(peer))
		has(t, "a peer", "ip saddr 10.99.0.3")
		must(t, f.Remove(peer.ID))
		hasNot(t, "a peer that went", "10.99.0.3")
		must(t, f.SetRules(b.ID, nil))
		hasNot(t, "rules taken back", "chain m-"+b.ID, "192.0.2.0/24")
		// Another one, as after a crash, comes to the same.
		before := ruleset(t)
		must(t, newTest().Rebuild([]Machine{testMachine(1, Rule{Protocol: "udp", From: 53, To: 53, Peers: []string{peer.ID}}), testMachine(2)}))
		if after := ruleset(t); len(after) != len(before) {
			t.Errorf("rebuilt:\n%s\nwas:\n%s", after, before)
		}
		must(t, f.Delete())
		hasNot(t, "the end", "fwtest")
		has(t, "tables of others", "table inet others")
	})
}

func TestUnknownMachines(t *testing.T) {
	inNetwork(t, func() {
		f := newTest()
		must(t, f.Rebuild(nil))
		must(t, f.Remove("sc000000000009"))
		if err := f.SetRules("sc000000000009", nil); err == nil || !strings.Contains(err.Error(), "is not running") {
			t.Errorf("rules of an unknown machine: %v", err)
		}
		must(t, f.Add(testMachine(1)))
		must(t, f.Add(testMachine(1))) // once more is no error
		if n := strings.Count(ruleset(t), "10.99.0.1"); n != 1 {
			t.Errorf("a machine that was added twice is there %d times", n)
		}
		must(t, f.Delete())
		must(t, f.Delete())
	})
}

func TestCheck(t *testing.T) {
	many := make([]string, maxSources+1)
	for i := range many {
		many[i] = "10.0.0.0/8"
	}
	for name, rules := range map[string][]Rule{
		"no ports":        {{Protocol: "tcp"}},
		"backwards":       {{Protocol: "tcp", From: 9, To: 8}},
		"too high":        {{Protocol: "udp", From: 1, To: 65536}},
		"ports of icmp":   {{Protocol: "icmp", From: 1, To: 1}},
		"protocol":        {{Protocol: "sctp", From: 1, To: 1}},
		"no CIDR":         {{Protocol: "tcp", From: 1, To: 1, Sources: []string{"10.0.0.1"}}},
		"too many rules":  make([]Rule, maxRules+1),
		"too many source": {{Protocol: "tcp", From: 1, To: 1, Sources: many}},
	} {
		if err := Check(rules); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := Check([]Rule{{Protocol: "icmp"}, {Protocol: "tcp", From: 1, To: 65535, Sources: []string{"::/0", "0.0.0.0/0"}, Peers: []string{"x"}}}); err != nil {
		t.Error(err)
	}
}
