package threats_test

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/url"
	"testing"
	"time"

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
