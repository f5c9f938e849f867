package container

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/container/firewall"
)

// server is a command that accepts on two TCP ports and notes what comes to
// a UDP port.
func server() []string {
	return []string{"/usr/bin/python3", "-c", `
import socket, select
ls = []; kept = []
for p in (22, 80, 81):
    l = socket.socket(); l.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); l.bind(("0.0.0.0", p)); l.listen(); ls.append(l)
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("0.0.0.0", 9)); ls.append(u)
open("/run/serving", "w").close()
while True:
    for l in select.select(ls, [], [])[0]:
        if l is u:
            open("/run/heard", "ab").write(u.recv(64) + b"\n")
        elif l in kept:
            d = l.recv(64)
            l.send(d) if d else (ls.remove(l), kept.remove(l))
        else:
            c = l.accept()[0]
            if c.getsockname()[1] == 81: kept.append(c); ls.append(c)
            else: c.close()
`}
}

// reaches tells whether a machine can connect. Two seconds are more than a
// refusal or a connection on one host needs.
func reaches(t *testing.T, r *Runtime, from Machine, to string, port int) bool {
	t.Helper()
	_, code := run(t, r, from.ID, "timeout", "2", "/bin/bash", "-c", fmt.Sprintf("exec 3<>/dev/tcp/%s/%d", to, port))
	return code == 0
}

func hostReaches(to string, port int) bool {
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(to, strconv.Itoa(port)), 2*time.Second)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// echoes tells whether an open connection still carries data both ways.
func echoes(conn net.Conn) bool {
	_ = conn.SetDeadline(time.Now().Add(3 * time.Second))
	if _, err := conn.Write([]byte("x")); err != nil {
		return false
	}
	n, err := conn.Read(make([]byte, 1))
	return n == 1 && err == nil
}

func expect(t *testing.T, what string, got, want bool) {
	t.Helper()
	if got != want {
		t.Errorf("%s: reached %v, want %v", what, got, want)
	}
}

func TestNetworkIsolation(t *testing.T) {
	root := testRoot(t)
	cfg := testConfig(t)
	listener, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	closed, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer closed.Close()
	open := listener.Addr().(*net.TCPAddr).Port
	shut := closed.Addr().(*net.TCPAddr).Port
	cfg.HostTCP = []uint16{uint16(open)}
	r := newRuntime(t, cfg)
	ctx := context.Background()
	a, c := create(t, r, plain(root, "a")), create(t, r, plain(root, "c"))
	spec := plain(root, "b")
	spec.Start = server()
	b := create(t, r, spec)
	waitFor(t, "the server", 20*time.Second, func() bool {
		_, code := run(t, r, b.ID, "test", "-e", "/run/serving")
		return code == 0
	})
	ip := b.Address.String()
	set := func(rules ...firewall.Rule) {
		t.Helper()
		if err := r.SetRules(ctx, b.ID, rules); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, "machine to machine, no rule", reaches(t, r, a, ip, 80), false)
	expect(t, "machine to ssh of machine", reaches(t, r, a, ip, 22), false)
	expect(t, "host to machine, no rule", hostReaches(ip, 80), false)
	expect(t, "host to ssh of machine", hostReaches(ip, 22), true)
	set(firewall.Rule{Protocol: "tcp", From: 80, To: 80, Peers: []string{a.ID}})
	expect(t, "peer", reaches(t, r, a, ip, 80), true)
	expect(t, "peer, other port", reaches(t, r, a, ip, 81), false)
	expect(t, "not the peer", reaches(t, r, c, ip, 80), false)
	expect(t, "host, not the peer", hostReaches(ip, 80), false)
	set(firewall.Rule{Protocol: "tcp", From: 80, To: 81, Sources: []string{"0.0.0.0/0"}})
	expect(t, "exposed, from a machine", reaches(t, r, c, ip, 81), true)
	expect(t, "exposed, from the host", hostReaches(ip, 81), true)
	session, err := net.Dial("tcp", net.JoinHostPort(ip, "81"))
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	expect(t, "session while exposed", echoes(session), true)
	set(firewall.Rule{Protocol: "tcp", From: 81, To: 81, Sources: []string{r.Gateway().String() + "/32"}})
	expect(t, "session while still allowed", echoes(session), true)
	set(firewall.Rule{Protocol: "tcp", From: 80, To: 81, Sources: []string{"192.0.2.0/24"}})
	expect(t, "session after exposing ended", echoes(session), false)
	expect(t, "exposed to others", hostReaches(ip, 81), false)
	set()
	expect(t, "closed again", reaches(t, r, a, ip, 80), false)

	gw := r.Gateway().String()
	expect(t, "machine to the controller's port", reaches(t, r, a, gw, open), true)
	expect(t, "machine to another port of the host", reaches(t, r, a, gw, shut), false)
	expect(t, "machine to a metadata service", reaches(t, r, a, "169.254.169.254", 80), false)

	// A destroyed peer's address must not open anything to its heir.
	set(firewall.Rule{Protocol: "tcp", From: 80, To: 80, Peers: []string{a.ID}})
	if err := r.Destroy(ctx, a.ID); err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	r.nextAddr = firstAddress
	r.mu.Unlock()
	heir := create(t, r, plain(root, "heir"))
	if heir.Address != a.Address {
		t.Fatalf("heir has %v, want %v", heir.Address, a.Address)
	}
	expect(t, "heir of a peer's address", reaches(t, r, heir, ip, 80), false)
}

func TestNoSpoofing(t *testing.T) {
	root := testRoot(t)
	r := newRuntime(t, testConfig(t))
	spec := plain(root, "victim")
	spec.Start = server()
	victim := create(t, r, spec)
	friend := create(t, r, plain(root, "friend"))
	evil := plain(root, "evil")
	evil.Profile = ProfileSystem // has NET_ADMIN inside
	thief := create(t, r, evil)
	waitFor(t, "the server", 20*time.Second, func() bool {
		_, code := run(t, r, victim.ID, "test", "-e", "/run/serving")
		return code == 0
	})
	err := r.SetRules(context.Background(), victim.ID, []firewall.Rule{{Protocol: "udp", From: 9, To: 9, Peers: []string{friend.ID}}})
	if err != nil {
		t.Fatal(err)
	}
	send := func(m Machine, word, from string) {
		t.Helper()
		run(t, r, m.ID, "python3", "-c", fmt.Sprintf(`import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("%s", 0)); s.sendto(b"%s", ("%s", 9))`, from, word, victim.Address))
	}
	sh(t, r, thief.ID, "ip addr add "+friend.Address.String()+"/32 dev eth0")
	send(thief, "forged", friend.Address.String())
	sh(t, r, thief.ID, "ip link set eth0 down; ip link set eth0 address "+macOf(friend.Address).String()+
		"; ip link set eth0 up; ip route replace "+r.Gateway().String()+" dev eth0; ip route replace default via "+r.Gateway().String())
	send(thief, "forged2", friend.Address.String())
	send(friend, "true", "0.0.0.0")
	waitFor(t, "the friend's word", 10*time.Second, func() bool {
		out, _ := run(t, r, victim.ID, "cat", "/run/heard")
		return strings.Contains(out, "true")
	})
	if out := sh(t, r, victim.ID, "cat /run/heard"); strings.Contains(out, "forged") {
		t.Errorf("a forged sender was heard: %q", out)
	}
}
