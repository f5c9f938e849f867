package tlspolicy

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"time"
)

const selfTestName = "selftest.invalid"

// SelfTest shakes hands in memory, in every way this process will, and fails
// unless AES-256-GCM came out on both sides each time. A process that fails
// it must not listen or dial.
func SelfTest() error {
	if !forced {
		return errors.New("cannot trust TLS: the cipher suites were not forced")
	}
	cert, pool, err := selfTestCertificate()
	if err != nil {
		return fmt.Errorf("cannot prepare the TLS self-test: %v", err)
	}
	get := func() (*tls.Certificate, error) { return cert, nil }
	own := func(c *x509.Certificate) error { return nil }
	dial := Dial(DialConfig{Roots: pool, ServerName: selfTestName, Certificate: get})
	old := dial.Clone()
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	// A configuration that names no suites stands for the libraries we use.
	plainServer := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{*cert}}
	plainClient := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool, ServerName: selfTestName}
	for _, c := range []struct {
		what           string
		server, client *tls.Config
		version, suite uint16
	}{
		{"client port", ClientPort(get, pool), dial, tls.VersionTLS13, tls.TLS_AES_256_GCM_SHA384},
		{"internal port", Internal(get, pool, own), dial, tls.VersionTLS13, tls.TLS_AES_256_GCM_SHA384},
		{"foreign client", ClientPort(get, pool), plainClient, tls.VersionTLS13, tls.TLS_AES_256_GCM_SHA384},
		{"foreign server", plainServer, dial, tls.VersionTLS13, tls.TLS_AES_256_GCM_SHA384},
		{"libraries", plainServer, plainClient, tls.VersionTLS13, tls.TLS_AES_256_GCM_SHA384},
		{"old client", ClientPort(get, pool), withoutCertificate(old), tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384},
	} {
		if err := shake(c.server, c.client, c.version, c.suite); err != nil {
			return fmt.Errorf("cannot trust TLS (%s): %v", c.what, err)
		}
	}
	return nil
}

func withoutCertificate(c *tls.Config) *tls.Config {
	c = c.Clone()
	c.GetClientCertificate = nil
	return c
}

// shake performs one handshake over a pipe and looks at both ends.
func shake(server, client *tls.Config, version, suite uint16) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	s, c := tls.Server(a, server), tls.Client(b, client)
	done := make(chan error, 1)
	go func() {
		err := s.HandshakeContext(ctx)
		if err != nil {
			a.Close() // or the other side waits for its deadline
		}
		done <- err
	}()
	err := c.HandshakeContext(ctx)
	if err != nil {
		b.Close()
	}
	if serr := <-done; serr != nil {
		return serr
	}
	if err != nil {
		return err
	}
	for _, st := range []tls.ConnectionState{s.ConnectionState(), c.ConnectionState()} {
		if st.Version != version || st.CipherSuite != suite {
			return fmt.Errorf("negotiated %s with %s, want %s with %s", tls.VersionName(st.Version),
				tls.CipherSuiteName(st.CipherSuite), tls.VersionName(version), tls.CipherSuiteName(suite))
		}
	}
	return nil
}

// selfTestCertificate makes a certificate for this test only; its key is
// forgotten with it.
func selfTestCertificate() (*tls.Certificate, *x509.CertPool, error) {
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	now := time.Now()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: selfTestName}, DNSNames: []string{selfTestName},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool, nil
}
