package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/names"
)

const (
	ctl   = names.ControllerID("6e3b6a57-26c4-4f3b-8f02-0a6c0f4d9b11")
	model = names.Model("4c0b6a57-26c4-4f3b-8f02-0a6c0f4d9b12")
)

var epoch = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func testCA(t testing.TB, kind KeyKind) *Authority {
	t.Helper()
	a, err := New(Config{Controller: ctl, Kind: kind, Now: func() time.Time { return epoch }})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func parseChain(t testing.TB, chain []byte) []*x509.Certificate {
	t.Helper()
	var out []*x509.Certificate
	for {
		b, rest := pem.Decode(chain)
		if b == nil {
			return out
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		out, chain = append(out, c), rest
	}
}

func issueAgent(t testing.TB, a *Authority, g Agent) ([]*x509.Certificate, Key) {
	t.Helper()
	k, err := NewKey(ECDSAP384)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := NewCSR(k)
	if err != nil {
		t.Fatal(err)
	}
	chain, _, err := a.IssueAgent(csr, g, 0)
	if err != nil {
		t.Fatal(err)
	}
	return parseChain(t, chain), k
}

// privateBytes returns what must never be seen of a key, in raw form.
func privateBytes(t *testing.T, k Key) [][]byte {
	t.Helper()
	switch s := k.signer.(type) {
	case *ecdsa.PrivateKey:
		d, err := s.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		return [][]byte{d}
	case *rsa.PrivateKey:
		return [][]byte{s.D.Bytes(), s.Primes[0].Bytes(), s.Primes[1].Bytes()}
	}
	t.Fatalf("unexpected key %T", k.signer)
	return nil
}

// TestNoCertificateHoldsAKey parses everything that can be issued and looks
// for private key bytes in it, raw and in base64.
func TestNoCertificateHoldsAKey(t *testing.T) {
	for _, kind := range []KeyKind{ECDSAP384, RSA4096} {
		a := testCA(t, kind)
		srv, err := a.IssueServer(ServerRequest{Kind: kind, Names: []string{"ctl.example.com"}, IPs: []netip.Addr{netip.MustParseAddr("10.0.0.5")}})
		if err != nil {
			t.Fatal(err)
		}
		agent, agentKey := issueAgent(t, a, Agent{model, names.Machine("0").Tag()})
		order, err := a.SignRemovalOrder(model, "0", "nonce")
		if err != nil {
			t.Fatal(err)
		}
		texts := [][]byte{a.CertPEM(), srv.ChainPEM, []byte(order)}
		for _, c := range append(append(parseChain(t, a.CertPEM()), parseChain(t, srv.ChainPEM)...), agent...) {
			texts = append(texts, c.Raw)
		}
		keys := append(append(privateBytes(t, a.Key()), privateBytes(t, srv.Key)...), privateBytes(t, agentKey)...)
		for _, text := range texts {
			if bytes.Contains(text, []byte("PRIVATE KEY")) {
				t.Error("a private key block is among what is issued")
			}
			for _, k := range keys {
				if len(k) < 32 {
					t.Fatalf("a key of %d bytes was found", len(k))
				}
				if bytes.Contains(text, k) {
					t.Error("private key bytes are in a certificate")
				}
			}
		}
	}
}

func TestKeyDoesNotPrint(t *testing.T) {
	k := testCA(t, ECDSAP384).Key()
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "key", k, "ca", struct{ K Key }{k})
	text := log.String() + fmt.Sprintf("%v %+v %#v %s %d %x %q", k, k, k, k, k, k, k) + fmt.Sprintf("%+v", struct{ K Key }{k})
	secret := k.signer.(*ecdsa.PrivateKey)
	d, err := secret.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(text, fmt.Sprintf("%x", d)) || strings.Contains(text, strings.Trim(fmt.Sprint(d[:8]), "[]")) {
		t.Errorf("the key prints: %s", text)
	}
	if _, err := json.Marshal(map[string]any{"k": k}); err == nil {
		t.Error("the key marshals")
	}
}

func TestServerCertificate(t *testing.T) {
	a := testCA(t, ECDSAP384)
	srv, err := a.IssueServer(ServerRequest{Names: []string{"ctl.example.com"}, IPs: []netip.Addr{netip.MustParseAddr("10.0.0.5")}})
	if err != nil {
		t.Fatal(err)
	}
	chain := parseChain(t, srv.ChainPEM)
	if len(chain) != 2 || !chain[1].IsCA {
		t.Fatal("the chain does not carry the authority, which clients look for")
	}
	leaf := chain[0]
	pool, err := Pin(a.CertPEM())
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"juju-apiserver", "juju-mongodb", "anything", "localhost", "ctl.example.com", "10.0.0.5"} {
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: n, CurrentTime: epoch}); err != nil {
			t.Errorf("%s: %v", n, err)
		}
	}
	if leaf.IsCA || leaf.NotAfter.Sub(leaf.NotBefore) > MaxLeafLife {
		t.Errorf("leaf is a CA (%v) or lives %s", leaf.IsCA, leaf.NotAfter.Sub(leaf.NotBefore))
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: epoch, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err == nil {
		t.Error("a server's certificate passes as a client's")
	}
	other := testCA(t, ECDSAP384)
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: other.Pool(), DNSName: ServerName, CurrentTime: epoch}); err == nil {
		t.Error("another authority's pin accepts it")
	}
	if _, err := srv.TLS(); err != nil {
		t.Error(err)
	}
	if _, err := Pin(srv.ChainPEM); err == nil {
		t.Error("a leaf can be pinned as an authority")
	}
}

func TestAgentRoundTrip(t *testing.T) {
	a := testCA(t, ECDSAP384)
	for _, tag := range []names.Tag{names.Machine("0").Tag(), names.Machine("0/lxd/1").Tag(), names.Unit("my-app/12").Tag()} {
		want := Agent{model, tag}
		chain, _ := issueAgent(t, a, want)
		id, err := a.VerifyAgent(chain, epoch, 0)
		if err != nil {
			t.Fatal(err)
		}
		if id.Agent != want || id.Expired || id.KeyHash != Fingerprint(chain[0]) {
			t.Errorf("identity %+v, want %+v", id, want)
		}
		leaf := chain[0]
		if leaf.IsCA || leaf.NotAfter.Sub(leaf.NotBefore) > MaxLeafLife || leaf.Subject.CommonName != tag.String() {
			t.Errorf("leaf %+v", leaf.Subject)
		}
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: a.Pool(), CurrentTime: epoch}); err == nil {
			t.Error("an agent's certificate passes as a server's")
		}
	}
}

func TestVerifyAgentRefuses(t *testing.T) {
	a, other := testCA(t, ECDSAP384), testCA(t, ECDSAP384)
	g := Agent{model, names.Machine("0").Tag()}
	chain, _ := issueAgent(t, a, g)
	foreign, _ := issueAgent(t, other, g)
	srv, err := a.IssueServer(ServerRequest{})
	if err != nil {
		t.Fatal(err)
	}
	month := 30 * 24 * time.Hour
	for name, c := range map[string]struct {
		chain []*x509.Certificate
		now   time.Time
		grace time.Duration
		ok    bool
	}{
		"none":                 {nil, epoch, 0, false},
		"fresh":                {chain, epoch, 0, true},
		"expired":              {chain, epoch.Add(25 * time.Hour), 0, false},
		"expired but renewing": {chain, epoch.Add(25 * time.Hour), month, true},
		"expired too long":     {chain, epoch.Add(40 * 24 * time.Hour), month, false},
		"not yet valid":        {chain, epoch.Add(-time.Hour), month, false},
		"other authority":      {append(foreign, chain...), epoch, 0, false},
		"a server":             {parseChain(t, srv.ChainPEM), epoch, 0, false},
		"the authority":        {parseChain(t, a.CertPEM()), epoch, 0, false},
	} {
		id, err := a.VerifyAgent(c.chain, c.now, c.grace)
		if (err == nil) != c.ok {
			t.Errorf("%s: error %v", name, err)
		}
		if c.ok && id.Expired != (c.grace > 0) {
			t.Errorf("%s: expired is %v", name, id.Expired)
		}
		if !c.ok && id != (Identity{}) {
			t.Errorf("%s: identity %+v beside an error", name, id)
		}
	}
}

// TestForgedIdentity signs, with the authority's own key, leaves that the
// package would not issue, and wants them refused all the same.
func TestForgedIdentity(t *testing.T) {
	a := testCA(t, ECDSAP384)
	k, err := NewKey(ECDSAP384)
	if err != nil {
		t.Fatal(err)
	}
	uri := func(s string) []*url.URL {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return []*url.URL{u}
	}
	good := "scarab://" + string(ctl) + "/model/" + string(model) + "/machine-0"
	client := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	for name, tmpl := range map[string]x509.Certificate{
		"two identities":   {URIs: append(uri(good), uri(strings.Replace(good, "-0", "-1", 1))...), ExtKeyUsage: client},
		"other controller": {URIs: uri("scarab://" + string(model) + "/model/" + string(model) + "/machine-0"), ExtKeyUsage: client},
		"longer path":      {URIs: uri(good + "/x"), ExtKeyUsage: client},
		"query":            {URIs: uri(good + "?a=b"), ExtKeyUsage: client},
		"a user":           {URIs: uri(strings.Replace(good, "machine-0", "user-admin", 1)), ExtKeyUsage: client},
		"a DNS name too":   {URIs: uri(good), DNSNames: []string{"x"}, ExtKeyUsage: client},
		"server use too":   {URIs: uri(good), ExtKeyUsage: append(client, x509.ExtKeyUsageServerAuth)},
		"none":             {Subject: pkix.Name{CommonName: "machine-0"}, ExtKeyUsage: client},
	} {
		chain, _, err := a.sign(&tmpl, k.Public(), 0)
		if err != nil {
			t.Fatal(err)
		}
		if id, err := a.VerifyAgent(parseChain(t, chain), epoch, 0); err == nil {
			t.Errorf("%s: accepted as %+v", name, id)
		}
	}
}

func csrOf(t testing.TB, tmpl *x509.CertificateRequest, s crypto.Signer) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, tmpl, s)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

// spoil changes one letter near the end of a PEM block, within its signature.
func spoil(text []byte) []byte {
	out := bytes.Clone(text)
	i := bytes.LastIndex(out, []byte("\n-----END")) - 8
	if out[i] == 'A' {
		out[i] = 'B'
	} else {
		out[i] = 'A'
	}
	return out
}

func TestCSRRules(t *testing.T) {
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	small, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	caTrue, err := asn1.Marshal(struct{ IsCA bool }{true})
	if err != nil {
		t.Fatal(err)
	}
	plain := csrOf(t, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "user-admin"}}, p256)
	broken := spoil(plain)
	for name, c := range map[string]struct {
		csr  []byte
		want string // of the error; empty if accepted
	}{
		"P-256":       {plain, ""},
		"Ed25519":     {csrOf(t, &x509.CertificateRequest{}, ed), ""},
		"P-521":       {csrOf(t, &x509.CertificateRequest{}, p521), "curve"},
		"small RSA":   {csrOf(t, &x509.CertificateRequest{}, small), "2048 bits"},
		"SAN":         {csrOf(t, &x509.CertificateRequest{DNSNames: []string{ServerName}}, p256), "names or extensions"},
		"CA":          {csrOf(t, &x509.CertificateRequest{ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Critical: true, Value: caTrue}}}, p256), "names or extensions"},
		"signature":   {broken, "cannot accept"},
		"two":         {append(bytes.Clone(plain), plain...), "follows"},
		"large":       {append(bytes.Clone(plain), bytes.Repeat([]byte{'\n'}, MaxPEM)...), "more than"},
		"certificate": {testCA(t, ECDSAP384).CertPEM(), "CERTIFICATE"},
		"empty":       {nil, "no PEM"},
	} {
		_, _, err := ParseCSR(c.csr)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
	// The subject of a request does not reach the certificate.
	chain, _, err := testCA(t, ECDSAP384).IssueAgent(plain, Agent{model, names.Machine("7").Tag()}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if cn := parseChain(t, chain)[0].Subject.CommonName; cn != "machine-7" {
		t.Errorf("common name %q", cn)
	}
}

func TestIssueAgentRefusesOthers(t *testing.T) {
	a := testCA(t, ECDSAP384)
	k, err := NewKey(ECDSAP384)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := NewCSR(k)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range []Agent{
		{model, names.User("admin").Tag()},
		{model, names.Tag{}},
		{"not-a-uuid", names.Machine("0").Tag()},
		{model, names.Tag{Kind: names.KindMachine, ID: "0/../../x"}},
	} {
		if _, _, err := a.IssueAgent(csr, g, 0); err == nil {
			t.Errorf("issued for %+v", g)
		}
	}
}

func TestLoad(t *testing.T) {
	a := testCA(t, ECDSAP384)
	key, err := a.Key().RevealPEM()
	if err != nil {
		t.Fatal(err)
	}
	b, err := Load(a.cfg, a.CertPEM(), key)
	if err != nil {
		t.Fatal(err)
	}
	chain, _ := issueAgent(t, b, Agent{model, names.Machine("0").Tag()})
	if _, err := a.VerifyAgent(chain, epoch, 0); err != nil {
		t.Error(err)
	}
	if _, err := Load(a.cfg, testCA(t, ECDSAP384).CertPEM(), key); err == nil {
		t.Error("a foreign certificate and key were joined")
	}
}

func TestRemovalOrder(t *testing.T) {
	for _, kind := range []KeyKind{ECDSAP384, RSA4096} {
		a, other := testCA(t, kind), testCA(t, ECDSAP384)
		order, err := a.SignRemovalOrder(model, "3", "nonce-1")
		if err != nil {
			t.Fatal(err)
		}
		want := RemovalOrder{Controller: ctl, Model: model, Machine: "3", Nonce: "nonce-1"}
		if err := VerifyRemovalOrder(a.CertPEM(), order, want); err != nil {
			t.Fatal(err)
		}
		changed := func(f func(*RemovalOrder)) RemovalOrder { w := want; f(&w); return w }
		for name, c := range map[string]struct {
			ca    []byte
			order string
			want  RemovalOrder
		}{
			"other authority": {other.CertPEM(), order, want},
			"other machine":   {a.CertPEM(), order, changed(func(r *RemovalOrder) { r.Machine = "4" })},
			"other instance":  {a.CertPEM(), order, changed(func(r *RemovalOrder) { r.Nonce = "nonce-2" })},
			"other model":     {a.CertPEM(), order, changed(func(r *RemovalOrder) { r.Model = names.Model(ctl) })},
			"empty":           {a.CertPEM(), "", want},
			"no signature":    {a.CertPEM(), order[:strings.IndexByte(order, '.')+1], want},
			"altered":         {a.CertPEM(), "A" + order[1:], want},
			"nobody":          {a.CertPEM(), order, RemovalOrder{}},
		} {
			if err := VerifyRemovalOrder(c.ca, c.order, c.want); err == nil {
				t.Errorf("%s: accepted", name)
			}
		}
	}
}

func FuzzCSR(f *testing.F) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(csrOf(f, &x509.CertificateRequest{}, k))
	f.Add(csrOf(f, &x509.CertificateRequest{DNSNames: []string{"x"}}, k))
	f.Add([]byte("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"))
	a := testCA(f, ECDSAP384)
	g := Agent{model, names.Machine("0").Tag()}
	f.Fuzz(func(t *testing.T, csr []byte) {
		chain, _, err := a.IssueAgent(csr, g, 0)
		if err != nil {
			return
		}
		id, err := a.VerifyAgent(parseChain(t, chain), epoch, 0)
		if err != nil || id.Agent != g {
			t.Fatalf("issued %+v, %v", id, err)
		}
	})
}
