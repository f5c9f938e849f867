// Package pki owns the certificates of one controller: its authority, the
// certificates of servers and agents, and signed orders to agents.
//
// The authority signs two things only. Certificates of servers carry the
// names that clients check and serve nothing but servers. Certificates of
// agents carry one identity, that of the caller, and authenticate nothing but
// clients; a signing request contributes its public key and nothing else, and
// one that asks for more is refused. No certificate lives longer than a day,
// and none can sign.
//
// It refuses to hold passwords, to store anything and to say who may ask:
// callers have been authenticated before they get here. Private keys are of a
// type that does not print.
package pki

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/scarab-ops/scarab/names"
)

const (
	// MaxPEM bounds every PEM text this package reads.
	MaxPEM = 16 << 10
	// MaxLeafLife bounds the life of every certificate but the authority's.
	MaxLeafLife = 24 * time.Hour
	// ServerName is the name that clients verify, whatever they dial.
	ServerName = "juju-apiserver"

	caLife   = 10 * 365 * 24 * time.Hour
	backdate = 5 * time.Minute // clocks of agents differ
	maxNames = 64
)

// Config tells whose authority this is.
type Config struct {
	Controller names.ControllerID
	// Kind of the authority's key; the zero value is ECDSA P-384.
	Kind KeyKind
	// Now is the clock.
	Now func() time.Time
}

// Authority issues and verifies the certificates of one controller.
type Authority struct {
	cfg  Config
	cert *x509.Certificate
	key  Key
}

// New makes an authority with a fresh key.
func New(cfg Config) (*Authority, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	key, err := NewKey(cfg.Kind)
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	now := cfg.Now()
	tmpl := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "scarab CA " + string(cfg.Controller), Organization: []string{"scarab"}},
		NotBefore:    now.Add(-backdate), NotAfter: now.Add(caLife),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		IsCA:     true, BasicConstraintsValid: true, MaxPathLenZero: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key.signer)
	if err != nil {
		return nil, fmt.Errorf("cannot make authority: %v", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("cannot make authority: %v", err)
	}
	return &Authority{cfg, cert, key}, nil
}

// Load takes an authority back from its PEM texts.
func Load(cfg Config, certPEM, keyPEM []byte) (*Authority, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	cert, err := parseCA(certPEM)
	if err != nil {
		return nil, err
	}
	key, err := ParseKey(keyPEM)
	if err != nil {
		return nil, err
	}
	if !samePublic(key.Public(), cert.PublicKey) {
		return nil, errors.New("cannot load authority: certificate and key do not belong together")
	}
	return &Authority{cfg, cert, key}, nil
}

func samePublic(a, b any) bool {
	x, err := x509.MarshalPKIXPublicKey(a)
	if err != nil {
		return false
	}
	y, err := x509.MarshalPKIXPublicKey(b)
	return err == nil && slices.Equal(x, y)
}

func (c Config) check() error {
	if !names.ValidUUID(string(c.Controller)) {
		return fmt.Errorf("cannot use authority: %q is no controller UUID", string(c.Controller))
	}
	if c.Now == nil {
		return errors.New("cannot use authority: it needs a clock")
	}
	return nil
}

// CertPEM returns the authority's certificate, which everybody may have.
func (a *Authority) CertPEM() []byte { return certPEM(a.cert.Raw) }

// Key returns the authority's key, to be sealed.
func (a *Authority) Key() Key { return a.key }

// Pool returns a pool that trusts this authority alone.
func (a *Authority) Pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// Pin returns a pool that trusts the one authority whose certificate an agent
// or client was given beforehand, and no other.
func Pin(caPEM []byte) (*x509.CertPool, error) {
	cert, err := parseCA(caPEM)
	if err != nil {
		return nil, err
	}
	p := x509.NewCertPool()
	p.AddCert(cert)
	return p, nil
}

func parseCA(text []byte) (*x509.Certificate, error) {
	der, err := onePEM(text, "CERTIFICATE")
	if err != nil {
		return nil, fmt.Errorf("cannot read authority: %v", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("cannot read authority: %v", err)
	}
	if !cert.BasicConstraintsValid || !cert.IsCA || cert.KeyUsage&x509.KeyUsageCertSign == 0 {
		return nil, errors.New("cannot read authority: its certificate may not sign others")
	}
	return cert, nil
}

// ServerRequest says what a server's certificate is for.
type ServerRequest struct {
	// Names are DNS names beside the ones every server has.
	Names []string
	// IPs are the addresses clients may dial.
	IPs []netip.Addr
	// Kind of the key. Clients with TLS 1.2 get ECDHE-ECDSA or ECDHE-RSA by it.
	Kind KeyKind
	// Life is at most, and by default, MaxLeafLife.
	Life time.Duration
}

// Issued is a certificate with its key.
type Issued struct {
	ChainPEM []byte // leaf first, then the authority
	Key      Key
	NotAfter time.Time
}

// TLS returns what crypto/tls wants.
func (i Issued) TLS() (*tls.Certificate, error) { return TLSCertificate(i.ChainPEM, i.Key) }

// IssueServer makes a key and a certificate for the controller's API. It
// carries the names that clients check: juju-apiserver, juju-mongodb,
// anything and localhost.
func (a *Authority) IssueServer(r ServerRequest) (Issued, error) {
	if len(r.Names)+len(r.IPs) > maxNames {
		return Issued{}, fmt.Errorf("cannot issue server certificate: more than %d names", maxNames)
	}
	dns := []string{ServerName, "juju-mongodb", "anything", "localhost"}
	for _, n := range r.Names {
		if !validDNS(n) {
			return Issued{}, fmt.Errorf("cannot issue server certificate: %q is no DNS name", n)
		}
		if !slices.Contains(dns, n) {
			dns = append(dns, n)
		}
	}
	ips := []net.IP{net.IPv4(127, 0, 0, 1).To4(), net.IPv6loopback}
	for _, ip := range r.IPs {
		if !ip.IsValid() || ip.Zone() != "" {
			return Issued{}, fmt.Errorf("cannot issue server certificate: %q is no address", ip)
		}
		ips = append(ips, net.IP(ip.Unmap().AsSlice()))
	}
	key, err := NewKey(r.Kind)
	if err != nil {
		return Issued{}, err
	}
	chain, notAfter, err := a.sign(&x509.Certificate{
		Subject:     pkix.Name{CommonName: ServerName, Organization: []string{"scarab"}},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    dns, IPAddresses: ips,
	}, key.Public(), r.Life)
	if err != nil {
		return Issued{}, err
	}
	return Issued{chain, key, notAfter}, nil
}

// sign completes a leaf's template and signs it. Everything that limits a
// leaf is here, so that no caller can forget it.
func (a *Authority) sign(t *x509.Certificate, pub any, life time.Duration) ([]byte, time.Time, error) {
	if life <= 0 || life > MaxLeafLife {
		life = MaxLeafLife
	}
	if err := checkPublic(pub); err != nil {
		return nil, time.Time{}, fmt.Errorf("cannot issue certificate: %v", err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, time.Time{}, err
	}
	now := a.cfg.Now()
	t.SerialNumber = serial
	// The whole span, what lies before now included, stays within the limit.
	t.NotBefore = now.Add(-backdate)
	t.NotAfter = now.Add(min(life, MaxLeafLife-backdate))
	t.KeyUsage = x509.KeyUsageDigitalSignature
	t.BasicConstraintsValid, t.IsCA = true, false
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, pub, a.key.signer)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("cannot issue certificate: %v", err)
	}
	return append(certPEM(der), a.CertPEM()...), t.NotAfter.UTC().Truncate(time.Second), nil
}

// TLSCertificate joins a chain in PEM and its key.
func TLSCertificate(chainPEM []byte, key Key) (*tls.Certificate, error) {
	if len(chainPEM) > MaxPEM {
		return nil, fmt.Errorf("cannot read certificate: %d bytes are more than %d", len(chainPEM), MaxPEM)
	}
	c := &tls.Certificate{PrivateKey: key.signer}
	for rest := chainPEM; ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		if b.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("cannot read certificate: unexpected PEM block %q", b.Type)
		}
		c.Certificate = append(c.Certificate, b.Bytes)
	}
	if len(c.Certificate) == 0 {
		return nil, errors.New("cannot read certificate: there is none")
	}
	leaf, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		return nil, fmt.Errorf("cannot read certificate: %v", err)
	}
	if key.signer == nil || !samePublic(key.Public(), leaf.PublicKey) {
		return nil, errors.New("cannot use certificate: it belongs to another key")
	}
	c.Leaf = leaf
	return c, nil
}

// RenewAt returns when a certificate should be renewed: after two thirds of
// its life.
func RenewAt(c *x509.Certificate) time.Time {
	return c.NotBefore.Add(c.NotAfter.Sub(c.NotBefore) * 2 / 3)
}

// Fingerprint returns the SHA-256 of a certificate's public key.
func Fingerprint(c *x509.Certificate) [32]byte { return sha256.Sum256(c.RawSubjectPublicKeyInfo) }

// checkPublic lists the keys that may be certified.
func checkPublic(pub any) error {
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() || k.Curve == elliptic.P384() {
			return nil
		}
		return errors.New("the key's curve is neither P-256 nor P-384")
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < 3072 || n > 8192 {
			return fmt.Errorf("an RSA key of %d bits is not within 3072 and 8192", n)
		}
		if k.E != 65537 {
			return errors.New("the RSA key's exponent is not 65537")
		}
		return nil
	case ed25519.PublicKey:
		return nil
	}
	return fmt.Errorf("a key of type %T is not accepted", pub)
}

func newSerial() (*big.Int, error) {
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		return nil, fmt.Errorf("cannot make serial number: %v", err)
	}
	b[0] &= 0x7f // positive
	return new(big.Int).SetBytes(b), nil
}

func certPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func validDNS(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	label := 0
	for i := range len(s) {
		switch c := s[i]; {
		case c == '.':
			if label == 0 {
				return false
			}
			label = 0
			continue
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-':
			label++
		default:
			return false
		}
		if label > 63 {
			return false
		}
	}
	return label > 0
}
