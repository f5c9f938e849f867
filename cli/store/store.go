// Package store owns the client's files: the known controllers, the accounts on them, their models, how they were
// bootstrapped, and the fingerprints of their authorities. It keeps the formats of the reference client, leaves entries
// and keys it does not know untouched, and replaces files only as a whole.
// It refuses files and directories that other users could have written, broken files (naming the line and the repair),
// and a controller whose authority changed since it was first trusted.
package store

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// The files, below the data directory.
const (
	controllersFile = "controllers.yaml"
	accountsFile    = "accounts.yaml"
	modelsFile      = "models.yaml"
	bootstrapFile   = "bootstrap-config.yaml"
	trustFile       = "trusted-controllers.yaml"
)

// Files lists the client files by name, for the repair command.
func Files() []string {
	return []string{controllersFile, accountsFile, modelsFile, bootstrapFile, trustFile}
}

// Config says where the files are.
type Config struct {
	Dir string // required
	UID int    // who must own everything; os.Geteuid() in the program
}

// Store reads and changes the client files.
type Store struct {
	dir string
	uid int
}

// DataDir finds the data directory from the environment, as the reference does.
func DataDir(getenv func(string) string) (string, error) {
	if d := getenv("JUJU_DATA"); d != "" {
		return d, nil
	}
	if d := getenv("XDG_DATA_HOME"); d != "" {
		return filepath.Join(d, "juju"), nil
	}
	home := getenv("SNAP_REAL_HOME")
	if home == "" {
		home = getenv("HOME")
	}
	if home == "" {
		return "", errors.New("cannot find the client directory: set JUJU_DATA or HOME")
	}
	return filepath.Join(home, ".local", "share", "juju"), nil
}

// New returns a store over a directory, which is made on the first write.
func New(cfg Config) (*Store, error) {
	if cfg.Dir == "" || !filepath.IsAbs(cfg.Dir) {
		return nil, fmt.Errorf("cannot use client directory %q: give an absolute path in JUJU_DATA", cfg.Dir)
	}
	return &Store{dir: filepath.Clean(cfg.Dir), uid: cfg.UID}, nil
}

// Dir is the data directory.
func (s *Store) Dir() string { return s.dir }

// NotFoundError says that no controller, account or model of the name is known.
type NotFoundError struct{ Kind, Name, Hint string }

func (e *NotFoundError) Error() string {
	return fmt.Sprintf("cannot find %s %q", e.Kind, e.Name)
}

// Advice is the line that says what to do.
func (e *NotFoundError) Advice() string { return e.Hint }

// Fingerprint is the SHA-256 of the certificates in a PEM bundle, as colon-separated hex of the first one.
func Fingerprint(caPEM string) (string, error) {
	rest := []byte(caPEM)
	for {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			return "", errors.New("cannot find a certificate in the controller's CA text: remove the entry and log in again")
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return "", fmt.Errorf("cannot read the controller's CA certificate: %w", err)
		}
		sum := sha256.Sum256(cert.Raw)
		return groups(hex.EncodeToString(sum[:])), nil
	}
}

func groups(h string) string {
	var b strings.Builder
	for i := 0; i < len(h); i += 2 {
		if i > 0 {
			b.WriteByte(':')
		}
		b.WriteString(strings.ToUpper(h[i : i+2]))
	}
	return b.String()
}

// Subdir makes (mode 0700) and returns a directory below the data directory.
func (s *Store) Subdir(name string) (string, error) {
	if err := s.ensureDir(); err != nil {
		return "", err
	}
	p := filepath.Join(s.dir, name)
	if err := os.Mkdir(p, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return "", fmt.Errorf("cannot make %s: %w", p, err)
	}
	return p, s.checkOwned(p, true)
}
