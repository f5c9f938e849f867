package realm

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// onePort is P3-10: what our processes listened on from the first moment of
// bootstrap, what they listen on now, and what a machine reaches of the host.
func (w *world) onePort(t *testing.T) {
	listened, dialled := w.ports.seen()
	for _, l := range listened {
		if !strings.HasPrefix(l, "scarab-controller tcp") || !strings.HasSuffix(l, fmt.Sprintf(":%04X", apiPort)) {
			t.Errorf("we listened on %s", l)
		}
	}
	if len(listened) == 0 {
		t.Error("nothing of ours listened: the test looks in the wrong place")
	}
	for _, d := range dialled {
		if strings.Contains(d, " udp") {
			t.Errorf("a UDP socket was open: %s", d)
		}
	}
	testListeners(t)
	testFromMachine(t, w.ca, w.site.Address)
}

// hostAddresses are this host's IPv4 addresses but for the machines' network
// and the loopback.
func hostAddresses(t *testing.T) []string {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, a := range addrs {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.To4() != nil && !ip.IP.IsLoopback() && ip.IP.String() != gateway(t) {
			out = append(out, ip.IP.String())
		}
	}
	return out
}

// apiAddresses is P3-11: nobody asked for the API outside of the host. An
// address is added, lest the host has none.
func (w *world) apiAddresses(t *testing.T) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "realmout0"
	out := &netlink.Veth{LinkAttrs: attrs, PeerName: "realmout1"}
	addr, err := netlink.ParseAddr("198.51.100.1/32")
	if err == nil {
		err = netlink.LinkAdd(out)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(out) })
	if err = netlink.AddrAdd(out, addr); err == nil {
		err = netlink.LinkSetUp(out)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{gateway(t), "127.0.0.1"} {
		if !slices.Equal(open(address, []int{apiPort}), []int{apiPort}) {
			t.Errorf("the API does not answer on %s", address)
		}
	}
	for _, address := range hostAddresses(t) {
		if got := open(address, []int{apiPort}); len(got) > 0 {
			t.Errorf("the API listens on %s, which nobody asked for", address)
		}
	}
}

// noOtherPort is P3-12.
func (w *world) noOtherPort(t *testing.T) {
	others := foreign(t)
	for _, address := range append(hostAddresses(t), gateway(t), "127.0.0.1") {
		for _, p := range open(address, allPorts()) {
			if p == apiPort || others[p] || foreign(t)[p] {
				continue
			}
			// Tests beside this one have servers that come and go; ours stay.
			if len(open(address, []int{p})) > 0 && !foreign(t)[p] {
				t.Errorf("port %d of %s is open", p, address)
			}
		}
	}
}

// trustStore is P4-02: what the system's own programs of a machine trust.
func (w *world) trustStore(t *testing.T) {
	r := host.inside(t, w.site.Machine, fmt.Sprintf(`python3 - <<'END'
import glob, json, socket, ssl
def look(context):
    context.check_hostname = False
    with socket.create_connection(("%s", %d), 5) as s:
        with context.wrap_socket(s) as tls:
            return tls.version()
try:
    print("system", look(ssl.create_default_context()))
except ssl.SSLCertVerificationError as e:
    print("system refused")
own = json.load(open(glob.glob("/var/lib/scarab/agents/machine-*/agent.conf")[0]))["ca-cert"]
print("own", look(ssl.create_default_context(cadata=own)))
END`, gateway(t), apiPort))
	if !strings.Contains(r.out, "own TLSv1.3") {
		t.Errorf("with its own CA a machine's program does not reach the controller:\n%s", r)
	}
	if !strings.Contains(r.out, "system refused") {
		t.Errorf("the system's trust store of a machine trusts the controller:\n%s", r)
	}
}

// expose is P3-31; whatever comes of it, later parts find nothing exposed and
// nothing related.
func (w *world) expose(t *testing.T) {
	t.Cleanup(func() {
		host.run("unexpose", "site")
		host.run("remove-relation", "guest:peer-site", "site:site")
		eventually(t, 20*time.Second, "the relation is gone", func() bool {
			return !strings.Contains(host.run("status", "--relations").out, "guest:peer-site")
		})
	})
	testExpose(t, w.site, w.guest, w.ca)
}

// relate relates guest and site once; related units reach each other.
func (w *world) relate(t *testing.T) {
	t.Helper()
	if !strings.Contains(host.ok(t, "status", "--relations"), "guest:peer-site") {
		host.ok(t, "integrate", "guest:peer-site", "site:site")
	}
	eventually(t, 20*time.Second, "guest reaches site", func() bool {
		return len(reach(t, w.guest.Machine, target{w.site.Address, echoPort})) > 0
	})
	eventually(t, 20*time.Second, "the units see each other", func() bool {
		a := host.run("exec", "--unit", "guest/0", "--", "relation-list -r $(relation-ids peer-site)")
		b := host.run("exec", "--unit", "site/0", "--", "relation-list -r $(relation-ids site)")
		return strings.Contains(a.out, "site/0") && strings.Contains(b.out, "guest/0")
	})
}

// apart drops every packet between two machines until the test ends.
func apart(t *testing.T, a, b string) {
	t.Helper()
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	table := c.AddTable(&nftables.Table{Name: "realm-apart", Family: nftables.TableFamilyIPv4})
	chain := c.AddChain(&nftables.Chain{
		Name: "apart", Table: table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityRef(-150),
	})
	for _, p := range [][2]string{{a, b}, {b, a}} {
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: append(between(p[0], p[1]), &expr.Verdict{Kind: expr.VerdictDrop})})
	}
	dropTable(t, table)
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
}

func dropTable(t *testing.T, table *nftables.Table) {
	t.Cleanup(func() {
		c, err := nftables.New()
		if err == nil {
			c.DelTable(table)
			err = c.Flush()
		}
		if err != nil {
			t.Error(err)
		}
	})
}

// between matches packets from one address, any if empty, to another.
func between(from, to string) []expr.Any {
	var out []expr.Any
	for offset, address := range map[uint32]string{12: from, 16: to} {
		if address != "" {
			out = append(out, &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4},
				&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: net.ParseIP(address).To4()})
		}
	}
	return out
}

// dataWithoutPorts is P4-03.
func (w *world) dataWithoutPorts(t *testing.T) {
	w.relate(t)
	apart(t, w.site.Address, w.guest.Address)
	if got := reach(t, w.guest.Machine, target{w.site.Address, echoPort}, target{w.site.Address, 22}); len(got) > 0 {
		t.Fatalf("the machines are not apart: %v", got)
	}
	for _, d := range []struct{ from, fromEnd, to, toEnd string }{{"site/0", "site", "guest/0", "peer-site"}, {"guest/0", "peer-site", "site/0", "site"}} {
		word := mark(t)
		hook(t, d.from, fmt.Sprintf("relation-set -r $(relation-ids %s) apart=%s", d.fromEnd, word))
		eventually(t, 15*time.Second, "data of "+d.from+" comes to "+d.to, func() bool {
			got := host.run("exec", "--unit", d.to, "--", fmt.Sprintf("relation-get -r $(relation-ids %s) apart %s", d.toEnd, d.from))
			return strings.TrimSpace(got.out) == word
		})
	}
}

// otherHost is F-SSH-AG-I: the connection to one machine is led to another of
// the same model. Its host key is genuine and it accepts the client's key, so
// that nothing but the name of the key is wrong.
func (w *world) otherHost(t *testing.T) {
	name := strings.TrimSpace(host.inside(t, w.guest.Machine, "hostname").out)
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	table := c.AddTable(&nftables.Table{Name: "realm-led", Family: nftables.TableFamilyIPv4})
	t.Run("Led", func(t *testing.T) {
		chain := c.AddChain(&nftables.Chain{
			Name: "led", Table: table, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityNATDest,
		})
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: append(between("", w.site.Address),
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{0, 22}},
			&expr.Immediate{Register: 1, Data: net.ParseIP(w.guest.Address).To4()},
			&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1})})
		dropTable(t, table)
		if err := c.Flush(); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second time nothing has been learned
			r := host.run("ssh", "site/0", "--", "hostname")
			if r.code == 0 || strings.Contains(r.out, name) {
				t.Errorf("ssh to site/0 was led to another machine and let in:\n%s", r)
			}
			if !strings.Contains(strings.ToLower(r.err), "host key") {
				t.Errorf("it does not say that the host key is wrong:\n%s", r)
			}
		}
	})
	if out := host.ok(t, "ssh", "guest/0", "--", "hostname"); strings.TrimSpace(out) != name { // the other machine would have let it in
		t.Errorf("ssh to the other machine says %q, want %q", out, name)
	}
	if out := host.ok(t, "ssh", "site/0", "--", "hostname"); strings.TrimSpace(out) == name || out == "" {
		t.Errorf("ssh says %q", out)
	}
}

const (
	metaAddress = "169.254.169.254"
	metaOutside = "169.254.169.253"
	metaSecret  = "credentials-of-the-cloud"
)

// metadata is A-WL-C: a cloud's metadata service, one hop behind the host.
func (w *world) metadata(t *testing.T) {
	service := exec.CommandContext(t.Context(), "/proc/self/exe")
	service.Env = []string{"REALM_METADATA=1"}
	service.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	var said bytes.Buffer
	service.Stderr = &said
	if err := service.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = service.Process.Kill(); _ = service.Wait() })
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "realmmeta0"
	pair := &netlink.Veth{LinkAttrs: attrs, PeerName: "realmmeta1", PeerNamespace: netlink.NsPid(service.Process.Pid)}
	if err := netlink.LinkAdd(pair); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(pair) })
	addr, err := netlink.ParseAddr(metaOutside + "/30")
	if err == nil {
		err = netlink.AddrAdd(pair, addr)
	}
	if err == nil {
		err = netlink.LinkSetUp(pair)
	}
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "the host reaches the metadata service", func() bool {
		c := http.Client{Timeout: time.Second}
		res, err := c.Get("http://" + metaAddress + "/")
		if err != nil {
			return false
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		return err == nil && string(text) == metaSecret
	})
	for _, user := range []string{"65534", "0"} {
		r := host.inside(t, w.site.Machine, "exec setpriv --reuid "+user+" --regid "+user+` --clear-groups python3 -c '
import urllib.request
try:
    print(urllib.request.urlopen("http://`+metaAddress+`/", timeout=3).read().decode())
except OSError as e:
    print("refused", e)'`)
		if strings.Contains(r.out, metaSecret) || !strings.Contains(r.out, "refused") {
			t.Errorf("user %s of a machine reached the metadata service:\n%s", user, r)
		}
	}
	w.workloadReads(t)
}

// metadataService is what this binary is for metadata, in a network of its own.
func metadataService() int {
	l, err := metadataListen()
	if err == nil {
		err = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, metaSecret) }))
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

func metadataListen() (net.Listener, error) {
	var link netlink.Link
	var err error
	for range 200 {
		if link, err = netlink.LinkByName("realmmeta1"); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil {
		return nil, err
	}
	addr, err := netlink.ParseAddr(metaAddress + "/30")
	if err == nil {
		err = netlink.AddrAdd(link, addr)
	}
	if err == nil {
		err = netlink.LinkSetUp(link)
	}
	if err == nil {
		err = netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: net.ParseIP(metaOutside)})
	}
	if err != nil {
		return nil, err
	}
	return net.Listen("tcp", metaAddress+":80")
}
