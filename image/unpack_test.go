package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func tarball(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	all := append([]tar.Header{{Name: "usr/", Typeflag: tar.TypeDir, Mode: 0o755}, {Name: "etc/", Typeflag: tar.TypeDir, Mode: 0o755}}, headers...)
	for _, h := range all {
		if h.Typeflag == tar.TypeReg {
			h.Size = 4
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := w.Write([]byte("evil")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestUnpackRefusesHostileArchives(t *testing.T) {
	for name, headers := range map[string][]tar.Header{
		"dot-dot":              {{Name: "../evil", Typeflag: tar.TypeReg, Mode: 0o644}},
		"dot-dot inside":       {{Name: "usr/../../evil", Typeflag: tar.TypeReg, Mode: 0o644}},
		"absolute":             {{Name: "/evil", Typeflag: tar.TypeReg, Mode: 0o644}},
		"through a link":       {{Name: "lnk", Typeflag: tar.TypeSymlink, Linkname: "usr"}, {Name: "lnk/evil", Typeflag: tar.TypeReg, Mode: 0o644}},
		"through a link out":   {{Name: "lnk", Typeflag: tar.TypeSymlink, Linkname: "/tmp"}, {Name: "lnk/evil", Typeflag: tar.TypeReg, Mode: 0o644}},
		"folder over a link":   {{Name: "lnk", Typeflag: tar.TypeSymlink, Linkname: "/tmp"}, {Name: "lnk/", Typeflag: tar.TypeDir, Mode: 0o755}},
		"file over a link":     {{Name: "lnk", Typeflag: tar.TypeSymlink, Linkname: "/tmp/evil"}, {Name: "lnk", Typeflag: tar.TypeReg, Mode: 0o644}},
		"hard link out":        {{Name: "h", Typeflag: tar.TypeLink, Linkname: "../../../etc/passwd"}},
		"hard link absolute":   {{Name: "h", Typeflag: tar.TypeLink, Linkname: "/etc/passwd"}},
		"hard link to a link":  {{Name: "lnk", Typeflag: tar.TypeSymlink, Linkname: "/etc/shadow"}, {Name: "h", Typeflag: tar.TypeLink, Linkname: "lnk"}},
		"device":               {{Name: "usr/sda", Typeflag: tar.TypeBlock, Devmajor: 8, Mode: 0o666}},
		"pipe":                 {{Name: "usr/p", Typeflag: tar.TypeFifo, Mode: 0o666}},
		"owner out of range":   {{Name: "usr/x", Typeflag: tar.TypeReg, Uid: 1 << 20, Mode: 0o644}},
		"twice":                {{Name: "usr/x", Typeflag: tar.TypeReg, Mode: 0o644}, {Name: "usr/x", Typeflag: tar.TypeReg, Mode: 0o644}},
		"below a file":         {{Name: "usr/x", Typeflag: tar.TypeReg, Mode: 0o644}, {Name: "usr/x/y", Typeflag: tar.TypeReg, Mode: 0o644}},
		"too deep":             {{Name: strings.Repeat("d/", maxDepth+1) + "x", Typeflag: tar.TypeReg, Mode: 0o644}},
		"too long":             {{Name: strings.Repeat("d", maxPath+1), Typeflag: tar.TypeReg, Mode: 0o644}},
		"folder named dot-dot": {{Name: "..", Typeflag: tar.TypeDir, Mode: 0o777}},
	} {
		t.Run(name, func(t *testing.T) {
			top := t.TempDir()
			dir := filepath.Join(top, "a", "b")
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := Unpack(bytes.NewReader(tarball(t, headers...)), dir); err == nil {
				t.Error("it was unpacked")
			}
			for _, name := range []string{filepath.Join(top, "evil"), filepath.Join(top, "a", "evil"), "/evil", "/tmp/evil"} {
				if _, err := os.Lstat(name); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("%s was written", name)
				}
			}
		})
	}
}

func TestUnpackKeepsWhatARootNeeds(t *testing.T) {
	dir := t.TempDir()
	data := tarball(t,
		tar.Header{Name: "bin", Typeflag: tar.TypeSymlink, Linkname: "usr/bin"},
		tar.Header{Name: "usr/bin/", Typeflag: tar.TypeDir, Mode: 0o755},
		tar.Header{Name: "usr/bin/sudo", Typeflag: tar.TypeReg, Mode: 0o4755},
		tar.Header{Name: "usr/bin/same", Typeflag: tar.TypeLink, Linkname: "usr/bin/sudo"},
		tar.Header{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777},
		tar.Header{Name: "home/bob/", Typeflag: tar.TypeDir, Mode: 0o500, Uid: 1000, Gid: 1000},
		tar.Header{Name: "home/bob/x", Typeflag: tar.TypeReg, Mode: 0o600, Uid: 1000, Gid: 1000},
		tar.Header{Name: "dev/sda", Typeflag: tar.TypeBlock, Devmajor: 8, Mode: 0o600})
	if err := Unpack(bytes.NewReader(data), dir); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]os.FileMode{
		"usr/bin/sudo": 0o755 | os.ModeSetuid, "usr/bin/same": 0o755 | os.ModeSetuid,
		"tmp": 0o777 | os.ModeSticky | os.ModeDir, "home/bob": 0o500 | os.ModeDir, "home/bob/x": 0o600,
	} {
		st, err := os.Lstat(filepath.Join(dir, name))
		if err != nil || st.Mode() != want {
			t.Errorf("%s is %v, %v; want %v", name, st, err, want)
		}
	}
	if _, err := os.Lstat(filepath.Join(dir, "dev/sda")); !errors.Is(err, os.ErrNotExist) {
		t.Error("a device was made")
	}
}

func TestStore(t *testing.T) {
	ctx := context.Background()
	plain := tarball(t, tar.Header{Name: "etc/x", Typeflag: tar.TypeReg, Mode: 0o644})
	var gz, zs bytes.Buffer
	gw := gzip.NewWriter(&gz)
	zw, err := zstd.NewWriter(&zs)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []interface {
		Write([]byte) (int, error)
		Close() error
	}{gw, zw} {
		if _, err := w.Write(plain); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s := Store{Dir: filepath.Join(t.TempDir(), "images")}
	for name, data := range map[string][]byte{"plain@1": plain, "gzip@1": gz.Bytes(), "zstd@1": zs.Bytes()} {
		img, err := s.Add(ctx, name, bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Join(img.Root, "etc/x")); err != nil || string(got) != "evil" {
			t.Errorf("%s holds %q, %v", name, got, err)
		}
		again, err := s.Ensure(ctx, name, func(string) {})
		if err != nil || again.Root != img.Root {
			t.Errorf("Ensure gave %+v, %v", again, err)
		}
	}
	list, err := s.List()
	if err != nil || len(list) != 3 {
		t.Errorf("List gave %v, %v", list, err)
	}
	img := list[0]
	if err := s.Remove(ctx, img.Name, []string{img.Root}); err == nil {
		t.Error("an image in use was removed")
	}
	if err := s.Remove(ctx, img.Name, nil); err != nil {
		t.Error(err)
	}
	if _, err := s.Ensure(ctx, img.Name, func(string) {}); !errors.Is(err, ErrNotFound) {
		t.Errorf("a removed image: %v", err)
	}
	for _, bad := range []string{"", "../x@1", "x", "x@../y", "lock", "x@1/y"} {
		if _, err := s.Add(ctx, bad, bytes.NewReader(plain)); err == nil {
			t.Errorf("image %q was added", bad)
		}
	}
	if st, err := os.Stat(s.Dir); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("the store is open to others: %v, %v", st, err)
	}
}

func TestTamperedImageIsRefused(t *testing.T) {
	ctx := context.Background()
	s := Store{Dir: filepath.Join(t.TempDir(), "images")}
	img, err := s.Add(ctx, "x@1", bytes.NewReader(tarball(t)))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(img.Root); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(s.Dir, "x@1", "image.tar.zst")
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Ensure(ctx, "x@1", func(string) {}); err == nil || !strings.Contains(err.Error(), "digest") {
		t.Errorf("got %v", err)
	}
}

// TestUnpackSizes shows that sizes that add up past what a number holds are
// too large all the same.
func TestUnpackSizes(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []tar.Header{{Name: "a", Typeflag: tar.TypeReg, Size: 1}, {Name: "b", Typeflag: tar.TypeReg, Size: math.MaxInt64, Format: tar.FormatGNU}} {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if err := Unpack(&b, t.TempDir()); !errors.Is(err, errTooLarge) {
		t.Errorf("unpacked: %v", err)
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(tarball(f, tar.Header{Name: "lnk", Typeflag: tar.TypeSymlink, Linkname: "/tmp"}, tar.Header{Name: "lnk/evil", Typeflag: tar.TypeReg}))
	f.Fuzz(func(t *testing.T, data []byte) {
		top := t.TempDir()
		dir := filepath.Join(top, "in")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		_ = Unpack(bytes.NewReader(data), dir)
		entries, err := os.ReadDir(top)
		if err != nil || len(entries) != 1 {
			t.Errorf("beside the folder there is %v, %v", entries, err)
		}
	})
}

func TestSources(t *testing.T) {
	text := "Types: deb deb-src\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates\nComponents: main\nSigned-By: " + debianKeyring +
		"\n\nTypes: deb\nURIs: http://mirror.example/debian-security\nSuites: bookworm-security\nComponents: main\n\n" +
		"Types: deb\nURIs: http://other.example/debian\nSuites: bookworm\nSigned-By: /etc/apt/keyrings/other.gpg\n"
	list := "deb [arch=amd64 signed-by=/etc/apt/keyrings/other.gpg] http://other.example/debian bookworm main\n# deb http://no.example/debian bookworm main\n" +
		"deb http://mirror.example/debian bookworm main\ndeb http://mirror.example/debian-security bookworm-security main\n"
	for name, sources := range map[string][]source{"deb822": parseSources(text, true), "list": parseSources(list, false)} {
		var a Apt
		for _, s := range sources {
			a.take(s)
		}
		if a.Mirror != "http://mirror.example/debian" || a.Security != "http://mirror.example/debian-security" {
			t.Errorf("%s: %+v", name, a)
		}
	}
	for _, bad := range []Apt{
		{Mirror: "http://x/debian\nTrusted: yes"},
		{Mirror: "file:///etc"},
		{Mirror: "http://x/debian", Options: []string{`APT::Update::Pre-Invoke "sh";`}},
		{Mirror: "http://x/debian", Options: []string{"Acquire::http::Proxy \"x\"; APT::Y \"z\";"}},
	} {
		if err := bad.Check(); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}

func tarReader(t testing.TB, headers ...tar.Header) *bytes.Reader {
	return bytes.NewReader(tarball(t, headers...))
}
