package unzip

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"path"
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"
)

// TempPrefix begins the names of an unpacker's own temporary files; no member
// may have such a name.
const TempPrefix = ".scarab-tmp-"

// Member is one checked entry of an archive.
type Member struct {
	Name   string      // clean, relative, without a slash at its end
	Mode   fs.FileMode // type and permission bits only
	Target string      // of a symlink
	file   *zip.File
}

// Archive is an archive whose structure has been checked: names, types, sizes
// and symlinks. The members' bytes are checked when they are read.
type Archive struct {
	Members []Member // in the order of the archive
	byName  map[string]int
	lim     Limits
}

// Open checks an archive's structure. The reader must stay valid as long as
// the archive is used.
func Open(r io.ReaderAt, size int64, lim Limits) (*Archive, error) {
	dir, err := checkDirectory(r, size, lim)
	if err != nil {
		return nil, err
	}
	zr, err := zip.NewReader(r, size)
	if err != nil {
		return nil, &ArchiveError{Class: ErrArchiveFormat, Reason: "cannot read the archive: " + err.Error(), cause: err}
	}
	a := &Archive{lim: lim, byName: make(map[string]int, len(zr.File))}
	if err := checkLayout(r, dir, zr.File); err != nil {
		return nil, err
	}
	if err := a.addMembers(zr.File, size); err != nil {
		return nil, err
	}
	return a, a.checkTree()
}

// Find gives the member of a name.
func (a *Archive) Find(name string) (Member, bool) {
	at, ok := a.byName[name]
	if !ok {
		return Member{}, false
	}
	return a.Members[at], true
}

// NotCharm is the refusal of an archive for what its files say.
func NotCharm(err error) error {
	return &ArchiveError{Class: ErrArchiveMetadata, Reason: err.Error(), cause: err}
}

// checkLayout makes sure that members lie one after another, that none shares
// bytes with another, and that both places that describe a member agree.
func checkLayout(r io.ReaderAt, dir directory, files []*zip.File) error {
	if len(files) != len(dir.headers) {
		return refuse(ErrArchiveFormat, "", "table of members is damaged")
	}
	type span struct {
		from, to int64
		name     string
	}
	spans := make([]span, 0, len(files))
	for i, f := range files {
		l, err := checkHeader(r, dir.headers[i], f)
		if err != nil {
			return err
		}
		packed := int64(f.CompressedSize64)
		if packed < 0 || l.data > dir.start || packed > dir.start-l.data {
			return refuse(ErrArchiveFormat, f.Name, "it does not lie within the archive")
		}
		spans = append(spans, span{dir.headers[i], l.data + packed, f.Name})
	}
	sort.Slice(spans, func(i, j int) bool { return spans[i].from < spans[j].from })
	if len(spans) > 0 && spans[0].from != 0 {
		return refuse(ErrArchiveFormat, "", "data stands before the first member")
	}
	for i := 1; i < len(spans); i++ {
		if spans[i].from < spans[i-1].to {
			return refuse(ErrArchiveFormat, spans[i].name, "it shares bytes with %q", clip(spans[i-1].name))
		}
	}
	return nil
}

func checkHeader(r io.ReaderAt, at int64, f *zip.File) (local, error) {
	l, err := readLocal(r, at, len(f.Name))
	if err != nil {
		return l, refuse(ErrArchiveFormat, f.Name, "its header is damaged")
	}
	switch {
	case string(l.name) != f.Name:
		return l, refuse(ErrArchiveFormat, f.Name, "its header names it %q", clip(string(l.name)))
	case l.method != f.Method || l.flags&9 != f.Flags&9:
		return l, refuse(ErrArchiveFormat, f.Name, "its header contradicts the table of members")
	case l.flags&8 == 0 && (uint64(l.packed) != f.CompressedSize64 || uint64(l.size) != f.UncompressedSize64):
		return l, refuse(ErrArchiveFormat, f.Name, "its header declares another size than the table of members")
	}
	return l, nil
}

// addMembers checks every entry by itself: name, type, method and size.
func (a *Archive) addMembers(files []*zip.File, size int64) error {
	var total uint64
	for _, f := range files {
		name, err := a.lim.CheckName(f.Name)
		if err != nil {
			return err
		}
		if total += f.UncompressedSize64; f.UncompressedSize64 > uint64(a.lim.Total) || total > uint64(a.lim.Total) {
			return refuse(ErrArchiveLimit, f.Name, "unpacked members exceed %d bytes", a.lim.Total)
		}
		if f.UncompressedSize64 > ratioFloor && f.UncompressedSize64/uint64(a.lim.Ratio) > f.CompressedSize64 {
			return refuse(ErrArchiveLimit, f.Name, "it is compressed more than %d to 1", a.lim.Ratio)
		}
		m := Member{Name: name, file: f}
		if err := a.checkKind(&m); err != nil {
			return err
		}
		if at, dup := a.byName[name]; dup {
			return refuse(ErrArchiveFormat, f.Name, "it is there twice, also as %q", clip(a.Members[at].file.Name))
		}
		a.byName[name] = len(a.Members)
		a.Members = append(a.Members, m)
	}
	if total > 16*ratioFloor && total/uint64(a.lim.Ratio) > uint64(size) {
		return refuse(ErrArchiveLimit, "", "archive is compressed more than %d to 1", a.lim.Ratio)
	}
	return nil
}

// CheckName accepts plain relative paths only, and gives them without the
// slash that marks a directory.
func (lim Limits) CheckName(raw string) (string, error) {
	name := strings.TrimSuffix(raw, "/")
	bad := func(why string) (string, error) { return "", refuse(ErrArchivePath, raw, "%s", why) }
	switch {
	case name == "" || name == ".":
		return bad("its name is empty")
	case len(name) > lim.NameBytes:
		return "", refuse(ErrArchiveLimit, raw, "its name has %d bytes, the limit is %d", len(name), lim.NameBytes)
	case !utf8.ValidString(name):
		return bad("its name is not UTF-8 text")
	case strings.ContainsRune(name, '\\'):
		return bad("its name holds a backslash")
	case strings.IndexFunc(name, unicode.IsControl) >= 0:
		return bad("its name holds a control character")
	case strings.HasPrefix(name, "/"):
		return bad("its name is absolute")
	case name == ".." || strings.HasPrefix(name, "../") || strings.Contains(name, "/../") || strings.HasSuffix(name, "/.."):
		return bad("its name leads out of its directory")
	case path.Clean(name) != name:
		return bad("its name is not in its shortest form")
	case strings.Count(name, "/") >= lim.NameDepth:
		return "", refuse(ErrArchiveLimit, raw, "its name has more than %d parts", lim.NameDepth)
	}
	for _, part := range strings.Split(name, "/") {
		if len(part) > 255 {
			return bad("a part of its name is longer than 255 bytes")
		}
		if strings.HasPrefix(part, TempPrefix) {
			return bad("its name begins as our own temporary files do")
		}
	}
	return name, nil
}

// checkKind decides what a member is and how it may be packed.
func (a *Archive) checkKind(m *Member) error {
	f := m.file
	mode := f.Mode()
	if f.Flags&1 != 0 {
		return refuse(ErrArchiveType, f.Name, "it is encrypted")
	}
	if f.Method != zip.Store && f.Method != zip.Deflate {
		return refuse(ErrArchiveType, f.Name, "its compression method %d is not known", f.Method)
	}
	if f.Method == zip.Store && f.CompressedSize64 != f.UncompressedSize64 {
		return refuse(ErrArchiveFormat, f.Name, "it is stored as it is and declares two sizes")
	}
	slash := strings.HasSuffix(f.Name, "/")
	switch mode.Type() {
	case 0:
		if slash {
			return refuse(ErrArchiveType, f.Name, "it is a file with a directory's name")
		}
		if mode&(fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky) != 0 {
			return refuse(ErrArchiveType, f.Name, "it is set to run as another user or group")
		}
	case fs.ModeDir:
		if f.UncompressedSize64 != 0 {
			return refuse(ErrArchiveType, f.Name, "it is a directory with contents of its own")
		}
	case fs.ModeSymlink:
		if slash {
			return refuse(ErrArchiveType, f.Name, "it is a symlink with a directory's name")
		}
		target, err := a.readTarget(f)
		if err != nil {
			return err
		}
		m.Target = target
	default:
		return refuse(ErrArchiveType, f.Name, "unknown file type %d", uint32(mode.Type()))
	}
	m.Mode = mode.Type() | mode.Perm()
	return nil
}

// maxTarget is the longest path that Linux takes.
const maxTarget = 4096

func (a *Archive) readTarget(f *zip.File) (string, error) {
	if f.UncompressedSize64 > maxTarget {
		return "", refuse(ErrArchiveSymlink, f.Name, "its target has more than %d bytes", maxTarget)
	}
	data, err := readMember(f, maxTarget)
	if err != nil {
		return "", err
	}
	target := string(data)
	switch {
	case target == "" || !utf8.ValidString(target) || strings.IndexFunc(target, unicode.IsControl) >= 0:
		return "", refuse(ErrArchiveSymlink, f.Name, "its target is no path")
	case path.IsAbs(target):
		return "", refuse(ErrArchiveSymlink, f.Name, "symlink %q is absolute", clip(target))
	}
	return target, nil
}

// readMember reads a member of at most limit bytes and checks its sum.
func readMember(f *zip.File, limit int64) ([]byte, error) {
	if f.UncompressedSize64 > uint64(limit) {
		return nil, refuse(ErrArchiveLimit, f.Name, "it has %d bytes, the limit is %d", f.UncompressedSize64, limit)
	}
	var buf bytes.Buffer
	if err := copyMember(&buf, f); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// CopyTo writes a member's bytes, and checks their number and sum.
func (m Member) CopyTo(w io.Writer) error { return copyMember(w, m.file) }

// copyMember writes a member's bytes, never more than it declares.
func copyMember(w io.Writer, f *zip.File) error {
	damaged := func(err error) error {
		return &ArchiveError{Class: ErrArchiveContent, Member: f.Name, Reason: err.Error(), cause: err}
	}
	r, err := f.Open()
	if err != nil {
		return damaged(err)
	}
	defer r.Close()
	sink := &trackingWriter{w: w}
	n, err := io.Copy(sink, io.LimitReader(r, int64(f.UncompressedSize64)+1))
	switch {
	case sink.err != nil:
		return fmt.Errorf("cannot extract %q: %w", clip(f.Name), sink.err)
	case err != nil:
		return damaged(err)
	case uint64(n) != f.UncompressedSize64:
		return damaged(fmt.Errorf("it has not the %d bytes that it declares", f.UncompressedSize64))
	}
	return nil
}

// trackingWriter tells a failed disk from a damaged member.
type trackingWriter struct {
	w   io.Writer
	err error
}

func (t *trackingWriter) Write(p []byte) (int, error) {
	n, err := t.w.Write(p)
	if err != nil {
		t.err = err
	}
	return n, err
}

// ReadFile reads one of the files at the archive's root; the second result is false if
// there is none.
func (a *Archive) ReadFile(name string) ([]byte, bool, error) {
	at, ok := a.byName[name]
	if !ok {
		return nil, false, nil
	}
	m := a.Members[at]
	if !m.Mode.IsRegular() {
		return nil, false, fmt.Errorf("%s is not a regular file", name)
	}
	data, err := readMember(m.file, a.lim.File)
	return data, err == nil, err
}

// Verify reads every member and checks its size and sum.
func (a *Archive) Verify() error {
	for _, m := range a.Members {
		if m.Mode.IsRegular() {
			if err := copyMember(io.Discard, m.file); err != nil {
				return err
			}
		}
	}
	return nil
}
