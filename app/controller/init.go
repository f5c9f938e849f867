package controller

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/scarab-ops/scarab/domain/cloud"
	"github.com/scarab-ops/scarab/domain/controller"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/user"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/pki"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/state/sealed"
)

// Init is what a new controller begins from: a file written by bootstrap,
// readable by the controller alone. It holds the verifier of the first
// person's password, never the password.
type Init struct {
	Name      string             `json:"name"`
	UUID      names.ControllerID `json:"uuid"`
	ModelUUID names.Model        `json:"model-uuid"`
	Admin     names.User         `json:"admin"`
	Verifier  string             `json:"verifier"`
	// ModelConfig is given to the controller model and, as far as it names the
	// host's mirror and resolvers, to every model made later.
	ModelConfig map[string]string `json:"model-config"`
	Config      map[string]string `json:"config"`
	// APIAddresses are for clients, AgentAddresses for machines: host:port.
	APIAddresses   []string `json:"api-addresses"`
	AgentAddresses []string `json:"agent-addresses"`
	RSA            bool     `json:"rsa,omitempty"` // CA key RSA 4096 in the place of ECDSA P-384
}

// maxInit bounds the init file.
const maxInit = 1 << 20

// readInit reads the init file; a missing one is nil.
func readInit(path string) (*Init, error) {
	if path == "" {
		return nil, nil
	}
	fi, err := os.Stat(path)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the init file: %w", err)
	}
	if fi.Size() > maxInit || fi.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("cannot use the init file %s: it is too large, or others may read it", path)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the init file: %w", err)
	}
	var in Init
	if err := json.Unmarshal(raw, &in); err != nil {
		return nil, fmt.Errorf("cannot read the init file %s: %w", path, err)
	}
	return &in, nil
}

// awaitInit reads the init file. An empty store, which is of no use without
// it, waits a while until it is there.
func awaitInit(ctx context.Context, path string, empty bool, wait time.Duration) (*Init, error) {
	in, err := readInit(path)
	if in != nil || err != nil || !empty || path == "" || wait <= 0 {
		return in, err
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	look := time.NewTicker(initLook)
	defer look.Stop()
	for in == nil && err == nil {
		select {
		case <-look.C:
			in, err = readInit(path)
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return nil, nil // the store stays empty: whoever needs it says so
			}
			return nil, context.Cause(ctx)
		}
	}
	return in, err
}

// initLook is how often a starting controller looks for its init file.
const initLook = 2 * time.Millisecond

// Names of the sealed keys.
const (
	keyCA    = "ca"
	keyBlob  = "blob"
	keyAudit = "audit"
)

// initialise fills an empty store in one transaction. A store that is not
// empty is left alone.
func initialise(ctx context.Context, st *state.Store, box *sealed.Box, in *Init, now time.Time) error {
	if controller.Table.Has(st.View(), state.Controller, "controller") {
		return nil
	}
	if in == nil {
		return fmt.Errorf("cannot start: the store is empty and there is no init file; bootstrap the controller first")
	}
	kind := pki.ECDSAP384
	if in.RSA {
		kind = pki.RSA4096
	}
	ca, err := pki.New(pki.Config{Controller: in.UUID, Kind: kind, Now: func() time.Time { return now }})
	if err != nil {
		return err
	}
	keys, err := freshKeys(ca)
	if err != nil {
		return err
	}
	return st.Update(ctx, func(tx *state.Tx) error {
		row := controller.Row{
			UUID: in.UUID, Name: in.Name, Model: in.ModelUUID, CACert: string(ca.CertPEM()), Created: now,
			Config: in.Config, APIAddresses: in.APIAddresses, AgentAddresses: in.AgentAddresses,
		}
		if err := controller.Table.Put(tx, state.Controller, row); err != nil {
			return err
		}
		for _, k := range keys {
			if err := controller.Keys.Put(tx, box, state.Controller, k); err != nil {
				return err
			}
		}
		return people(tx, in, now)
	})
}

func people(tx *state.Tx, in *Init, now time.Time) error {
	if err := user.Add(tx, user.Row{Name: in.Admin, Verifier: in.Verifier, Created: now, CreatedBy: in.Admin}); err != nil {
		return err
	}
	err := user.Grants.Put(tx, state.Controller, user.Grant{User: in.Admin, On: user.OnController, Level: "superuser"})
	if err != nil {
		return err
	}
	if err := cloud.Table.Put(tx, state.Controller, cloud.Localhost()); err != nil {
		return err
	}
	return model.Add(tx, model.Row{
		UUID: in.ModelUUID, Name: "controller", Owner: in.Admin, Cloud: "localhost", Region: "localhost",
		IsController: true, Created: now, AgentVersion: ServerVersion,
	}, in.ModelConfig)
}

func freshKeys(ca *pki.Authority) ([]controller.Key, error) {
	caPEM, err := ca.Key().RevealPEM()
	if err != nil {
		return nil, err
	}
	blobKey := make([]byte, 32)
	if _, err := rand.Read(blobKey); err != nil {
		return nil, fmt.Errorf("cannot make the blob key: %w", err)
	}
	auditKey, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("cannot make the audit key: %w", err)
	}
	auditDER, err := x509.MarshalPKCS8PrivateKey(auditKey)
	if err != nil {
		return nil, fmt.Errorf("cannot make the audit key: %w", err)
	}
	return []controller.Key{{Name: keyCA, Data: caPEM}, {Name: keyBlob, Data: blobKey}, {Name: keyAudit, Data: auditDER}}, nil
}
