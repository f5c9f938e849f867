package charmtest

import (
	"fmt"
	"strings"

	"github.com/scarab-ops/scarab/charm"
)

func bombs() []Case {
	l := charm.ErrArchiveLimit
	zeros := func(n int) string { return strings.Repeat("\x00", n) }
	return []Case{
		{"compressed 1000 to 1", l, func() []byte {
			return Build(Tail{}, Entry{Name: "metadata.yaml", Data: Metadata}, Entry{Name: "evil", Data: zeros(8 << 20), Deflate: true})
		}},
		with("declared million to 1", l, Entry{Name: "evil", Packed: []byte("xxxx"), Method: 8, Size: 400 << 20}),
		with("declared 4 GiB", l, Entry{Name: "evil", Packed: Squeeze("x"), Method: 8, Size: 0xfffffffe}),
		{"many under the limit", l, func() []byte {
			list := []Entry{{Name: "metadata.yaml", Data: Metadata}}
			for i := range 100 {
				list = append(list, Entry{Name: fmt.Sprint(i), Packed: []byte(zeros(64 << 10)), Method: 8, Size: 12 << 20})
			}
			return Build(Tail{}, list...)
		}},
		{"many below the floor", l, func() []byte {
			list := []Entry{{Name: "metadata.yaml", Data: Metadata}}
			body := Squeeze(zeros(1 << 20))
			for i := range 300 {
				list = append(list, Entry{Name: fmt.Sprint(i), Packed: body, Method: 8, Size: 1 << 20})
			}
			return Build(Tail{}, list...)
		}},
		{"1 GiB metadata.yaml", l, func() []byte {
			return Build(Tail{}, Entry{Name: "metadata.yaml", Packed: Squeeze(zeros(1 << 20)), Method: 8, Size: 1 << 30})
		}},
		{"2 MiB config.yaml", l, func() []byte {
			return Build(Tail{}, Entry{Name: "metadata.yaml", Data: Metadata}, Entry{Name: "config.yaml", Data: strings.Repeat("# x\n", 1<<19)})
		}},
		{"too many members", l, func() []byte { return Build(Tail{}, manyEntries(20_001)...) }},
		{"a million members", l, func() []byte { return million() }},
		{"long table", l, func() []byte {
			list := []Entry{{Name: "metadata.yaml", Data: Metadata}}
			for i := range 70 {
				list = append(list, Entry{Name: fmt.Sprint(i), Extra: make([]byte, 0xfff0)})
			}
			return Build(Tail{}, list...)
		}},
		{"overlapping bomb", charm.ErrArchiveFormat, func() []byte {
			list := []Entry{{Name: "metadata.yaml", Data: Metadata}, {Name: "0", Data: zeros(1 << 19), Deflate: true}}
			for range 200 {
				list = append(list, Entry{Name: "0", Data: zeros(1 << 19), Deflate: true, SameAs: 2})
			}
			return Build(Tail{}, list...)
		}},
	}
}

func manyEntries(n int) []Entry {
	list := make([]Entry, n)
	list[0] = Entry{Name: "metadata.yaml", Data: Metadata}
	for i := 1; i < n; i++ {
		list[i] = Entry{Name: fmt.Sprint(i)}
	}
	return list
}

// million has 10^6 records in its table; the 16 bits that count them hold what
// remains of that number.
func million() []byte {
	one := Build(Tail{}, Entry{Name: "1"})
	head := one[31 : len(one)-22] // the one record of the table
	body := make([]byte, 0, 31+1_000_000*len(head)+22)
	body = append(body, one[:31]...)
	for range 1_000_000 {
		body = append(body, head...)
	}
	end := one[len(one)-22:]
	size := uint32(len(body) - 31)
	end = append([]byte(nil), end...)
	count := uint16(1_000_000 % 65536)
	for i := range 2 {
		end[8+i], end[10+i] = byte(count>>(8*i)), byte(count>>(8*i))
	}
	for i := range 4 {
		end[12+i] = byte(size >> (8 * i))
	}
	return append(body, end...)
}

func content() []Case {
	c := charm.ErrArchiveContent
	wrong := uint32(0xdeadbeef)
	return []Case{
		with("wrong sum", c, Entry{Name: "evil", Data: "x", CRC: &wrong}),
		with("wrong sum, packed", c, Entry{Name: "evil", Data: "xxxxxxxx", Deflate: true, CRC: &wrong}),
		with("more than declared", c, Entry{Name: "evil", Packed: Squeeze(strings.Repeat("\x00", 8<<20)), Method: 8, Size: 100}),
		with("less than declared", c, Entry{Name: "evil", Packed: Squeeze("x"), Method: 8, Size: 100}),
		with("no deflate stream", c, Entry{Name: "evil", Packed: []byte("\xff\xff\xff\xff"), Method: 8, Size: 100}),
		{"metadata with wrong sum", c, func() []byte {
			return Build(Tail{}, Entry{Name: "metadata.yaml", Data: Metadata, CRC: &wrong})
		}},
		{"metadata more than declared", c, func() []byte {
			return Build(Tail{}, Entry{Name: "metadata.yaml", Packed: Squeeze(Metadata + strings.Repeat("#", 8<<20)), Method: 8, Size: 50})
		}},
		with("symlink with wrong sum", c, Entry{Name: "evil", Data: "x", Mode: TypeSymlink | 0o777, CRC: &wrong}),
	}
}

func meta(name, text string) Case {
	return Case{name, charm.ErrArchiveMetadata, func() []byte {
		return Build(Tail{}, Entry{Name: "metadata.yaml", Data: text})
	}}
}

func other(name, file, text string) Case {
	return with(name, charm.ErrArchiveMetadata, Entry{Name: file, Data: text})
}

func aliasBomb() string {
	var b strings.Builder
	b.WriteString("a0: &a0 [x,x,x,x,x,x,x,x,x]\n")
	for i := 1; i < 12; i++ {
		fmt.Fprintf(&b, "a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i-1), 9), ","))
	}
	return b.String()
}

func yamlBombs() []Case {
	return []Case{
		meta("alias bomb", Metadata+aliasBomb()),
		meta("alias bomb of text", Metadata+"a: &a "+strings.Repeat("x", 400<<10)+"\nb: ["+strings.TrimSuffix(strings.Repeat("*a,", 1000), ",")+"]\n"),
		meta("alias to itself", Metadata+"a: &a [*a]\n"),
		meta("merge to itself", Metadata+"a: &a\n  <<: *a\n"),
		meta("nested lists", Metadata+"a: "+strings.Repeat("[", 900)+strings.Repeat("]", 900)+"\n"),
		meta("nested lists, open", Metadata+"a: "+strings.Repeat("[", 100_000)),
		meta("nested maps, open", Metadata+"a: "+strings.Repeat("{a: ", 50_000)),
		meta("nested dashes", Metadata+"a:\n  "+strings.Repeat("- ", 50_000)+"\n"),
		meta("nested by indent", Metadata+indented(500)),
		meta("nested questions", Metadata+strings.Repeat("? ", 50_000)),
		meta("many commas", Metadata+"a: ["+strings.Repeat(",", 500_000)+"]\n"),
		meta("many keys", Metadata+numbered(80_000)),
		meta("as many keys as allowed", Metadata+numbered(29_990)+"name: 42\n"),
		meta("as many items as allowed", Metadata+"a:\n"+strings.Repeat("- x\n", 29_990)+"name: 42\n"),
		meta("as many comments as allowed", Metadata+strings.Repeat("#\n", 29_900)+"name: 42\n"),
		meta("as many comments on items as allowed", Metadata+"a:\n"+strings.Repeat("- x #\n", 19_900)+"name: 42\n"),
		meta("as many items in a row as allowed", Metadata+"a: ["+strings.Repeat("x,", 59_000)+"]\nname: 42\n"),
		meta("long text", Metadata+"a: "+strings.Repeat("x ", 500_000)+"\nname: 42\n"),
		meta("long folded text", Metadata+"a: >\n"+strings.Repeat("  xxxx\n", 50_000)+"name: 42\n"),
		meta("long key", Metadata+strings.Repeat("x", 900_000)+": 1\nname: 42\n"),
		meta("many comments", Metadata+strings.Repeat("#\n", 400_000)),
		meta("many anchors", Metadata+"a: ["+strings.TrimSuffix(strings.Repeat("&a x,", 80_000), ",")+"]\n"),
		meta("unknown alias", Metadata+"a: *b\n"),
		other("alias bomb in actions", "actions.yaml", "x:\n  params:\n    p: {type: string}\n"+aliasBomb()),
		other("alias bomb in config", "config.yaml", "options: {}\n"+aliasBomb()),
	}
}

func indented(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

func numbered(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "k%d: 1\n", i)
	}
	return b.String()
}

func metadata() []Case {
	return []Case{
		{"no metadata", charm.ErrArchiveMetadata, func() []byte { return Build(Tail{}, file("x")) }},
		{"metadata in a directory", charm.ErrArchiveMetadata, func() []byte {
			return Build(Tail{}, Entry{Name: "zoo/metadata.yaml", Data: Metadata})
		}},
		{"metadata is a directory", charm.ErrArchiveMetadata, func() []byte {
			return Build(Tail{}, Entry{Name: "metadata.yaml/", Mode: TypeDir | 0o755})
		}},
		meta("metadata empty", ""),
		meta("metadata not YAML", "{{{{"),
		meta("metadata binary", "name: \x00\xff\n"),
		meta("metadata a list", "- a\n- b\n"),
		meta("metadata key twice", Metadata+"name: other\n"),
		meta("name a path", "name: ../../evil\nsummary: s\ndescription: d\n"),
		meta("name a number", "name: 42\nsummary: s\ndescription: d\n"),
		meta("relation a path", Metadata+"requires:\n  ../x: http\n"),
		meta("storage in our place", Metadata+"storage:\n  s: {type: filesystem, location: /var/lib/juju/storage/../storage/x}\n"),
		meta("resource with a path", Metadata+"resources:\n  r: {type: file, filename: ../../etc/passwd}\n"),
		other("revision no number", "revision", "-1"),
		other("action with reference", "actions.yaml", "x:\n  params:\n    p: {$ref: \"http://example.com\"}\n"),
		other("action named as a path", "actions.yaml", "../x: {}\n"),
		other("profile with a disk", "lxd-profile.yaml", "devices: [a]\n"),
	}
}
