package controller

import (
	"net/netip"
	"strings"
	"testing"
)

func TestNetworks(t *testing.T) {
	n, err := ParseNetworks(" 10.1.0.0/16, fd00:1::/32 ")
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]bool{
		"10.1.2.3": true, "::ffff:10.1.2.3": true, "10.2.0.1": false, "fd00:1::7": true, "fd00:2::7": false,
		"fd00:1::7%eth0": true, "127.0.0.1": true, "::1": true, "0.0.0.0": false,
	} {
		if got := n.Allow(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s allowed: %v, want %v", addr, got, want)
		}
	}
	if none, err := ParseNetworks(" "); err != nil || !none.Allow(netip.MustParseAddr("203.0.113.1")) {
		t.Errorf("an empty setting shuts somebody out: %v", err)
	}
	for text, want := range map[string]string{
		"10.0.0.1": "10.0.0.0/8", "10.0.0.1/8": "10.0.0.0/8", "everywhere": "cannot allow", "10.0.0.0/8,,": "cannot allow",
		"::ffff:10.0.0.0/104": "cannot allow", strings.Repeat("10.0.0.0/8,", 70): "at most 64",
	} {
		if _, err := ParseNetworks(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
	}
}
