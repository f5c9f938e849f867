package sealed

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Key is an unseal key. It cannot be printed or marshalled.
type Key struct {
	b   [32]byte
	set bool
}

// NewKey draws a key.
func NewKey() (Key, error) {
	k := Key{set: true}
	if _, err := rand.Read(k.b[:]); err != nil {
		return Key{}, fmt.Errorf("cannot make an unseal key: %w", err)
	}
	return k, nil
}

// KeyFromBytes makes a key of 32 bytes that came from elsewhere, such as a
// credential of the service manager. The caller clears raw.
func KeyFromBytes(raw []byte) (Key, error) {
	k := Key{set: true}
	if len(raw) != len(k.b) {
		return Key{}, fmt.Errorf("cannot use unseal key of %d bytes, want %d", len(raw), len(k.b))
	}
	copy(k.b[:], raw)
	return k, nil
}

const redacted = "[unseal key]"

func redact(w io.Writer) { _, _ = io.WriteString(w, redacted) }

// Format prints nothing of the key, whatever the verb.
func (Key) Format(f fmt.State, _ rune) { redact(f) }

// MarshalText refuses.
func (Key) MarshalText() ([]byte, error) { return nil, errors.New("cannot marshal an unseal key") }

// Config is what Open needs.
type Config struct {
	KeyFile string // unseal key file; its directory must exist
	DataDir string // where the sealed data lies; KeyFile may not be in it
	Create  bool   // make the key when the file is absent: for an empty store only
}

const (
	fileHeader = "scarab-unseal-key-v1 "
	maxFile    = 256
)

// Open returns a box with the key of the file.
func Open(cfg Config) (*Box, error) {
	if err := outside(cfg.KeyFile, cfg.DataDir); err != nil {
		return nil, err
	}
	key, err := readKey(cfg.KeyFile)
	if errors.Is(err, fs.ErrNotExist) && cfg.Create {
		key, err = createKey(cfg.KeyFile)
	}
	if err != nil {
		return nil, err
	}
	return NewBox(key)
}

// outside refuses a key beside the data that it protects: whoever copies the
// directory would have both.
func outside(file, dir string) error {
	if !filepath.IsAbs(file) {
		return fmt.Errorf("cannot use unseal key file %q: want an absolute path", file)
	}
	if dir == "" {
		return nil
	}
	parent, err := filepath.EvalSymlinks(filepath.Dir(file))
	if err != nil {
		return fmt.Errorf("cannot find the unseal key file: %w", err)
	}
	real, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, fs.ErrNotExist) {
		real, err = filepath.Abs(dir)
	}
	if err != nil {
		return fmt.Errorf("cannot find the data directory: %w", err)
	}
	rel, err := filepath.Rel(real, parent)
	if err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
		return fmt.Errorf("cannot use unseal key file %s: it lies in the data directory, put it elsewhere", file)
	}
	return nil
}

func readKey(path string) (Key, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return Key{}, fmt.Errorf("cannot open unseal key file: %w", err)
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return Key{}, fmt.Errorf("cannot examine unseal key file: %w", err)
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return Key{}, fmt.Errorf("cannot use unseal key file %s: not a regular file", path)
	case st.Mode&0o077 != 0:
		return Key{}, fmt.Errorf("cannot use unseal key file %s: others may access it, chmod it to 0600 or 0400", path)
	case int(st.Uid) != os.Geteuid() && st.Uid != 0:
		return Key{}, fmt.Errorf("cannot use unseal key file %s: it belongs to another user", path)
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return Key{}, fmt.Errorf("cannot read unseal key file: %w", err)
	}
	defer clear(raw)
	key := Key{set: true}
	text, ok := strings.CutPrefix(strings.TrimSpace(string(raw)), fileHeader)
	if n, err := base64.StdEncoding.Strict().DecodeString(text); !ok || err != nil || copy(key.b[:], n) != len(key.b) || len(n) != len(key.b) {
		return Key{}, fmt.Errorf("cannot use unseal key file %s: it is damaged, restore it from your copy", path)
	}
	return key, nil
}

// createKey writes the file durably before the key seals anything.
func createKey(path string) (Key, error) {
	key, err := NewKey()
	if err != nil {
		return Key{}, err
	}
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, ".unseal-*") // mode 0600
	if err != nil {
		return Key{}, fmt.Errorf("cannot make unseal key file: %w", err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.WriteString(fileHeader + base64.StdEncoding.EncodeToString(key.b[:]) + "\n")
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Link(tmp.Name(), path) // fails if someone else was first
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return Key{}, fmt.Errorf("cannot make unseal key file: %w", err)
	}
	return key, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
