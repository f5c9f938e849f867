package threats_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/client"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/pki"
	"github.com/scarab-ops/scarab/tests/cluster"
	"github.com/scarab-ops/scarab/tests/threats/bench"
	"github.com/scarab-ops/scarab/wire/agentapi"
)

func wireParts() []part {
	return []part{
		{"F-AG-CTRL-C", "wire", "a recording of enrolment, login, hook context and relation changes holds nothing in the clear; sessions are not resumed", recordedAgent},
		{"P3-15", "wire", "everything between unit and controller is TLS 1.3, and no session is resumed", tlsOnly},
		{"F-AG-CTRL-I", "wire", "flipped bits and replayed records end the connection; the store holds whole commits only", flippedBits},
		{"F-AG-CTRL-I", "retry", "a commit whose answer was cut off is repeated and happens once", cutAnswers},
		{"A-CLIENT-C", "wire", "a recorded session holds no password and no configuration", recordedClient},
		{"A-CLIENT-C", "downgrade", "servers in plain text, with TLS 1.0 to 1.2, or another authority's: the client sends no byte of its credentials", downgrade},
		{"A-AGENT-I", "impostor", "a false controller, with its own CA, an expired certificate, or an agent's: the agent says nothing to it", impostor},
		{"A-AGENT-I", "removal-order", "only an order signed by this CA for this machine and nonce removes an agent", removalOrders},
		{"K-TLS", "suites", "the port takes AES-256-GCM alone, from a foreign TLS implementation too; older versions and plain text get nothing", suites},
		{"P4-01", "frames", "an upgrade without TLS fails; frames over the limit, broken and nested ones close the connection", frames},
	}
}

// through dials the controller by way of a wire.
func through(t *testing.T, w *bench.World, wire *bench.Wire, m names.Model, a *cluster.Agent) (*client.Conn, error) {
	t.Helper()
	cfg := client.Config{Addresses: []string{wire.Addr()}, CACert: w.CACert, Model: m, Version: "3.6.12", DialTimeout: 10 * time.Second}
	if a != nil {
		cfg.Certificate = func() (*tls.Certificate, error) { return a.Certificate(t), nil }
	}
	conn, err := client.Dial(cluster.Context(t), cfg)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = conn.Close() })
	if a == nil {
		return conn, nil
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := conn.Login(ctx, client.Credentials{Tag: a.Tag, Password: a.Password, Nonce: a.Nonce}); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

func recordedAgent(t *testing.T, _ *env) {
	w := bench.New(t, bench.Options{})
	plant(t, w)
	wire := bench.NewWire(t, w.Addr)
	ctx := cluster.Context(t)
	host := w.Machine(t, bench.M1, "0")
	token := must[client.Secret](t)(host.Connect(t, w.Cluster).Machine().UnitToken(ctx, "b/0"))
	direct := *w.Cluster
	direct.Addr = wire.Addr()
	b := direct.Enrol(t, bench.M1, names.Unit("b/0").Tag(), token, "")
	conn, err := through(t, w, wire, bench.M1, b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Unit().Want(ctx); err != nil {
		t.Fatal(err)
	}
	hc, err := conn.Unit().Context(ctx, bench.RelationBD)
	if err != nil || hc.Config["token"] != bench.MarkerConfig+"b" {
		t.Fatalf("the hook's context was not sent: %v %v", hc.Config, err)
	}
	set := agentapi.Settings{"k": "c0mm1t-mark-value"}
	_, err = conn.Unit().Commit(ctx, agentapi.CommitArgs{OpID: "o1", RelationID: -1, Relations: []agentapi.RelationSettings{{ID: bench.RelationBD, Unit: set}}})
	if err != nil {
		t.Fatal(err)
	}
	up, down := wire.Recorded()
	if len(up) < 4000 || len(down) < 4000 {
		t.Fatalf("recorded %d and %d bytes", len(up), len(down))
	}
	markers := map[string][]byte{
		"the token": []byte(token.Reveal()), "the password": []byte(b.Password.Reveal()), "configuration": []byte(bench.MarkerConfig + "b"),
		"relation data": []byte(bench.MarkerBag + "bd"), "a commit": []byte("c0mm1t-mark-value"), "a method": []byte(`"request":"Commit"`),
		"a tag": []byte("unit-b-0"), "an upgrade": []byte("Sec-WebSocket-Key"),
	}
	bench.NoLeak(t, "the wire, upwards", up, markers)
	bench.NoLeak(t, "the wire, downwards", down, markers)
	noResumption(t, w)
}

func tlsOnly(t *testing.T, e *env) { noResumption(t, e.world()); plain(t, e.world()) }

// noResumption tries to come back with a ticket.
func noResumption(t *testing.T, w *bench.World) {
	t.Helper()
	cfg := w.TLS(t, nil)
	cfg.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	for range 3 {
		conn, err := tls.Dial("tcp", w.Addr, cfg)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = fmt.Fprintf(conn, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
		_, _ = conn.Read(make([]byte, 4096)) // tickets come with the first data
		st := conn.ConnectionState()
		if st.DidResume {
			t.Error("a session was resumed")
		}
		if st.Version != tls.VersionTLS13 || st.CipherSuite != tls.TLS_AES_256_GCM_SHA384 {
			t.Errorf("negotiated %s %s", tls.VersionName(st.Version), tls.CipherSuiteName(st.CipherSuite))
		}
		_ = conn.Close()
	}
}

func flippedBits(t *testing.T, _ *env) {
	w := bench.New(t, bench.Options{})
	plant(t, w)
	b := w.Unit(t, bench.M1, "b/0")
	wire := bench.NewWire(t, w.Addr)
	broken, whole := 0, 0
	pair := func(i int) agentapi.CommitArgs {
		v := agentapi.Settings{"left": fmt.Sprint(i), "right": fmt.Sprint(i)}
		return agentapi.CommitArgs{
			OpID: fmt.Sprintf("flip-%d", i), RelationID: -1,
			Relations: []agentapi.RelationSettings{{ID: bench.RelationBD, Unit: v}}, StateSet: agentapi.Settings{"twin": fmt.Sprint(i)},
		}
	}
	for i := range count(40, 1500) {
		at, up := 3+i*97%9000, i%2 == 0
		flip := func(before int, p []byte) ([]byte, bool) {
			if at >= before && at < before+len(p) {
				p = bytes.Clone(p)
				p[at-before] ^= 1 << (i % 8)
			}
			return p, true
		}
		if up {
			wire.Tap(bench.Taps{Up: flip})
		} else {
			wire.Tap(bench.Taps{Down: flip})
		}
		conn, err := through(t, w, wire, bench.M1, b)
		if err != nil {
			broken++
			continue
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		for j := range 6 {
			if _, err = conn.Unit().Commit(ctx, pair(i*10+j)); err != nil {
				broken++
				break
			}
		}
		cancel()
		if err == nil {
			whole++
		}
		_ = conn.Close()
	}
	if broken == 0 {
		t.Error("no flipped bit was noticed")
	}
	t.Logf("%d connections broken, %d were past the flip", broken, whole)
	wire.Tap(bench.Taps{})
	checkTwins(t, w, b)
	replayed(t, w, wire, b)
}

// checkTwins looks whether one commit was applied in part.
func checkTwins(t *testing.T, w *bench.World, b *cluster.Agent) {
	t.Helper()
	hc, err := b.Connect(t, w.Cluster).Unit().Context(cluster.Context(t), bench.RelationBD)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range hc.Relations {
		if r.ID == bench.RelationBD && (r.Local["left"] != r.Local["right"] || r.Local["left"] != hc.State["twin"] || r.Local["left"] == "") {
			t.Errorf("half a commit: %v and %v", r.Local, hc.State)
		}
	}
}

// replayed sends the recorded bytes of a good session again.
func replayed(t *testing.T, w *bench.World, wire *bench.Wire, b *cluster.Agent) {
	t.Helper()
	before, _ := wire.Recorded()
	conn, err := through(t, w, wire, bench.M1, b)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Unit().SetWorkloadVersion(cluster.Context(t), "recorded"); err != nil {
		t.Fatal(err)
	}
	if err := b.Connect(t, w.Cluster).Unit().SetWorkloadVersion(cluster.Context(t), "newer"); err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	all, _ := wire.Recorded()
	w.Unchanged(t, func() {
		c, err := net.Dial("tcp", w.Addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = c.Write(all[len(before):])
		got, _ := io.ReadAll(c)
		if bytes.Contains(got, []byte("response")) {
			t.Error("a replayed session was answered")
		}
	})
}

func cutAnswers(t *testing.T, _ *env) {
	w := bench.New(t, bench.Options{})
	plant(t, w)
	b := w.Unit(t, bench.M1, "b/0")
	wire := bench.NewWire(t, w.Addr)
	var last string
	for i := range count(10, 100) {
		var conn *client.Conn
		cluster.Eventually(t, "b/0 may log in again", func() (ok bool) {
			var err error
			if conn, err = through(t, w, wire, bench.M1, b); client.Code(err) == "try again" {
				return false
			}
			if err != nil {
				t.Fatal(err)
			}
			return true
		})
		op := agentapi.CommitArgs{OpID: fmt.Sprintf("cut-%d", i), RelationID: -1, StateSet: agentapi.Settings{"n": fmt.Sprint(i)}}
		ctx := cluster.Context(t)
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = conn.Unit().Commit(ctx, op) })
		time.AfterFunc(time.Duration(i%8)*time.Millisecond, wire.Cut)
		wg.Wait()
		again := again(w, b, t) // one agent may not log in without pause
		if again == nil {
			t.FailNow()
		}
		if _, err := again.Unit().Commit(ctx, op); err != nil {
			t.Fatal(err)
		}
		// A repeat that comes late must not undo what came after.
		last = fmt.Sprintf("after-%d", i)
		if _, err := again.Unit().Commit(ctx, agentapi.CommitArgs{OpID: last, RelationID: -1, StateSet: agentapi.Settings{"n": last}}); err != nil {
			t.Fatal(err)
		}
		if _, err := again.Unit().Commit(ctx, op); err != nil {
			t.Fatal(err)
		}
		hc, err := again.Unit().Context(ctx, -1)
		if err != nil || hc.State["n"] != last {
			t.Fatalf("a repeated commit happened twice: %v %v", hc.State, err)
		}
		_ = again.Close()
	}
}

func recordedClient(t *testing.T, e *env) {
	w := e.world()
	wire := bench.NewWire(t, w.Addr)
	conn, err := through(t, w, wire, bench.M1, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx := cluster.Context(t)
	if _, err := conn.Login(ctx, client.Credentials{Tag: bench.Writer.Tag(), Password: bench.Password(bench.Writer)}); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetConfig(ctx, "a", map[string]string{"token": "c11ent-mark-secret"}, ""); err != nil {
		t.Fatal(err)
	}
	got, err := conn.Application(ctx, "a")
	if err != nil || !strings.Contains(fmt.Sprint(got), "c11ent-mark-secret") {
		t.Fatalf("configuration was not read back: %v", err)
	}
	up, down := wire.Recorded()
	for where, b := range map[string][]byte{"upwards": up, "downwards": down} {
		bench.NoLeak(t, "the wire, "+where, b, map[string][]byte{
			"the password": []byte(bench.Password(bench.Writer).Reveal()), "configuration": []byte("c11ent-mark-secret"),
			"other configuration": []byte(bench.MarkerConfig), "the user": []byte(`"auth-tag":"user-wr"`), "a method": []byte(`"request":"Login"`),
		})
	}
	if len(up) < 1000 || len(down) < 1000 {
		t.Errorf("recorded %d and %d bytes", len(up), len(down))
	}
}

// a trap is a false server: it records every byte of application data.
type trap struct {
	addr string
	mu   sync.Mutex
	got  bytes.Buffer
	n    int
}

func newTrap(t *testing.T, cfg *tls.Config) *trap {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tr := &trap{addr: l.Addr().String()}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { tr.hear(c, cfg) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return tr
}

func (tr *trap) hear(c net.Conn, cfg *tls.Config) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	tr.mu.Lock()
	tr.n++
	tr.mu.Unlock()
	if cfg != nil {
		c = tls.Server(c, cfg)
	} else {
		_, _ = c.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"))
	}
	b := make([]byte, 64<<10)
	for {
		n, err := c.Read(b)
		tr.mu.Lock()
		if cfg != nil || bytes.Contains(b[:n], []byte("GET ")) || bytes.Contains(b[:n], []byte("credentials")) {
			tr.got.Write(b[:n])
		}
		tr.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// silent fails if a client that was sent to the trap said anything there.
func (tr *trap) silent(t *testing.T, what string, dial error) {
	t.Helper()
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if dial == nil {
		t.Errorf("%s: the connection was accepted", what)
	}
	if tr.n == 0 {
		t.Errorf("%s: nothing was dialled", what)
	}
	if tr.got.Len() > 0 {
		t.Errorf("%s heard %d bytes: %.80q", what, tr.got.Len(), tr.got.Bytes())
	}
}

func dialTrap(t *testing.T, tr *trap, ca string, a *cluster.Agent) error {
	t.Helper()
	cfg := client.Config{Addresses: []string{tr.addr}, CACert: ca, Model: bench.M1, Version: "3.6.12", DialTimeout: 5 * time.Second}
	cred := client.Credentials{Tag: bench.Writer.Tag(), Password: bench.Password(bench.Writer)}
	if a != nil {
		cfg.Certificate = func() (*tls.Certificate, error) { return a.Certificate(t), nil }
		cred = client.Credentials{Tag: a.Tag, Password: a.Password, Nonce: a.Nonce}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	conn, err := client.Dial(ctx, cfg)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Login(ctx, cred)
	return err
}

func downgrade(t *testing.T, e *env) {
	w := e.world()
	good := must2(t)(must[pki.Issued](t)(authority(t, w).IssueServer(pki.ServerRequest{})).TLS())
	foreign := must[*pki.Authority](t)(pki.New(pki.Config{Controller: cluster.Controller, Now: time.Now}))
	own := must2(t)(must[pki.Issued](t)(foreign.IssueServer(pki.ServerRequest{})).TLS())
	for what, cfg := range map[string]*tls.Config{
		"plain text":        nil,
		"TLS 1.0":           {Certificates: []tls.Certificate{*good}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10},
		"TLS 1.1":           {Certificates: []tls.Certificate{*good}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11},
		"TLS 1.2 with CBC":  {Certificates: []tls.Certificate{*good}, MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256}},
		"TLS 1.2":           {Certificates: []tls.Certificate{*good}, MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12},
		"another authority": {Certificates: []tls.Certificate{*own}, MinVersion: tls.VersionTLS13},
	} {
		tr := newTrap(t, cfg)
		tr.silent(t, what, dialTrap(t, tr, w.CACert, nil))
	}
}

func impostor(t *testing.T, e *env) {
	w := e.world()
	a, other := w.Unit(t, bench.M1, "a/0"), w.Unit(t, bench.M1, "b/0")
	foreign := must[*pki.Authority](t)(pki.New(pki.Config{Controller: cluster.Controller, Now: time.Now}))
	own := must2(t)(must[pki.Issued](t)(foreign.IssueServer(pki.ServerRequest{})).TLS())
	past := must[*pki.Authority](t)(pki.Load(pki.Config{Controller: cluster.Controller, Now: func() time.Time { return time.Now().Add(-23 * time.Hour) }},
		[]byte(w.CACert), sealedKey(t, w, "ca")))
	expired := must2(t)(expire(t, past))
	for what, cert := range map[string]*tls.Certificate{
		"a controller with its own CA": own, "an expired certificate": expired,
		"the certificate of another agent": other.Certificate(t), "the agent's own certificate": a.Certificate(t),
		"a self-signed one": selfSigned(t, a),
	} {
		tr := newTrap(t, &tls.Config{Certificates: []tls.Certificate{*cert}, MinVersion: tls.VersionTLS13})
		tr.silent(t, what, dialTrap(t, tr, w.CACert, a))
	}
}

// expire makes a server's certificate of the real CA that ran out.
func expire(t *testing.T, ca *pki.Authority) (*tls.Certificate, error) {
	t.Helper()
	k, err := ca.Key().RevealPEM()
	if err != nil {
		return nil, err
	}
	return expiredServer(t, ca.CertPEM(), k, &x509.Certificate{
		SerialNumber: big.NewInt(9), DNSNames: []string{"juju-apiserver"}, NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
}

func removalOrders(t *testing.T, e *env) {
	w := e.world()
	ca := authority(t, w)
	foreign := must[*pki.Authority](t)(pki.New(pki.Config{Controller: cluster.Controller, Now: time.Now}))
	good := must[string](t)(ca.SignRemovalOrder(bench.M1, "0", "nonce-1"))
	want := pki.RemovalOrder{Controller: cluster.Controller, Model: bench.M1, Machine: "0", Nonce: "nonce-1"}
	if err := pki.VerifyRemovalOrder([]byte(w.CACert), good, want); err != nil {
		t.Fatalf("the honest order: %v", err)
	}
	evil := map[string]string{
		"nothing": "", "null": "null", "an empty object": "{}", "an error page": "<html>410 Gone</html>", "cut": good[:len(good)-4],
		"of another authority": must[string](t)(foreign.SignRemovalOrder(bench.M1, "0", "nonce-1")),
		"of another machine":   must[string](t)(ca.SignRemovalOrder(bench.M1, "1", "nonce-1")),
		"of another model":     must[string](t)(ca.SignRemovalOrder(bench.M2, "0", "nonce-1")),
		"of an earlier life":   must[string](t)(ca.SignRemovalOrder(bench.M1, "0", "nonce-0")),
	}
	for i := range len(good) {
		b := []byte(good)
		b[i] ^= 1
		evil[fmt.Sprintf("flipped at %d", i)] = string(b)
	}
	for what, order := range evil {
		if err := pki.VerifyRemovalOrder([]byte(w.CACert), order, want); err == nil {
			t.Errorf("an order that is %s was believed", what)
		}
	}
}

func suites(t *testing.T, e *env) {
	w := e.world()
	run := func(args ...string) string {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		cmd := exec.CommandContext(ctx, "openssl", append([]string{"s_client", "-connect", w.Addr, "-servername", "juju-apiserver"}, args...)...)
		cmd.Stdin = strings.NewReader("")
		out, _ := cmd.CombinedOutput() // it exits 1 on a refusal
		return string(out)
	}
	for _, args := range [][]string{{"-tls1_3"}, {"-tls1_2"}, {"-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384"}} {
		out := run(args...)
		if !strings.Contains(out, "AES_256_GCM_SHA384") && !strings.Contains(out, "AES256-GCM-SHA384") || strings.Contains(out, "Cipher is (NONE)") {
			t.Errorf("openssl %v: %s", args, tail(out))
		}
	}
	for _, args := range [][]string{
		{"-tls1", "-cipher", "ALL:@SECLEVEL=0"},
		{"-tls1_1", "-cipher", "ALL:@SECLEVEL=0"},
		{"-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"},
		{"-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"},
		{"-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"},
		{"-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"},
		{"-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-SHA384"},
		{"-tls1_2", "-cipher", "AES256-GCM-SHA384"},
	} {
		if out := run(args...); !strings.Contains(out, "Cipher is (NONE)") && !strings.Contains(out, "no protocols available") {
			t.Errorf("openssl %v got in: %s", args, tail(out))
		}
	}
	plain(t, w)
}

func tail(s string) string {
	if len(s) > 600 {
		return s[len(s)-600:]
	}
	return s
}

// plain speaks HTTP without TLS to the port.
func plain(t *testing.T, w *bench.World) {
	t.Helper()
	r, err := http.NewRequestWithContext(cluster.Context(t), http.MethodGet, "http://"+w.Addr+bench.Path(bench.M1), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Upgrade", "websocket")
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==")
	r.Header.Set("Sec-WebSocket-Version", "13")
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err == nil {
		defer resp.Body.Close()
		if resp.StatusCode == http.StatusSwitchingProtocols || resp.StatusCode == http.StatusOK {
			t.Errorf("plain text was answered with %s", resp.Status)
		}
	}
}

func frames(t *testing.T, e *env) {
	w := e.world()
	plain(t, w)
	ctx := cluster.Context(t)
	big := func(n int) []byte {
		b, _ := json.Marshal(map[string]any{"request-id": 1, "type": "Pinger", "version": 1, "request": "Ping", "params": map[string]string{"x": strings.Repeat("a", n)}})
		return b
	}
	agent := w.Unit(t, bench.M1, "a/0")
	_ = agent.Connect(t, w.Cluster).Close()
	before := map[string][]byte{
		"300 KiB before login": big(300 << 10), "no JSON": []byte("hello"), "no id": []byte(`{"type":"Pinger","version":1,"request":"Ping"}`),
		"deep nesting": []byte(`{"request-id":1,"type":"Admin","version":3,"request":"Login","params":` + strings.Repeat("[", 60_000) + strings.Repeat("]", 60_000) + `}`),
	}
	w.Unchanged(t, func() {
		for what, f := range before {
			closes(t, w.Raw(t, bench.M1, nil), what, f)
		}
		closes(t, w.AsUser(t, bench.Writer, bench.M1), "5 MiB of a user", big(5<<20))
		closes(t, w.AsAgent(t, agent), "17 MiB of an agent", big(17<<20))
		ok := w.AsUser(t, bench.Writer, bench.M1)
		if _, err := ok.Call(ctx, "Pinger", 1, "Ping", "", map[string]string{"x": strings.Repeat("a", 1<<20)}); err != nil {
			t.Errorf("an honest frame of 1 MiB: %v", err)
		}
	})
}

// closes sends a frame: the connection must end, or answer with a refusal and
// nothing else.
func closes(t *testing.T, r *bench.Raw, what string, frame []byte) {
	t.Helper()
	defer r.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := r.Send(ctx, frame); err != nil {
		return
	}
	got, err := r.Receive(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%s: no answer and no end", what)
	}
	if err == nil && !bytes.Contains(got, []byte(`"error"`)) {
		t.Errorf("%s was answered: %.200s", what, got)
	}
}
