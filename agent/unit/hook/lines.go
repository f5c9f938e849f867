package hook

import (
	"bytes"
	"strings"
	"sync"
)

// Bounds of one hook's output.
const (
	MaxLine    = 16 << 10
	MaxOutput  = 8 << 20
	MaxLines   = 100_000
	MaxCapture = 1 << 20
)

// Lines is a writer that hands on whole lines, cut where they are too long,
// and says so once when a hook prints more than its share. It never blocks
// the hook and never fails it.
type Lines struct {
	mu      sync.Mutex
	emit    func(string)
	capture *bytes.Buffer // what an action answers with; may be nil
	rest    []byte
	bytes   int
	lines   int
	cut     bool
}

// NewLines hands lines to emit. With capture the output is kept too, up to
// MaxCapture.
func NewLines(emit func(string), capture bool) *Lines {
	l := &Lines{emit: emit}
	if capture {
		l.capture = &bytes.Buffer{}
	}
	return l
}

// Write implements io.Writer.
func (l *Lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(p)
	if l.capture != nil {
		l.capture.Write(p[:min(n, MaxCapture-l.capture.Len())])
	}
	for len(p) > 0 && !l.cut {
		line, rest, whole := bytes.Cut(p, []byte("\n"))
		if room := MaxLine - len(l.rest); len(line) > room {
			line, rest, whole = p[:room], p[room:], true
		}
		l.rest = append(l.rest, line...)
		p = rest
		if whole {
			l.line()
		}
	}
	return n, nil
}

func (l *Lines) line() {
	l.bytes += len(l.rest) + 1
	l.lines++
	if l.bytes > MaxOutput || l.lines > MaxLines {
		l.cut, l.rest = true, nil
		l.emit("output cut: the hook printed too much")
		return
	}
	l.emit(strings.ToValidUTF8(strings.TrimRight(string(l.rest), "\r"), "?"))
	l.rest = l.rest[:0]
}

// Close hands on a last line without an end, and returns what was captured.
func (l *Lines) Close() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.rest) > 0 && !l.cut {
		l.line()
	}
	l.cut = true // a straggler's output goes nowhere
	if l.capture == nil {
		return nil
	}
	return l.capture.Bytes()
}
