// Package agentcred owns how agents prove who they are: a one-time enrolment
// token bound to one machine or unit, then a password and a certificate. Rows
// of kind "agent-credential" in model scope hold verifiers only; the token
// itself stays sealed until it was used, so that a start that crashed half-way
// can hand the machine the same one again.
package agentcred

import (
	"errors"
	"time"

	"github.com/scarab-ops/scarab/state"
)

// A Row is one agent's verifiers.
type Row struct {
	Tag string `json:"tag"` // machine-0, unit-mysql-0
	// Verifier is the salted hash of the agent's password; empty until enrolled.
	Verifier string `json:"verifier,omitempty"`
	// TokenVerifier is the salted hash of the one-time token; empty once the
	// agent has come back with its certificate.
	TokenVerifier string    `json:"token-verifier,omitempty"`
	TokenExpiry   time.Time `json:"token-expiry,omitzero"`
	// Nonce is the machine's start nonce, "" for units.
	Nonce string `json:"nonce,omitempty"`
	// KeyID is the SHA-256 of the public key of the first enrolment (hex);
	// renewal must use the same key.
	KeyID    string    `json:"key-id,omitempty"`
	Enrolled time.Time `json:"enrolled,omitzero"`
	// Generation rises with each new token and each new password of an enrolled
	// agent; live sessions of an older one are cut.
	Generation int `json:"generation"`
}

// TokenLife is how long an unused token is good for.
const TokenLife = 60 * time.Minute

// Table holds verifiers, in model scope.
var Table = state.Table[Row]{Kind: "agent-credential", ID: func(r Row) string { return r.Tag }}

// Errors of enrolment.
var (
	// ErrUsed reports a token that was used already.
	ErrUsed = errors.New("cannot enrol: the enrolment token was used already; ask an operator to re-enrol the machine")
	// ErrExpired reports a token that is too old.
	ErrExpired = errors.New("cannot enrol: the enrolment token has expired; ask an operator to re-enrol the machine")
)

// Issue records a new one-time token's verifier for tag. Any earlier password
// stops working.
func Issue(tx *state.Tx, s state.Scope, tag, verifier, nonce string, now time.Time) error {
	r, err := Table.Get(tx, s, tag)
	var missing *state.NotFoundError
	if err != nil && !errors.As(err, &missing) {
		return err
	}
	return Table.Put(tx, s, Row{
		Tag: tag, TokenVerifier: verifier, TokenExpiry: now.Add(TokenLife), Nonce: nonce,
		Generation: r.Generation + 1,
	})
}

// Enrol binds the token to the first key it is shown with: of any number of
// keys exactly one enrols. The same key may ask again, because the answer may
// have been lost on its way; [Confirm] ends that.
func Enrol(tx *state.Tx, s state.Scope, tag, tokenVerifier, verifier, keyID string, now time.Time) error {
	r, err := Table.Get(tx, s, tag)
	switch {
	case err != nil:
		return err
	case r.TokenVerifier == "" || r.TokenVerifier != tokenVerifier:
		return ErrUsed
	case r.KeyID != "" && r.KeyID != keyID:
		return ErrUsed
	case now.After(r.TokenExpiry):
		return ErrExpired
	}
	r.Verifier, r.KeyID, r.Enrolled = verifier, keyID, now
	return Table.Put(tx, s, r)
}

// Confirm ends the life of the token: the agent has shown its certificate and
// its password.
func Confirm(tx *state.Tx, s state.Scope, tag string) error {
	r, err := Table.Get(tx, s, tag)
	if err != nil || r.TokenVerifier == "" {
		return err
	}
	r.TokenVerifier, r.TokenExpiry = "", time.Time{}
	return Table.Put(tx, s, r)
}

// SetPassword replaces the verifier of an enrolled agent and ends older
// sessions, the one that asked for it too: whoever had the old password has
// nothing from now on.
func SetPassword(tx *state.Tx, s state.Scope, tag, verifier string) error {
	r, err := Table.Get(tx, s, tag)
	if err != nil {
		return err
	}
	r.Verifier = verifier
	r.Generation++
	return Table.Put(tx, s, r)
}

// Revoke forgets the agent; live sessions end.
func Revoke(tx *state.Tx, s state.Scope, tag string) error {
	if !Table.Has(tx, s, tag) {
		return nil
	}
	return Table.Delete(tx, s, tag)
}
