package apiserver

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/scarab-ops/scarab/authz"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/password"
	"github.com/scarab-ops/scarab/pki"
	"github.com/scarab-ops/scarab/wire/admin"
)

// A Proof is what an agent's certificate was found to be worth.
type Proof string

// The proofs. Only Certified leads to the rights of an agent.
const (
	Uncertified Proof = ""
	Certified   Proof = "certified"
	Expired     Proof = "expired" // ours, for this agent, ran out less than 30 days ago
)

// renewFor is how long after its end a certificate may still be renewed.
const renewFor = 30 * 24 * time.Hour

// An AgentLogin is what an agent showed. The certificate has been verified.
type AgentLogin struct {
	Tag      names.Tag
	Model    names.Model
	Password password.Secret // the one-time token where nothing is certified
	Nonce    string
	Proof    Proof
	KeyHash  string // SHA-256 of the certificate's public key in hex, unless Uncertified
	Source   string
}

// An Identity is who someone turned out to be.
type Identity struct {
	Caller authz.Caller
	// Gone is closed when the identity is removed, disabled or gets another
	// password; live connections end with it. nil is never.
	Gone <-chan struct{}
	// DisplayName and LastConnection are told to people only.
	DisplayName    string
	LastConnection *time.Time
}

// An Authenticator knows people and agents. It must take as long for those
// that do not exist as for those that do, and answers [ErrCredentials] for
// anything that is wrong with who they are.
type Authenticator interface {
	// AuthenticateUser checks a local user's password. model is empty for
	// controller connections.
	AuthenticateUser(ctx context.Context, user names.User, pw password.Secret, model names.Model) (Identity, error)
	// AuthenticateAgent checks an agent's password. An agent that is not
	// Certified becomes authz.Enrolling or is refused.
	AuthenticateAgent(ctx context.Context, a AgentLogin) (Identity, error)
	// CheckModel returns nil for a model that is there, [*ModelError] for one
	// that is not, [*RedirectError] for one that has moved.
	CheckModel(ctx context.Context, m names.Model) error
}

// loginError is an error of login with its code.
type loginError struct{ text, code string }

func (e *loginError) Error() string { return e.text }
func (e *loginError) Code() string  { return e.code }

// Errors of login. Clients compare the texts.
var (
	ErrCredentials   = error(&loginError{"invalid entity name or password", "unauthorized access"})
	ErrNoCredentials = error(&loginError{"no credentials provided", "no credentials provided"})
	ErrTryAgain      = error(&loginError{"try again", "try again"})
	ErrMaintenance   = error(&loginError{"login failed - maintenance in progress", ""})
)

// NotProvisioned is the answer to a machine whose nonce is wrong.
func NotProvisioned(m names.Machine) error {
	return &loginError{"machine " + string(m) + " not provisioned", "not provisioned"}
}

// A ModelError reports a model that is not there.
type ModelError struct{ Model names.Model }

// Error is the sentence of the reference.
func (e *ModelError) Error() string { return `unknown model: "` + string(e.Model) + `"` }

// Code is the wire code.
func (e *ModelError) Code() string { return "model not found" }

// A RedirectError says where a model has moved.
type RedirectError struct {
	Servers         [][]admin.HostPort
	CACert          string
	ControllerTag   string
	ControllerAlias string
}

// Error is the sentence that clients compare.
func (e *RedirectError) Error() string { return "redirection required" }

// Code is the wire code.
func (e *RedirectError) Code() string { return "redirection required" }

// Info tells clients where to go.
func (e *RedirectError) Info() map[string]any {
	return map[string]any{
		"servers": e.Servers, "ca-cert": e.CACert, "controller-tag": e.ControllerTag, "controller-alias": e.ControllerAlias,
	}
}

// credentials is what someone shows, by login or by HTTP header.
type credentials struct {
	tag    names.Tag
	pw     password.Secret
	nonce  string
	model  names.Model
	peer   *http.Request // for certificates and the source's address
	basics bool          // came by HTTP header: an agent must be certified
}

// authenticate finds out who shows the credentials. It is the only way to a
// Caller.
func (s *Server) authenticate(ctx context.Context, c credentials) (Identity, error) {
	var id Identity
	var err error
	switch c.tag.Kind {
	case names.KindUser:
		id, err = s.authenticateUser(ctx, c)
	case names.KindMachine, names.KindUnit:
		id, err = s.authenticateAgent(ctx, c)
	default:
		err = ErrCredentials
	}
	if err != nil {
		return Identity{}, err
	}
	// What this connection reads is no older than its login, whichever
	// controller the last change went through.
	if fresh, ok := s.cfg.Store.(interface{ Fresh(context.Context) error }); ok {
		if err := fresh.Fresh(ctx); err != nil {
			return Identity{}, fmt.Errorf("cannot log in: %w", err)
		}
	}
	id.Caller.Model = c.model
	if id.Caller.Tag() != c.tag {
		return Identity{}, errors.New("internal error: the identity is not the one that logged in")
	}
	return id, nil
}

// anonymous is the user whose calls carry their own proof. It is not served.
const anonymous = "jujuanonymous"

func (s *Server) authenticateUser(ctx context.Context, c credentials) (Identity, error) {
	user := names.User(c.tag.ID).Local()
	if user == anonymous {
		return Identity{}, ErrCredentials
	}
	if c.pw.Empty() {
		return Identity{}, ErrNoCredentials
	}
	id, err := s.limits.inTurn(ctx, source(c.peer.RemoteAddr), string(user), func() (Identity, error) {
		return s.cfg.Auth.AuthenticateUser(ctx, user, c.pw, c.model)
	})
	if err != nil {
		return Identity{}, err
	}
	if id.Caller.Kind != authz.User {
		return Identity{}, ErrCredentials
	}
	return id, nil
}

func (s *Server) authenticateAgent(ctx context.Context, c credentials) (Identity, error) {
	if c.model == "" || c.pw.Empty() {
		return Identity{}, ErrCredentials
	}
	proof, key, err := s.certified(c)
	if err != nil {
		s.cfg.Log.Info("agent's certificate refused", "agent", c.tag.String(), "source", c.peer.RemoteAddr, "why", err.Error())
		return Identity{}, ErrCredentials
	}
	if c.basics && proof != Certified {
		return Identity{}, ErrCredentials
	}
	// Agents that show a certificate of ours share a budget that strangers
	// cannot spend; strangers have one for each source, and wait.
	stranger, src := "", source(c.peer.RemoteAddr)
	if proof == Certified {
		if !s.limits.agent(c.tag.String(), c.model) {
			return Identity{}, ErrTryAgain
		}
	} else {
		if !s.limits.stranger(src) {
			return Identity{}, ErrTryAgain
		}
		stranger = account(src, "an agent without a certificate")
		if err := s.limits.wait(ctx, stranger, s.cfg.Limits.FreeTries); err != nil {
			return Identity{}, err
		}
	}
	id, err := s.cfg.Auth.AuthenticateAgent(ctx, AgentLogin{
		Tag: c.tag, Model: c.model, Password: c.pw, Nonce: c.nonce, Proof: proof, KeyHash: key, Source: c.peer.RemoteAddr,
	})
	if stranger != "" && (err == nil || errors.Is(err, ErrCredentials)) {
		s.limits.ended(stranger, err == nil)
	}
	if err != nil {
		return Identity{}, err
	}
	full := id.Caller.Kind == authz.Machine || id.Caller.Kind == authz.Unit
	switch {
	case proof == Certified && full:
	case proof != Certified && id.Caller.Kind == authz.Enrolling:
		id.Caller.Renewing = proof == Expired
	default:
		return Identity{}, ErrCredentials // whatever the authenticator thinks
	}
	return id, nil
}

// certified is the one place where an agent's certificate is judged. Having
// none is no error: a one-time token may still enrol. Having one that is not
// this agent's, not ours, or long expired is.
func (s *Server) certified(c credentials) (Proof, string, error) {
	if c.peer.TLS == nil || len(c.peer.TLS.PeerCertificates) == 0 {
		return Uncertified, "", nil
	}
	id, err := s.cfg.Authority.VerifyAgent(c.peer.TLS.PeerCertificates, s.cfg.Now(), renewFor)
	if err != nil {
		return Uncertified, "", err
	}
	if id.Agent != (pki.Agent{Tag: c.tag, Model: c.model}) {
		return Uncertified, "", errors.New("it is the certificate of another agent")
	}
	if id.Expired {
		return Expired, hex.EncodeToString(id.KeyHash[:]), nil
	}
	return Certified, hex.EncodeToString(id.KeyHash[:]), nil
}

func isDenied(err error) bool { return errors.Is(err, authz.ErrDenied) }
