package controller

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/scarab-ops/scarab/audit"
)

// unsignedFor is how old a record may be that no checkpoint covers yet.
const unsignedFor = 5 * time.Minute

// AuditVerify checks the audit chain in a directory, with nothing but its files
// and a public key: it needs no controller and no secret. args are those of
// scarab-controller audit-verify.
func AuditVerify(args []string, now time.Time, out io.Writer) error {
	fs := flag.NewFlagSet("audit-verify", flag.ContinueOnError)
	fs.SetOutput(out)
	dir := fs.String("data-dir", "/var/lib/scarab/controller", "the controller's data directory, or a copy")
	keyFile := fs.String("key", "", "public key of the checkpoints (PEM), kept elsewhere; default the one beside the chain")
	reaches := fs.String("reaches", "", "NUMBER:HASH of a record that must be in the chain, as an earlier check printed it")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("cannot verify %q: name the directory with --data-dir", fs.Arg(0))
	}
	want, err := parseHead(*reaches)
	if err != nil {
		return err
	}
	chain := filepath.Join(*dir, "audit")
	if *keyFile == "" {
		*keyFile = filepath.Join(chain, audit.KeyFile)
	}
	pub, fingerprint, err := publicKey(*keyFile)
	if err != nil {
		return err
	}
	r, err := audit.Inspect(chain, pub, want)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(out, "records      %d in %d segments\nhead         %d:%s\nkey          SHA256:%s\n", r.Head.N, r.Segments, r.Head.N, r.Head.Hash, fingerprint)
	if r.Signed > 0 {
		_, _ = fmt.Fprintf(out, "signed       up to record %d, at %s\n", r.Signed, r.SignedAt.UTC().Format(time.RFC3339))
	}
	if !r.Unsigned.IsZero() && now.Sub(r.Unsigned) > unsignedFor {
		return fmt.Errorf("cannot vouch for records %d to %d: no signed checkpoint covers them; start the controller, which compares them with its store and signs them, and verify again", r.Signed+1, r.Head.N)
	}
	return nil
}

func parseHead(s string) (*audit.Head, error) {
	if s == "" {
		return nil, nil
	}
	n, hash, ok := strings.Cut(s, ":")
	number, err := strconv.ParseInt(n, 10, 64)
	if raw, herr := hex.DecodeString(hash); !ok || err != nil || herr != nil || number < 1 || len(raw) != 48 {
		return nil, fmt.Errorf("cannot read --reaches %.120q: give NUMBER:HASH as an earlier check printed it", s)
	}
	return &audit.Head{N: number, Hash: hash}, nil
}

// publicKey reads a key of checkpoints and its fingerprint.
func publicKey(name string) (*ecdsa.PublicKey, string, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, "", fmt.Errorf("cannot read the public key of the audit chain: %w", err)
	}
	defer func() { _ = f.Close() }()
	raw, err := io.ReadAll(io.LimitReader(f, 16<<10))
	if err != nil {
		return nil, "", fmt.Errorf("cannot read the public key of the audit chain: %w", err)
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, "", fmt.Errorf("cannot read the public key in %s: it is not PEM", name)
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	pub, ok := key.(*ecdsa.PublicKey)
	if err != nil || !ok {
		return nil, "", errors.Join(fmt.Errorf("cannot read the public key in %s: it is no ECDSA key", name), err)
	}
	sum := sha256.Sum256(block.Bytes)
	return pub, hex.EncodeToString(sum[:]), nil
}
