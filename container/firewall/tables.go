package firewall

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

func (f *Firewall) addSets(c *nftables.Conn) error {
	f.jumps = &nftables.Set{
		Table: f.table, Name: "machines", IsMap: true,
		KeyType: nftables.TypeIPAddr, DataType: nftables.TypeVerdict,
	}
	key, err := nftables.ConcatSetType(nftables.TypeIFName, nftables.TypeEtherAddr, nftables.TypeIPAddr)
	if err != nil {
		return fmt.Errorf("cannot describe the packet filter: %w", err)
	}
	f.bound = &nftables.Set{Table: f.link, Name: "bound", KeyType: key, Concatenation: true}
	for _, s := range []*nftables.Set{f.jumps, f.bound} {
		if err := c.AddSet(s, nil); err != nil {
			return fmt.Errorf("cannot set the packet filter: %w", err)
		}
	}
	return nil
}

// boundElement is the key "port . MAC . address", each padded to whole words.
func boundElement(m Machine) nftables.SetElement {
	key := make([]byte, 28)
	copy(key[:15], m.Port)
	copy(key[16:22], m.MAC)
	copy(key[24:28], m.Address.AsSlice())
	return nftables.SetElement{Key: key}
}

// Building blocks of rules. Each leaves register 1 free for the next.

func ifname(name string) []byte {
	b := make([]byte, 16)
	copy(b, name)
	return b
}

func meta(key expr.MetaKey, op expr.CmpOp, data []byte) []expr.Any {
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: op, Register: 1, Data: data}}
}

func payload(base expr.PayloadBase, offset, length uint32, op expr.CmpOp, data []byte) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: base, Offset: offset, Len: length},
		&expr.Cmp{Op: op, Register: 1, Data: data},
	}
}

func inFrom(bridge string) []expr.Any {
	return meta(expr.MetaKeyIIFNAME, expr.CmpOpEq, ifname(bridge))
}

func inElse(bridge string) []expr.Any {
	return meta(expr.MetaKeyIIFNAME, expr.CmpOpNeq, ifname(bridge))
}

func outTo(bridge string) []expr.Any {
	return meta(expr.MetaKeyOIFNAME, expr.CmpOpEq, ifname(bridge))
}

func outElse(bridge string) []expr.Any {
	return meta(expr.MetaKeyOIFNAME, expr.CmpOpNeq, ifname(bridge))
}

func ipv4() []expr.Any {
	return meta(expr.MetaKeyNFPROTO, expr.CmpOpEq, []byte{unix.NFPROTO_IPV4})
}

func protocol(p byte) []expr.Any {
	return append(ipv4(), meta(expr.MetaKeyL4PROTO, expr.CmpOpEq, []byte{p})...)
}

func port(n uint16) []expr.Any {
	return payload(expr.PayloadBaseTransportHeader, 2, 2, expr.CmpOpEq, binaryutil.BigEndian.PutUint16(n))
}

// address matches a source (offset 12) or destination (offset 16) prefix.
func address(offset uint32, p netip.Prefix) []expr.Any {
	if p.Bits() == 0 {
		return nil
	}
	mask := make([]byte, 4)
	binary.BigEndian.PutUint32(mask, ^uint32(0)<<(32-p.Bits()))
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: mask, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: p.Masked().Addr().AsSlice()},
	}
}

func state(bits uint32) []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(bits), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}

func known() []expr.Any {
	return state(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED)
}

func verdict(k expr.VerdictKind) []expr.Any { return []expr.Any{&expr.Verdict{Kind: k}} }
func accept() []expr.Any                    { return verdict(expr.VerdictAccept) }
func drop() []expr.Any                      { return verdict(expr.VerdictDrop) }

// refuse tells the sender, so that a refused connection fails at once. The
// two go together: a reset for TCP, since a sender that is just connecting
// does not hear the other, and a notice for the rest.
func refuse(add func(...[]expr.Any), when ...[]expr.Any) {
	reset := []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}}
	notice := []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED}}
	match := join(when...)
	add(match, protocol(unix.IPPROTO_TCP), reset)
	add(match, notice)
}

func join(parts ...[]expr.Any) []expr.Any {
	var all []expr.Any
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// letIn asks the chain of the machine that the packet is for; what it does not
// accept is refused.
func (f *Firewall) letIn(c *nftables.Conn, chain *nftables.Chain, when []expr.Any) {
	add := func(exprs ...[]expr.Any) {
		c.AddRule(&nftables.Rule{Table: f.table, Chain: chain, Exprs: join(exprs...)})
	}
	add(when, ipv4(), []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4},
		&expr.Lookup{SourceRegister: 1, DestRegister: 0, IsDestRegSet: true, SetName: f.jumps.Name, SetID: f.jumps.ID},
	})
	refuse(add, when)
}

func (f *Firewall) addBase(c *nftables.Conn) {
	base := func(name string, hook *nftables.ChainHook) *nftables.Chain {
		policy := nftables.ChainPolicyAccept
		return c.AddChain(&nftables.Chain{
			Name: name, Table: f.table, Type: nftables.ChainTypeFilter,
			Hooknum: hook, Priority: nftables.ChainPriorityFilter, Policy: &policy,
		})
	}
	f.addForward(c, base("routed", nftables.ChainHookForward))
	f.addInput(c, base("tohost", nftables.ChainHookInput))
	f.addOutput(c, base("fromhost", nftables.ChainHookOutput))
	nat := c.AddChain(&nftables.Chain{
		Name: "outside", Table: f.table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
	})
	c.AddRule(&nftables.Rule{Table: f.table, Chain: nat, Exprs: join(ipv4(), address(12, f.cfg.Subnet),
		outElse(f.cfg.Bridge), []expr.Any{&expr.Masq{}})})
}

func (f *Firewall) addForward(c *nftables.Conn, chain *nftables.Chain) {
	br := f.cfg.Bridge
	add := func(exprs ...[]expr.Any) {
		c.AddRule(&nftables.Rule{Table: f.table, Chain: chain, Exprs: join(exprs...)})
	}
	others := accept()
	if !f.cfg.RouteOthers {
		others = drop()
	}
	add(inElse(br), outElse(br), others)
	add(known(), accept())
	add(state(expr.CtStateBitINVALID), drop())
	f.letIn(c, chain, outTo(br))
	// What remains comes from a machine and leaves the host.
	add(meta(expr.MetaKeyNFPROTO, expr.CmpOpNeq, []byte{unix.NFPROTO_IPV4}), drop())
	refuse(add, ipv4(), address(16, netip.MustParsePrefix("169.254.0.0/16")))
	add(accept())
}

func (f *Firewall) addInput(c *nftables.Conn, chain *nftables.Chain) {
	in := inFrom(f.cfg.Bridge)
	add := func(exprs ...[]expr.Any) {
		c.AddRule(&nftables.Rule{Table: f.table, Chain: chain, Exprs: join(append([][]expr.Any{in}, exprs...)...)})
	}
	add(known(), accept())
	add(state(expr.CtStateBitINVALID), drop())
	for _, p := range f.cfg.HostTCP {
		add(protocol(unix.IPPROTO_TCP), port(p), accept())
	}
	if f.cfg.HostDNS {
		add(protocol(unix.IPPROTO_UDP), port(53), accept())
		add(protocol(unix.IPPROTO_TCP), port(53), accept())
	}
	add(protocol(unix.IPPROTO_ICMP), payload(expr.PayloadBaseTransportHeader, 0, 1, expr.CmpOpEq, []byte{8}), accept())
	refuse(add, ipv4())
	add(drop())
}

func (f *Firewall) addOutput(c *nftables.Conn, chain *nftables.Chain) {
	out := outTo(f.cfg.Bridge)
	add := func(exprs ...[]expr.Any) {
		c.AddRule(&nftables.Rule{Table: f.table, Chain: chain, Exprs: join(append([][]expr.Any{out}, exprs...)...)})
	}
	// Redirects would tell machines to talk past the host.
	add(protocol(unix.IPPROTO_ICMP), payload(expr.PayloadBaseTransportHeader, 0, 1, expr.CmpOpEq, []byte{5}), drop())
	add(known(), accept())
	add(protocol(unix.IPPROTO_TCP), port(22), accept())
	add(protocol(unix.IPPROTO_ICMP), accept())
	f.letIn(c, chain, out)
}

// addLink makes the table that sees what machines put on the bridge.
func (f *Firewall) addLink(c *nftables.Conn) {
	policy := nftables.ChainPolicyAccept
	chain := c.AddChain(&nftables.Chain{
		Name: "ports", Table: f.link, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityRef(-300), Policy: &policy,
	})
	add := func(exprs ...[]expr.Any) {
		c.AddRule(&nftables.Rule{Table: f.link, Chain: chain, Exprs: join(exprs...)})
	}
	ours := meta(expr.MetaKeyIIFNAME, expr.CmpOpEq, []byte(f.cfg.PortPrefix))
	kind := func(t uint16) []expr.Any {
		return meta(expr.MetaKeyPROTOCOL, expr.CmpOpEq, binaryutil.BigEndian.PutUint16(t))
	}
	// Registers: 1 is words 0-3, 2 begins at word 4, 14 is word 6.
	isBound := func(mac, ip *expr.Payload) []expr.Any {
		return []expr.Any{
			&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, mac, ip,
			&expr.Lookup{SourceRegister: 1, SetName: f.bound.Name, SetID: f.bound.ID},
		}
	}
	ether := &expr.Payload{DestRegister: 2, Base: expr.PayloadBaseLLHeader, Offset: 6, Len: 6}
	source := &expr.Payload{DestRegister: 14, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4}
	arpMAC := &expr.Payload{DestRegister: 2, Base: expr.PayloadBaseNetworkHeader, Offset: 8, Len: 6}
	arpIP := &expr.Payload{DestRegister: 14, Base: expr.PayloadBaseNetworkHeader, Offset: 14, Len: 4}
	add(ours, kind(unix.ETH_P_IP), isBound(ether, source), accept())
	add(ours, kind(unix.ETH_P_ARP), isBound(arpMAC, arpIP), isBound(ether, arpIP), accept())
	add(ours, drop())
}

// addRules writes what may come in to one machine.
func (f *Firewall) addRules(c *nftables.Conn, chain *nftables.Chain, rules []Rule) {
	for _, r := range rules {
		for _, p := range f.sources(r) {
			c.AddRule(&nftables.Rule{Table: f.table, Chain: chain, Exprs: join(match(r), address(12, p), accept())})
		}
	}
}

// sources are the IPv4 prefixes of a rule; peers that are not there have none.
func (f *Firewall) sources(r Rule) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range r.Sources {
		if p, err := netip.ParsePrefix(s); err == nil && p.Addr().Is4() {
			out = append(out, p)
		}
	}
	for _, id := range r.Peers {
		if m, ok := f.machines[id]; ok {
			out = append(out, netip.PrefixFrom(m.Address, 32))
		}
	}
	return out
}

func match(r Rule) []expr.Any {
	number := byte(unix.IPPROTO_TCP)
	switch r.Protocol {
	case "icmp":
		return protocol(unix.IPPROTO_ICMP)
	case "udp":
		number = unix.IPPROTO_UDP
	}
	return join(protocol(number), []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Range{
			Op: expr.CmpOpEq, Register: 1,
			FromData: binaryutil.BigEndian.PutUint16(uint16(r.From)), ToData: binaryutil.BigEndian.PutUint16(uint16(r.To)),
		},
	})
}
