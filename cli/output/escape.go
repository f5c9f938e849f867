// Package output turns values into text for people and scripts: tables, YAML, JSON and colours.
// It owns the rule that no byte that came from elsewhere can steer a terminal: cells and messages are escaped, and colour
// is added only afterwards, by this package. It refuses to print anything it was not handed as a value.
package output

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Escape makes text safe on one line of a terminal: control bytes, the C1 range, bidirectional overrides and broken UTF-8
// become visible escapes.
func Escape(s string) string { return escape(s, false) }

// EscapeText is Escape for text of several lines: line feeds and tabs stay.
func EscapeText(s string) string { return escape(s, true) }

func escape(s string, lines bool) string {
	if clean(s, lines) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 16)
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size <= 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case lines && (r == '\n' || r == '\t'):
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case unsafeRune(r) && r < 0x100:
			fmt.Fprintf(&b, `\x%02x`, r)
		case unsafeRune(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
		i += size
	}
	return b.String()
}

func clean(s string, lines bool) bool {
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size <= 1 {
			return false
		}
		if unsafeRune(r) && (!lines || r != '\n' && r != '\t') {
			return false
		}
		i += size
	}
	return true
}

// unsafeRune reports runes that move the cursor, start an escape sequence, or reorder what is shown.
func unsafeRune(r rune) bool {
	return r < 0x20 || r == 0x7f || (r >= 0x80 && r <= 0x9f) ||
		(r >= 0x202a && r <= 0x202e) || (r >= 0x2066 && r <= 0x2069) || r == 0x200e || r == 0x200f || r == 0xfeff ||
		r == 0x2028 || r == 0x2029
}

// Safe wraps a stream so that whatever a command prints there arrives escaped. A rune cut in two by separate writes is
// put together again before it is judged.
type Safe struct {
	w    io.Writer
	tail []byte
}

// NewSafe returns the escaping form of w.
func NewSafe(w io.Writer) *Safe { return &Safe{w: w} }

// Raw is the stream below, for colours that this package makes and for programs that own the terminal.
func (s *Safe) Raw() io.Writer { return s.w }

// Write implements io.Writer.
func (s *Safe) Write(p []byte) (int, error) {
	data := append(s.tail, p...)
	keep := incomplete(data)
	s.tail = append([]byte(nil), data[len(data)-keep:]...)
	if _, err := io.WriteString(s.w, EscapeText(string(data[:len(data)-keep]))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// incomplete counts the bytes at the end that may be the beginning of a longer rune.
func incomplete(p []byte) int {
	for n := 1; n <= 3 && n <= len(p); n++ {
		b := p[len(p)-n]
		if utf8.RuneStart(b) {
			if b >= 0xc0 && !utf8.FullRune(p[len(p)-n:]) {
				return n
			}
			return 0
		}
	}
	return 0
}
