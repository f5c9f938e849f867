package firewall

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// remember has the kernel believe that it saw a connection.
func remember(t *testing.T, src, dst string, port uint16) {
	t.Helper()
	a, b := net.ParseIP(src).To4(), net.ParseIP(dst).To4()
	must(t, netlink.ConntrackCreate(netlink.ConntrackTable, unix.AF_INET, &netlink.ConntrackFlow{
		FamilyType: unix.AF_INET, TimeOut: 600, ProtoInfo: &netlink.ProtoInfoTCP{State: 3},
		Forward: netlink.IPTuple{SrcIP: a, DstIP: b, SrcPort: 40000, DstPort: port, Protocol: unix.IPPROTO_TCP},
		Reverse: netlink.IPTuple{SrcIP: b, DstIP: a, SrcPort: port, DstPort: 40000, Protocol: unix.IPPROTO_TCP},
	}))
}

// remembered expects just these connections, each as "source>destination".
func remembered(t *testing.T, when string, want ...string) {
	t.Helper()
	flows, err := netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
	must(t, err)
	var got []string
	for _, f := range flows {
		got = append(got, f.Forward.SrcIP.String()+">"+f.Forward.DstIP.String())
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s the kernel remembers %s, want %s", when, strings.Join(got, " "), strings.Join(want, " "))
	}
}

// An heir of an address never meets the flows of the one before, whether or not
// somebody swept, and however the supervisor ended in between.
func TestFlowsOfTheGone(t *testing.T) {
	inNetwork(t, func() {
		web := Rule{Protocol: "tcp", From: 80, To: 80, Sources: []string{"192.0.2.0/24"}}
		a, b := testMachine(4), testMachine(2, web)
		f := newTest()
		must(t, f.Rebuild([]Machine{a, b}))
		remember(t, "10.99.0.4", "198.51.100.1", 443)  // of a
		remember(t, "192.0.2.7", "10.99.0.2", 80)      // to b, let in
		remember(t, "203.0.113.1", "198.51.100.1", 22) // of others
		must(t, f.Remove(a.ID))
		heir := testMachine(3)
		heir.Address = a.Address
		must(t, f.Add(heir))
		remembered(t, "with an heir", "192.0.2.7>10.99.0.2", "203.0.113.1>198.51.100.1")
		remember(t, "10.99.0.4", "198.51.100.1", 443)
		must(t, f.Sweep())
		remembered(t, "with nobody gone", "10.99.0.4>198.51.100.1", "192.0.2.7>10.99.0.2", "203.0.113.1>198.51.100.1")
		must(t, f.Remove(heir.ID))
		must(t, f.Sweep())
		remembered(t, "swept", "192.0.2.7>10.99.0.2", "203.0.113.1>198.51.100.1")
		// A supervisor that dies before it sweeps, or between rules and flows.
		remember(t, "10.99.0.4", "198.51.100.1", 443)
		remember(t, "192.0.2.8", "10.99.0.2", 81)
		remember(t, "10.99.0.2", netip.MustParsePrefix("10.99.0.0/16").Addr().Next().String(), 17070) // to the host
		f.Close()
		next := newTest()
		must(t, next.Rebuild([]Machine{b}))
		remembered(t, "after a crash", "10.99.0.2>10.99.0.1", "192.0.2.7>10.99.0.2", "203.0.113.1>198.51.100.1")
		must(t, next.Delete())
		next.Close()
	})
}
