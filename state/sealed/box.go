// Package sealed keeps rows whose content nobody can read or move without the
// unseal key, which lies outside of the data directory.
//
// It owns the envelope (AES-256-GCM under a key for each kind of row, bound to
// the row's scope, kind and id), the key file, and a table of sealed rows. A
// View holds ciphertext only; opening happens where the content is used. It
// refuses key files that others can read or that lie beside the data, and it
// never prints a key.
package sealed

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"

	"github.com/scarab-ops/scarab/state"
)

const (
	// MaxPlaintext leaves room for base64 and the envelope in one row.
	MaxPlaintext = 5 << 20

	nonceSize = 12
	overhead  = 16
)

// Name is what an envelope is bound to: the row that it belongs to.
type Name struct {
	Scope state.Scope
	Kind  string
	ID    string
}

// String names the row for people.
func (n Name) String() string { return fmt.Sprintf("%s %q in %s", n.Kind, n.ID, n.Scope) }

// associated is unambiguous: each part is preceded by its length.
func (n Name) associated() []byte {
	var b []byte
	for _, s := range []string{"scarab sealed v1", string(n.Scope), n.Kind, n.ID} {
		b = binary.BigEndian.AppendUint64(b, uint64(len(s)))
		b = append(b, s...)
	}
	return b
}

// ErrTampered is wrapped by a [TamperedError].
var ErrTampered = errors.New("sealed content was changed, or belongs to another row")

// TamperedError names the row whose content did not open.
type TamperedError struct{ Name Name }

// Error names the row.
func (e *TamperedError) Error() string { return fmt.Sprintf("cannot open %s: %v", e.Name, ErrTampered) }

// Unwrap returns ErrTampered.
func (e *TamperedError) Unwrap() error { return ErrTampered }

// UnknownKeyError reports content sealed with a key that the box does not have.
type UnknownKeyError struct {
	Name  Name
	KeyID string
}

// Error names the row and the key.
func (e *UnknownKeyError) Error() string {
	return fmt.Sprintf("cannot open %s: it is sealed with key %s, start with the key file that holds it", e.Name, e.KeyID)
}

// An Envelope is sealed content. It is safe to store and to show.
type Envelope struct {
	KeyID      string
	Nonce      []byte
	Ciphertext []byte
}

// Box seals and opens. It is safe for concurrent use.
type Box struct {
	current string
	keys    map[string]Key

	mu    sync.Mutex
	aeads map[aeadName]cipher.AEAD
}

type aeadName struct{ key, kind string }

// NewBox returns a box that seals with key and also opens what was sealed with
// one of older, so that keys can be changed while rows are sealed anew.
func NewBox(key Key, older ...Key) (*Box, error) {
	b := &Box{keys: map[string]Key{}, aeads: map[aeadName]cipher.AEAD{}}
	for _, k := range append([]Key{key}, older...) {
		id, err := k.ID()
		if err != nil {
			return nil, err
		}
		if b.current == "" {
			b.current = id
		}
		b.keys[id] = k
	}
	return b, nil
}

// KeyID identifies the key that Seal uses.
func (b *Box) KeyID() string { return b.current }

// Format prints nothing of the keys.
func (b *Box) Format(f fmt.State, _ rune) { redact(f) }

// Seal encrypts plaintext for the row n.
func (b *Box) Seal(n Name, plaintext []byte) (Envelope, error) {
	if len(plaintext) > MaxPlaintext {
		return Envelope{}, fmt.Errorf("cannot seal %s: %w: %d bytes, limit %d", n, state.ErrTooLarge, len(plaintext), MaxPlaintext)
	}
	aead, err := b.aead(b.current, n.Kind)
	if err != nil {
		return Envelope{}, fmt.Errorf("cannot seal %s: %w", n, err)
	}
	// The cipher draws the nonce itself and puts it in front.
	out := aead.Seal(nil, nil, plaintext, n.associated()) //nolint:gosec // as said
	return Envelope{KeyID: b.current, Nonce: out[:nonceSize:nonceSize], Ciphertext: out[nonceSize:]}, nil
}

// Open decrypts what was sealed for the row n, and for no other.
func (b *Box) Open(n Name, e Envelope) ([]byte, error) {
	if _, ok := b.keys[e.KeyID]; !ok {
		return nil, &UnknownKeyError{n, e.KeyID}
	}
	if len(e.Nonce) != nonceSize || len(e.Ciphertext) < overhead {
		return nil, &TamperedError{n}
	}
	aead, err := b.aead(e.KeyID, n.Kind)
	if err != nil {
		return nil, fmt.Errorf("cannot open %s: %w", n, err)
	}
	joined := make([]byte, 0, nonceSize+len(e.Ciphertext))
	joined = append(append(joined, e.Nonce...), e.Ciphertext...)
	plain, err := aead.Open(nil, nil, joined, n.associated())
	if err != nil {
		return nil, &TamperedError{n}
	}
	return plain, nil
}

// aead returns the cipher of one kind of row. Every kind has a key of its own,
// which keeps the number of random nonces under any one key small.
func (b *Box) aead(keyID, kind string) (cipher.AEAD, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	name := aeadName{keyID, kind}
	if a, ok := b.aeads[name]; ok {
		return a, nil
	}
	raw, err := b.keys[keyID].derive("scarab sealed v1 kind " + kind)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(raw)
	if err != nil {
		return nil, err
	}
	a, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	b.aeads[name] = a
	return a, nil
}

// derive returns 32 bytes for one purpose.
func (k Key) derive(purpose string) ([]byte, error) {
	if !k.set {
		return nil, errors.New("cannot use an empty unseal key")
	}
	out, err := hkdf.Key(sha512.New384, k.b[:], nil, purpose, len(k.b))
	if err != nil {
		return nil, fmt.Errorf("cannot derive a key: %w", err)
	}
	return out, nil
}

// ID identifies the key without giving anything of it away.
func (k Key) ID() (string, error) {
	raw, err := k.derive("scarab sealed v1 key id")
	if err != nil {
		return "", err
	}
	return hex.EncodeToString(raw[:8]), nil
}
