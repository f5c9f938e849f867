package controller

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/scarab-ops/scarab/blob"
	"github.com/scarab-ops/scarab/domain/controller"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/pki"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/state/sealed"
)

// keys are the controller's private keys, opened at start.
type keys struct {
	ca    *pki.Authority
	blob  blob.Key
	audit *ecdsa.PrivateKey
}

func openKeys(r state.Reader, box *sealed.Box, now func() time.Time) (keys, error) {
	row, err := controller.Get(r)
	if err != nil {
		return keys{}, err
	}
	caKey, err := controller.Keys.Get(r, box, state.Controller, keyCA)
	if err != nil {
		return keys{}, fmt.Errorf("cannot open the CA's key: %w", err)
	}
	ca, err := pki.Load(pki.Config{Controller: row.UUID, Now: now}, []byte(row.CACert), caKey.Data)
	if err != nil {
		return keys{}, err
	}
	blobKey, err := controller.Keys.Get(r, box, state.Controller, keyBlob)
	if err != nil {
		return keys{}, fmt.Errorf("cannot open the blob store's key: %w", err)
	}
	bk, err := blob.NewKey(blobKey.Data)
	if err != nil {
		return keys{}, err
	}
	auditKey, err := controller.Keys.Get(r, box, state.Controller, keyAudit)
	if err != nil {
		return keys{}, fmt.Errorf("cannot open the audit key: %w", err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(auditKey.Data)
	if err != nil {
		return keys{}, errors.New("cannot read the audit key: it is not PKCS #8")
	}
	ak, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return keys{}, errors.New("cannot read the audit key: it is not ECDSA")
	}
	return keys{ca, bk, ak}, nil
}

// signer implements what enrolment needs of the CA.
type signer struct{ ca *pki.Authority }

// SignAgent issues a certificate for the caller's own identity.
func (s signer) SignAgent(
	csr []byte, m names.Model, tag names.Tag, _ time.Time,
) (chain []byte, notAfter time.Time, keyID string, err error) {
	_, keyHash, err := pki.ParseCSR(csr)
	if err != nil {
		return nil, time.Time{}, "", err
	}
	chain, notAfter, err = s.ca.IssueAgent(csr, pki.Agent{Model: m, Tag: tag}, pki.MaxLeafLife)
	return chain, notAfter, hex.EncodeToString(keyHash[:]), err
}
