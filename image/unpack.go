package image

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

// Limits of one image.
const (
	maxImageBytes = 16 << 30
	maxEntries    = 1_000_000
	maxDepth      = 64
	maxPath       = 1024
	maxID         = 65535 // a machine has that many ids
)

var errTooLarge = errors.New("the archive is too large")

// decompress finds out how a stream is compressed.
func decompress(r io.Reader) (io.Reader, func(), error) {
	b := bufio.NewReaderSize(r, 64<<10)
	head, err := b.Peek(4)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read the tarball: %w", err)
	}
	switch {
	case bytes.Equal(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		zr, err := zstd.NewReader(b, zstd.WithDecoderMaxMemory(256<<20))
		if err != nil {
			return nil, nil, fmt.Errorf("cannot read the tarball: %w", err)
		}
		return zr, zr.Close, nil
	case head[0] == 0x1f && head[1] == 0x8b:
		gr, err := gzip.NewReader(b)
		if err != nil {
			return nil, nil, fmt.Errorf("cannot read the tarball: %w", err)
		}
		return gr, func() { _ = gr.Close() }, nil
	}
	return b, func() {}, nil
}

// unpacker writes one archive into an empty folder. It works below an open
// root, and besides never walks through a link: every folder of a path must be
// one that the archive itself made.
type unpacker struct {
	root    *os.Root
	dirs    map[string]fs.FileMode // made; modes are set at the end
	files   map[string]bool        // regular files made, for hard links
	shift   int                    // added to owners
	oneID   bool                   // owners are left as they are
	entries int
	bytes   int64
}

// Unpack writes a tar stream, which is not trusted, into an empty folder.
func Unpack(r io.Reader, dir string) error { return unpackAs(r, dir, 0, false) }

func unpackAs(r io.Reader, dir string, shift int, oneID bool) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("cannot open the folder: %w", err)
	}
	defer root.Close()
	u := &unpacker{root: root, shift: shift, oneID: oneID, dirs: map[string]fs.FileMode{".": 0o755}, files: map[string]bool{}}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return u.finish()
		}
		if err != nil {
			return fmt.Errorf("cannot read the archive: %w", err)
		}
		if err := u.entry(h, tr); err != nil {
			return fmt.Errorf("cannot unpack %.200q: %w", h.Name, err)
		}
	}
}

// clean gives the path of an entry relative to the root, or an error.
func clean(name string) (string, error) {
	if len(name) > maxPath || strings.ContainsRune(name, 0) {
		return "", errors.New("its name is too long or not valid")
	}
	rel := path.Clean(strings.TrimLeft(name, "/"))
	if strings.HasPrefix(name, "/") || rel == ".." || strings.HasPrefix(rel, "../") {
		return "", errors.New("its name leads out of the archive")
	}
	if strings.Count(rel, "/") >= maxDepth {
		return "", errors.New("it lies too deep")
	}
	return rel, nil
}

func (u *unpacker) entry(h *tar.Header, body io.Reader) error {
	if u.entries++; u.entries > maxEntries {
		return errTooLarge
	}
	name, err := clean(h.Name)
	if err != nil {
		return err
	}
	if h.Uid < 0 || h.Gid < 0 || h.Uid > maxID || h.Gid > maxID {
		return errors.New("its owner is out of range")
	}
	mode := fs.FileMode(h.Mode & 0o777)
	for bit, m := range map[int64]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if h.Mode&bit != 0 {
			mode |= m
		}
	}
	if h.Typeflag == tar.TypeDir {
		return u.dir(name, mode, h)
	}
	if strings.HasPrefix(name, "dev/") && (h.Typeflag == tar.TypeChar || h.Typeflag == tar.TypeBlock) {
		return nil // a machine gets its own /dev
	}
	if err := u.parent(name); err != nil {
		return err
	}
	if _, err := u.root.Lstat(name); err == nil {
		return errors.New("it is in the archive twice")
	}
	switch h.Typeflag {
	case tar.TypeReg:
		return u.regular(name, mode, h, body)
	case tar.TypeSymlink:
		if len(h.Linkname) > maxPath {
			return errors.New("its target is too long")
		}
		if err := u.root.Symlink(h.Linkname, name); err != nil {
			return fmt.Errorf("cannot make a link: %w", err)
		}
		return u.own(name, h)
	case tar.TypeLink:
		target, err := clean(h.Linkname)
		if err != nil {
			return err
		}
		if !u.files[target] {
			return errors.New("it links to what is no file of the archive")
		}
		return u.root.Link(target, name)
	}
	return fmt.Errorf("its type %q is not allowed", h.Typeflag)
}

// parent makes sure that the folders above an entry are real folders.
func (u *unpacker) parent(name string) error {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if _, ok := u.dirs[dir]; ok {
			return nil // then those above it are, too
		}
		st, err := u.root.Lstat(dir)
		if err == nil && !st.IsDir() {
			return errors.New("it lies below something that is no folder")
		}
		if err != nil {
			if err := u.parent(dir); err != nil {
				return err
			}
			u.dirs[dir] = 0o755
			return u.root.Mkdir(dir, 0o755)
		}
	}
	return nil
}

func (u *unpacker) dir(name string, mode fs.FileMode, h *tar.Header) error {
	if name != "." {
		if err := u.parent(name); err != nil {
			return err
		}
		if _, made := u.dirs[name]; !made {
			if err := u.root.Mkdir(name, 0o700); err != nil {
				return err
			}
		}
	}
	u.dirs[name] = mode
	return u.own(name, h)
}

// own gives an entry to its owner.
func (u *unpacker) own(name string, h *tar.Header) error {
	if u.oneID {
		return nil
	}
	return u.root.Lchown(name, h.Uid+u.shift, h.Gid+u.shift)
}

func (u *unpacker) regular(name string, mode fs.FileMode, h *tar.Header, body io.Reader) error {
	if h.Size < 0 || h.Size > maxImageBytes-u.bytes {
		return errTooLarge
	}
	u.bytes += h.Size
	f, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.Copy(f, body); err != nil {
		return err
	}
	if !u.oneID {
		if err := f.Chown(h.Uid+u.shift, h.Gid+u.shift); err != nil {
			return err
		}
	}
	if err := f.Chmod(mode); err != nil { // after chown, which clears setuid
		return err
	}
	// The one extended attribute that programs need: ping has a capability.
	if v, ok := h.PAXRecords["SCHILY.xattr.security.capability"]; ok && len(v) <= 64 && !u.oneID {
		if err := unix.Fsetxattr(int(f.Fd()), "security.capability", []byte(v), 0); err != nil {
			return fmt.Errorf("cannot set its capability: %w", err)
		}
	}
	u.files[name] = true
	if err := f.Close(); err != nil {
		return err
	}
	return u.root.Chtimes(name, h.ModTime, h.ModTime)
}

// finish gives the folders their modes; until now the archive could write in
// all of them.
func (u *unpacker) finish() error {
	for name, mode := range u.dirs {
		if err := u.root.Chmod(name, mode); err != nil {
			return fmt.Errorf("cannot set the mode of %.200q: %w", name, err)
		}
	}
	for _, name := range []string{"usr", "etc"} {
		if st, err := u.root.Lstat(name); err != nil || !st.IsDir() {
			return fmt.Errorf("cannot use the archive: it has no folder /%s", name)
		}
	}
	return nil
}
