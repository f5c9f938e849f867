package container

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/scarab-ops/scarab/container/bridge"
	"github.com/scarab-ops/scarab/container/firewall"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/scarab-ops/scarab/container/proc"
)

// network is the bridge of the local cloud and what had to be changed on the
// host for it. The record is written before the change, so that the change
// can always be undone.
type network struct {
	file string // where the record is
	cfg  networkConfig
	rec  networkRecord
	// Of the bridge, set by ensure.
	bridge, mtu int
}

type networkConfig struct {
	bridge string
	port   string // prefix of the machines' interfaces on the host
	subnet netip.Prefix
}

type networkRecord struct {
	Bridge  string            `json:"bridge"`
	Subnet  netip.Prefix      `json:"subnet"`
	Sysctls map[string]string `json:"sysctls"` // as they were
}

func (n *network) gateway() netip.Addr { return n.rec.Subnet.Addr().Next() }

// routedOthers tells whether the host was a router before we came.
func (n *network) routedOthers() bool {
	return strings.TrimSpace(n.rec.Sysctls["net/ipv4/ip_forward"]) == "1"
}

// ensure makes the bridge, or takes the one that is there if it is ours.
func (n *network) ensure() error {
	err := proc.ReadJSON(n.file, &n.rec)
	if errors.Is(err, os.ErrNotExist) {
		n.rec, err = networkRecord{}, nil
	}
	if err != nil {
		return err
	}
	if n.rec.Sysctls == nil {
		subnet, err := bridge.FreeSubnet(n.cfg.subnet)
		if err != nil {
			return err
		}
		before, err := readSysctl("net/ipv4/ip_forward")
		if err != nil {
			return err
		}
		if other := bridge.Another(); other != "" {
			before = bridge.Forward(other)
		}
		n.rec = networkRecord{n.cfg.bridge, subnet, map[string]string{"net/ipv4/ip_forward": before}}
		if err := proc.WriteJSON(n.file, &n.rec); err != nil {
			return err
		}
	}
	link, err := n.ensureBridge()
	if err != nil {
		return err
	}
	n.bridge, n.mtu = link.Attrs().Index, link.Attrs().MTU
	return n.setUpBridge(link)
}

func (n *network) ensureBridge() (netlink.Link, error) {
	link, err := netlink.LinkByName(n.rec.Bridge)
	switch {
	case err == nil && !bridge.Ours(link):
		return nil, fmt.Errorf("cannot use bridge %s: it exists and is not ours; remove it or choose another name", n.rec.Bridge)
	case err == nil:
		return link, nil
	case !isGone(err):
		return nil, fmt.Errorf("cannot look for bridge %s: %w", n.rec.Bridge, err)
	}
	la := netlink.NewLinkAttrs()
	la.Name, la.Alias = n.rec.Bridge, bridge.Mark(n.routedOthers())
	la.HardwareAddr = macOf(n.gateway())
	br := &netlink.Bridge{LinkAttrs: la}
	if err := netlink.LinkAdd(br); err != nil {
		return nil, fmt.Errorf("cannot make bridge %s: %w", n.rec.Bridge, err)
	}
	// Some kernels do not take the alias with the request.
	if err := netlink.LinkSetAlias(br, la.Alias); err != nil {
		return nil, fmt.Errorf("cannot mark bridge %s: %w", n.rec.Bridge, err)
	}
	return br, nil
}

func (n *network) setUpBridge(link netlink.Link) error {
	name := n.rec.Bridge
	// Machines speak IPv4 only; without an IPv6 address the host cannot be
	// reached past the rules for IPv4 either.
	_ = writeSysctl("net/ipv6/conf/"+name+"/disable_ipv6", "1")
	_ = writeSysctl("net/ipv4/conf/"+name+"/send_redirects", "0")
	ip := net.IPNet{IP: n.gateway().AsSlice(), Mask: net.CIDRMask(n.rec.Subnet.Bits(), 32)}
	if err := netlink.AddrReplace(link, &netlink.Addr{IPNet: &ip}); err != nil {
		return fmt.Errorf("cannot set the address of bridge %s: %w", name, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("cannot start bridge %s: %w", name, err)
	}
	return writeSysctl("net/ipv4/ip_forward", "1")
}

// remove undoes ensure.
func (n *network) remove() error {
	var errs error
	if link, err := netlink.LinkByName(n.rec.Bridge); err == nil && bridge.Ours(link) {
		errs = errors.Join(errs, netlink.LinkDel(link))
	}
	sysctls := n.rec.Sysctls
	if bridge.Another() != "" {
		sysctls = nil // it needs them as they are
	}
	for name, value := range sysctls {
		errs = errors.Join(errs, writeSysctl(name, strings.TrimSpace(value)))
	}
	if errs != nil {
		return fmt.Errorf("cannot remove the network: %w", errs)
	}
	n.rec = networkRecord{}
	if err := os.Remove(n.file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cannot remove the network: %w", err)
	}
	return nil
}

// portOf is the name of a machine's interface on the host: 15 bytes, the most
// the kernel takes.
func (n *network) portOf(id string) string { return n.cfg.port + strings.TrimPrefix(id, "sc") }

// macOf gives every address a hardware address of its own.
func macOf(a netip.Addr) net.HardwareAddr {
	b := a.As4()
	return net.HardwareAddr{0x02, 0x5c, b[0], b[1], b[2], b[3]}
}

func (n *network) wallOf(m *Machine) firewall.Machine {
	return firewall.Machine{ID: m.ID, Address: m.Address, MAC: macOf(m.Address), Port: n.portOf(m.ID), Rules: m.Rules}
}

// attach gives the process's network namespace an interface on the bridge.
// Ports are isolated: what one machine sends to another goes to the host,
// which routes and filters it. The port is up before it is isolated, but hears
// nothing: the machine's end is down until its init is told what to be.
func (n *network) attach(m *Machine) error {
	la := netlink.NewLinkAttrs()
	la.Name, la.MasterIndex, la.MTU, la.Flags = n.portOf(m.ID), n.bridge, n.mtu, net.FlagUp
	if err := closeIPv6(m.Pid); err != nil {
		return err
	}
	port := &netlink.Veth{LinkAttrs: la, PeerName: "eth0", PeerHardwareAddr: macOf(m.Address), PeerNamespace: netlink.NsPid(m.Pid)}
	err := netlink.LinkAdd(port)
	if errors.Is(err, unix.EEXIST) { // of an earlier run of the same machine
		if old, e := netlink.LinkByName(la.Name); e == nil {
			_ = netlink.LinkDel(old)
		}
		err = netlink.LinkAdd(port)
	}
	if err != nil {
		return fmt.Errorf("cannot make a network interface: %w", err)
	}
	if err := netlink.LinkSetIsolated(port, true); err != nil {
		return fmt.Errorf("cannot isolate a network interface: %w", err)
	}
	_ = writeSysctl("net/ipv6/conf/"+la.Name+"/disable_ipv6", "1")
	return nil
}

// closeIPv6 has the interfaces that a process's network is yet to get begin
// without IPv6. To take it from one that is there, a process must catch the
// moment when nobody on the host changes an interface; many that try make each
// other wait.
func closeIPv6(pid int) error {
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return fmt.Errorf("cannot enter the machine's network: %w", err)
	}
	defer ns.Close()
	return proc.OnThread(func() error {
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("cannot enter the machine's network: %w", err)
		}
		if err := writeSysctl("net/ipv6/conf/default/disable_ipv6", "1"); !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil // this kernel has no IPv6
	})
}

// detach takes a machine's interface away and returns when it is gone. The
// kernel answers the request only when nothing anywhere remembers the
// interface, some 20 ms after nobody can find it any more; background waits
// for that.
func (n *network) detach(id string, background func(func()) bool) error {
	if n.rec.Bridge == "" {
		return nil
	}
	link, err := netlink.LinkByName(n.portOf(id))
	if isGone(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot look for a network interface: %w", err)
	}
	answer := make(chan error, 1)
	remove := func() { answer <- netlink.LinkDel(link) }
	if !background(remove) {
		remove()
	}
	for {
		select {
		case err := <-answer:
			if err != nil && !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.EINVAL) {
				return fmt.Errorf("cannot remove a network interface: %w", err)
			}
			return nil
		case <-time.After(200 * time.Microsecond):
			// This question waits while the kernel is removing it.
			if _, err := netlink.LinkByName(n.portOf(id)); isGone(err) {
				return nil
			}
		}
	}
}

// isGone tells that the kernel knows no such interface.
func isGone(err error) bool {
	var missing netlink.LinkNotFoundError
	return errors.As(err, &missing)
}

// configureInside sets the machine's own end up. The address is a host
// address: everything else is behind the gateway. No interface is looked for by
// its name: the kernel answers that one machine at a time.
func configureInside(addr, gateway netip.Addr) error {
	lo := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: "lo", Index: 1}} // the first of every network
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("cannot start the loopback interface: %w", err)
	}
	if !addr.IsValid() {
		return nil
	}
	index, err := interfaceIndex("eth0")
	if err != nil {
		return err
	}
	eth := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: "eth0", Index: index}}
	if off, err := readSysctl("net/ipv6/conf/eth0/disable_ipv6"); err == nil && strings.TrimSpace(off) != "1" {
		_ = writeSysctl("net/ipv6/conf/eth0/disable_ipv6", "1")
	}
	host := func(a netip.Addr) *net.IPNet { return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(32, 32)} }
	err = errors.Join(
		netlink.AddrAdd(eth, &netlink.Addr{IPNet: host(addr)}),
		netlink.LinkSetUp(eth),
		netlink.RouteAdd(&netlink.Route{LinkIndex: index, Dst: host(gateway), Scope: netlink.SCOPE_LINK}),
		netlink.RouteAdd(&netlink.Route{LinkIndex: index, Gw: gateway.AsSlice()}))
	if err != nil {
		return fmt.Errorf("cannot configure the network: %w", err)
	}
	return nil
}

// interfaceIndex is the number of an interface.
func interfaceIndex(name string) (int, error) {
	text, err := os.ReadFile("/sys/class/net/" + name + "/ifindex")
	if err != nil {
		return 0, fmt.Errorf("cannot find the network interface: %w", err)
	}
	index, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, fmt.Errorf("cannot find the network interface: %w", err)
	}
	return index, nil
}

func readSysctl(name string) (string, error) {
	data, err := os.ReadFile(filepath.Join("/proc/sys", name))
	if err != nil {
		return "", fmt.Errorf("cannot read kernel setting %s: %w", name, err)
	}
	return string(data), nil
}

func writeSysctl(name, value string) error {
	if err := os.WriteFile(filepath.Join("/proc/sys", name), []byte(value), 0o644); err != nil {
		return fmt.Errorf("cannot set kernel setting %s: %w", name, err)
	}
	return nil
}
