package store

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"
)

// SSHKey is the client's own key pair: where the private part is, and the public part as one line.
type SSHKey struct {
	Path   string
	Public string
}

const keyComment = "juju-client-key"

// SSHKey returns the client's key pair, made on first use.
func (s *Store) SSHKey(ctx context.Context) (SSHKey, error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return SSHKey{}, err
	}
	defer unlock()
	dir, err := s.Subdir("ssh")
	if err != nil {
		return SSHKey{}, err
	}
	for _, name := range []string{"juju_id_ed25519", "juju_id_rsa"} {
		key, err := s.readKey(filepath.Join(dir, name))
		if err == nil || !errors.Is(err, os.ErrNotExist) {
			return key, err
		}
	}
	return s.makeKey(dir, "juju_id_ed25519")
}

func (s *Store) readKey(path string) (SSHKey, error) {
	data, err := s.read(path)
	if err != nil {
		return SSHKey{}, err
	}
	signer, err := ssh.ParsePrivateKey(data)
	if err != nil {
		return SSHKey{}, &BrokenError{Path: path, Reason: "it is no private key without a passphrase", Repair: "move it away; a new key is made by the next ssh"}
	}
	return SSHKey{Path: path, Public: publicLine(signer.PublicKey())}, nil
}

func publicLine(k ssh.PublicKey) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k))) + " " + keyComment
}

func (s *Store) makeKey(dir, name string) (SSHKey, error) {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return SSHKey{}, fmt.Errorf("cannot make an ssh key: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(priv, keyComment)
	if err != nil {
		return SSHKey{}, fmt.Errorf("cannot make an ssh key: %w", err)
	}
	sshPub, err := ssh.NewPublicKey(pub)
	if err != nil {
		return SSHKey{}, fmt.Errorf("cannot make an ssh key: %w", err)
	}
	line := publicLine(sshPub)
	// The public part first: with the private part there, the pair counts as made.
	if err := s.replace(dir, name+".pub", []byte(line+"\n")); err != nil {
		return SSHKey{}, err
	}
	if err := s.replace(dir, name, pem.EncodeToMemory(block)); err != nil {
		return SSHKey{}, err
	}
	return SSHKey{Path: filepath.Join(dir, name), Public: line}, nil
}
