package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"github.com/scarab-ops/scarab/charm"
)

// webCharm is the archive of a charm with one option and these hooks.
func webCharm(b *bench, hooks map[string]string) ([]byte, error) {
	dir := b.TempDir()
	files := map[string]string{
		"metadata.yaml": "name: web\nsummary: a web server\ndescription: for measurements\n",
		"config.yaml":   "options:\n  title: {type: string, default: hello}\n",
		"manifest.yaml": "bases:\n- {name: debian, channel: '12', architectures: [amd64, arm64]}\n",
	}
	for name, text := range hooks {
		files["hooks/"+name] = text
	}
	if err := os.Mkdir(filepath.Join(dir, "hooks"), 0o755); err != nil { //nolint:gosec // a charm's folder
		return nil, err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil { //nolint:gosec // hooks are run
			return nil, err
		}
	}
	var out bytes.Buffer
	_, err := charm.PackDir(dir, &out)
	return out.Bytes(), err
}

// selfSigned makes a certificate of the same kind as the controller's.
func selfSigned() (tls.Certificate, *x509.CertPool, error) {
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"bench"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots, nil
}
