package unzip

import (
	"bytes"
	"encoding/binary"
	"io"
)

// Signatures and sizes of the ZIP format's records.
const (
	sigEnd     = 0x06054b50
	sigEnd64   = 0x07064b50 // the locator before the end record
	sigCentral = 0x02014b50
	sigLocal   = 0x04034b50
	lenEnd     = 22
	lenEnd64   = 20
	lenCentral = 46
	lenLocal   = 30
)

// checkDirectory reads the end record and walks the table of members before
// the archive library sees the file, so that the library can neither be made
// to allocate without bound nor read another table than the one checked.
func checkDirectory(r io.ReaderAt, size int64, lim Limits) (dir directory, err error) {
	if size < lenEnd {
		return dir, refuse(ErrArchiveFormat, "", "file is too short for an archive")
	}
	if size > lim.Archive {
		return dir, refuse(ErrArchiveLimit, "", "archive has %d bytes, the limit is %d", size, lim.Archive)
	}
	end, at, err := findEnd(r, size)
	if err != nil {
		return dir, err
	}
	disk, dirDisk := le16(end, 4), le16(end, 6)
	here, total := le16(end, 8), le16(end, 10)
	dirSize, dirStart := int64(le32(end, 12)), int64(le32(end, 16))
	switch {
	case disk != 0 || dirDisk != 0 || here != total:
		return dir, refuse(ErrArchiveFormat, "", "archive is split over several files")
	case total == 0xffff || dirStart == 0xffffffff || dirSize == 0xffffffff || hasEnd64(r, at):
		return dir, refuse(ErrArchiveLimit, "", "archives in ZIP64 format are not accepted")
	case int(total) > lim.Entries:
		return dir, refuse(ErrArchiveLimit, "", "archive has %d members, the limit is %d", total, lim.Entries)
	case dirSize > lim.Directory:
		return dir, refuse(ErrArchiveLimit, "", "table of members has %d bytes, the limit is %d", dirSize, lim.Directory)
	case dirStart+dirSize != at:
		return dir, refuse(ErrArchiveFormat, "", "table of members is not where the archive says it is")
	}
	return walkDirectory(r, dirStart, dirSize, int(total))
}

// findEnd finds the end record as the archive library does, from the back,
// and insists that it ends the file.
func findEnd(r io.ReaderAt, size int64) (rec []byte, at int64, err error) {
	tail := min(size, lenEnd+0xffff)
	buf := make([]byte, tail)
	if _, err := r.ReadAt(buf, size-tail); err != nil && err != io.EOF {
		return nil, 0, &ArchiveError{Class: ErrArchiveFormat, Reason: "cannot read the archive: " + err.Error(), cause: err}
	}
	for i := len(buf) - lenEnd; i >= 0; i-- {
		if le32(buf, i) != sigEnd {
			continue
		}
		n := int(le16(buf, i+20))
		if i+lenEnd+n > len(buf) {
			continue
		}
		if i+lenEnd+n != len(buf) {
			return nil, 0, refuse(ErrArchiveFormat, "", "data follows the end of the archive")
		}
		return buf[i : i+lenEnd], size - tail + int64(i), nil
	}
	return nil, 0, refuse(ErrArchiveFormat, "", "file is not a ZIP archive")
}

func hasEnd64(r io.ReaderAt, end int64) bool {
	if end < lenEnd64 {
		return false
	}
	var buf [4]byte
	if _, err := r.ReadAt(buf[:], end-lenEnd64); err != nil {
		return true
	}
	return le32(buf[:], 0) == sigEnd64
}

// directory is an archive's table of members: where it begins, and where each
// member's header does.
type directory struct {
	start   int64
	headers []int64
}

func walkDirectory(r io.ReaderAt, start, size int64, total int) (directory, error) {
	dir := directory{start: start}
	buf := make([]byte, size)
	if _, err := io.ReadFull(io.NewSectionReader(r, start, size), buf); err != nil {
		return dir, &ArchiveError{Class: ErrArchiveFormat, Reason: "cannot read the table of members: " + err.Error(), cause: err}
	}
	for len(buf) > 0 {
		if len(buf) < lenCentral || le32(buf, 0) != sigCentral {
			return dir, refuse(ErrArchiveFormat, "", "table of members is damaged")
		}
		length := lenCentral + int(le16(buf, 28)) + int(le16(buf, 30)) + int(le16(buf, 32))
		if length > len(buf) {
			return dir, refuse(ErrArchiveFormat, "", "table of members is damaged")
		}
		name := string(buf[lenCentral : lenCentral+int(le16(buf, 28))])
		at := le32(buf, 42)
		if le32(buf, 20) == 0xffffffff || le32(buf, 24) == 0xffffffff || at == 0xffffffff {
			return dir, refuse(ErrArchiveLimit, name, "members in ZIP64 format are not accepted")
		}
		dir.headers = append(dir.headers, int64(at))
		if len(dir.headers) > total {
			break
		}
		buf = buf[length:]
	}
	if len(dir.headers) != total {
		return dir, refuse(ErrArchiveFormat, "", "archive declares %d members and has another number", total)
	}
	return dir, nil
}

// local is what the archive says of a member right before its bytes.
type local struct {
	flags, method uint16
	packed, size  uint32
	name          []byte
	data          int64 // where the bytes begin
}

func readLocal(r io.ReaderAt, at int64, nameLen int) (local, error) {
	buf := make([]byte, lenLocal+nameLen)
	if _, err := r.ReadAt(buf, at); err != nil {
		return local{}, err
	}
	if le32(buf, 0) != sigLocal || int(le16(buf, 26)) != nameLen {
		return local{}, io.ErrUnexpectedEOF
	}
	return local{
		flags: le16(buf, 6), method: le16(buf, 8), packed: le32(buf, 18), size: le32(buf, 22),
		name: bytes.Clone(buf[lenLocal:]), data: at + int64(lenLocal+nameLen) + int64(le16(buf, 28)),
	}, nil
}

func le16(b []byte, at int) uint16 { return binary.LittleEndian.Uint16(b[at:]) }
func le32(b []byte, at int) uint32 { return binary.LittleEndian.Uint32(b[at:]) }
