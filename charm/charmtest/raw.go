// Package charmtest owns hostile charm archives for tests: each is refused by
// package charm, and every route that takes an archive must refuse it too. It
// writes archives byte by byte, because no well-behaved library would.
//
// It is for tests only and refuses nothing itself.
package charmtest

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"hash/crc32"
)

// File types of Unix as ZIP archives carry them.
const (
	TypeFile    = 0o100000
	TypeDir     = 0o040000
	TypeSymlink = 0o120000
	TypeFIFO    = 0o010000
	TypeChar    = 0o020000
	TypeBlock   = 0o060000
	TypeSocket  = 0o140000
)

// Entry is one member; the zero values of the fields after Data give an honest
// one.
type Entry struct {
	Name string
	Data string
	Mode uint32 // Unix mode with type; 0 is a file with mode 0644

	Deflate   bool
	Method    uint16 // overrides the method in both headers
	Flags     uint16
	Packed    []byte // overrides the bytes in the archive
	Size      uint32 // overrides the declared size
	PackedLen uint32 // overrides the declared packed size
	CRC       *uint32
	LocalName string // another name in the member's own header
	LocalSize uint32 // another size in the member's own header
	Shift     int64  // added to the offset in the table of members
	SameAs    int    // 1-based: share the bytes of that earlier member
	Extra     []byte // extra field in the table of members
}

// Tail is what follows the members.
type Tail struct {
	Before  []byte // bytes before the first member
	After   []byte // bytes after the end record
	Comment []byte
	Count   *uint16 // another number of members
	DirSize *uint32
	DirAt   *uint32
	Disk    uint16
	Zip64   bool // put a ZIP64 locator before the end record
}

type header struct {
	e            Entry
	method       uint16
	crc          uint32
	packed, size uint32
	at           int64
}

// Build writes an archive.
func Build(t Tail, entries ...Entry) []byte {
	var b bytes.Buffer
	b.Write(t.Before)
	heads := make([]header, 0, len(entries))
	for _, e := range entries {
		h, body := prepare(e)
		h.at = int64(b.Len())
		if e.SameAs > 0 {
			h.at = heads[e.SameAs-1].at
		} else {
			writeLocal(&b, h)
			b.Write(body)
		}
		heads = append(heads, h)
	}
	dirAt := uint32(b.Len())
	for _, h := range heads {
		writeCentral(&b, h)
	}
	dirSize := uint32(b.Len()) - dirAt
	if t.Zip64 {
		words(&b, uint32(0x07064b50), uint32(0), uint64(dirAt), uint32(1))
	}
	count := uint16(len(entries))
	if t.Count != nil {
		count = *t.Count
	}
	if t.DirSize != nil {
		dirSize = *t.DirSize
	}
	if t.DirAt != nil {
		dirAt = *t.DirAt
	}
	words(&b, uint32(0x06054b50), t.Disk, t.Disk, count, count, dirSize, dirAt, uint16(len(t.Comment)))
	b.Write(t.Comment)
	b.Write(t.After)
	return b.Bytes()
}

func prepare(e Entry) (header, []byte) {
	h := header{e: e, crc: crc32.ChecksumIEEE([]byte(e.Data)), size: uint32(len(e.Data))}
	body := []byte(e.Data)
	if e.Deflate {
		h.method, body = 8, Squeeze(e.Data)
	}
	if e.Packed != nil {
		body = e.Packed
	}
	h.packed = uint32(len(body))
	if e.Method != 0 {
		h.method = e.Method
	}
	if e.Size != 0 {
		h.size = e.Size
	}
	if e.PackedLen != 0 {
		h.packed = e.PackedLen
	}
	if e.CRC != nil {
		h.crc = *e.CRC
	}
	return h, body
}

// Squeeze compresses as ZIP does.
func Squeeze(data string) []byte {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestSpeed)
	if err != nil {
		return nil
	}
	if _, err := w.Write([]byte(data)); err != nil || w.Close() != nil {
		return nil
	}
	return b.Bytes()
}

func writeLocal(b *bytes.Buffer, h header) {
	name, size := h.e.Name, h.size
	if h.e.LocalName != "" {
		name = h.e.LocalName
	}
	if h.e.LocalSize != 0 {
		size = h.e.LocalSize
	}
	words(b, uint32(0x04034b50), uint16(20), h.e.Flags, h.method, uint32(0), h.crc, h.packed, size, uint16(len(name)), uint16(0))
	b.WriteString(name)
}

func writeCentral(b *bytes.Buffer, h header) {
	mode := h.e.Mode
	if mode == 0 {
		mode = TypeFile | 0o644
	}
	words(b, uint32(0x02014b50), uint16(3<<8|20), uint16(20), h.e.Flags, h.method, uint32(0), h.crc, h.packed, h.size,
		uint16(len(h.e.Name)), uint16(len(h.e.Extra)), uint16(0), uint16(0), uint16(0), mode<<16, uint32(h.at+h.e.Shift))
	b.WriteString(h.e.Name)
	b.Write(h.e.Extra)
}

func words(b *bytes.Buffer, list ...any) {
	for _, v := range list {
		// Writing fixed-size numbers to a buffer cannot fail.
		_ = binary.Write(b, binary.LittleEndian, v)
	}
}
