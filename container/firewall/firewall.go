// Package firewall owns the packet filter of the local cloud: two nftables
// tables of its own, one for what is routed and one for what machines put on
// the bridge.
//
// Nothing reaches a machine unless a rule lets it in; machines do not reach
// each other, nor the host save its controller and name server, nor
// link-local addresses (a cloud's metadata service); they may not send from
// an address that is not theirs. It never looks at or changes tables of others.
package firewall

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
)

// Rule lets packets in to a machine.
type Rule struct {
	Protocol string   `json:"protocol"` // tcp, udp, icmp
	From     int      `json:"from"`
	To       int      `json:"to"`
	Sources  []string `json:"sources,omitempty"` // CIDRs
	Peers    []string `json:"peers,omitempty"`   // machines by id
}

// Machine is one port of the bridge.
type Machine struct {
	ID      string
	Address netip.Addr
	MAC     net.HardwareAddr
	Port    string // interface on the host
	Rules   []Rule
}

// Config of a Firewall.
type Config struct {
	Table      string // name of both tables
	Bridge     string
	PortPrefix string // what the names of all ports of machines begin with
	Subnet     netip.Prefix
	// HostTCP are ports of the host that machines may connect to.
	HostTCP []uint16
	// HostDNS lets machines ask a name server on the host.
	HostDNS bool
	// RouteOthers is false if the host did not route before we came: then it
	// does not route for others now.
	RouteOthers bool
}

// Firewall keeps the kernel's tables equal to the machines it was told of.
type Firewall struct {
	cfg Config

	sweeping sync.Mutex // held while flows of the gone are forgotten; taken before mu

	cutting sync.Mutex // taken last
	flows   *netlink.Handle

	mu       sync.Mutex
	conn     *nftables.Conn // kept: closing one waits for all that was deleted
	stale    map[netip.Addr]bool
	machines map[string]Machine
	table    *nftables.Table // inet
	link     *nftables.Table // bridge
	jumps    *nftables.Set   // address -> chain of the machine
	bound    *nftables.Set   // port . MAC . address
}

// Bounds of one machine's rules.
const (
	maxRules   = 1024
	maxSources = 4096
)

// New gives a Firewall; it changes nothing until Rebuild.
func New(cfg Config) *Firewall {
	f := &Firewall{cfg: cfg, machines: map[string]Machine{}, stale: map[netip.Addr]bool{}}
	f.table = &nftables.Table{Name: cfg.Table, Family: nftables.TableFamilyINet}
	f.link = &nftables.Table{Name: cfg.Table, Family: nftables.TableFamilyBridge}
	return f
}

// Check says what is wrong with rules, without looking at peers.
func Check(rules []Rule) error {
	if len(rules) > maxRules {
		return fmt.Errorf("cannot set %d rules: a machine has at most %d", len(rules), maxRules)
	}
	sources := 0
	for _, r := range rules {
		switch r.Protocol {
		case "icmp":
			if r.From != 0 || r.To != 0 {
				return errors.New("cannot set a rule: icmp has no ports")
			}
		case "tcp", "udp":
			if r.From < 1 || r.To > 65535 || r.From > r.To {
				return fmt.Errorf("cannot set a rule: ports %d-%d are no range", r.From, r.To)
			}
		default:
			return fmt.Errorf("cannot set a rule: protocol %q is not tcp, udp or icmp", r.Protocol)
		}
		for _, s := range r.Sources {
			if _, err := netip.ParsePrefix(s); err != nil {
				return fmt.Errorf("cannot set a rule: source %q is no CIDR", s)
			}
		}
		if sources += len(r.Sources) + len(r.Peers); sources > maxSources {
			return fmt.Errorf("cannot set rules: more than %d sources", maxSources)
		}
	}
	return nil
}

// Close lets go of the kernel; the tables stay.
func (f *Firewall) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.disconnect()
	f.cutting.Lock()
	defer f.cutting.Unlock()
	f.closeFlows()
}

func (f *Firewall) disconnect() {
	if f.conn != nil {
		_ = f.conn.CloseLasting() // nothing is under way
		f.conn = nil
	}
}

// commit has the kernel do in one step all that fill asks for. After an error
// the connection may hold half a request or an answer nobody waits for.
func (f *Firewall) commit(fill func(*nftables.Conn) error) error {
	if f.conn == nil {
		c, err := nftables.New(nftables.AsLasting())
		if err != nil {
			return fmt.Errorf("cannot reach the packet filter: %w", err)
		}
		f.conn = c
	}
	if err := fill(f.conn); err != nil {
		f.disconnect()
		return err
	}
	if err := f.conn.Flush(); err != nil {
		f.disconnect()
		return fmt.Errorf("cannot set the packet filter: %w", err)
	}
	return nil
}

// Rebuild replaces both tables in one step, so that no packet ever meets a
// half-made filter, and forgets flows that the new ones would not let in.
func (f *Firewall) Rebuild(machines []Machine) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.machines, f.stale = map[string]Machine{}, map[netip.Addr]bool{}
	for _, m := range machines {
		f.machines[m.ID] = m
	}
	err := f.commit(func(c *nftables.Conn) error {
		for _, t := range []*nftables.Table{f.table, f.link} {
			c.AddTable(t) // so that deleting cannot fail
			c.DelTable(t)
			c.AddTable(t)
		}
		if err := f.addSets(c); err != nil {
			return err
		}
		f.addBase(c)
		f.addLink(c)
		var elems []nftables.SetElement
		for _, m := range f.machines {
			elems = append(elems, boundElement(m))
		}
		if len(elems) > 0 {
			if err := c.SetAddElements(f.bound, elems); err != nil {
				return fmt.Errorf("cannot bind machines to their addresses: %w", err)
			}
		}
		for _, m := range f.machines {
			if err := f.addMachineChain(c, m); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return f.cut(f.inherited())
}

// Add binds a machine's port to its address. Rules of others that name the
// machine as a peer take effect. Flows of an earlier owner of the address are
// forgotten first.
func (f *Firewall) Add(m Machine) error {
	if err := f.settle(m.Address); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	old, had := f.machines[m.ID]
	err := f.commit(func(c *nftables.Conn) error {
		if had {
			if err := f.removeFrom(c, old); err != nil {
				return err
			}
		}
		f.machines[m.ID] = m
		if err := c.SetAddElements(f.bound, []nftables.SetElement{boundElement(m)}); err != nil {
			return fmt.Errorf("cannot bind a machine to its address: %w", err)
		}
		if err := f.addMachineChain(c, m); err != nil {
			return err
		}
		return f.swapPeers(c, m.ID)
	})
	switch {
	case err != nil && had:
		f.machines[m.ID] = old
	case err != nil:
		delete(f.machines, m.ID)
	}
	return err
}

// Remove forgets a machine: from here on nothing is let in to its address or
// from its port. The flows that the kernel remembers are left to Sweep, and to
// Add if the address gets another owner before.
func (f *Firewall) Remove(id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	m, ok := f.machines[id]
	if !ok {
		return nil
	}
	f.stale[m.Address] = true
	err := f.commit(func(c *nftables.Conn) error {
		if err := f.removeFrom(c, m); err != nil {
			return err
		}
		delete(f.machines, id)
		return f.swapPeers(c, id)
	})
	if err != nil {
		f.machines[id] = m // it is tried again
	}
	return err
}

// SetRules replaces all rules of one machine in one step.
func (f *Firewall) SetRules(id string, rules []Rule) error {
	if err := Check(rules); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	m, ok := f.machines[id]
	if !ok {
		return fmt.Errorf("cannot set rules: machine %s is not running", id)
	}
	old := m
	m.Rules = rules
	if err := f.commit(func(c *nftables.Conn) error { return f.swapChain(c, old, m) }); err != nil {
		return err
	}
	f.machines[id] = m
	return f.cut(f.revoked(m))
}

// Delete removes both tables.
func (f *Firewall) Delete() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.machines = map[string]Machine{}
	err := f.commit(func(c *nftables.Conn) error {
		for _, t := range []*nftables.Table{f.table, f.link} {
			c.AddTable(t)
			c.DelTable(t)
		}
		return nil
	})
	return err
}

func (f *Firewall) removeFrom(c *nftables.Conn, m Machine) error {
	if err := c.SetDeleteElements(f.bound, []nftables.SetElement{boundElement(m)}); err != nil {
		return fmt.Errorf("cannot unbind a machine: %w", err)
	}
	return f.delMachineChain(c, m)
}

// swapPeers makes new chains for all machines whose rules name the peer, whose
// address has come or gone.
func (f *Firewall) swapPeers(c *nftables.Conn, peer string) error {
	for _, m := range f.machines {
		if m.ID == peer || !names(m.Rules, peer) {
			continue
		}
		if err := f.swapChain(c, m, m); err != nil {
			return err
		}
	}
	return nil
}

func names(rules []Rule, peer string) bool {
	for _, r := range rules {
		for _, p := range r.Peers {
			if p == peer {
				return true
			}
		}
	}
	return false
}

func (f *Firewall) chainOf(m Machine) *nftables.Chain {
	return &nftables.Chain{Name: "m-" + m.ID, Table: f.table}
}

func (f *Firewall) jumpTo(m Machine) nftables.SetElement {
	return nftables.SetElement{
		Key:         m.Address.AsSlice(),
		VerdictData: &expr.Verdict{Kind: expr.VerdictJump, Chain: "m-" + m.ID},
	}
}

// addMachineChain makes the chain of a machine that has rules.
func (f *Firewall) addMachineChain(c *nftables.Conn, m Machine) error {
	if len(m.Rules) == 0 {
		return nil
	}
	chain := c.AddChain(f.chainOf(m))
	f.addRules(c, chain, m.Rules)
	if err := c.SetAddElements(f.jumps, []nftables.SetElement{f.jumpTo(m)}); err != nil {
		return fmt.Errorf("cannot let packets in to a machine: %w", err)
	}
	return nil
}

func (f *Firewall) delMachineChain(c *nftables.Conn, m Machine) error {
	if len(m.Rules) == 0 {
		return nil
	}
	if err := c.SetDeleteElements(f.jumps, []nftables.SetElement{f.jumpTo(m)}); err != nil {
		return fmt.Errorf("cannot close a machine: %w", err)
	}
	c.FlushChain(f.chainOf(m))
	c.DelChain(f.chainOf(m))
	return nil
}

// swapChain replaces the rules of a machine within the batch.
func (f *Firewall) swapChain(c *nftables.Conn, old, now Machine) error {
	if len(old.Rules) > 0 && len(now.Rules) > 0 {
		c.FlushChain(f.chainOf(now))
		f.addRules(c, f.chainOf(now), now.Rules)
		return nil
	}
	if err := f.delMachineChain(c, old); err != nil {
		return err
	}
	return f.addMachineChain(c, now)
}
