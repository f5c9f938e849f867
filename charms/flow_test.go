package charms

import (
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestModel deploys all three charms into one model, first units and relations
// in an unlucky order, then a second server and a second client, and sends a
// message between the clients.
func TestModel(t *testing.T) {
	h := newHarness(t)
	client, cluster := freePort(t), freePort(t)
	natsConfig := map[string]any{"client-port": client, "cluster-port": cluster, "max-payload": 1 << 20, "max-connections": 100}
	h.addUnit("self-signed-certificates/0", "127.0.0.9", map[string]any{"certificate-validity-days": 30, "ca-validity-days": 3650, "organization": ""})
	h.addUnit("nats/0", "127.0.0.2", natsConfig)
	h.addUnit("stream-agent/0", "127.0.0.4", map[string]any{"subject": "stream", "message": "", "peer": ""})
	h.relate("nats:cluster")

	h.hook("nats/0", "install")
	h.hook("nats/0", "config-changed")
	h.wantStatus("nats/0", "blocked needs a relation to a certificate authority")
	h.hook("stream-agent/0", "install")
	h.hook("stream-agent/0", "start")
	h.wantStatus("stream-agent/0", "blocked needs a relation to a certificate authority")

	// The servers before the authority.
	h.relate("stream-agent:nats", "nats:client")
	h.hook("stream-agent/0", "nats-relation-created")
	h.wantStatus("stream-agent/0", "blocked needs a relation to a certificate authority")
	h.relate("nats:certificates", "self-signed-certificates:certificates")
	h.relate("stream-agent:certificates", "self-signed-certificates:certificates")
	h.hook("stream-agent/0", "certificates-relation-created")
	h.wantStatus("stream-agent/0", "waiting waiting for a certificate from self-signed-certificates")
	h.hook("nats/0", "certificates-relation-joined")
	h.wantStatus("nats/0", "waiting waiting for a certificate")
	h.hook("self-signed-certificates/0", "install")
	h.hook("self-signed-certificates/0", "leader-elected")
	h.wantStatus("self-signed-certificates/0", "active 2 certificates")
	h.hook("stream-agent/0", "certificates-relation-changed")
	h.wantStatus("stream-agent/0", "waiting waiting for the NATS server")
	h.hook("nats/0", "certificates-relation-changed")
	h.wantStatus("nats/0", "active serving TLS on port")
	h.hook("stream-agent/0", "nats-relation-changed")
	h.wantStatus("stream-agent/0", "active connected to 127.0.0.2:")
	checkKeys(t, h)

	// A second client, and a message of the first.
	h.addUnit("stream-agent/1", "127.0.0.5", nil)
	settle(h, "stream-agent/1", "self-signed-certificates/0", "nats/0")
	h.wantStatus("stream-agent/1", "active connected to 127.0.0.2:")
	h.run("stream-agent/0", "usr/local/bin/stream-send", "hello", "there")
	h.eventually("the message", func() bool {
		return strings.Contains(h.run("stream-agent/1", "usr/local/bin/stream-received"), "stream-agent/0: hello there\n")
	})

	checkRepeat(t, h)
	checkActions(t, h)
	checkMessageOption(t, h)
	checkStranger(t, h, client)
	secondServer(t, h)
}

// settle runs a new unit's first hooks, and those that others run for it.
func settle(h *harness, unit string, others ...string) {
	h.hook(unit, "install")
	h.hook(unit, "config-changed")
	for _, o := range others {
		h.hook(o, "update-status")
	}
	h.hook(unit, "certificates-relation-changed")
	for _, o := range others {
		h.hook(o, "update-status")
	}
	h.hook(unit, "update-status")
}

// checkKeys looks at the authority's key and at every unit's: strength and
// modes. That no key is in relation data, the fake relation-set sees to.
func checkKeys(t *testing.T, h *harness) {
	t.Helper()
	for unit, file := range map[string]string{
		"self-signed-certificates/0": "var/lib/ca/ca.key", "nats/0": "etc/nats-server/tls/tls.key", "stream-agent/0": "etc/stream-agent/tls/tls.key",
	} {
		path := filepath.Join(h.root(unit), file)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(data)
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if k, ok := key.(*rsa.PrivateKey); err != nil || !ok || k.N.BitLen() != 4096 {
			t.Errorf("%s is no RSA key of 4096 bits: %v", file, err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, %v", file, info.Mode(), err)
		}
	}
	if h.m.Versions["nats"] == "" || len(h.m.Ports["nats/0"]) != 1 {
		t.Errorf("version %q, ports %v", h.m.Versions["nats"], h.m.Ports["nats/0"])
	}
}

// checkRepeat runs hooks again: nothing that others see may change.
func checkRepeat(t *testing.T, h *harness) {
	t.Helper()
	before := show(h.m.Relations)
	for _, unit := range []string{"self-signed-certificates/0", "nats/0", "stream-agent/0"} {
		h.hook(unit, "config-changed")
		h.hook(unit, "update-status")
	}
	if after := show(h.m.Relations); after != before {
		t.Errorf("hooks that ran again changed relation data:\n%s\n%s", before, after)
	}
}

func show(m map[string]relation) string {
	var b strings.Builder
	for _, k := range sorted(m) {
		for _, bags := range []map[string]bag{m[k].Units, m[k].Apps} {
			for _, who := range sorted(bags) {
				for _, key := range sorted(bags[who]) {
					b.WriteString(k + " " + who + " " + key + "=" + bags[who][key] + "\n")
				}
			}
		}
	}
	return b.String()
}

func checkActions(t *testing.T, h *harness) {
	t.Helper()
	h.m.Params = map[string]any{"message": "$(id); -- 'quoted'", "to": "stream-agent/1", "count": 5}
	h.save()
	h.hook("stream-agent/0", "actions/send")
	if got := h.m.Results["result"]; !strings.HasPrefix(got, "sent to stream-agent/1") {
		t.Fatalf("results are %v", h.m.Results)
	}
	h.eventually("the action's message", func() bool {
		h.hook("stream-agent/1", "actions/received")
		return strings.Contains(h.m.Results["messages"], "stream-agent/0: $(id); -- 'quoted'")
	})
	if strings.Contains(h.run("stream-agent/0", "usr/local/bin/stream-received"), "quoted") {
		t.Error("a message for one unit reached another")
	}
	h.hook("self-signed-certificates/0", "actions/get-ca-certificate")
	if !strings.Contains(h.m.Results["ca-certificate"], "BEGIN CERTIFICATE") {
		t.Errorf("results are %v", h.m.Results)
	}
}

func checkMessageOption(t *testing.T, h *harness) {
	t.Helper()
	h.m.Apps["stream-agent"]["message"] = "by option"
	h.save()
	for range 2 {
		h.hook("stream-agent/0", "config-changed")
		h.hook("stream-agent/1", "config-changed")
	}
	count := func() int {
		return strings.Count(h.run("stream-agent/1", "usr/local/bin/stream-received"), "by option")
	}
	h.eventually("the option's message", func() bool { return count() > 0 })
	if count() != 1 {
		t.Errorf("the message came %d times", count())
	}
}

// checkStranger asks for certificates that belong to others, and connects
// without one and with one of an application that is not related.
func checkStranger(t *testing.T, h *harness, port int) {
	t.Helper()
	h.addUnit("evil/0", "127.0.0.6", map[string]any{})
	h.relate("evil:certificates", "self-signed-certificates:certificates")
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	run(t, "openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384", "-out", key)
	weak := filepath.Join(dir, "weak")
	run(t, "openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", weak)
	ask := func(key, subject, names, want string) {
		t.Helper()
		csr := run(t, "openssl", "req", "-new", "-key", key, "-subj", subject, "-addext", "subjectAltName="+names)
		h.m.Relations["evil:certificates,self-signed-certificates:certificates"].Units["evil/0"]["csr"] = csr
		h.save()
		h.hook("self-signed-certificates/0", "certificates-relation-changed")
		got := h.m.Relations["evil:certificates,self-signed-certificates:certificates"].Apps["self-signed-certificates"]["unit-evil-0"]
		if !strings.Contains(got, want) {
			t.Errorf("%s %s: answer %.300q, want %q", subject, names, got, want)
		}
	}
	ask(key, "/CN=nats-0", "DNS:evil-0", "not for CN=evil-0")
	ask(key, "/CN=evil-0", "DNS:nats-0", "does not belong to evil/0: DNS:nats-0")
	ask(key, "/CN=evil-0", "IP:127.0.0.2", "does not belong to evil/0: IP:127.0.0.2")
	ask(weak, "/CN=evil-0", "DNS:evil-0", "RSA of 4096 bits or more")
	ask(key, "/CN=evil-0", "DNS:evil-0,IP:127.0.0.6", `"certificate"`)

	client := func(lib, crt, key string) (string, error) {
		cmd := exec.Command("python3", "-c", "import sys; sys.path.insert(0, sys.argv[1]); import natsclient\n"+
			"natsclient.Client('127.0.0.2', int(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5], 'evil')",
			lib, itoa(port), filepath.Join(h.root("nats/0"), "etc/nats-server/tls/ca.crt"), crt, key)
		cmd.Env = h.env("evil/0")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	crt := filepath.Join(dir, "crt")
	answer := h.m.Relations["evil:certificates,self-signed-certificates:certificates"].Apps["self-signed-certificates"]["unit-evil-0"]
	writeCertificate(t, answer, crt)
	if out, err := client("nats/lib", crt, key); err == nil || !strings.Contains(out, "uthorization") {
		t.Errorf("a unit that is not related could connect: %v %s", err, out)
	}
	own := filepath.Join(dir, "own")
	run(t, "openssl", "req", "-new", "-x509", "-key", key, "-subj", "/CN=stream-agent-0", "-addext", "subjectAltName=DNS:stream-agent-0", "-out", own)
	if out, err := client("nats/lib", own, key); err == nil {
		t.Errorf("a self-signed certificate could connect: %s", out)
	}
	conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.2", itoa(port)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	buf := make([]byte, 4096)
	if _, err := conn.Read(buf); err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	ca, err := os.ReadFile(filepath.Join(h.root("nats/0"), "etc/nats-server/tls/ca.crt"))
	if err != nil || !pool.AppendCertsFromPEM(ca) {
		t.Fatal("no authority", err)
	}
	tc := tls.Client(conn, &tls.Config{RootCAs: pool, ServerName: "127.0.0.2", MinVersion: tls.VersionTLS13})
	_, err = tc.Write([]byte("CONNECT {}\r\nPING\r\n"))
	if err == nil {
		_, err = tc.Read(buf)
	}
	if err == nil {
		t.Errorf("a client without a certificate was answered %q", buf[:20])
	}
}

// secondServer makes a cluster and moves a client to the second server: a
// message must cross. The double has no clusters.
func secondServer(t *testing.T, h *harness) {
	t.Helper()
	if !realServer() {
		return
	}
	h.addUnit("nats/1", "127.0.0.3", nil)
	settle(h, "nats/1", "self-signed-certificates/0", "nats/0")
	h.wantStatus("nats/0", "active serving TLS")
	h.wantStatus("nats/1", "active serving TLS")
	h.hook("stream-agent/1", "nats-relation-changed")
	h.wantStatus("stream-agent/1", "active connected to 127.0.0.3:")
	h.hook("stream-agent/0", "nats-relation-changed")
	h.wantStatus("stream-agent/0", "active connected to 127.0.0.2:")
	// Routes between servers come up a moment after the servers.
	h.eventually("a message across the cluster", func() bool {
		h.run("stream-agent/0", "usr/local/bin/stream-send", "across")
		return strings.Contains(h.run("stream-agent/1", "usr/local/bin/stream-received"), "stream-agent/0: across\n")
	})
	h.hook("nats/1", "stop")
	h.hook("stream-agent/1", "update-status")
	h.wantStatus("stream-agent/1", "active connected to 127.0.0.2:")
}

// TestRenewal makes certificates that are nearly over, and expects new ones;
// a unit that leaves is forgotten.
func TestRenewal(t *testing.T) {
	h := newHarness(t)
	h.addUnit("self-signed-certificates/0", "127.0.0.9", map[string]any{"certificate-validity-days": 1, "ca-validity-days": 30, "organization": "An Org"})
	h.addUnit("evil/0", "127.0.0.6", map[string]any{})
	h.relate("evil:certificates", "self-signed-certificates:certificates")
	const rel = "evil:certificates,self-signed-certificates:certificates"
	key := filepath.Join(t.TempDir(), "key")
	run(t, "openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384", "-out", key)
	h.m.Relations[rel].Units["evil/0"]["csr"] = run(t, "openssl", "req", "-new", "-key", key, "-subj", "/CN=evil-0")
	h.save()
	answer := func() string {
		h.hook("self-signed-certificates/0", "update-status")
		return h.m.Relations[rel].Apps["self-signed-certificates"]["unit-evil-0"]
	}
	first := answer()
	if !strings.Contains(first, "BEGIN CERTIFICATE") {
		t.Fatalf("no certificate: %s", first)
	}
	if again := answer(); again != first {
		t.Error("a certificate that is good was made anew")
	}
	// With a life of 30 days wanted, one of 1 day is nearly over.
	h.m.Apps["self-signed-certificates"]["certificate-validity-days"] = 30
	h.save()
	second := answer()
	if second == first {
		t.Error("a certificate that is nearly over was kept")
	}
	h.m.Relations[rel].Units["evil/0"]["ingress-address"] = "127.0.0.7"
	h.save()
	if third := answer(); third == second {
		t.Error("a certificate for an earlier address was kept")
	}
	r := h.m.Relations[rel]
	delete(r.Units, "evil/0")
	h.save()
	if left := answer(); left != "" {
		t.Errorf("a unit that left still has %s", left)
	}
	if show(h.m.Relations) == "" {
		t.Error("the authority's certificate is gone")
	}
}
