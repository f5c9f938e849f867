package threats_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net/url"
	"testing"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/scarab-ops/scarab/pki"
	"github.com/scarab-ops/scarab/tests/cluster"
	"github.com/scarab-ops/scarab/tests/threats/bench"
)

func tlsOf(t *testing.T, chain []byte, key pki.Key) *tls.Certificate {
	t.Helper()
	return must[*tls.Certificate](t)(pki.TLSCertificate(chain, key))
}

// must2 is must for certificates.
func must2(t *testing.T) func(*tls.Certificate, error) *tls.Certificate {
	return must[*tls.Certificate](t)
}

// serverCertificate is what the controller shows.
func serverCertificate(t *testing.T, w *bench.World) *x509.Certificate {
	t.Helper()
	conn, err := tls.Dial("tcp", w.Addr, w.TLS(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0]
}

func signer(t *testing.T, a *cluster.Agent) crypto.Signer {
	t.Helper()
	b, _ := pem.Decode(must[[]byte](t)(a.Key.RevealPEM()))
	return must[any](t)(x509.ParsePKCS8PrivateKey(b.Bytes)).(crypto.Signer)
}

func likeAgents(t *testing.T, a *cluster.Agent) *x509.Certificate {
	t.Helper()
	u, err := url.Parse("scarab://" + string(cluster.Controller) + "/model/" + string(a.Model) + "/" + a.Tag.String())
	if err != nil {
		t.Fatal(err)
	}
	return &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: a.Tag.String()}, URIs: []*url.URL{u},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
}

// selfSigned is a certificate of the right name and key, signed by that key.
func selfSigned(t *testing.T, a *cluster.Agent) *tls.Certificate {
	t.Helper()
	k, tmpl := signer(t, a), likeAgents(t, a)
	der := must[[]byte](t)(x509.CreateCertificate(rand.Reader, tmpl, tmpl, k.Public(), k))
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: k}
}

// signedBy is a certificate for a, signed by another agent as if it were an
// authority; its chain leads up to the real one.
func signedBy(t *testing.T, a, by *cluster.Agent) *tls.Certificate {
	t.Helper()
	chain := parseChain(t, by.Chain)
	der := must[[]byte](t)(x509.CreateCertificate(rand.Reader, likeAgents(t, a), chain[0], signer(t, a).Public(), signer(t, by)))
	out := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: signer(t, a)}
	for _, c := range chain {
		out.Certificate = append(out.Certificate, c.Raw)
	}
	return out
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// oldHash is a person's hash of an earlier, cheaper policy.
func oldHash(pw string) string {
	salt := []byte("0123456789abcdef")
	key := argon2.IDKey([]byte(pw), salt, 1, 8<<10, 1, 32)
	b := base64.RawStdEncoding.EncodeToString
	return "$argon2id$t=1,m=8192,p=1$" + b(salt) + "$" + b(key)
}

// expiredServer signs a server's certificate with the CA's own key.
func expiredServer(t *testing.T, caPEM, keyPEM []byte, tmpl *x509.Certificate) (*tls.Certificate, error) {
	t.Helper()
	b, _ := pem.Decode(keyPEM)
	k, err := x509.ParsePKCS8PrivateKey(b.Bytes)
	if err != nil {
		return nil, err
	}
	leafKey := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	ca := parseChain(t, caPEM)[0]
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca, leafKey.Public(), k)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der, ca.Raw}, PrivateKey: leafKey}, nil
}
