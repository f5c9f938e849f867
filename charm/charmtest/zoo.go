package charmtest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/scarab-ops/scarab/charm"
)

// Case is one hostile archive.
type Case struct {
	Name string
	// Class is the error that package charm refuses it with; errors.Is finds it.
	Class error
	// Build makes the archive. Some are many megabytes, so it is made when asked.
	Build func() []byte
}

// Metadata is a charm's smallest metadata.yaml.
const Metadata = "name: zoo\nsummary: s\ndescription: d\n"

// Valid is an honest charm's archive, to show that the zoo's bars are not too
// narrow.
func Valid() []byte {
	return Build(Tail{},
		Entry{Name: "metadata.yaml", Data: Metadata},
		Entry{Name: "hooks/", Mode: TypeDir | 0o755},
		Entry{Name: "hooks/install", Data: "#!/bin/sh\n", Mode: TypeFile | 0o644},
		Entry{Name: "hooks/start", Data: "install", Mode: TypeSymlink | 0o777},
		Entry{Name: "lib/inner.zip", Data: string(Build(Tail{}, Entry{Name: "../x", Data: "x"})), Deflate: true},
	)
}

// Zoo gives all hostile archives, every one with a name of its own.
func Zoo(t testing.TB) []Case {
	t.Helper()
	var out []Case
	for _, group := range [][]Case{names(), types(), symlinks(), layout(), bombs(), content(), yamlBombs(), metadata()} {
		out = append(out, group...)
	}
	seen := map[string]bool{}
	for _, c := range out {
		if seen[c.Name] {
			t.Fatalf("two hostile archives are named %q", c.Name)
		}
		seen[c.Name] = true
	}
	return out
}

// with is a charm with some more members.
func with(name string, class error, more ...Entry) Case {
	return Case{name, class, func() []byte {
		return Build(Tail{}, append([]Entry{{Name: "metadata.yaml", Data: Metadata}}, more...)...)
	}}
}

func tail(name string, class error, t Tail, more ...Entry) Case {
	return Case{name, class, func() []byte {
		return Build(t, append([]Entry{{Name: "metadata.yaml", Data: Metadata}}, more...)...)
	}}
}

func file(name string) Entry { return Entry{Name: name, Data: "x"} }

func link(name, target string) Entry {
	return Entry{Name: name, Data: target, Mode: TypeSymlink | 0o777}
}

func names() []Case {
	p := charm.ErrArchivePath
	return []Case{
		with("parent", p, file("../evil")),
		with("grandparent", p, file("../../../../../../tmp/evil")),
		with("parent inside", p, file("hooks/../../evil")),
		with("parent at the end", p, file("hooks/..")),
		with("parent alone", p, file("..")),
		with("absolute", p, file("/etc/evil")),
		with("double slash", p, file("//etc/evil")),
		with("slash inside twice", p, file("hooks//evil")),
		with("dot", p, file("./evil")),
		with("dot inside", p, file("hooks/./evil")),
		with("dot alone", p, file(".")),
		with("empty name", p, file("")),
		with("slash alone", p, Entry{Name: "/", Mode: TypeDir | 0o755}),
		with("nul", p, file("evil\x00.txt")),
		with("backslash", p, file(`..\..\evil`)),
		with("drive", p, file(`C:\evil`)),
		with("newline", p, file("evil\n../x")),
		with("escape sequence", p, file("\x1b[2Jevil")),
		with("no UTF-8", p, file("evil\xff\xfe")),
		with("part too long", p, file(strings.Repeat("a", 256))),
		with("name too long", charm.ErrArchiveLimit, file(strings.Repeat("a/", 600)+"x")),
		with("name too deep", charm.ErrArchiveLimit, file(strings.Repeat("a/", 40)+"x")),
		with("our temporary file", p, file(".scarab-tmp-x")),
	}
}

func types() []Case {
	k := charm.ErrArchiveType
	odd := func(mode uint32) Entry { return Entry{Name: "evil", Mode: mode} }
	return []Case{
		with("character device", k, odd(TypeChar|0o666)),
		with("block device", k, odd(TypeBlock|0o666)),
		with("pipe", k, odd(TypeFIFO|0o666)),
		with("socket", k, odd(TypeSocket|0o666)),
		with("setuid", k, odd(TypeFile|0o4755)),
		with("setgid", k, odd(TypeFile|0o2755)),
		with("setuid and setgid", k, odd(TypeFile|0o6777)),
		with("sticky file", k, odd(TypeFile|0o1755)),
		with("directory with contents", k, Entry{Name: "d/", Data: "x", Mode: TypeDir | 0o755}),
		with("symlink named as directory", k, Entry{Name: "d/", Data: "x", Mode: TypeSymlink | 0o777}),
		with("encrypted", k, Entry{Name: "evil", Data: "x", Flags: 1}),
		with("unknown method", k, Entry{Name: "evil", Data: "x", Method: 12}),
		with("shrunk", k, Entry{Name: "evil", Data: "x", Method: 1}),
	}
}

func symlinks() []Case {
	s := charm.ErrArchiveSymlink
	var chain []Entry
	for i := range 60 {
		chain = append(chain, link(fmt.Sprintf("l%d", i), fmt.Sprintf("l%d", i+1)))
	}
	return []Case{
		with("symlink absolute", s, link("evil", "/etc/passwd")),
		with("symlink out", s, link("evil", "../../etc/passwd")),
		with("symlink to parent", s, link("evil", "..")),
		with("symlink out from below", s, link("a/b/evil", "../../../x")),
		with("symlink out and in", s, link("evil", "../charm/x")),
		with("symlink then file", s, link("evil", "hooks"), file("evil/install")),
		with("file then symlink", s, file("evil/install"), link("evil", "hooks")),
		with("symlink to itself", s, link("evil", "evil")),
		with("symlink loop", s, link("a", "b"), link("b", "a")),
		with("symlink loop of three", s, link("a", "d/b"), link("d/b", "../c"), link("c", "a")),
		with("symlink loop grows", s, link("a", "a/x")),
		with("symlink chain", s, chain...),
		with("symlink over symlink out", s, link("p/q/up", "../.."), link("p/q/evil", "up/../etc/passwd")),
		with("symlink empty", s, link("evil", "")),
		with("symlink with NUL", s, link("evil", "a\x00b")),
		with("symlink too long", s, link("evil", strings.Repeat("a/", 3000))),
		with("symlink as metadata", charm.ErrArchiveMetadata, link("config.yaml", "metadata.yaml")),
	}
}

func layout() []Case {
	f := charm.ErrArchiveFormat
	n := func(v uint16) *uint16 { return &v }
	w := func(v uint32) *uint32 { return &v }
	return []Case{
		{"empty file", f, func() []byte { return nil }},
		{"text", f, func() []byte { return []byte(strings.Repeat("not an archive\n", 100)) }},
		{"tar", f, func() []byte { return append(make([]byte, 257), "ustar\x0000"+strings.Repeat("\x00", 512)...) }},
		{"cut off", f, func() []byte { b := Valid(); return b[:len(b)-9] }},
		{"cut in half", f, func() []byte { b := Valid(); return b[:len(b)/2] }},
		tail("data after the end", f, Tail{After: []byte("#!/bin/sh\n")}),
		tail("data before the start", f, Tail{Before: []byte("#!/bin/sh\n")}),
		tail("two ends", f, Tail{Comment: Build(Tail{After: []byte("junk")}, file("evil"))}),
		tail("too few declared", f, Tail{Count: n(1)}, file("evil")),
		tail("too many declared", f, Tail{Count: n(9)}),
		tail("none declared", f, Tail{Count: n(0)}),
		tail("table elsewhere", f, Tail{DirAt: w(3)}),
		tail("table too long", f, Tail{DirSize: w(70)}),
		tail("split", f, Tail{Disk: 1}),
		tail("ZIP64", charm.ErrArchiveLimit, Tail{Zip64: true}),
		tail("ZIP64 count", charm.ErrArchiveLimit, Tail{Count: n(0xffff)}),
		with("ZIP64 member", charm.ErrArchiveLimit, Entry{Name: "evil", Data: "x", Size: 0xffffffff}),
		with("twice", f, file("evil"), file("evil")),
		with("file and directory", f, file("evil"), Entry{Name: "evil/", Mode: TypeDir | 0o755}),
		with("file and below it", f, file("evil"), file("evil/x")),
		with("metadata twice", f, file("metadata.yaml")),
		with("overlap", f, Entry{Name: "a", Data: "data"}, Entry{Name: "a", Data: "data", SameAs: 2}),
		with("overlap inside", f, Entry{Name: "a", Packed: Build(Tail{}, file("evil")), Data: "", Size: 1, PackedLen: 1}, Entry{Name: "b", Data: "x", Shift: -8}),
		with("two names", f, Entry{Name: "good", LocalName: "evil", Data: "x"}),
		with("two sizes", f, Entry{Name: "evil", Data: "x", LocalSize: 900}),
		with("stored with two sizes", f, Entry{Name: "evil", Data: "x", Size: 3}),
		with("beyond the end", f, Entry{Name: "evil", Data: "x", PackedLen: 1 << 20, Size: 1 << 20}),
		with("header beyond the end", f, Entry{Name: "evil", Data: "x", Shift: 1 << 30}),
	}
}
