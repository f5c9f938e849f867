package blob

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// The form of a file: magic, salt, chunks, trailer. Each file has a key of its
// own, made from the store's key and the salt, so that a chunk's number is
// enough of a nonce and no chunk fits into another file.
const (
	magic     = "SCARABB1"
	saltLen   = 32
	headLen   = len(magic) + saltLen
	chunk     = 64 << 10
	tagLen    = 16
	trailPlan = sha256.Size + 8
	trailLen  = trailPlan + tagLen
	trailNo   = ^uint64(0) // the trailer's number, which no chunk can have
)

func (s *Store) aead(model string, salt []byte) (cipher.AEAD, error) {
	k, err := hkdf.Key(sha256.New, s.cfg.Key.k[:], salt, "scarab blob "+model, 32)
	if err != nil {
		return nil, err
	}
	b, err := aes.NewCipher(k)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(b)
}

func nonce(n uint64) []byte {
	var b [12]byte
	binary.BigEndian.PutUint64(b[4:], n)
	return b[:]
}

// An upload is a blob being written.
type upload struct {
	s        *Store
	model    string
	name     string // of the temporary file
	f        *os.File
	aead     cipher.AEAD
	hash     hash.Hash
	size     int64 // of the content
	reserved int64 // of the file
	done     bool
}

func (s *Store) begin(model string) (*upload, error) {
	var id [16]byte
	salt := make([]byte, saltLen)
	_, _ = rand.Read(id[:]) // never fails
	_, _ = rand.Read(salt)
	a, err := s.aead(model, salt)
	if err != nil {
		return nil, err
	}
	u := &upload{s: s, model: model, name: tmpDir + "/" + hex.EncodeToString(id[:]), aead: a, hash: sha256.New()}
	if err := u.grow(int64(headLen + trailLen)); err != nil {
		return nil, err
	}
	u.f, err = s.root.OpenFile(u.name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		s.release(model, u.reserved)
		return nil, err
	}
	if _, err := u.f.Write(append([]byte(magic), salt...)); err != nil {
		u.abort()
		return nil, err
	}
	return u, nil
}

func (u *upload) grow(n int64) error {
	if err := u.s.reserve(u.model, n); err != nil {
		return err
	}
	u.reserved += n
	return nil
}

func (u *upload) copy(ctx context.Context, r io.Reader) error {
	src := &source{r: r}
	buf := make([]byte, chunk)
	out := make([]byte, 0, chunk+tagLen)
	for n := uint64(0); ; n++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		k, err := io.ReadFull(src, buf)
		if k > 0 {
			if u.size += int64(k); u.size > u.s.cfg.MaxBlob {
				return ErrQuota
			}
			if err := u.grow(int64(k + tagLen)); err != nil {
				return err
			}
			u.hash.Write(buf[:k])
			out = u.aead.Seal(out[:0], nonce(n), buf[:k], []byte(magic))
			if _, err := u.f.Write(out); err != nil {
				return err
			}
		}
		switch {
		case err != nil && !errors.Is(src.err, io.EOF): // a body that was cut off is not one that ended
			return src.err
		case err != nil:
			return nil //nolint:nilerr // the end of the body
		}
	}
}

// source remembers how its reader ended, which [io.ReadFull] does not tell.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil {
		s.err = err
	}
	return n, err
}

func (u *upload) finish(want Digest) (Digest, error) {
	sum := u.hash.Sum(nil)
	d := Digest(hex.EncodeToString(sum))
	if want != "" && want != d {
		return "", ErrDigest
	}
	trailer := binary.BigEndian.AppendUint64(sum, uint64(u.size))
	if _, err := u.f.Write(u.aead.Seal(nil, nonce(trailNo), trailer, []byte(magic))); err != nil {
		return "", err
	}
	if err := u.f.Sync(); err != nil {
		return "", err
	}
	dir, file, err := place(u.model, d)
	if err != nil {
		return "", err
	}
	if err := u.s.root.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	var replaced int64
	if old, err := u.s.root.Lstat(file); err == nil && old.Mode().IsRegular() {
		replaced = old.Size()
	}
	if err := u.s.root.Rename(u.name, file); err != nil {
		return "", err
	}
	u.done = true
	u.s.release(u.model, replaced)
	return d, u.s.syncDir(dir)
}

func (s *Store) syncDir(dir string) error {
	f, err := s.root.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// abort removes what was written unless it was finished. It may follow finish.
func (u *upload) abort() {
	_ = u.f.Close()
	if u.done {
		return
	}
	u.done = true
	_ = u.s.root.Remove(u.name)
	u.s.release(u.model, u.reserved)
}

// A Reader reads one blob. Every byte it gives was authenticated.
type Reader struct {
	f      *os.File
	aead   cipher.AEAD
	size   int64
	digest Digest
	bad    func(why string)

	next uint64 // chunk to read next
	rest []byte // of the chunk read last
	hash hash.Hash
	err  error
}

// Open opens a model's blob. That the blob is there under this model is all it
// knows about permission: ask before.
func (s *Store) Open(_ context.Context, model string, d Digest) (*Reader, error) {
	_, file, err := place(model, d)
	if err != nil {
		return nil, ErrNotFound
	}
	info, err := s.root.Lstat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open blob: %w", err)
	}
	bad := func(why string) {
		if s.cfg.Detected != nil {
			s.cfg.Detected(model, d, why)
		}
	}
	if !info.Mode().IsRegular() {
		bad("not a regular file")
		return nil, ErrDigest
	}
	f, err := s.root.OpenFile(file, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open blob: %w", err)
	}
	r := &Reader{f: f, digest: d, bad: bad, hash: sha256.New()}
	if err := r.begin(s, model); err != nil {
		_ = f.Close()
		bad(err.Error())
		return nil, ErrDigest
	}
	return r, nil
}

// begin authenticates digest and size before any content is read.
func (r *Reader) begin(s *Store, model string) error {
	info, err := r.f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Size() < int64(headLen+trailLen) {
		return errors.New("file is cut short")
	}
	head := make([]byte, headLen)
	if _, err := r.f.ReadAt(head, 0); err != nil {
		return err
	}
	if string(head[:len(magic)]) != magic {
		return errors.New("file is no blob")
	}
	if r.aead, err = s.aead(model, head[len(magic):]); err != nil {
		return err
	}
	sealed := make([]byte, trailLen)
	if _, err := r.f.ReadAt(sealed, info.Size()-int64(trailLen)); err != nil {
		return err
	}
	plain, err := r.aead.Open(nil, nonce(trailNo), sealed, []byte(magic))
	if err != nil {
		return errors.New("trailer is not authentic")
	}
	if hex.EncodeToString(plain[:sha256.Size]) != string(r.digest) {
		return errors.New("file holds another blob")
	}
	r.size = int64(binary.BigEndian.Uint64(plain[sha256.Size:]))
	chunks := (r.size + chunk - 1) / chunk
	if info.Size() != int64(headLen+trailLen)+r.size+chunks*tagLen {
		return errors.New("file has the wrong length")
	}
	return nil
}

// Size is the length of the content.
func (r *Reader) Size() int64 { return r.size }

// Digest is the content's digest.
func (r *Reader) Digest() Digest { return r.digest }

// Close closes the file.
func (r *Reader) Close() error { return r.f.Close() }

func (r *Reader) chunk(n uint64) ([]byte, error) {
	at := int64(n) * chunk
	length := min(int64(chunk), r.size-at)
	sealed := make([]byte, length+tagLen)
	if _, err := r.f.ReadAt(sealed, int64(headLen)+int64(n)*(chunk+tagLen)); err != nil {
		r.bad("chunk cannot be read")
		return nil, ErrDigest
	}
	plain, err := r.aead.Open(sealed[:0], nonce(n), sealed, []byte(magic))
	if err != nil {
		r.bad(fmt.Sprintf("chunk %d is not authentic", n))
		return nil, ErrDigest
	}
	return plain, nil
}

// Read implements [io.Reader]. The last chunk is given out only once the digest
// of all is right.
func (r *Reader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	if len(r.rest) == 0 {
		if int64(r.next)*chunk >= r.size {
			r.err = io.EOF
			return 0, io.EOF
		}
		c, err := r.chunk(r.next)
		if err != nil {
			r.err = err
			return 0, err
		}
		r.next++
		r.hash.Write(c)
		if int64(r.next)*chunk >= r.size && hex.EncodeToString(r.hash.Sum(nil)) != string(r.digest) {
			r.bad("digest is wrong")
			r.err = ErrDigest
			return 0, r.err
		}
		r.rest = c
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// ReadAt implements [io.ReaderAt]: each chunk it touches is authenticated, and
// is bound to the digest by the file's key and trailer.
func (r *Reader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("cannot read blob at a negative offset")
	}
	n := 0
	for n < len(p) {
		at := off + int64(n)
		if at >= r.size {
			return n, io.EOF
		}
		c, err := r.chunk(uint64(at / chunk))
		if err != nil {
			return n, err
		}
		n += copy(p[n:], c[at%chunk:])
	}
	return n, nil
}
