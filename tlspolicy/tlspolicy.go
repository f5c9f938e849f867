// Package tlspolicy owns every tls.Config of the project. It forces
// AES-256-GCM: TLS 1.3 with TLS_AES_256_GCM_SHA384 for agents, peers and all
// that we dial; the port for people's clients also takes TLS 1.2 with ECDHE
// and AES-256-GCM. It cuts clients that do not finish their handshake, and
// limits how many may be unfinished.
//
// It refuses everything else: no other package builds a tls.Config, no
// configuration skips verification, sessions are never resumed (so that every
// connection meets today's certificates). A process that uses TLS calls
// SelfTest before it listens or dials, and ends if that fails.
package tlspolicy

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
)

// ServerCertificate gives the certificate of the moment, so that it can be
// renewed without a restart.
type ServerCertificate func() (*tls.Certificate, error)

// ClientPort is the configuration of the port that clients and agents share.
// Client certificates are asked for, not demanded: people have none. The
// handshake proves that the caller holds the key of the certificate it shows;
// whether that certificate means anything is for the login to decide
// (pki.Authority.VerifyAgent), because renewal must see expired ones.
// agentCAs only tells clients which certificates are of use.
func ClientPort(cert ServerCertificate, agentCAs *x509.CertPool) *tls.Config {
	c := server(cert)
	c.MinVersion = tls.VersionTLS12
	c.CipherSuites = suites12()
	c.ClientAuth = tls.RequestClientCert
	c.ClientCAs = agentCAs
	c.VerifyConnection = func(s tls.ConnectionState) error {
		if s.Version != tls.VersionTLS13 && len(s.PeerCertificates) > 0 {
			return errors.New("cannot accept a client certificate over TLS 1.2: agents speak TLS 1.3")
		}
		return verifySuite(s)
	}
	return c
}

// Internal is the configuration of ports between our own processes: TLS 1.3
// and a certificate of peerCAs on both sides. verify looks at the verified
// peer certificate and refuses those of another role.
func Internal(cert ServerCertificate, peerCAs *x509.CertPool, verify func(*x509.Certificate) error) *tls.Config {
	c := server(cert)
	c.ClientAuth = tls.RequireAndVerifyClientCert
	c.ClientCAs = peerCAs
	c.VerifyConnection = func(s tls.ConnectionState) error {
		if err := verifySuite(s); err != nil {
			return err
		}
		if verify == nil || len(s.PeerCertificates) == 0 {
			return errors.New("cannot accept peer: nothing verifies its role")
		}
		return verify(s.PeerCertificates[0])
	}
	return c
}

func server(cert ServerCertificate) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		GetCertificate:         func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert() },
		NextProtos:             []string{"http/1.1"}, // WebSockets need it
		SessionTicketsDisabled: true,
		Renegotiation:          tls.RenegotiateNever,
		VerifyConnection:       verifySuite,
	}
}

// DialConfig says whom a client trusts and what it shows.
type DialConfig struct {
	// Roots are the only authorities believed; nil means the system's.
	Roots *x509.CertPool
	// ServerName is the name that the server's certificate must carry,
	// whatever address is dialled.
	ServerName string
	// Certificate gives the client's own certificate, if it has one.
	Certificate func() (*tls.Certificate, error)
}

// Dial is the configuration of everything we dial: TLS 1.3 only.
func Dial(d DialConfig) *tls.Config {
	c := &tls.Config{
		MinVersion:       tls.VersionTLS13,
		RootCAs:          d.Roots,
		ServerName:       d.ServerName,
		NextProtos:       []string{"http/1.1"},
		Renegotiation:    tls.RenegotiateNever,
		VerifyConnection: verifySuite,
	}
	if d.Certificate != nil {
		get := d.Certificate
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return get() }
	}
	return c
}

// verifySuite is the second look at what was negotiated.
func verifySuite(s tls.ConnectionState) error {
	switch {
	case s.Version == tls.VersionTLS13 && s.CipherSuite == tls.TLS_AES_256_GCM_SHA384:
		return nil
	case s.Version == tls.VersionTLS12 && s.CipherSuite == tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
		s.Version == tls.VersionTLS12 && s.CipherSuite == tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384:
		return nil
	}
	return fmt.Errorf("cannot use %s with %s: AES-256-GCM is required", tls.VersionName(s.Version), tls.CipherSuiteName(s.CipherSuite))
}
