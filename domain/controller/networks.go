package controller

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// AllowedNetworks is the setting that says from which networks the API port
// answers, as a list of CIDRs with commas. Empty is everywhere that the
// controller listens. Loopback is always allowed: it is the way back.
const AllowedNetworks = "api-allowed-networks"

// maxNetworks bounds the list.
const maxNetworks = 64

// Networks is a list of allowed networks; an empty one allows all.
type Networks []netip.Prefix

// ParseNetworks reads the setting.
func ParseNetworks(text string) (Networks, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	parts := strings.Split(text, ",")
	if len(parts) > maxNetworks {
		return nil, fmt.Errorf("cannot allow %d networks: at most %d", len(parts), maxNetworks)
	}
	var out Networks
	for _, p := range parts {
		n, err := netip.ParsePrefix(strings.TrimSpace(p))
		if err != nil || n.Addr().Is4In6() {
			return nil, fmt.Errorf("cannot allow network %.80q: write it as 10.0.0.0/8 or fd00::/8, with commas between several", strings.TrimSpace(p))
		}
		if n != n.Masked() {
			return nil, fmt.Errorf("cannot allow network %s: it is an address in %s, write that", n, n.Masked())
		}
		out = append(out, n)
	}
	return out, nil
}

// Allow tells whether an address may reach the API port.
func (n Networks) Allow(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if len(n) == 0 || a.IsLoopback() {
		return true
	}
	for _, p := range n {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// errSource is what a peer without an address gets.
var errSource = errors.New("it has no address")

// Source reads the address of a peer, with or without a port.
func Source(peer string) (netip.Addr, error) {
	if ap, err := netip.ParseAddrPort(peer); err == nil {
		return ap.Addr().Unmap(), nil
	}
	a, err := netip.ParseAddr(peer)
	if err != nil {
		return netip.Addr{}, errSource
	}
	return a.Unmap(), nil
}
