// Package enrolment gives agents their identity: a certificate for a key that
// was made on the machine, and a password of the agent's own choice. It is all
// that a caller with a one-time token, or with a certificate that ran out, can
// reach.
package enrolment

import (
	"fmt"
	"time"

	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/authz"
	"github.com/scarab-ops/scarab/domain/agentcred"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/password"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/wire/agentapi"
)

// A Signer makes certificates that name one agent and nothing else.
type Signer interface {
	// SignAgent returns the certificate chain in PEM, its end, and the id of
	// the key (hex of the SHA-256 of the public key).
	SignAgent(csrPEM []byte, m names.Model, tag names.Tag, now time.Time) (chain []byte, notAfter time.Time, keyID string, err error)
}

// Service is what the facade needs.
type Service struct {
	Signer Signer
}

// V1 is the facade of agents that are not enrolled, or no longer.
var V1 = facade.Facade[Service]{
	Name: "Enrolment", Version: 1,
	Methods: []facade.Method[Service]{
		facade.One("Enrol", authz.Self(authz.Enrolling), enrol),
		facade.One("Renew", authz.Self(authz.Enrolling|authz.Machine|authz.Unit), renew),
	},
}

// Endpoints binds the facade.
func Endpoints(s Service) ([]facade.Endpoint, error) { return facade.Bind(V1, s) }

const minPassword = 24

func enrol(s Service, c facade.Call, a agentapi.EnrolArgs) (agentapi.EnrolResult, error) {
	if c.Caller.Renewing {
		return agentapi.EnrolResult{}, authz.ErrDenied
	}
	if len(a.Password) < minPassword {
		return agentapi.EnrolResult{}, fmt.Errorf("cannot enrol: the password is shorter than %d characters", minPassword)
	}
	hash, err := password.OfAgent(password.NewSecret(a.Password))
	if err != nil {
		return agentapi.EnrolResult{}, err
	}
	scope, tag := model.ScopeOf(c.Caller.Model), c.Caller.Tag()
	row, err := agentcred.Table.Get(c.View(), scope, tag.String())
	if err != nil {
		return agentapi.EnrolResult{}, authz.ErrDenied
	}
	chain, notAfter, keyID, err := s.Signer.SignAgent([]byte(a.CSR), c.Caller.Model, tag, c.Now())
	if err != nil {
		return agentapi.EnrolResult{}, err
	}
	err = c.Update(func(tx *state.Tx) error {
		return agentcred.Enrol(tx, scope, tag.String(), row.TokenVerifier, string(hash), keyID, c.Now())
	})
	return agentapi.EnrolResult{Certificate: string(chain), NotAfter: notAfter}, err
}

func renew(s Service, c facade.Call, a agentapi.RenewArgs) (agentapi.EnrolResult, error) {
	if c.Caller.Kind == authz.Enrolling && !c.Caller.Renewing {
		return agentapi.EnrolResult{}, authz.ErrDenied
	}
	scope, tag := model.ScopeOf(c.Caller.Model), c.Caller.Tag()
	chain, notAfter, keyID, err := s.Signer.SignAgent([]byte(a.CSR), c.Caller.Model, tag, c.Now())
	if err != nil {
		return agentapi.EnrolResult{}, err
	}
	err = c.Update(func(tx *state.Tx) error {
		row, err := agentcred.Table.Get(tx, scope, tag.String())
		if err != nil || row.Verifier == "" {
			return authz.ErrDenied
		}
		if row.KeyID != keyID {
			return fmt.Errorf("cannot renew: the request is for another key than the one enrolled")
		}
		return nil
	})
	return agentapi.EnrolResult{Certificate: string(chain), NotAfter: notAfter}, err
}
