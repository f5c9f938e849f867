package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
)

// KeyKind chooses how a key is made.
type KeyKind int

// The kinds of key this package makes.
const (
	ECDSAP384 KeyKind = iota // the default
	RSA4096
)

// Key is a private key. It does not print and does not marshal; RevealPEM is
// the one way out.
type Key struct {
	signer crypto.Signer
}

// NewKey makes a key.
func NewKey(kind KeyKind) (Key, error) {
	switch kind {
	case ECDSAP384:
		k, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
		if err != nil {
			return Key{}, fmt.Errorf("cannot make key: %v", err)
		}
		return Key{k}, nil
	case RSA4096:
		k, err := rsa.GenerateKey(rand.Reader, 4096)
		if err != nil {
			return Key{}, fmt.Errorf("cannot make key: %v", err)
		}
		return Key{k}, nil
	}
	return Key{}, fmt.Errorf("cannot make key: unknown kind %d", int(kind))
}

// ParseKey reads a private key in PKCS #8 PEM.
func ParseKey(text []byte) (Key, error) {
	der, err := onePEM(text, "PRIVATE KEY")
	if err != nil {
		return Key{}, fmt.Errorf("cannot read private key: %v", err)
	}
	k, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return Key{}, errors.New("cannot read private key: it is not PKCS #8")
	}
	s, ok := k.(crypto.Signer)
	if !ok {
		return Key{}, errors.New("cannot read private key: it cannot sign")
	}
	if err := checkPublic(s.Public()); err != nil {
		return Key{}, fmt.Errorf("cannot use private key: %v", err)
	}
	return Key{s}, nil
}

// RevealPEM returns the key itself in PKCS #8 PEM, to be sealed or written
// where only its owner reads.
func (k Key) RevealPEM() ([]byte, error) {
	if k.signer == nil {
		return nil, errors.New("cannot write private key: there is none")
	}
	der, err := x509.MarshalPKCS8PrivateKey(k.signer)
	if err != nil {
		return nil, fmt.Errorf("cannot write private key: %v", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// Public returns the public half.
func (k Key) Public() crypto.PublicKey {
	if k.signer == nil {
		return nil
	}
	return k.signer.Public()
}

const redacted = "<private key>"

var errNoMarshal = errors.New("cannot marshal a private key: reveal it on purpose")

// String and its like keep the key out of text.
func (Key) String() string               { return redacted }
func (Key) GoString() string             { return redacted }
func (Key) Format(s fmt.State, _ rune)   { _, _ = s.Write([]byte(redacted)) }
func (Key) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (Key) MarshalJSON() ([]byte, error) { return nil, errNoMarshal }
func (Key) MarshalText() ([]byte, error) { return nil, errNoMarshal }

// onePEM returns the bytes of exactly one block of the wanted type, with
// nothing but white space around it.
func onePEM(text []byte, kind string) ([]byte, error) {
	if len(text) > MaxPEM {
		return nil, fmt.Errorf("%d bytes of PEM are more than %d", len(text), MaxPEM)
	}
	block, rest := pem.Decode(text)
	if block == nil {
		return nil, errors.New("there is no PEM block")
	}
	if block.Type != kind {
		return nil, fmt.Errorf("the PEM block is %q, want %q", block.Type, kind)
	}
	if len(block.Headers) > 0 {
		return nil, errors.New("the PEM block has headers")
	}
	for _, c := range rest {
		if c != '\n' && c != '\r' && c != ' ' && c != '\t' {
			return nil, errors.New("something follows the PEM block")
		}
	}
	return block.Bytes, nil
}
