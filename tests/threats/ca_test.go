package threats_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/client"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/pki"
	"github.com/scarab-ops/scarab/tests/cluster"
	"github.com/scarab-ops/scarab/tests/threats/bench"
)

func caParts() []part {
	return []part{
		{"A-CA-C", "api", "as superuser every reading method, every log and every certificate: no byte of the CA's key", caKeyOverAPI},
		{"A-CA-C", "disk", "every file but the unseal key: no byte of any private key", caKeyOnDisk},
		{"A-CA-I", "csr", "requests with names, CA:TRUE, server use, weak or wrong keys are refused; what is issued names only the caller", evilRequests},
		{"A-CA-I", "foreign", "certificates of an unknown authority, of a server, or signed by an agent are refused", foreignCertificates},
	}
}

func parseChain(t *testing.T, chain []byte) []*x509.Certificate {
	t.Helper()
	var out []*x509.Certificate
	for len(chain) > 0 {
		var b *pem.Block
		if b, chain = pem.Decode(chain); b == nil {
			break
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		t.Fatal("no certificate")
	}
	return out
}

// keyMarkers are the forms of a private key that must be found nowhere.
func keyMarkers(t *testing.T, name string, keyPEM []byte) map[string][]byte {
	t.Helper()
	der := keyPEM
	if b, _ := pem.Decode(keyPEM); b != nil {
		der = b.Bytes
	}
	out := map[string][]byte{name + " DER": der}
	any, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		any, err = x509.ParseECPrivateKey(der)
	}
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	k, ok := any.(*ecdsa.PrivateKey)
	if !ok {
		t.Fatalf("%s is a %T", name, any)
	}
	scalar, err := k.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	out[name+" scalar"] = scalar
	if b, _ := pem.Decode(keyPEM); b != nil {
		body := bytes.Split(keyPEM, []byte("\n"))[1]
		out[name+" PEM"] = body
	}
	return out
}

func caKeyOverAPI(t *testing.T, e *env) {
	w := e.world()
	markers := keyMarkers(t, "the CA's key", sealedKey(t, w, "ca"))
	for k, v := range keyMarkers(t, "the audit key", sealedKey(t, w, "audit")) {
		markers[k] = v
	}
	markers["the blob key"] = sealedKey(t, w, "blob")
	calls := 0
	for _, m := range []names.Model{"", cluster.AdminModel, bench.M1} {
		conn := w.AsUser(t, cluster.Admin, m)
		for _, ep := range w.Server.Table().Endpoints() {
			if ep.Rule.Class.String() != "read" || ep.Method == "Next" {
				continue
			}
			for _, args := range []any{map[string]any{}, kitchenSink("model-"+string(cluster.AdminModel), 0)[1]} {
				if m == bench.M1 && !long {
					continue
				}
				reply, err := conn.Call(cluster.Context(t), ep.Facade, ep.Version, ep.Method, "", args)
				calls++
				bench.NoLeak(t, ep.Facade+"."+ep.Method, reply, markers)
				if err != nil && isClosed(err) {
					conn = w.AsUser(t, cluster.Admin, m)
				}
			}
		}
	}
	if calls < 10 {
		t.Errorf("only %d methods were asked", calls)
	}
	bench.NoLeak(t, "the log", w.Log.Bytes(), markers)
	for _, a := range []*cluster.Agent{w.Machine(t, bench.M1, "0"), w.Unit(t, bench.M1, "a/0")} {
		bench.NoLeak(t, "a chain", a.Chain, markers)
		for _, c := range parseChain(t, a.Chain) {
			bench.NoLeak(t, "a certificate", c.Raw, markers)
		}
	}
	server := serverCertificate(t, w)
	bench.NoLeak(t, "the server's certificate", server.Raw, markers)
}

func caKeyOnDisk(t *testing.T, _ *env) {
	w := bench.New(t, bench.Options{})
	agent := w.Unit(t, bench.M1, "a/0")
	markers := keyMarkers(t, "the CA's key", sealedKey(t, w, "ca"))
	for k, v := range keyMarkers(t, "the audit key", sealedKey(t, w, "audit")) {
		markers[k] = v
	}
	markers["the blob key"] = sealedKey(t, w, "blob")
	own, err := agent.Key.RevealPEM()
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range keyMarkers(t, "an agent's key", own) {
		markers[k] = v
	}
	w.Halt(t)
	bench.NoLeakOnDisk(t, w.Dir, markers)
	bench.NoLeakOnDisk(t, w.Dir, map[string][]byte{"a private key in PEM": []byte("PRIVATE KEY-----")})
}

func request(t *testing.T, tmpl *x509.CertificateRequest, key any) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, tmpl, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func evilRequests(t *testing.T, e *env) {
	w := e.world()
	conn := w.AsAgent(t, w.Unit(t, bench.M1, "a/0"))
	key := signer(t, w.Unit(t, bench.M1, "a/0")) // its own, which alone may be renewed
	stranger := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	small := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))
	weak := must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 1024))
	caTrue := must[[]byte](t)(asn1.Marshal(struct{ CA bool }{true}))
	usage := must[[]byte](t)(asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 1}}))
	other := must[*url.URL](t)(url.Parse("scarab://" + string(cluster.Controller) + "/model/" + string(bench.M1) + "/unit-b-0"))
	good := request(t, &x509.CertificateRequest{}, key)
	broken := bytes.Clone(good)
	broken[len(broken)/2] ^= 1
	many := make([]string, 5000)
	for i := range many {
		many[i] = fmt.Sprintf("h%d.example.com", i)
	}
	evil := map[string][]byte{
		"another's URI":       request(t, &x509.CertificateRequest{URIs: []*url.URL{other}}, key),
		"a server's name":     request(t, &x509.CertificateRequest{DNSNames: []string{"juju-apiserver"}}, key),
		"a wildcard":          request(t, &x509.CertificateRequest{DNSNames: []string{"*"}}, key),
		"an address":          request(t, &x509.CertificateRequest{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}, key),
		"five thousand names": request(t, &x509.CertificateRequest{DNSNames: many}, key),
		"CA:TRUE":             request(t, &x509.CertificateRequest{ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Critical: true, Value: caTrue}}}, key),
		"server use":          request(t, &x509.CertificateRequest{ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Value: usage}}}, key),
		"P-224":               request(t, &x509.CertificateRequest{}, small),
		"RSA 1024":            request(t, &x509.CertificateRequest{}, weak),
		"a broken signature":  broken,
		"two requests":        append(bytes.Clone(good), good...),
		"a certificate":       []byte(w.CACert),
		"nothing":             nil,
		"another key":         request(t, &x509.CertificateRequest{}, stranger),
	}
	w.Unchanged(t, func() {
		for what, csr := range evil {
			_, err := conn.Call(cluster.Context(t), "Enrolment", 1, "Renew", "", map[string]string{"csr": string(csr)})
			if err == nil {
				t.Errorf("a request with %s was signed", what)
			}
			if err != nil && isClosed(err) {
				t.Fatalf("a request with %s ended the connection: %v", what, err)
			}
		}
	})
	subjectIgnored(t, w)
}

// subjectIgnored asks for another's subject: what comes back is the caller's.
func subjectIgnored(t *testing.T, w *bench.World) {
	t.Helper()
	a := w.Unit(t, bench.M1, "a/0")
	own := must[[]byte](t)(a.Key.RevealPEM())
	block, _ := pem.Decode(own)
	key := must[any](t)(x509.ParsePKCS8PrivateKey(block.Bytes))
	csr := request(t, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "unit-b-0", Organization: []string{"root"}}}, key)
	res, err := a.Connect(t, w.Cluster).Renew(cluster.Context(t), csr)
	if err != nil {
		t.Fatal(err)
	}
	c := leaf(t, []byte(res.Certificate))
	if c.Subject.CommonName != "unit-a-0" || len(c.Subject.Organization) > 0 || len(c.URIs) != 1 || c.IsCA ||
		time.Until(c.NotAfter) > 24*time.Hour+time.Minute {
		t.Errorf("issued %v %v until %v", c.Subject, c.URIs, c.NotAfter)
	}
}

func foreignCertificates(t *testing.T, e *env) {
	w := e.world()
	a := w.Unit(t, bench.M1, "a/0")
	foreign := must[*pki.Authority](t)(pki.New(pki.Config{Controller: cluster.Controller, Now: time.Now}))
	csr := must[[]byte](t)(pki.NewCSR(a.Key))
	chain, _, err := foreign.IssueAgent(csr, pki.Agent{Model: a.Model, Tag: a.Tag}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	self := selfSigned(t, a)
	byAgent := signedBy(t, a, w.Unit(t, bench.M1, "b/0"))
	issued := must[pki.Issued](t)(authority(t, w).IssueServer(pki.ServerRequest{}))
	w.Unchanged(t, func() {
		wantRefused(t, "another authority", tryLogin(t, w, a.Model, tlsOf(t, chain, a.Key), a.Tag, a.Password, ""))
		wantRefused(t, "a server's certificate", tryLogin(t, w, a.Model, must2(t)(issued.TLS()), a.Tag, a.Password, ""))
		wantRefused(t, "a certificate signed by itself", tryLogin(t, w, a.Model, self, a.Tag, a.Password, ""))
		wantRefused(t, "a certificate signed by an agent", tryLogin(t, w, a.Model, byAgent, a.Tag, a.Password, ""))
		wantRefused(t, "a person with an agent's certificate", tryLogin(t, w, a.Model, a.Certificate(t), bench.Writer.Tag(), client.NewSecret("x"), ""))
	})
}
