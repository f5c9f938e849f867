package realm

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	apiPort   = 17070
	echoPort  = 7117
	otherPort = 7118
)

// gateway is the host's address on the machines' network.
func gateway(t *testing.T) string {
	t.Helper()
	br, err := net.InterfaceByName("scarabbr0")
	if err != nil {
		t.Fatal(err)
	}
	addrs, err := br.Addrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.To4() != nil {
			return ip.IP.String()
		}
	}
	t.Fatalf("the bridge has no address: %v", addrs)
	return ""
}

// testOutside looks at what runs; what can be reached is in TestThreat.
func testOutside(t *testing.T) {
	host.quickstart(t)
	host.settle(t, 5, demo()...)
	testHostUnseen(t, host.status(t).unit("ca/0"))
}

// sockets returns the inodes of the sockets that our processes on the host
// hold. Those of machines are in network namespaces of their own.
func sockets(t *testing.T) map[string]string {
	t.Helper()
	p := picture{}
	if err := processes(p); err != nil {
		t.Fatal(err)
	}
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for line := range p {
		pid := strings.Fields(line)[1]
		if ns, err := os.Readlink("/proc/" + pid + "/ns/net"); err != nil || ns != own {
			continue
		}
		fds, err := filepath.Glob("/proc/" + pid + "/fd/*")
		if err != nil {
			t.Fatal(err)
		}
		for _, fd := range fds {
			target, err := os.Readlink(fd)
			if inode, ok := strings.CutPrefix(target, "socket:["); err == nil && ok {
				out[strings.TrimSuffix(inode, "]")] = line
			}
		}
	}
	if len(out) == 0 {
		t.Fatal("our processes hold no sockets: the test looks in the wrong place")
	}
	return out
}

// table reads a file of /proc/net, without its head.
func table(t *testing.T, name string) [][]string {
	t.Helper()
	f, err := os.Open("/proc/net/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out [][]string
	in := bufio.NewScanner(f)
	for in.Scan() {
		out = append(out, strings.Fields(in.Text()))
	}
	return out[1:]
}

// testListeners reads from the kernel what our processes listen on (P3-10,
// P3-12): one TCP port, no UDP, no raw and no abstract socket.
func testListeners(t *testing.T) {
	ours := sockets(t)
	var tcp []string
	for _, name := range []string{"tcp", "tcp6"} {
		for _, f := range table(t, name) {
			if f[3] == "0A" && ours[f[9]] != "" {
				tcp = append(tcp, f[1])
			}
		}
	}
	port := fmt.Sprintf(":%04X", apiPort)
	for _, l := range tcp {
		if !strings.HasSuffix(l, port) {
			t.Errorf("we listen on %s (hexadecimal address and port)", l)
		}
	}
	if len(tcp) == 0 {
		t.Error("nothing of ours listens: the test looks in the wrong place")
	}
	for _, name := range []string{"udp", "udp6", "raw", "raw6"} {
		for _, f := range table(t, name) {
			if owner := ours[f[9]]; owner != "" {
				t.Errorf("%s socket %s is open in %s", name, f[1], owner)
			}
		}
	}
	for _, f := range table(t, "unix") {
		if len(f) > 7 && strings.HasPrefix(f[7], "@") && ours[f[6]] != "" {
			t.Errorf("abstract socket %s is open in %s", f[7], ours[f[6]])
		}
	}
}

// open returns those ports of an address that take a connection.
func open(address string, ports []int) []int {
	var mu sync.Mutex
	var found []int
	next := make(chan int)
	var wg sync.WaitGroup
	for range 128 {
		wg.Go(func() {
			for p := range next {
				c, err := net.DialTimeout("tcp", net.JoinHostPort(address, strconv.Itoa(p)), time.Second)
				if err != nil {
					continue
				}
				_ = c.Close()
				mu.Lock()
				found = append(found, p)
				mu.Unlock()
			}
		})
	}
	for _, p := range ports {
		next <- p
	}
	close(next)
	wg.Wait()
	slices.Sort(found)
	return found
}

func allPorts() []int {
	out := make([]int, 65535)
	for i := range out {
		out[i] = i + 1
	}
	return out
}

// foreign are the ports that other programs of this host listen on everywhere.
func foreign(t *testing.T) map[int]bool {
	t.Helper()
	ours := sockets(t)
	out := map[int]bool{}
	for _, name := range []string{"tcp", "tcp6"} {
		for _, f := range table(t, name) {
			if f[3] == "0A" && ours[f[9]] == "" {
				_, hex, _ := strings.Cut(f[1], ":")
				n, err := strconv.ParseInt(hex, 16, 32)
				if err == nil {
					out[int(n)] = true
				}
			}
		}
	}
	return out
}

// scanner is run inside of a machine: it tells which ports answer.
const scanner = `python3 - <<'END'
import concurrent.futures, json, socket
def one(target):
    address, port = target
    s = socket.socket()
    s.settimeout(1.5)
    try:
        s.connect((address, port))
        return True
    except OSError:
        return False
    finally:
        s.close()
targets = [tuple(t) for t in json.loads('%s')]
if not targets:
    targets = [('%s', p) for p in range(1, 65536)]
with concurrent.futures.ThreadPoolExecutor(200) as pool:
    print(json.dumps([list(t) for t, up in zip(targets, pool.map(one, targets)) if up]))
END`

type target struct {
	address string
	port    int
}

func (g target) MarshalJSON() ([]byte, error) { return json.Marshal([]any{g.address, g.port}) }

// reach tells which targets a machine reaches.
func reach(t *testing.T, machine string, targets ...target) []string {
	t.Helper()
	list, err := json.Marshal(targets)
	if err != nil {
		t.Fatal(err)
	}
	return scan(t, machine, fmt.Sprintf(scanner, list, ""))
}

func scan(t *testing.T, machine, script string) []string {
	t.Helper()
	r := host.inside(t, machine, script)
	var found [][]any
	if err := json.Unmarshal([]byte(r.out), &found); r.code != 0 || err != nil {
		t.Fatalf("cannot scan from machine %s: %v\n%s", machine, err, r)
	}
	var out []string
	for _, f := range found {
		out = append(out, fmt.Sprintf("%v:%v", f[0], f[1]))
	}
	return out
}

// testFromMachine looks from inside: of the host only the controller answers,
// the cloud's metadata address does not, other machines do not (A-WL-C).
func testFromMachine(t *testing.T, ca statusUnit, siteAddress string) {
	gw := gateway(t)
	api := fmt.Sprintf("%s:%d", gw, apiPort)
	if got := scan(t, ca.Machine, fmt.Sprintf(scanner, "[]", gw)); !slices.Equal(got, []string{api}) {
		t.Errorf("from a machine the host's ports %v are reachable, want %s alone", got, api)
	}
	// The host's address towards the world leads to the host as well.
	targets := []target{{"169.254.169.254", 80}, {"169.254.169.254", 443}, {siteAddress, echoPort}, {siteAddress, 22}}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		ip, ok := a.(*net.IPNet)
		if !ok || ip.IP.To4() == nil || ip.IP.IsLoopback() || ip.IP.String() == gw {
			continue
		}
		for p := range foreign(t) {
			targets = append(targets, target{ip.IP.String(), p})
		}
	}
	if got := reach(t, ca.Machine, targets...); len(got) > 0 {
		t.Errorf("from a machine these are reachable: %v", got)
	}
}

// hold opens a connection from this host and shows that it answers.
func hold(t *testing.T, address string, port int) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.DialTimeout("tcp", net.JoinHostPort(address, strconv.Itoa(port)), 3*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	in := bufio.NewReader(c)
	if !answers(c, in) {
		t.Fatal("the connection does not answer")
	}
	return c, in
}

func answers(c net.Conn, in *bufio.Reader) bool {
	if c.SetDeadline(time.Now().Add(time.Second)) != nil {
		return false
	}
	if _, err := c.Write([]byte("here\n")); err != nil {
		return false
	}
	text, err := in.ReadString('\n')
	return err == nil && text == "here\n"
}

// testExpose is P3-31 and P3-11: an opened port is shut until it is exposed,
// open then for those named and nobody else, and shut again in seconds, for
// connections that are open too.
func testExpose(t *testing.T, site, guest, ca statusUnit) {
	const soon = 10 * time.Second
	fromHost := func() bool { return len(open(site.Address, []int{echoPort})) > 0 }
	from := func(u statusUnit) bool { return len(reach(t, u.Machine, target{site.Address, echoPort})) > 0 }
	if r := host.inside(t, site.Machine, fmt.Sprintf("echo | timeout 2 bash -c 'cat > /dev/tcp/127.0.0.1/%d'", echoPort)); r.code != 0 {
		t.Fatalf("the workload does not listen at all:\n%s", r)
	}
	if fromHost() || from(guest) || from(ca) {
		t.Error("a port that nobody exposed answers")
	}
	host.ok(t, "integrate", "guest:peer-site", "site:site")
	eventually(t, soon, "a related unit reaches the port", func() bool { return from(guest) })
	if fromHost() || from(ca) {
		t.Error("a relation opened the port to others")
	}
	host.ok(t, "expose", "site", "--to-cidrs", ca.Address+"/32")
	eventually(t, soon, "the network it is exposed to reaches the port", func() bool { return from(ca) })
	if fromHost() {
		t.Error("a port is open to a network it is not exposed to")
	}
	host.ok(t, "expose", "site", "--to-cidrs", gateway(t)+"/32")
	eventually(t, soon, "the host reaches the port", fromHost)
	eventually(t, soon, "the network before it does not any more", func() bool { return !from(ca) })
	c, in := hold(t, site.Address, echoPort)
	host.ok(t, "unexpose", "site")
	took := eventually(t, soon, "the open connection ends", func() bool { return !answers(c, in) })
	if fromHost() {
		t.Error("a new connection is let in after unexpose")
	}
	t.Logf("unexpose took hold of an open connection after %s", took.Round(10*time.Millisecond))
	host.ok(t, "remove-relation", "guest:peer-site", "site:site")
	eventually(t, soon, "a unit that is not related any more does not reach the port", func() bool { return !from(guest) })
}

// testHostUnseen: root of a machine is nobody on the host, and sees none of it.
func testHostUnseen(t *testing.T, ca statusUnit) {
	secret := filepath.Join(t.TempDir(), "secret-of-the-host")
	if err := os.WriteFile(secret, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := host.inside(t, ca.Machine, "id -u; cat /proc/self/uid_map; ls "+secret+" 2>&1; ls /dev/vda /dev/mem /dev/kmsg 2>&1; "+
		"echo 1 > /proc/sys/kernel/sysrq && echo wrote sysrq; mknod /tmp/disk b 254 0 && head -c1 /tmp/disk && echo read disk; rm -f /tmp/disk")
	if strings.Contains(r.out, "wrote sysrq") || strings.Contains(r.out, "read disk") {
		t.Errorf("root of a machine has rights on the host:\n%s", r)
	}
	lines := strings.Split(r.out, "\n")
	if len(lines) < 3 || lines[0] != "0" {
		t.Fatalf("cannot look from inside:\n%s", r)
	}
	uids := strings.Fields(lines[1])
	if len(uids) != 3 || uids[0] != "0" || uids[1] == "0" || uids[2] != "65536" {
		t.Errorf("root of a machine is user %v of the host", uids)
	}
	if strings.Contains(r.out, "\n"+secret+"\n") || strings.Contains(r.out, "\n/dev/vda\n") || strings.Contains(r.out, "\n/dev/mem\n") {
		t.Errorf("a machine sees the host:\n%s", r)
	}
	// All processes of machines are of users of their own on the host.
	p := picture{}
	if err := processes(p); err != nil {
		t.Fatal(err)
	}
	own, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for line := range p {
		pid := strings.Fields(line)[1]
		ns, err := os.Readlink("/proc/" + pid + "/ns/pid")
		st, serr := os.Stat("/proc/" + pid)
		if err != nil || serr != nil || ns == own {
			continue
		}
		seen++
		if uid := st.Sys().(*syscall.Stat_t).Uid; uid < 0x70000000 && uid != 0 || uid == 0 && rootInside(pid) {
			t.Errorf("a process of a machine is user %d of the host: %s", uid, line)
		}
	}
	if seen < 7 {
		t.Errorf("only %d processes of machines seen", seen)
	}
}

// rootInside tells a process that may not be read (then /proc shows it as
// root's) from one that is root.
func rootInside(pid string) bool {
	data, err := os.ReadFile("/proc/" + pid + "/status")
	return err == nil && strings.Contains(string(data), "\nUid:\t0\t")
}

// testModes walks what a controller keeps on its host and the client at home
// (K-FSPERM).
func testModes(t *testing.T) {
	declared := map[string]fs.FileMode{ // what more than the owner may do something with
		"/var/lib/scarab":                       0o711, // to reach what is declared below
		"/var/lib/scarab/bin":                   0o755, // programs, shown to machines
		"/var/lib/scarab/bin/scarab-agent":      0o755,
		"/var/lib/scarab/bin/scarab-controller": 0o755,
		"/var/lib/scarab/bin/scarab-hooktool":   0o755,
		"/var/log/scarab":                       0o711, // the controller's user writes one file in it
		"/run/scarab":                           0o711, // the controller's user goes through to its socket
		"/run/scarab/machines":                  0o711, // the machines' own roots go through to their files
	}
	for _, root := range []string{"/var/lib/scarab", "/run/scarab", "/var/log/scarab", "/var/cache/scarab", host.data} {
		seen := 0
		err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
			if os.IsNotExist(err) {
				return nil
			}
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return nil //nolint:nilerr // it went meanwhile
			}
			seen++
			mode := info.Mode()
			if want, ok := declared[name]; ok {
				if mode.Perm() != want {
					t.Errorf("%s has mode %s, declared is %s", name, mode, want)
				}
				return nil
			}
			if mode&fs.ModeSymlink == 0 && mode.Perm()&0o077 != 0 {
				t.Errorf("%s has mode %s", name, mode)
			}
			if d.IsDir() && mode.Perm()&0o077 == 0 && isMachineRoot(name) {
				return fs.SkipDir // a machine's own files, behind a folder that is shut
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if seen < 2 {
			t.Errorf("%s: only %d files seen", root, seen)
		}
	}
}

// isMachineRoot tells whether a folder, which must be shut itself, holds whole
// systems of files.
func isMachineRoot(dir string) bool {
	return filepath.Dir(dir) == "/var/lib/scarab/machines" || filepath.Dir(dir) == "/run/scarab/machines" ||
		strings.HasPrefix(dir, "/var/cache/scarab/images/")
}

// testModesInside does it in a machine: what the agent keeps is root's alone.
// The declared rest is what charms and their workloads must read.
func testModesInside(t *testing.T, machine string) {
	r := host.inside(t, machine, `find /var/lib/scarab /run/scarab-agent /var/log/scarab -perm /077 ! -type l -printf '%M %u %p\n'; echo =====;
		find /var/lib/scarab -name '*.conf' -o -name '*.sock' -o -name '*key*' | head -50; echo =====;
		for f in $(find /var/lib/scarab /run/scarab-agent -type f \( -name '*.conf' -o -name '*.yaml' -o -name '*.json' -o -name '*.key' -o -name '*.pem' \) -not -path '*/charm/*' | head -20); do
			setpriv --reuid nobody --regid nogroup --clear-groups head -c1 $f >/dev/null 2>&1 && echo readable $f; done; cat /proc/net/unix | grep '@' | grep -i 'scarab\|juju'; true`)
	if r.code != 0 {
		t.Fatal(r)
	}
	loose, rest, _ := strings.Cut(r.out, "=====\n")
	for line := range strings.Lines(loose) {
		f := strings.Fields(line)
		if len(f) == 3 && !declaredInside(f[0], f[2]) {
			t.Errorf("in a machine: %s", strings.TrimSpace(line))
		}
	}
	_, rest, _ = strings.Cut(rest, "=====\n")
	if strings.TrimSpace(rest) != "" {
		t.Errorf("in a machine:\n%s", rest)
	}
}

// declaredInside is what others than root may see of the agent's folders in a
// machine: ways through, the charm's own code and the tools.
func declaredInside(mode, name string) bool {
	if strings.Contains(name, "/charm/") || strings.HasSuffix(name, "/charm") {
		return !strings.Contains(mode[4:], "w")
	}
	switch {
	case mode == "drwx--x--x", name == "/var/lib/scarab" && mode == "drwxr-xr-x":
		return true
	case strings.HasPrefix(name, "/var/log/scarab"): // group root, as logs are
		return mode == "drwxr-x---" || mode == "-rw-r-----"
	case strings.HasPrefix(name, "/var/lib/scarab/tools"), strings.HasPrefix(name, "/var/lib/scarab/bin"):
		return mode == "drwxr-xr-x" || mode == "-rwxr-xr-x"
	}
	return false
}
