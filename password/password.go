// Package password owns how passwords are kept: argon2id for people (PBKDF2
// with SHA-512 in FIPS mode), salted HMAC-SHA-512 for the random passwords that
// agents make. Parameters are stored with each hash, so that the policy can
// rise and old hashes are made new at the next login.
//
// It refuses short agent passwords, hashes whose parameters ask for more work
// than the policy allows, and to print a password: [Secret] shows nothing.
package password

import (
	"context"
	"crypto/fips140"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/argon2"
)

// The policy for new hashes. Raise it here; stored hashes follow at login.
const (
	argonTime    = 3
	argonMemory  = 64 << 10 // KiB
	argonThreads = 2
	pbkdfRounds  = 210_000

	saltLen = 16
	keyLen  = 32

	// No stored hash may ask for more than this.
	maxArgonTime   = 16
	maxArgonMemory = 256 << 10
	maxPbkdfRounds = 2_000_000

	// MaxLen bounds a password before any work is done with it.
	MaxLen = 1024
	// MinAgent is the least length of an agent's password: 24 characters of
	// base64 are 144 bits.
	MinAgent = 24
	// MaxConcurrent hashes of people's passwords run at a time, as each takes
	// 64 MiB.
	MaxConcurrent = 4
)

// A Secret is a password on its way to be hashed or compared. It does not print.
type Secret struct{ s string }

// NewSecret takes a password in.
func NewSecret(s string) Secret { return Secret{s} }

// Reveal gives the password out, for the one place that must send it on.
func (s Secret) Reveal() string { return s.s }

// Empty reports whether there is no password.
func (s Secret) Empty() bool { return s.s == "" }

// String, GoString, Format and MarshalText show nothing.
func (Secret) String() string { return "[secret]" }

// GoString shows nothing.
func (Secret) GoString() string { return "[secret]" }

// Format shows nothing, whatever the verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[secret]")) }

// MarshalText refuses.
func (Secret) MarshalText() ([]byte, error) {
	return nil, errors.New("cannot marshal a password")
}

// A Hash is a stored password: scheme, parameters, salt and key in one line. It
// is a secret too (it can be attacked offline), so it does not print, but it is
// stored as plain text in its row.
type Hash string

// String shows nothing. Rows marshal the Hash itself.
func (Hash) String() string { return "[hash]" }

// GoString shows nothing.
func (Hash) GoString() string { return "[hash]" }

// Errors of this package.
var (
	ErrTooLong  = fmt.Errorf("cannot use a password of more than %d bytes", MaxLen)
	ErrEmpty    = errors.New("cannot use an empty password")
	ErrTooShort = fmt.Errorf("cannot use an agent password of less than %d characters", MinAgent)
	errScheme   = errors.New("cannot read stored password hash")
)

// Of hashes a person's password under the present policy.
func Of(s Secret) (Hash, error) {
	switch {
	case s.s == "":
		return "", ErrEmpty
	case len(s.s) > MaxLen:
		return "", ErrTooLong
	}
	salt := random(saltLen)
	if fips140.Enabled() {
		key, err := pbkdf2.Key(sha512.New, s.s, salt, pbkdfRounds, keyLen)
		if err != nil {
			return "", fmt.Errorf("cannot hash password: %w", err)
		}
		return join("pbkdf2-sha512", strconv.Itoa(pbkdfRounds), salt, key), nil
	}
	key := argon2.IDKey([]byte(s.s), salt, argonTime, argonMemory, argonThreads, keyLen)
	return join("argon2id", argonParams(argonTime, argonMemory, argonThreads), salt, key), nil
}

// OfAgent hashes an agent's random password: it has at least 128 bits, so a
// salted hash is enough, and a thousand agents may log in at once.
func OfAgent(s Secret) (Hash, error) {
	switch {
	case len(s.s) < MinAgent:
		return "", ErrTooShort
	case len(s.s) > MaxLen:
		return "", ErrTooLong
	}
	salt := random(saltLen)
	return join("hmac-sha512", "1", salt, agentKey(s, salt)), nil
}

// NewAgent makes a random password of 256 bits.
func NewAgent() Secret { return Secret{base64.RawURLEncoding.EncodeToString(random(32))} }

func agentKey(s Secret, salt []byte) []byte {
	m := hmac.New(sha512.New, salt)
	m.Write([]byte(s.s))
	return m.Sum(nil)[:keyLen]
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

func argonParams(t, m uint32, p uint8) string {
	return fmt.Sprintf("t=%d,m=%d,p=%d", t, m, p)
}

func join(scheme, params string, salt, key []byte) Hash {
	e := base64.RawStdEncoding
	return Hash("$" + scheme + "$" + params + "$" + e.EncodeToString(salt) + "$" + e.EncodeToString(key))
}

// Matches compares in constant time. A hash that cannot be read matches nothing.
func (h Hash) Matches(s Secret) bool {
	if s.s == "" || len(s.s) > MaxLen {
		return false
	}
	scheme, params, salt, want, err := h.split()
	if err != nil {
		return false
	}
	got, err := derive(scheme, params, salt, s)
	if err != nil || len(got) != len(want) {
		return false
	}
	return subtle.ConstantTimeCompare(got, want) == 1
}

// Old reports whether the policy has risen since h was made, so that the
// password should be hashed again now that it is known.
func (h Hash) Old() bool {
	scheme, params, _, _, err := h.split()
	if err != nil {
		return true
	}
	switch {
	case scheme == "hmac-sha512":
		return false
	case fips140.Enabled():
		return scheme != "pbkdf2-sha512" || params != strconv.Itoa(pbkdfRounds)
	}
	return scheme != "argon2id" || params != argonParams(argonTime, argonMemory, argonThreads)
}

func (h Hash) split() (scheme, params string, salt, key []byte, err error) {
	parts := strings.Split(string(h), "$")
	if len(h) > 512 || len(parts) != 5 || parts[0] != "" {
		return "", "", nil, nil, errScheme
	}
	salt, err1 := base64.RawStdEncoding.DecodeString(parts[3])
	key, err2 := base64.RawStdEncoding.DecodeString(parts[4])
	if err1 != nil || err2 != nil || len(salt) != saltLen || len(key) != keyLen {
		return "", "", nil, nil, errScheme
	}
	return parts[1], parts[2], salt, key, nil
}

func derive(scheme, params string, salt []byte, s Secret) ([]byte, error) {
	switch scheme {
	case "hmac-sha512":
		return agentKey(s, salt), nil
	case "pbkdf2-sha512":
		n, err := strconv.Atoi(params)
		if err != nil || n < 1 || n > maxPbkdfRounds {
			return nil, errScheme
		}
		return pbkdf2.Key(sha512.New, s.s, salt, n, keyLen)
	case "argon2id":
		var t, m uint32
		var p uint8
		if _, err := fmt.Sscanf(params, "t=%d,m=%d,p=%d", &t, &m, &p); err != nil ||
			t < 1 || t > maxArgonTime || m < 8 || m > maxArgonMemory || p < 1 || p > 8 {
			return nil, errScheme
		}
		return argon2.IDKey([]byte(s.s), salt, t, m, p, keyLen), nil
	}
	return nil, errScheme
}

// A Checker compares people's passwords, a few at a time, and spends the same
// work on users that do not exist.
type Checker struct {
	slots chan struct{}
	sets  chan struct{} // of new passwords, apart so that they do not hold logins up
	decoy Hash
}

// NewChecker prepares a checker. What stands for the hash of nobody has the
// policy's parameters, so it costs the same to compare with, but a random key:
// no password needs to be hashed to get one that none leads to.
func NewChecker() (*Checker, error) {
	salt, key := random(saltLen), random(keyLen)
	decoy := join("argon2id", argonParams(argonTime, argonMemory, argonThreads), salt, key)
	if fips140.Enabled() {
		decoy = join("pbkdf2-sha512", strconv.Itoa(pbkdfRounds), salt, key)
	}
	if decoy.Old() {
		return nil, errScheme
	}
	return &Checker{make(chan struct{}, MaxConcurrent), make(chan struct{}, 1), decoy}, nil
}

// Of is the package's [Of], one at a time.
func (c *Checker) Of(ctx context.Context, s Secret) (Hash, error) {
	select {
	case c.sets <- struct{}{}:
		defer func() { <-c.sets }()
	case <-ctx.Done():
		return "", ErrBusy
	}
	return Of(s)
}

// ErrBusy is returned when no turn came in time.
var ErrBusy = errors.New("cannot check a password now: too many logins at once, try again")

// Check compares s with h. An empty h, the hash of a user that does not exist or
// has no password, takes as long and matches nothing.
func (c *Checker) Check(ctx context.Context, h Hash, s Secret) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return false, ErrBusy
	}
	known := h != ""
	if !known {
		h = c.decoy
	}
	ok := h.Matches(s)
	return ok && known, nil
}
