// Package blob owns bytes that are too big for the store: charm archives, and
// later resources and backups. A blob is named by the SHA-256 of its content
// and belongs to one model; references to it are rows of the domain.
//
// Blobs are sealed on disk with AES-256-GCM in chunks, each bound to its model,
// its file and its place in it; the last piece binds the whole to digest and
// size. A reader gets no byte that was not authenticated, and fails before the
// end if the digest is wrong. The package refuses uploads past the quota of a
// model or of all together, more than a few at once, and names that are no digest;
// whatever an aborted upload wrote is removed.
package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// A coded error knows its wire code.
type coded struct{ text, code string }

func (e *coded) Error() string { return e.text }
func (e *coded) Code() string  { return e.code }

// Errors of this package. Compare with errors.Is.
var (
	// ErrDigest reports stored or sent bytes that are not what their digest says.
	ErrDigest = error(&coded{"cannot use blob: bytes do not match their digest (blob-digest)", "blob-digest"})
	// ErrQuota reports an upload past a quota.
	ErrQuota = error(&coded{"cannot store blob: quota used up, remove unused charms or raise the quota", "quota limit exceeded"})
	// ErrBusy reports too many uploads at once.
	ErrBusy = error(&coded{"cannot store blob: too many uploads at once, try again", "try again"})
	// ErrNotFound reports a blob that the model does not have.
	ErrNotFound = error(&coded{"blob not found", "not found"})
)

// A Key seals blobs. It does not print.
type Key struct{ k [32]byte }

// NewKey takes 32 bytes of key.
func NewKey(b []byte) (Key, error) {
	var k Key
	if len(b) != len(k.k) {
		return Key{}, fmt.Errorf("cannot use a blob key of %d bytes: it needs 32", len(b))
	}
	copy(k.k[:], b)
	return k, nil
}

// Format shows nothing, whatever the verb.
func (Key) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[key]")) }

// MarshalText refuses.
func (Key) MarshalText() ([]byte, error) { return nil, errors.New("cannot marshal a key") }

// A Digest is the SHA-256 of a blob's content in lower-case hexadecimal.
type Digest string

// Valid reports whether d has the form of a digest.
func (d Digest) Valid() bool {
	if len(d) != 64 {
		return false
	}
	return strings.Trim(string(d), "0123456789abcdef") == ""
}

// Config says where blobs are and how many may be. Zero limits mean the
// defaults: 20 GiB in all, 5 GiB a model, 1 GiB a blob, 8 uploads at once.
type Config struct {
	Dir       string // made if absent, 0700
	Key       Key
	MaxTotal  int64
	MaxModel  int64
	MaxBlob   int64
	MaxAtOnce int
	// Detected is told of each stored blob that turned out changed; may be nil.
	Detected func(model string, d Digest, why string)
}

// A Store keeps blobs in files.
type Store struct {
	cfg   Config
	root  *os.Root
	slots chan struct{}

	mu    sync.Mutex
	used  map[string]int64 // bytes on disk and reserved, by model
	total int64
}

const tmpDir = "tmp"

// Open opens the store, removes what aborted uploads left and counts the rest.
func Open(cfg Config) (*Store, error) {
	setDefault(&cfg.MaxTotal, 20<<30)
	setDefault(&cfg.MaxModel, 5<<30)
	setDefault(&cfg.MaxBlob, 1<<30)
	if cfg.MaxAtOnce == 0 {
		cfg.MaxAtOnce = 8
	}
	if cfg.Key == (Key{}) {
		return nil, errors.New("cannot open blob store: no key given")
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot open blob store: %w", err)
	}
	if err := os.Chmod(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot open blob store: %w", err)
	}
	root, err := os.OpenRoot(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("cannot open blob store: %w", err)
	}
	s := &Store{cfg: cfg, root: root, slots: make(chan struct{}, cfg.MaxAtOnce), used: map[string]int64{}}
	if err := s.prepare(); err != nil {
		_ = root.Close()
		return nil, fmt.Errorf("cannot open blob store: %w", err)
	}
	return s, nil
}

func setDefault(v *int64, d int64) {
	if *v == 0 {
		*v = d
	}
}

func (s *Store) prepare() error {
	if err := s.root.RemoveAll(tmpDir); err != nil {
		return err
	}
	if err := s.root.Mkdir(tmpDir, 0o700); err != nil {
		return err
	}
	return fs.WalkDir(s.root.FS(), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		model := strings.Split(filepath.ToSlash(p), "/")[0]
		s.used[model] += info.Size()
		s.total += info.Size()
		return nil
	})
}

// Close releases the store.
func (s *Store) Close() error { return s.root.Close() }

// Usage returns the bytes a model takes on disk, uploads under way included.
func (s *Store) Usage(model string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used[model]
}

func (s *Store) reserve(model string, n int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used[model]+n > s.cfg.MaxModel || s.total+n > s.cfg.MaxTotal {
		return ErrQuota
	}
	s.used[model] += n
	s.total += n
	return nil
}

func (s *Store) release(model string, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used[model] -= n
	s.total -= n
	if s.used[model] <= 0 {
		delete(s.used, model)
	}
}

// place returns a model's folder and a blob's file in it. A model is a UUID or
// "controller": anything else is refused before it is part of a path.
func place(model string, d Digest) (dir, file string, err error) {
	if !d.Valid() {
		return "", "", fmt.Errorf("cannot name a blob %.80q: not a SHA-256 in lower-case hex", string(d))
	}
	if err := checkModel(model); err != nil {
		return "", "", err
	}
	dir = model + "/" + string(d[:2])
	return dir, dir + "/" + string(d), nil
}

func checkModel(model string) error {
	if model == "" || len(model) > 64 || model == tmpDir || strings.Trim(model, "0123456789abcdefghijklmnopqrstuvwxyz-") != "" {
		return fmt.Errorf("cannot name a model %.80q", model)
	}
	return nil
}

// Put stores r for a model. want may be empty; otherwise other content is
// refused with [ErrDigest]. Storing what is there already replaces it, which
// heals a damaged blob.
func (s *Store) Put(ctx context.Context, model string, r io.Reader, want Digest) (Digest, int64, error) {
	if err := checkModel(model); err != nil {
		return "", 0, err
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		return "", 0, ErrBusy
	}
	u, err := s.begin(model)
	if err != nil {
		return "", 0, fmt.Errorf("cannot store blob: %w", err)
	}
	defer u.abort()
	if err := u.copy(ctx, r); err != nil {
		return "", 0, fmt.Errorf("cannot store blob: %w", err)
	}
	d, err := u.finish(want)
	if err != nil {
		return "", 0, fmt.Errorf("cannot store blob: %w", err)
	}
	return d, u.size, nil
}

// Delete removes a model's blob. An absent one is [ErrNotFound].
func (s *Store) Delete(_ context.Context, model string, d Digest) error {
	_, file, err := place(model, d)
	if err != nil {
		return err
	}
	info, err := s.root.Lstat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("cannot delete blob: %w", err)
	}
	if err := s.root.Remove(file); err != nil {
		return fmt.Errorf("cannot delete blob: %w", err)
	}
	s.release(model, info.Size())
	return nil
}

// DeleteModel removes every blob of a model.
func (s *Store) DeleteModel(_ context.Context, model string) error {
	if err := checkModel(model); err != nil {
		return err
	}
	if err := s.root.RemoveAll(model); err != nil {
		return fmt.Errorf("cannot delete blobs of model %s: %w", model, err)
	}
	s.release(model, s.Usage(model))
	return nil
}

// All lists the digests of a model's blobs, for whoever removes those that no
// row refers to.
func (s *Store) All(model string) ([]Digest, error) {
	if err := checkModel(model); err != nil {
		return nil, err
	}
	var ds []Digest
	err := fs.WalkDir(s.root.FS(), model, func(_ string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if d := Digest(e.Name()); d.Valid() {
			ds = append(ds, d)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot list blobs: %w", err)
	}
	return ds, nil
}
