package firewall

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The kernel remembers connections, and packets of remembered ones are not
// asked for rules again. So when rules are taken away, what they let in is
// forgotten, and its next packet is refused.

// revoked picks the flows to a machine that its rules no longer let in.
type revoked struct {
	to    netip.Addr
	keep  []Rule
	from  func(Rule) []netip.Prefix
	every bool // the machine is gone: all its flows
}

// MatchConntrackFlow is called for every flow the kernel knows.
func (r revoked) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	src, ok1 := netip.AddrFromSlice(flow.Forward.SrcIP.To4())
	dst, ok2 := netip.AddrFromSlice(flow.Forward.DstIP.To4())
	if !ok1 || !ok2 {
		return false
	}
	if r.every {
		return src == r.to || dst == r.to
	}
	return dst == r.to && !r.allows(src, flow.Forward.Protocol, int(flow.Forward.DstPort))
}

func (r revoked) allows(src netip.Addr, protocol uint8, port int) bool {
	numbers := map[string]uint8{"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP, "icmp": unix.IPPROTO_ICMP}
	for _, rule := range r.keep {
		if numbers[rule.Protocol] != protocol || rule.Protocol != "icmp" && (port < rule.From || port > rule.To) {
			continue
		}
		for _, p := range r.from(rule) {
			if p.Contains(src) {
				return true
			}
		}
	}
	return protocol == unix.IPPROTO_TCP && port == 22 // the host's own, which no rule gives
}

// cut forgets the flows that are no longer allowed.
func (f *Firewall) cut(r revoked) error {
	r.from = f.sources
	if _, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, r); err != nil {
		return fmt.Errorf("cannot end connections that are no longer allowed: %w", err)
	}
	return nil
}
