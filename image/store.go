package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

// DefaultDir is where images are kept.
const DefaultDir = "/var/cache/scarab/images"

// Default is the image of machines that ask for no base.
const Default = "debian@12"

// ErrNotFound is for images that are neither kept nor can be built.
var ErrNotFound = errors.New("image not found")

var namePattern = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}@[a-z0-9][a-z0-9.-]{0,31}$`)

// Image is one base image. Its name is its base, "debian@12".
type Image struct {
	Name    string    `json:"name"`
	Arch    string    `json:"arch"`
	Source  string    `json:"source"` // "packages" or "tarball"
	Digest  string    `json:"digest"` // sha256 of the compressed file
	Bytes   int64     `json:"bytes"`
	Created time.Time `json:"created"`
	Root    string    `json:"-"` // unpacked; empty if it is not
}

// Store is a folder of images, which only root can look into: it holds
// programs that run as root.
type Store struct {
	Dir string
	// Build settings; zero takes those of the host.
	Apt *Apt
	// Shared is a store of root's whose files are used where this user may read
	// them; only compressed files are, and only if their digest is right.
	Shared string
	// Shift is added to every owner of an image's files. With OneID all of them
	// belong to whoever unpacks, who has no other id to give.
	Shift int
	OneID bool
}

// userOwned tells that images are those of an ordinary user.
func (s *Store) userOwned() bool { return s.Shift != 0 || s.OneID }

// adopt takes an image over from the shared store.
func (s *Store) adopt(ctx context.Context, name string) (Image, error) {
	shared := Store{Dir: s.Shared}
	if s.Shared == "" {
		return Image{}, ErrNotFound
	}
	img, err := shared.read(name)
	if err != nil {
		return Image{}, err
	}
	f, err := os.Open(shared.file(name, "image.tar.zst"))
	if err != nil {
		return Image{}, fmt.Errorf("cannot use the shared image %s: %w", name, err)
	}
	defer f.Close()
	tmp, err := os.CreateTemp(s.file(name), "new-*.tar.zst")
	if err != nil {
		return Image{}, fmt.Errorf("cannot keep image %s: %w", name, err)
	}
	defer os.Remove(tmp.Name()) // fails after the rename, as it should
	defer tmp.Close()
	sum := sha256.New()
	_, err = io.Copy(io.MultiWriter(tmp, sum), io.LimitReader(contextReader{ctx, f}, maxImageBytes))
	if err == nil && hex.EncodeToString(sum.Sum(nil)) != img.Digest {
		err = errors.New("its digest is not the recorded one")
	}
	if err = errors.Join(err, tmp.Sync()); err == nil {
		err = os.Rename(tmp.Name(), s.file(name, "image.tar.zst"))
	}
	if err != nil {
		return Image{}, fmt.Errorf("cannot use the shared image %s: %w", name, err)
	}
	return img, s.record(&img)
}

func (s *Store) file(name string, part ...string) string {
	return filepath.Join(append([]string{s.Dir, name}, part...)...)
}

func (s *Store) rootOf(img *Image) string {
	return s.file(img.Name, "root-"+img.Digest[:16])
}

// lock keeps two builders of one image apart, in this process and others.
func (s *Store) lock(ctx context.Context, name string) (func(), error) {
	if !namePattern.MatchString(name) {
		return nil, fmt.Errorf("cannot use image %q: a name looks like %s", name, Default)
	}
	if err := os.MkdirAll(s.file(name), 0o700); err != nil {
		return nil, fmt.Errorf("cannot use image %s: %w", name, err)
	}
	if err := os.Chmod(s.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot use image %s: %w", name, err)
	}
	f, err := os.OpenFile(s.file(name, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot lock image %s: %w", name, err)
	}
	for pause := time.Millisecond; ; pause = min(2*pause, 250*time.Millisecond) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			_ = f.Close()
			return nil, fmt.Errorf("cannot lock image %s: %w", name, ctx.Err())
		}
	}
}

// List gives all kept images by name.
func (s *Store) List() ([]Image, error) {
	entries, err := os.ReadDir(s.Dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot list images: %w", err)
	}
	var out []Image
	for _, e := range entries {
		img, err := s.read(e.Name())
		if err == nil {
			out = append(out, img)
		}
	}
	return out, nil
}

func (s *Store) read(name string) (Image, error) {
	var img Image
	if !namePattern.MatchString(name) {
		return img, fmt.Errorf("cannot use image %q: %w", name, ErrNotFound)
	}
	data, err := os.ReadFile(s.file(name, "image.json"))
	if errors.Is(err, os.ErrNotExist) {
		return img, fmt.Errorf("cannot use image %s: %w", name, ErrNotFound)
	}
	if err == nil {
		err = json.Unmarshal(data, &img)
	}
	if err != nil || img.Name != name || len(img.Digest) != 64 {
		return img, fmt.Errorf("cannot use image %s: its record is damaged, remove it: %w", name, errors.Join(err, ErrNotFound))
	}
	if root := s.rootOf(&img); isDir(root) {
		img.Root = root
	}
	return img, nil
}

func isDir(name string) bool {
	st, err := os.Lstat(name)
	return err == nil && st.IsDir()
}

// Ensure gives an image ready to use, unpacking or building it if needed. A
// kept image needs no network.
func (s *Store) Ensure(ctx context.Context, name string, progress func(string)) (Image, error) {
	if img, err := s.read(name); err == nil && img.Root != "" {
		return img, nil
	}
	progress("waiting for image " + name)
	release, err := s.lock(ctx, name)
	if err != nil {
		return Image{}, err
	}
	defer release()
	img, err := s.read(name)
	switch {
	case err == nil && img.Root != "":
		return img, nil
	case errors.Is(err, ErrNotFound):
		if img, err = s.adopt(ctx, name); err == nil {
			break
		}
		if img, err = s.build(ctx, name, progress); err != nil {
			return Image{}, err
		}
	case err != nil:
		return Image{}, err
	}
	progress("unpacking image " + name)
	return s.unpack(ctx, &img)
}

// Has tells whether an image is kept or could be built.
func (s *Store) Has(name string) bool {
	if _, err := s.read(name); err == nil {
		return true
	}
	_, err := suiteOf(name)
	return err == nil
}

// Add takes in a tarball (plain, gzip or zstd) as an image and unpacks it.
func (s *Store) Add(ctx context.Context, name string, tarball io.Reader) (Image, error) {
	release, err := s.lock(ctx, name)
	if err != nil {
		return Image{}, err
	}
	defer release()
	plain, closer, err := decompress(tarball)
	if err != nil {
		return Image{}, err
	}
	defer closer()
	img, err := s.keep(ctx, name, "tarball", plain)
	if err != nil {
		return Image{}, err
	}
	return s.unpack(ctx, &img)
}

// Remove deletes an image, unless one of the roots in use is its own.
func (s *Store) Remove(ctx context.Context, name string, inUse []string) error {
	if _, err := os.Lstat(s.file(name)); !namePattern.MatchString(name) || err != nil {
		return fmt.Errorf("cannot remove image %q: %w", name, ErrNotFound)
	}
	release, err := s.lock(ctx, name)
	if err != nil {
		return err
	}
	defer release()
	if slices.ContainsFunc(inUse, func(root string) bool { return strings.HasPrefix(root, s.file(name)+"/") }) {
		return fmt.Errorf("cannot remove image %s: machines run on it", name)
	}
	if err := os.RemoveAll(s.file(name)); err != nil {
		return fmt.Errorf("cannot remove image %s: %w", name, err)
	}
	return nil
}

// keep compresses a tar stream into the store and records it.
func (s *Store) keep(ctx context.Context, name, source string, tar io.Reader) (Image, error) {
	f, err := os.CreateTemp(s.file(name), "new-*.tar.zst")
	if err != nil {
		return Image{}, fmt.Errorf("cannot keep image %s: %w", name, err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	sum := &counted{Hash: sha256.New()}
	zw, err := zstd.NewWriter(io.MultiWriter(f, sum))
	if err != nil {
		return Image{}, fmt.Errorf("cannot keep image %s: %w", name, err)
	}
	n, err := io.Copy(zw, io.LimitReader(contextReader{ctx, tar}, maxImageBytes+1))
	if err == nil && n > maxImageBytes {
		err = errTooLarge
	}
	if err = errors.Join(err, zw.Close(), f.Sync()); err != nil {
		return Image{}, fmt.Errorf("cannot keep image %s: %w", name, err)
	}
	img := Image{
		Name: name, Arch: runtime.GOARCH, Source: source, Digest: hex.EncodeToString(sum.Sum(nil)),
		Bytes: sum.n, Created: time.Now().UTC(),
	}
	if err := os.Rename(f.Name(), s.file(name, "image.tar.zst")); err != nil {
		return Image{}, fmt.Errorf("cannot keep image %s: %w", name, err)
	}
	return img, s.record(&img)
}

func (s *Store) record(img *Image) error {
	data, err := json.MarshalIndent(img, "", " ")
	if err != nil {
		return fmt.Errorf("cannot record image %s: %w", img.Name, err)
	}
	tmp := s.file(img.Name, "image.json.new")
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return fmt.Errorf("cannot record image %s: %w", img.Name, err)
	}
	if err := os.Rename(tmp, s.file(img.Name, "image.json")); err != nil {
		return fmt.Errorf("cannot record image %s: %w", img.Name, err)
	}
	return nil
}

// unpack verifies the whole file first and reads it only then.
func (s *Store) unpack(ctx context.Context, img *Image) (Image, error) {
	fail := func(err error) (Image, error) {
		return Image{}, fmt.Errorf("cannot unpack image %s: %w", img.Name, err)
	}
	f, err := os.Open(s.file(img.Name, "image.tar.zst"))
	if err != nil {
		return fail(err)
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, contextReader{ctx, f}); err != nil {
		return fail(err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != img.Digest {
		return fail(fmt.Errorf("its digest is %s, recorded is %s: remove it", got, img.Digest))
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return fail(err)
	}
	// What an interrupted attempt left is not trusted.
	tmp := s.file(img.Name, "unpacking")
	if err := os.RemoveAll(tmp); err != nil {
		return fail(err)
	}
	if err := os.Mkdir(tmp, 0o755); err != nil {
		return fail(err)
	}
	zr, err := zstd.NewReader(contextReader{ctx, f}, zstd.WithDecoderMaxMemory(256<<20))
	if err != nil {
		return fail(err)
	}
	defer zr.Close()
	if err := unpackAs(zr, tmp, s.Shift, s.OneID); err != nil {
		return fail(errors.Join(err, os.RemoveAll(tmp)))
	}
	if err := syncFiles(tmp); err != nil {
		return fail(err)
	}
	root := s.rootOf(img)
	if err := os.Rename(tmp, root); err != nil && !isDir(root) {
		return fail(err)
	}
	out := *img
	out.Root = root
	return out, nil
}

// syncFiles makes sure that a folder that is there after a power cut is whole.
func syncFiles(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("cannot sync: %w", err)
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("cannot sync: %w", err)
	}
	return nil
}

// counted is a digest that knows how much it has seen.
type counted struct {
	hash.Hash
	n int64
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.Hash.Write(p)
	c.n += int64(n)
	return n, err
}

// contextReader stops reading when its context ends.
type contextReader struct {
	ctx context.Context //nolint:containedctx // a Reader takes none
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
