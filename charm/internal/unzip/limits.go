// Package unzip owns the reading of hostile ZIP archives: it checks an archive
// as a whole before a byte of it is unpacked, and refuses whatever is
// ambiguous, unbounded, or points out of the directory it will be unpacked
// to. It writes nothing by itself.
package unzip

import (
	"errors"
	"fmt"
	"strings"
)

// Limits bounds what an archive may hold and what it may become.
type Limits struct {
	Archive   int64 // bytes of the archive itself
	Entries   int   // members
	Directory int64 // bytes of the archive's table of members
	Total     int64 // bytes of all members unpacked
	File      int64 // bytes of one of the metadata files
	Ratio     int64 // unpacked to packed, for members and archives past RatioFloor
	NameBytes int   // bytes of one name
	NameDepth int   // directories in one name
}

// ratioFloor is the size below which a high compression ratio hurts nobody.
const ratioFloor = 1 << 20

// DefaultLimits are generous for real charms and small for a server.
func DefaultLimits() Limits {
	return Limits{
		Archive: 256 << 20, Entries: 20_000, Directory: 4 << 20, Total: 512 << 20, File: 1 << 20,
		Ratio: 200, NameBytes: 1024, NameDepth: 32,
	}
}

// Classes of refusal; errors.Is finds them in what this package returns.
var (
	// ErrArchiveFormat is a file that is no archive, or a broken or ambiguous one.
	ErrArchiveFormat = errors.New("archive is malformed")
	// ErrArchiveLimit is an archive that is, or would become, too large.
	ErrArchiveLimit = errors.New("archive exceeds a limit")
	// ErrArchivePath is a member's name that is not a plain path in the charm.
	ErrArchivePath = errors.New("archive member has a bad name")
	// ErrArchiveType is a member that is no file, directory or symlink.
	ErrArchiveType = errors.New("archive member has a refused type")
	// ErrArchiveSymlink is a symlink that leads out of the charm, or nowhere.
	ErrArchiveSymlink = errors.New("archive holds a bad symlink")
	// ErrArchiveContent is a member whose bytes are not what was declared.
	ErrArchiveContent = errors.New("archive member is damaged")
	// ErrArchiveMetadata is an archive whose charm files are missing or wrong.
	ErrArchiveMetadata = errors.New("archive is no valid charm")
)

// ArchiveError is a refused archive: its class, the member, and why.
type ArchiveError struct {
	Class  error
	Member string
	Reason string
	cause  error
}

func (e *ArchiveError) Error() string {
	var b strings.Builder
	b.WriteString("invalid charm archive: ")
	if e.Member != "" {
		fmt.Fprintf(&b, "cannot extract %q: ", clip(e.Member))
	}
	b.WriteString(e.Reason)
	return b.String()
}

// Unwrap gives the class and what lies below.
func (e *ArchiveError) Unwrap() []error {
	if e.cause != nil {
		return []error{e.Class, e.cause}
	}
	return []error{e.Class}
}

func refuse(class error, member, format string, args ...any) error {
	return &ArchiveError{Class: class, Member: member, Reason: fmt.Sprintf(format, args...)}
}

// clip shortens hostile text for an error.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}
