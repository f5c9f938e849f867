package realm

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A recording is what passed by on this host: of every TCP connection with the
// controller's port how each side began, and who on the machines' network
// connected to what.
type recording struct {
	mu      sync.Mutex
	names   map[int]string // of interfaces
	first   map[flow]string
	clear   []string // connections with the controller that began without TLS
	suites  map[string]int
	opened  map[string]bool // from machines' network: answered connections
	packets int
}

type flow struct{ from, to netip.AddrPort }

// record begins; it ends with the test.
func record(t *testing.T) *recording {
	t.Helper()
	r := &recording{names: map[int]string{}, first: map[flow]string{}, suites: map[string]int{}, opened: map[string]bool{}}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(htons(unix.ETH_P_IP)))
	if err != nil {
		t.Fatalf("cannot record packets: %v", err)
	}
	// What does not fit is lost, and port scans are many packets.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, 64<<10)
		for {
			select {
			case <-stop:
				return
			default:
			}
			n, from, err := unix.Recvfrom(fd, buf, 0)
			if link, ok := from.(*unix.SockaddrLinklayer); err == nil && ok {
				r.packet(link.Ifindex, buf[:n])
			}
		}
	})
	t.Cleanup(func() { close(stop); wg.Wait(); _ = unix.Close(fd) })
	return r
}

func htons(n uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], n)
	return binary.NativeEndian.Uint16(b[:])
}

func (r *recording) link(index int) string {
	name, ok := r.names[index]
	if !ok {
		if i, err := net.InterfaceByIndex(index); err == nil {
			name = i.Name
			r.names[index] = name
		}
	}
	return name
}

// packet looks at one IPv4 packet.
func (r *recording) packet(index int, p []byte) {
	if len(p) < 40 || p[0]>>4 != 4 || p[9] != unix.IPPROTO_TCP {
		return
	}
	head := int(p[0]&15) * 4
	total := min(int(binary.BigEndian.Uint16(p[2:])), len(p))
	if total < head+20 {
		return
	}
	seg := p[head:total]
	from := netip.AddrPortFrom(netip.AddrFrom4([4]byte(p[12:16])), binary.BigEndian.Uint16(seg))
	to := netip.AddrPortFrom(netip.AddrFrom4([4]byte(p[16:20])), binary.BigEndian.Uint16(seg[2:]))
	r.mu.Lock()
	defer r.mu.Unlock()
	name := r.link(index)
	if name != "lo" && name != "scarabbr0" {
		return
	}
	r.packets++
	const syn, ack = 0x02, 0x10
	if seg[13]&(syn|ack) == syn|ack { // from is who was called
		if name == "scarabbr0" {
			r.opened[fmt.Sprintf("%s -> %s", to.Addr(), from)] = true
		}
		delete(r.first, flow{from, to})
		delete(r.first, flow{to, from})
	}
	if from.Port() != apiPort && to.Port() != apiPort {
		return
	}
	data := int(seg[12]>>4) * 4
	if data < 20 || data >= len(seg) {
		return
	}
	f := flow{from, to}
	if _, seen := r.first[f]; seen {
		return
	}
	r.first[f] = r.judge(f, seg[data:])
}

// judge reads the first bytes that one side sent.
func (r *recording) judge(f flow, b []byte) string {
	if f.to.Port() == apiPort {
		if len(b) < 6 || b[0] != 22 || b[1] != 3 || b[5] != 1 {
			r.clear = append(r.clear, fmt.Sprintf("%s to %s began with % x", f.from, f.to, b[:min(8, len(b))]))
		}
		return "client"
	}
	if len(b) >= 1 && b[0] == 21 {
		return "alert"
	}
	suite := serverHello(b)
	if suite == "" {
		r.clear = append(r.clear, fmt.Sprintf("%s answered %s with % x", f.from, f.to, b[:min(8, len(b))]))
	}
	r.suites[suite]++
	return "server"
}

// serverHello reads version and suite, "" if it is none.
func serverHello(b []byte) string {
	// record: type, version, length; handshake: type, length; then version, random, session id.
	if len(b) < 44 || b[0] != 22 || b[5] != 2 {
		return ""
	}
	at := 5 + 4 + 2 + 32
	at += 1 + int(b[at])
	if len(b) < at+5 {
		return ""
	}
	suite := binary.BigEndian.Uint16(b[at:])
	version := binary.BigEndian.Uint16(b[9:])
	at += 3
	ext := b[at+2:]
	for len(ext) >= 4 {
		kind, n := binary.BigEndian.Uint16(ext), int(binary.BigEndian.Uint16(ext[2:]))
		if len(ext) < 4+n {
			break
		}
		if kind == 43 && n == 2 {
			version = binary.BigEndian.Uint16(ext[4:])
		}
		ext = ext[4+n:]
	}
	return fmt.Sprintf("version %04x suite %04x", version, suite)
}

// A sampler knows what our processes on the host listened on and dialled.
type sampler struct {
	mu               sync.Mutex
	listens, dialled map[string]bool
}

// sample looks again and again until the test ends.
func sample(t *testing.T) *sampler {
	t.Helper()
	s := &sampler{listens: map[string]bool{}, dialled: map[string]bool{}}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				s.look()
			}
		}
	})
	t.Cleanup(func() { close(stop); wg.Wait() })
	return s
}

func (s *sampler) seen() (listens, dialled []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.listens)), slices.Sorted(maps.Keys(s.dialled))
}

// look adds what our processes on the host listen on and are connected to now.
func (s *sampler) look() {
	s.mu.Lock()
	defer s.mu.Unlock()
	inodes := map[string]string{}
	own, _ := os.Readlink("/proc/self/ns/net")
	list, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range list {
		exe, err := os.Readlink(dir + "/exe")
		if err != nil || !strings.HasPrefix(exe, "/var/lib/scarab/") && filepath.Dir(exe) != host.bin {
			continue
		}
		if ns, err := os.Readlink(dir + "/ns/net"); err != nil || ns != own {
			continue
		}
		fds, _ := filepath.Glob(dir + "/fd/*")
		for _, fd := range fds {
			if target, err := os.Readlink(fd); err == nil && strings.HasPrefix(target, "socket:[") {
				inodes[strings.TrimSuffix(strings.TrimPrefix(target, "socket:["), "]")] = filepath.Base(exe)
			}
		}
	}
	for _, kind := range []string{"tcp", "tcp6", "udp", "udp6"} {
		data, err := os.ReadFile("/proc/net/" + kind)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(data)) {
			f := strings.Fields(line)
			if len(f) < 10 || inodes[f[9]] == "" {
				continue
			}
			switch {
			case f[3] == "0A":
				s.listens[inodes[f[9]]+" "+kind+" "+f[1]] = true
			case strings.HasPrefix(kind, "udp"):
				s.dialled[inodes[f[9]]+" "+kind+" "+f[2]] = true
			default:
				s.dialled[inodes[f[9]]+" "+kind+" "+f[1]+" "+f[2]] = true
			}
		}
	}
}
