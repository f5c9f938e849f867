package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/scarab-ops/scarab/names"
)

// RemovalOrder names the one machine that is to take itself down. The nonce
// is that of the instance: an order for a machine's earlier life is void.
type RemovalOrder struct {
	Controller names.ControllerID `json:"controller"`
	Model      names.Model        `json:"model"`
	Machine    names.Machine      `json:"machine"`
	Nonce      string             `json:"nonce"`
	Issued     time.Time          `json:"issued"`
}

// orderPrefix keeps what is signed here apart from certificates, which begin
// with another byte, and from any later kind of order.
const orderPrefix = "scarab removal order v1\n"

const maxOrder = 4 << 10

// SignRemovalOrder signs an order for one machine. Agents remove themselves
// for nothing less.
func (a *Authority) SignRemovalOrder(model names.Model, machine names.Machine, nonce string) (string, error) {
	if !names.ValidUUID(string(model)) || !names.ValidMachine(string(machine)) || nonce == "" || len(nonce) > 256 {
		return "", errors.New("cannot sign removal order: model, machine and nonce are needed")
	}
	body, err := json.Marshal(RemovalOrder{a.cfg.Controller, model, machine, nonce, a.cfg.Now().UTC().Truncate(time.Second)})
	if err != nil {
		return "", fmt.Errorf("cannot sign removal order: %v", err)
	}
	digest := orderDigest(body)
	var opts crypto.SignerOpts = crypto.SHA384
	if _, ok := a.key.Public().(*rsa.PublicKey); ok {
		opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA384}
	}
	sig, err := a.key.signer.Sign(rand.Reader, digest, opts)
	if err != nil {
		return "", fmt.Errorf("cannot sign removal order: %v", err)
	}
	enc := base64.RawURLEncoding
	return enc.EncodeToString(body) + "." + enc.EncodeToString(sig), nil
}

func orderDigest(body []byte) []byte {
	h := sha512.New384()
	h.Write([]byte(orderPrefix))
	h.Write(body)
	return h.Sum(nil)
}

// VerifyRemovalOrder says whether the order is signed by the authority in
// caPEM and names exactly the machine in want (Issued aside). Every other
// outcome is an error, and an agent that meets one goes on working.
func VerifyRemovalOrder(caPEM []byte, order string, want RemovalOrder) error {
	if len(order) > maxOrder {
		return errors.New("cannot accept removal order: it is too long")
	}
	ca, err := parseCA(caPEM)
	if err != nil {
		return err
	}
	b, s, ok := strings.Cut(order, ".")
	body, err1 := base64.RawURLEncoding.Strict().DecodeString(b)
	sig, err2 := base64.RawURLEncoding.Strict().DecodeString(s)
	if !ok || err1 != nil || err2 != nil {
		return errors.New("cannot accept removal order: it is malformed")
	}
	if !verifyOrder(ca, orderDigest(body), sig) {
		return errors.New("cannot accept removal order: its signature is wrong")
	}
	var got RemovalOrder
	if err := json.Unmarshal(body, &got); err != nil {
		return errors.New("cannot accept removal order: it is malformed")
	}
	want.Issued = got.Issued
	if got != want || want.Nonce == "" {
		return errors.New("cannot accept removal order: it is for another machine")
	}
	return nil
}

func verifyOrder(ca *x509.Certificate, digest, sig []byte) bool {
	switch k := ca.PublicKey.(type) {
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(k, digest, sig)
	case *rsa.PublicKey:
		return rsa.VerifyPSS(k, crypto.SHA384, digest, sig, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA384}) == nil
	}
	return false
}
