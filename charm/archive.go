package charm

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/scarab-ops/scarab/charm/internal/unzip"
)

// Limits bounds what an archive may hold and what it may become.
type Limits = unzip.Limits

// ArchiveError is a refused archive: its class, the member, and why.
type ArchiveError = unzip.ArchiveError

// DefaultLimits are generous for real charms and small for a server.
func DefaultLimits() Limits { return unzip.DefaultLimits() }

// Classes of refusal; errors.Is finds them in what this package returns.
var (
	// ErrArchiveFormat is a file that is no archive, or a broken or ambiguous one.
	ErrArchiveFormat = unzip.ErrArchiveFormat
	// ErrArchiveLimit is an archive that is, or would become, too large.
	ErrArchiveLimit = unzip.ErrArchiveLimit
	// ErrArchivePath is a member's name that is not a plain path in the charm.
	ErrArchivePath = unzip.ErrArchivePath
	// ErrArchiveType is a member that is no file, directory or symlink.
	ErrArchiveType = unzip.ErrArchiveType
	// ErrArchiveSymlink is a symlink that leads out of the charm, or nowhere.
	ErrArchiveSymlink = unzip.ErrArchiveSymlink
	// ErrArchiveContent is a member whose bytes are not what was declared.
	ErrArchiveContent = unzip.ErrArchiveContent
	// ErrArchiveMetadata is an archive whose charm files are missing or wrong.
	ErrArchiveMetadata = unzip.ErrArchiveMetadata
)

// Archive is a charm's archive whose structure has been checked: names,
// types, sizes and symlinks. The members' bytes are checked when they are
// read.
type Archive struct {
	charm *Charm
	zip   *unzip.Archive
}

// Charm gives what the archive's metadata files say.
func (a *Archive) Charm() *Charm { return a.charm }

// ReadArchive reads the charm in an archive.
func ReadArchive(r io.ReaderAt, size int64, lim Limits) (*Charm, error) {
	a, err := OpenArchive(r, size, lim)
	if err != nil {
		return nil, err
	}
	return a.charm, nil
}

// ReadArchiveFile reads the charm in an archive file, within default limits.
func ReadArchiveFile(name string) (*Charm, error) {
	f, size, err := openRegular(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return ReadArchive(f, size, DefaultLimits())
}

func openRegular(name string) (*os.File, int64, error) {
	// A pipe would block in open, so the type is looked at first.
	info, err := os.Stat(name)
	if err != nil {
		return nil, 0, fmt.Errorf("cannot open charm archive: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("cannot open charm archive: %q is not a regular file", name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, fmt.Errorf("cannot open charm archive: %w", err)
	}
	if info, err = f.Stat(); err != nil {
		f.Close()
		return nil, 0, fmt.Errorf("cannot open charm archive: %w", err)
	}
	return f, info.Size(), nil
}

// OpenArchive checks an archive's structure and reads its metadata files. The
// reader must stay valid as long as the archive is used.
func OpenArchive(r io.ReaderAt, size int64, lim Limits) (*Archive, error) {
	z, err := unzip.Open(r, size, lim)
	if err != nil {
		return nil, err
	}
	c, err := readCharm(z.ReadFile)
	var broken *ArchiveError
	if errors.As(err, &broken) {
		return nil, err
	}
	if err != nil {
		return nil, unzip.NotCharm(err)
	}
	a := &Archive{charm: c, zip: z}
	c.HasDispatch = a.Has(dispatchFile)
	return a, nil
}

// Verify reads every member and checks its size and sum.
func (a *Archive) Verify() error { return a.zip.Verify() }
