package machine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/scarab-ops/scarab/names"
)

// secret is a credential. It does not print; it is written only to the
// agent's own file.
type secret string

func (secret) String() string   { return "<secret>" }
func (secret) GoString() string { return "<secret>" }
func (secret) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, "<secret>")
}

// conf is an agent's own file, mode 0600. The provisioner writes the first of
// a machine, the machine agent the first of each unit; each agent adds what it
// makes itself: key, password, and the certificate it was given.
type conf struct {
	Tag          string   `json:"tag"`
	Controller   string   `json:"controller"`
	Model        string   `json:"model"`
	Nonce        string   `json:"nonce"`
	CACert       string   `json:"ca-cert"`
	APIAddresses []string `json:"api-addresses"`
	// Token is good once; it goes when the certificate has come.
	Token secret `json:"token,omitempty"`
	// Password is written before it is sent, so that no answer that is lost
	// can lock the agent out.
	Password    secret `json:"password,omitempty"`
	Key         secret `json:"key,omitempty"`
	Certificate string `json:"certificate,omitempty"`
}

const (
	confName = "agent.conf"
	maxConf  = 1 << 20
)

func readConf(path string) (conf, error) {
	var c conf
	f, err := os.Open(path)
	if err != nil {
		return c, err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxConf+1))
	if err == nil && len(data) > maxConf {
		err = errors.New("it is too large")
	}
	if err == nil {
		err = json.Unmarshal(data, &c)
	}
	if err != nil {
		return c, fmt.Errorf("cannot read agent configuration %s: %w", path, err)
	}
	return c, c.check()
}

func (c conf) check() error {
	if _, err := names.ParseTag(c.Tag); err != nil {
		return fmt.Errorf("cannot use agent configuration: %v", err)
	}
	switch {
	case !names.ValidUUID(c.Model), !names.ValidUUID(c.Controller):
		return errors.New("cannot use agent configuration: model or controller is missing")
	case c.CACert == "":
		return errors.New("cannot use agent configuration: the controller's CA certificate is missing")
	case len(c.APIAddresses) == 0:
		return errors.New("cannot use agent configuration: no address of the controller")
	}
	return nil
}

func (c conf) write(path string) error {
	data, err := json.Marshal(c) //nolint:gosec // the agent's own file, for root alone, holds its password
	if err != nil {
		return fmt.Errorf("cannot write agent configuration: %v", err)
	}
	if err := writeAtomic(path, data, 0o600); err != nil {
		return fmt.Errorf("cannot write agent configuration: %w", err)
	}
	return nil
}

// writeAtomic replaces a file as a whole; a crash leaves the old or the new.
func writeAtomic(path string, data []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}
