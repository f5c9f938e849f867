package container

import (
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestForwardIsAsBefore: the last cloud of a host leaves ip_forward as the
// first one found it, in whatever order they go.
func TestForwardIsAsBefore(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test makes a network of its own: run it as root")
	}
	for _, before := range []string{"0", "1"} {
		for _, firstGoesFirst := range []bool{true, false} {
			got := make(chan string)
			go func() {
				runtime.LockOSThread() // and never unlocked: the thread ends with its network
				got <- twoClouds(t, t.TempDir(), before, firstGoesFirst)
			}()
			if got := <-got; got != before {
				t.Errorf("ip_forward was %s and is %s; first goes first: %v", before, got, firstGoesFirst)
			}
		}
	}
}

func twoClouds(t *testing.T, dir, before string, firstGoesFirst bool) string {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Error(err)
		return ""
	}
	if err := writeSysctl("net/ipv4/ip_forward", before); err != nil {
		t.Error(err)
		return ""
	}
	one := &network{file: filepath.Join(dir, "one"), cfg: networkConfig{"scfwd0", "sf0", netip.MustParsePrefix("10.91.0.0/16")}}
	two := &network{file: filepath.Join(dir, "two"), cfg: networkConfig{"scfwd1", "sf1", netip.MustParsePrefix("10.92.0.0/16")}}
	for _, n := range []*network{one, two} {
		if err := n.ensure(); err != nil {
			t.Error(err)
			return ""
		}
		if n.routedOthers() != (before == "1") {
			t.Errorf("a cloud believes that the host was a router: %v", n.routedOthers())
		}
	}
	// A supervisor that was killed and begins again believes its record.
	again := &network{file: one.file, cfg: one.cfg}
	if err := again.ensure(); err != nil {
		t.Error(err)
	}
	order := []*network{again, two}
	if !firstGoesFirst {
		order = []*network{two, again}
	}
	for _, n := range order {
		if now, err := readSysctl("net/ipv4/ip_forward"); err != nil || strings.TrimSpace(now) != "1" {
			t.Errorf("ip_forward is %s while there is a cloud, %v", now, err)
		}
		if err := n.remove(); err != nil {
			t.Error(err)
		}
	}
	now, err := readSysctl("net/ipv4/ip_forward")
	if err != nil {
		t.Error(err)
	}
	return strings.TrimSpace(now)
}
