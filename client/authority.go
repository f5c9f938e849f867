package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"

	"github.com/scarab-ops/scarab/pki"
	"github.com/scarab-ops/scarab/tlspolicy"
)

// Authority asks a server for the authority above its certificate, in PEM, for
// a person to judge. The handshake trusts nobody and therefore always fails;
// what the server showed is in the failure. Not a byte of a request is sent.
func Authority(ctx context.Context, address string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, DefaultDialTimeout)
	defer cancel()
	d := tls.Dialer{
		NetDialer: &net.Dialer{},
		Config:    tlspolicy.Dial(tlspolicy.DialConfig{Roots: x509.NewCertPool(), ServerName: pki.ServerName}),
	}
	c, err := d.DialContext(ctx, "tcp", address)
	if err == nil {
		return "", errors.Join(fmt.Errorf("cannot learn the authority of %s: it was believed without one", address), c.Close())
	}
	var unverified *tls.CertificateVerificationError
	if !errors.As(err, &unverified) {
		return "", fmt.Errorf("cannot connect to %s: %w", address, err)
	}
	chain := unverified.UnverifiedCertificates
	if len(chain) == 0 {
		return "", fmt.Errorf("cannot learn the authority of %s: it shows no certificate", address)
	}
	for _, ca := range chain[1:] {
		if ca.IsCA && chain[0].CheckSignatureFrom(ca) == nil {
			return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw})), nil
		}
	}
	return "", fmt.Errorf("cannot learn the authority of %s: it does not show it; get the file from the administrator and use --ca-cert FILE", address)
}
