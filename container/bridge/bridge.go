// Package bridge owns what the bridges of local clouds tell each other on one
// host: which are ours, what was there before the first of them, and which
// subnet is free for the next. It changes nothing of the host, and takes no
// bridge for ours that does not say so.
package bridge

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
)

// A bridge of a cloud has one of these aliases. Without, it is somebody
// else's. The second one is of a host that was a router before the first cloud
// came, which later ones cannot see any more.
const (
	mark       = "scarab local cloud"
	markRouted = mark + ", routed before"
)

// Mark is the alias of a bridge of ours.
func Mark(routedBefore bool) string {
	if routedBefore {
		return markRouted
	}
	return mark
}

// Ours tells whether a bridge is a cloud's.
func Ours(link netlink.Link) bool {
	alias := link.Attrs().Alias
	return alias == mark || alias == markRouted
}

// Another is the mark of some cloud's bridge on this host, empty if there is
// none.
func Another() string {
	links, err := netlink.LinkList()
	if err != nil {
		return ""
	}
	if i := slices.IndexFunc(links, Ours); i >= 0 {
		return links[i].Attrs().Alias
	}
	return ""
}

// Forward is the host's setting ip_forward before any cloud came, as the mark
// of one tells.
func Forward(mark string) string {
	if mark == markRouted {
		return "1"
	}
	return "0"
}

// FreeSubnet is the wanted /16 or the next one that no route of the host uses.
func FreeSubnet(want netip.Prefix) (netip.Prefix, error) {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return want, fmt.Errorf("cannot read the host's routes: %w", err)
	}
	for range 128 {
		taken := false
		for _, r := range routes {
			if r.Dst == nil {
				continue
			}
			ones, _ := r.Dst.Mask.Size()
			a, ok := netip.AddrFromSlice(r.Dst.IP.To4())
			taken = taken || ok && ones > 0 && netip.PrefixFrom(a, ones).Overlaps(want)
		}
		if !taken {
			return want.Masked(), nil
		}
		b := want.Addr().As4()
		b[1]++ // the next /16, round and round within 10/8
		want = netip.PrefixFrom(netip.AddrFrom4(b), want.Bits())
	}
	return want, errors.New("cannot find a free subnet for machines: choose one")
}
