package firewall

import (
	"fmt"
	"maps"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The kernel remembers connections, and packets of remembered ones are not
// asked for rules again. So when rules are taken away, what they let in is
// forgotten, and its next packet is refused. To forget one the kernel looks at
// all it knows, which takes some 20 ms. So flows of a machine that is gone, at
// whose address nobody is, are forgotten together with those of others; the
// address has no new owner before.

// flowPatience bounds each wait for the kernel.
const flowPatience = time.Minute

// flow is one way of a connection as it began.
type flow struct {
	src, dst netip.Addr
	protocol uint8
	port     int
}

// picks says which of the flows that the kernel knows are to be forgotten.
type picks func(flow) bool

// MatchConntrackFlow is called for every flow the kernel knows.
func (p picks) MatchConntrackFlow(known *netlink.ConntrackFlow) bool {
	src, ok1 := netip.AddrFromSlice(known.Forward.SrcIP.To4())
	dst, ok2 := netip.AddrFromSlice(known.Forward.DstIP.To4())
	return ok1 && ok2 && p(flow{src, dst, known.Forward.Protocol, int(known.Forward.DstPort)})
}

// revoked picks the flows to a machine that its rules no longer let in.
func (f *Firewall) revoked(m Machine) picks {
	r := allowed{m.Rules, f.sources}
	return func(x flow) bool { return x.dst == m.Address && !r.allows(x.src, x.protocol, x.port) }
}

// departed picks all flows from and to addresses.
func departed(gone map[netip.Addr]bool) picks {
	return func(x flow) bool { return gone[x.src] || gone[x.dst] }
}

// inherited picks what an earlier supervisor ought to have forgotten: flows of
// addresses without a machine, and flows that no rule lets in.
func (f *Firewall) inherited() picks {
	here := map[netip.Addr]allowed{}
	for _, m := range f.machines {
		here[m.Address] = allowed{m.Rules, f.sources}
	}
	host := f.cfg.Subnet.Masked().Addr().Next()
	nobody := func(a netip.Addr) bool {
		_, ok := here[a]
		return !ok && a != host && f.cfg.Subnet.Contains(a)
	}
	return func(x flow) bool {
		r, ok := here[x.dst]
		return nobody(x.src) || nobody(x.dst) || ok && !r.allows(x.src, x.protocol, x.port)
	}
}

// allowed are the rules of one machine.
type allowed struct {
	keep []Rule
	from func(Rule) []netip.Prefix
}

func (r allowed) allows(src netip.Addr, protocol uint8, port int) bool {
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

// Sweep forgets the flows of machines that are gone.
func (f *Firewall) Sweep() error {
	f.sweeping.Lock()
	defer f.sweeping.Unlock()
	f.mu.Lock()
	gone := maps.Clone(f.stale)
	f.mu.Unlock()
	if len(gone) == 0 {
		return nil
	}
	if err := f.cut(departed(gone)); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.DeleteFunc(f.stale, func(a netip.Addr, _ bool) bool { return gone[a] })
	return nil
}

// settle makes sure that no flows of an earlier owner of an address are left.
func (f *Firewall) settle(a netip.Addr) error {
	f.mu.Lock()
	stale := f.stale[a]
	f.mu.Unlock()
	if !stale {
		return nil
	}
	return f.Sweep()
}

// cut forgets flows. The connection is kept, as closing one waits for all that
// was deleted from the packet filter.
func (f *Firewall) cut(p picks) error {
	f.cutting.Lock()
	defer f.cutting.Unlock()
	err := f.openFlows()
	if err == nil {
		_, err = f.flows.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, p)
	}
	if err != nil {
		f.closeFlows()
		return fmt.Errorf("cannot end connections that are no longer allowed: %w", err)
	}
	return nil
}

func (f *Firewall) openFlows() error {
	if f.flows != nil {
		return nil
	}
	h, err := netlink.NewHandle(unix.NETLINK_NETFILTER)
	if err != nil {
		return fmt.Errorf("cannot ask for connections: %w", err)
	}
	f.flows = h
	return h.SetSocketTimeout(flowPatience)
}

func (f *Firewall) closeFlows() {
	if f.flows != nil {
		f.flows.Close()
		f.flows = nil
	}
}
