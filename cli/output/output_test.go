package output_test

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/scarab-ops/scarab/cli/output"
)

func FuzzEscape(f *testing.F) {
	for _, s := range []string{"plain", "\x1b[31mred", "a\x9bb", "\u202eright", "\xff\xfe", "tab\tline\n", "é漢"} {
		f.Add(s, 1)
	}
	f.Fuzz(func(t *testing.T, s string, cut int) {
		one := output.Escape(s)
		if strings.ContainsFunc(one, func(r rune) bool { return r < 0x20 || r == 0x7f || r >= 0x80 && r < 0xa0 }) || !utf8.ValidString(one) {
			t.Fatalf("%q became %q", s, one)
		}
		var b bytes.Buffer
		w := output.NewSafe(&b)
		if cut < 0 || cut > len(s) {
			cut = len(s) / 2
		}
		for _, part := range []string{s[:cut], s[cut:]} {
			if _, err := w.Write([]byte(part)); err != nil {
				t.Fatal(err)
			}
		}
		if strings.ContainsAny(b.String(), "\x1b\r\x07\u009b") && utf8.ValidString(s) {
			t.Fatalf("%q passed as %q", s, b.String())
		}
		if utf8.ValidString(s) && b.String() != output.EscapeText(s) {
			t.Fatalf("%q cut at %d became %q", s, cut, b.String())
		}
	})
}

func TestTableEscapesBeforeItPaints(t *testing.T) {
	tab := output.NewTable(true)
	tab.Head("A", "N", "B")
	tab.Cells(output.Styled("\x1b[2Jx", output.Good), output.Right("7"), output.Text(""))
	tab.Cells(output.Text("long"), output.Right("100"), output.Text("end"))
	var b bytes.Buffer
	if err := tab.Flush(&b); err != nil {
		t.Fatal(err)
	}
	want := "\x1b[1mA\x1b[0m           \x1b[1mN\x1b[0m  \x1b[1mB\x1b[0m\n\x1b[32m\\x1b[2Jx\x1b[0m    7\nlong      100  end\n"
	if b.String() != want {
		t.Fatalf("got  %q\nwant %q", b.String(), want)
	}
}
