package pki

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/scarab-ops/scarab/names"
)

// Agent names an agent: a machine or a unit of a model.
type Agent struct {
	Model names.Model
	Tag   names.Tag
}

// Identity is what a verified certificate says.
type Identity struct {
	Agent
	// KeyHash is the SHA-256 of the public key. Renewal demands the same key.
	KeyHash  [32]byte
	NotAfter time.Time
	// Expired is true if the certificate ran out within the time allowed. Such
	// an identity is good for renewal only.
	Expired bool
}

func (g Agent) check() error {
	if !names.ValidUUID(string(g.Model)) {
		return fmt.Errorf("%q is no model UUID", string(g.Model))
	}
	if g.Tag.Kind != names.KindMachine && g.Tag.Kind != names.KindUnit {
		return fmt.Errorf("%q is neither a machine nor a unit", g.Tag)
	}
	if back, err := names.ParseTag(g.Tag.String()); err != nil || back != g.Tag {
		return fmt.Errorf("%q is no tag", g.Tag)
	}
	return nil
}

func (g Agent) uri(c names.ControllerID) *url.URL {
	return &url.URL{Scheme: "scarab", Host: string(c), Path: "/model/" + string(g.Model) + "/" + g.Tag.String()}
}

// NewCSR makes a signing request for k. It names nobody: the authority
// decides who the caller is.
func NewCSR(k Key) ([]byte, error) {
	if k.signer == nil {
		return nil, errors.New("cannot make signing request: there is no key")
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, k.signer)
	if err != nil {
		return nil, fmt.Errorf("cannot make signing request: %v", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), nil
}

// ParseCSR reads a signing request and refuses one that asks for anything but
// a certificate for its key: names, extensions, other uses. The subject is
// ignored. The returned hash is that of the public key.
func ParseCSR(csrPEM []byte) (pub any, keyHash [32]byte, err error) {
	r, err := readCSR(csrPEM)
	if err != nil {
		return nil, keyHash, fmt.Errorf("cannot accept signing request: %v", err)
	}
	return r.PublicKey, Fingerprint(&x509.Certificate{RawSubjectPublicKeyInfo: r.RawSubjectPublicKeyInfo}), nil
}

func readCSR(csrPEM []byte) (*x509.CertificateRequest, error) {
	der, err := onePEM(csrPEM, "CERTIFICATE REQUEST")
	if err != nil {
		return nil, err
	}
	r, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, errors.New("it cannot be parsed")
	}
	// The key is judged before its signature: checking costs by its size.
	if err := checkPublic(r.PublicKey); err != nil {
		return nil, err
	}
	switch r.SignatureAlgorithm {
	case x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512, x509.PureEd25519,
		x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA,
		x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS:
	default:
		return nil, fmt.Errorf("signature algorithm %s is not accepted", r.SignatureAlgorithm)
	}
	if err := r.CheckSignature(); err != nil {
		return nil, errors.New("it is not signed by its own key")
	}
	if len(r.Extensions) > 0 || len(r.DNSNames)+len(r.IPAddresses)+len(r.EmailAddresses)+len(r.URIs) > 0 {
		return nil, errors.New("it asks for names or extensions; send the key alone")
	}
	return r, nil
}

// IssueAgent certifies the key of a signing request for the agent g, who the
// caller has proved to be. The chain has the leaf first, then the authority.
func (a *Authority) IssueAgent(csrPEM []byte, g Agent, life time.Duration) (chainPEM []byte, notAfter time.Time, err error) {
	if err := g.check(); err != nil {
		return nil, time.Time{}, fmt.Errorf("cannot issue agent certificate: %v", err)
	}
	pub, _, err := ParseCSR(csrPEM)
	if err != nil {
		return nil, time.Time{}, err
	}
	cn := g.Tag.String()
	if len(cn) > 64 { // the limit of X.520; the URI holds all of it
		cn = cn[:64]
	}
	return a.sign(&x509.Certificate{
		Subject:     pkix.Name{CommonName: cn},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		URIs:        []*url.URL{g.uri(a.cfg.Controller)},
	}, pub, life)
}

// VerifyAgent says whose certificate chain[0] is. Only this authority's
// signature counts; whatever else the peer sent is not looked at. A
// certificate that ran out no longer ago than allowExpiredFor is accepted and
// marked. Nothing of the certificate is used before its signature is checked.
func (a *Authority) VerifyAgent(chain []*x509.Certificate, now time.Time, allowExpiredFor time.Duration) (Identity, error) {
	if len(chain) == 0 {
		return Identity{}, errors.New("cannot verify agent: it showed no certificate")
	}
	leaf := chain[0]
	if err := leaf.CheckSignatureFrom(a.cert); err != nil {
		return Identity{}, errors.New("cannot verify agent: its certificate is not of this controller")
	}
	at, expired := now, false
	if now.After(leaf.NotAfter) {
		if allowExpiredFor <= 0 || now.Sub(leaf.NotAfter) > allowExpiredFor {
			return Identity{}, fmt.Errorf("cannot verify agent: its certificate expired at %s", leaf.NotAfter.UTC().Format(time.RFC3339))
		}
		at, expired = leaf.NotAfter, true
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: a.Pool(), CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		return Identity{}, fmt.Errorf("cannot verify agent: %v", err)
	}
	g, err := a.identity(leaf)
	if err != nil {
		return Identity{}, fmt.Errorf("cannot verify agent: %v", err)
	}
	return Identity{Agent: g, KeyHash: Fingerprint(leaf), NotAfter: leaf.NotAfter, Expired: expired}, nil
}

// identity reads the one URI that IssueAgent wrote. It is compared as a whole
// with the one that the parts give, so that no spelling can say two things.
func (a *Authority) identity(leaf *x509.Certificate) (Agent, error) {
	if leaf.IsCA || len(leaf.URIs) != 1 || len(leaf.DNSNames)+len(leaf.IPAddresses)+len(leaf.EmailAddresses) > 0 ||
		len(leaf.ExtKeyUsage) != 1 || leaf.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth {
		return Agent{}, errors.New("it is not an agent's certificate")
	}
	u := leaf.URIs[0].String()
	prefix := "scarab://" + string(a.cfg.Controller) + "/model/"
	const uuidLen = 36
	if len(u) <= len(prefix)+uuidLen+1 || u[:len(prefix)] != prefix {
		return Agent{}, errors.New("it names no agent of this controller")
	}
	tag, err := names.ParseTag(u[len(prefix)+uuidLen+1:])
	if err != nil {
		return Agent{}, err
	}
	g := Agent{names.Model(u[len(prefix) : len(prefix)+uuidLen]), tag}
	if err := g.check(); err != nil {
		return Agent{}, err
	}
	if g.uri(a.cfg.Controller).String() != u {
		return Agent{}, errors.New("it names no agent of this controller")
	}
	return g, nil
}
