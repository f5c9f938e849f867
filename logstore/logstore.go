// Package logstore owns the log of each model: append-only segment files with a
// byte budget, a budget for each source with a counter of what was dropped, and
// streams that are pushed to whoever follows.
//
// It refuses lines that do not say who wrote them: the entity is given by whoever
// authenticated the sender, never read out of the line. Control characters,
// newlines and broken text are escaped, so that no line can look like two or
// like another's. Oldest segments go first; a flood costs the source of it, not
// its neighbours.
package logstore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/time/rate"
)

// A Record is one line of a model's log.
type Record struct {
	Time     time.Time `json:"t"`
	Entity   string    `json:"e"` // tag of who wrote it
	Module   string    `json:"m"`
	Location string    `json:"l,omitempty"`
	Level    Level     `json:"v"`
	Message  string    `json:"x"`
	Labels   []string  `json:"b,omitempty"`
}

// A Level is how grave a line is.
type Level int8

// The levels.
const (
	Trace Level = iota + 1
	Debug
	Info
	Warning
	Error
	Critical
)

var levels = [...]string{"UNSPECIFIED", "TRACE", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}

// String returns the level's name in capitals.
func (l Level) String() string {
	if l < 0 || int(l) >= len(levels) {
		return levels[0]
	}
	return levels[l]
}

// ParseLevel reads a level's name in any case.
func ParseLevel(s string) (Level, error) {
	if i := slices.Index(levels[:], strings.ToUpper(s)); i > 0 {
		return Level(i), nil
	}
	return 0, fmt.Errorf("cannot read log level %.40q: use TRACE, DEBUG, INFO, WARNING or ERROR", s)
}

// Config says where logs go and how much of them. Zero limits mean the defaults.
type Config struct {
	Dir          string // made if absent, 0700
	Now          func() time.Time
	ModelBytes   int64   // of one model's segments: 256 MiB
	SegmentBytes int64   // of one segment: 8 MiB
	LineBytes    int     // of one message: 16 KiB
	SourceLines  float64 // lines a second and source: 500
	SourceBurst  int     // 2,000
	SourceBytes  float64 // bytes a second and source, as stored: 128 KiB
	ByteBurst    int     // 2 MiB, and never less than eight messages
	MaxSources   int     // of one model whose budgets are remembered: 10,000
	QueueLines   int     // waiting for one follower: 4,096
}

func (c *Config) defaults() {
	if c.ModelBytes == 0 {
		c.ModelBytes = 256 << 20
	}
	if c.SegmentBytes == 0 {
		c.SegmentBytes = min(8<<20, c.ModelBytes/4)
	}
	if c.LineBytes == 0 {
		c.LineBytes = 16 << 10
	}
	if c.SourceLines == 0 {
		c.SourceLines = 500
	}
	if c.SourceBurst == 0 {
		c.SourceBurst = 2000
	}
	if c.SourceBytes == 0 {
		c.SourceBytes = 128 << 10
	}
	if c.ByteBurst == 0 {
		c.ByteBurst = 2 << 20
	}
	c.ByteBurst = max(c.ByteBurst, 8*c.LineBytes) // or a line of escapes would never fit
	if c.MaxSources == 0 {
		c.MaxSources = 10_000
	}
	if c.QueueLines == 0 {
		c.QueueLines = 4096
	}
}

// A Store keeps the logs of all models.
type Store struct {
	cfg  Config
	root *os.Root

	mu     sync.Mutex
	models map[string]*log
	closed bool
}

// Open opens the store.
func Open(cfg Config) (*Store, error) {
	cfg.defaults()
	if cfg.Now == nil {
		return nil, errors.New("cannot open log store: a clock is needed")
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot open log store: %w", err)
	}
	if err := os.Chmod(cfg.Dir, 0o700); err != nil { //nolint:gosec // a directory needs x
		return nil, fmt.Errorf("cannot open log store: %w", err)
	}
	root, err := os.OpenRoot(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("cannot open log store: %w", err)
	}
	return &Store{cfg: cfg, root: root, models: map[string]*log{}}, nil
}

// Close closes every segment and ends every stream.
func (s *Store) Close() error {
	s.mu.Lock()
	models := s.models
	s.models, s.closed = map[string]*log{}, true
	s.mu.Unlock()
	var errs []error
	for _, l := range models {
		errs = append(errs, l.close())
	}
	return errors.Join(append(errs, s.root.Close())...)
}

// Append writes lines of one source, which must have been authenticated as
// entity. Lines past the source's budget are dropped and counted, which is no
// error; a line that tells the count follows when the source has calmed down.
func (s *Store) Append(model, entity string, rs ...Record) error {
	l, err := s.log(model)
	if err != nil {
		return err
	}
	return l.append(entity, rs)
}

// Dropped returns how many lines of each source of a model were dropped.
func (s *Store) Dropped(model string) map[string]int64 {
	l, err := s.log(model)
	if err != nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	out := map[string]int64{}
	for e, src := range l.sources {
		if src.total > 0 {
			out[e] = src.total
		}
	}
	return out
}

// DeleteModel removes a model's log and ends its streams.
func (s *Store) DeleteModel(model string) error {
	l, err := s.log(model)
	if err != nil {
		return err
	}
	s.mu.Lock()
	delete(s.models, model)
	s.mu.Unlock()
	return errors.Join(l.close(), s.root.RemoveAll(model))
}

func (s *Store) log(model string) (*log, error) {
	if model == "" || len(model) > 64 || strings.Trim(model, "0123456789abcdefghijklmnopqrstuvwxyz-") != "" {
		return nil, fmt.Errorf("cannot log for model %.80q", model)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errors.New("cannot log: the log store is closed")
	}
	if l, ok := s.models[model]; ok {
		return l, nil
	}
	l := &log{cfg: s.cfg, root: s.root, dir: model, sources: map[string]*source{}, tails: map[*tail]struct{}{}}
	if err := l.open(); err != nil {
		return nil, fmt.Errorf("cannot open log of model %s: %w", model, err)
	}
	s.models[model] = l
	return l, nil
}

// log is one model's log.
type log struct {
	cfg  Config
	root *os.Root
	dir  string

	mu      sync.Mutex
	f       *os.File
	n       int64     // number of the open segment
	size    int64     // of the open segment
	old     []segment // closed ones, oldest first
	bytes   int64     // of all
	sources map[string]*source
	tails   map[*tail]struct{}
	closed  bool
}

type segment struct {
	name string
	size int64
}

type source struct {
	lines   *rate.Limiter
	bytes   *rate.Limiter
	dropped int64 // since the last line that told so
	total   int64
}

func (l *log) open() error {
	if err := l.root.MkdirAll(l.dir, 0o700); err != nil {
		return err
	}
	es, err := fs.ReadDir(l.root.FS(), l.dir)
	if err != nil {
		return err
	}
	for _, e := range es { // in name order, which is age
		var n int64
		if _, err := fmt.Sscanf(e.Name(), "log-%016d.jsonl", &n); err != nil {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		l.old = append(l.old, segment{l.dir + "/" + e.Name(), info.Size()})
		l.bytes += info.Size()
		l.n = n
	}
	return l.rotate()
}

// rotate begins the next segment. Called with mu held, or before l is shared.
func (l *log) rotate() error {
	if l.f != nil {
		l.old = append(l.old, segment{l.name(), l.size})
		if err := l.f.Close(); err != nil {
			return err
		}
	}
	l.n++
	l.size = 0
	var err error
	l.f, err = l.root.OpenFile(l.name(), os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	return err
}

func (l *log) name() string { return fmt.Sprintf("%s/log-%016d.jsonl", l.dir, l.n) }

func (l *log) append(entity string, rs []Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errors.New("cannot log: the log is closed")
	}
	src := l.source(entity)
	now := l.cfg.Now()
	var buf bytes.Buffer
	var kept []Record
	for _, r := range rs {
		r, raw, err := l.admit(src, entity, now, r)
		if err != nil {
			return fmt.Errorf("cannot log: %w", err)
		}
		if raw == nil {
			src.dropped++
			src.total++
			continue
		}
		if src.dropped > 0 {
			told := Record{
				Time: now.UTC(), Entity: entity, Module: "scarab.log", Level: Warning,
				Message: fmt.Sprintf("%d lines dropped: this source logs more than its budget", src.dropped),
			}
			line, err := json.Marshal(told)
			if err != nil {
				return fmt.Errorf("cannot log: %w", err)
			}
			kept, src.dropped = append(kept, told), 0
			buf.Write(append(line, '\n'))
		}
		kept = append(kept, r)
		buf.Write(append(raw, '\n'))
	}
	if err := l.write(buf.Bytes()); err != nil {
		return fmt.Errorf("cannot log: %w", err)
	}
	for t := range l.tails {
		t.push(kept)
	}
	return nil
}

// admit makes a line of a record that is within its source's budgets of lines
// and of bytes; past them it makes none.
func (l *log) admit(src *source, entity string, now time.Time, r Record) (Record, []byte, error) {
	if !src.lines.AllowN(now, 1) {
		return r, nil, nil
	}
	r = l.clean(entity, now, r)
	raw, err := json.Marshal(r)
	if err != nil || !src.bytes.AllowN(now, len(raw)) {
		return r, nil, err
	}
	return r, raw, nil
}

func (l *log) source(entity string) *source {
	if src, ok := l.sources[entity]; ok {
		return src
	}
	if len(l.sources) >= l.cfg.MaxSources { // forget one that has nothing to tell
		for e, src := range l.sources {
			if src.dropped == 0 {
				delete(l.sources, e)
				break
			}
		}
	}
	src := &source{
		lines: rate.NewLimiter(rate.Limit(l.cfg.SourceLines), l.cfg.SourceBurst),
		bytes: rate.NewLimiter(rate.Limit(l.cfg.SourceBytes), l.cfg.ByteBurst),
	}
	l.sources[entity] = src
	return src
}

func (l *log) write(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	if l.size > 0 && l.size+int64(len(p)) > l.cfg.SegmentBytes {
		if err := l.rotate(); err != nil {
			return err
		}
	}
	for l.bytes+int64(len(p)) > l.cfg.ModelBytes && len(l.old) > 0 {
		if err := l.root.Remove(l.old[0].name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		l.bytes -= l.old[0].size
		l.old = l.old[1:]
	}
	n, err := l.f.Write(p)
	l.size += int64(n)
	l.bytes += int64(n)
	return err
}

func (l *log) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	for t := range l.tails {
		t.end()
	}
	return l.f.Close()
}

// farFuture is how far ahead of our clock a line's time may be.
const farFuture = time.Minute

// clean makes a line safe to store: the sender is who was authenticated, its
// time is near ours, its text is one printable line of bounded length.
func (l *log) clean(entity string, now time.Time, r Record) Record {
	r.Entity = entity
	if r.Time.After(now.Add(farFuture)) || r.Time.Before(now.Add(-24*time.Hour)) {
		r.Time = now
	}
	r.Time = r.Time.UTC()
	if r.Level < Trace || r.Level > Critical {
		r.Level = Info
	}
	r.Module = Escape(r.Module, 256)
	r.Location = Escape(r.Location, 256)
	r.Message = Escape(r.Message, l.cfg.LineBytes)
	if len(r.Labels) > 16 {
		r.Labels = r.Labels[:16]
	}
	labels := make([]string, 0, len(r.Labels))
	for _, b := range r.Labels {
		labels = append(labels, Escape(b, 128))
	}
	r.Labels = labels
	return r
}

// Escape makes s one printable line of at most limit bytes: control characters,
// newlines, bytes that are no UTF-8 and characters that turn the direction of
// text are written as escapes.
func Escape(s string, limit int) string {
	var b strings.Builder
	for i, r := range s {
		if b.Len() >= limit {
			return b.String() + fmt.Sprintf("... (%d bytes more)", len(s)-i)
		}
		switch {
		case r == utf8.RuneError && s[i] != 0xEF:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteByte('\t')
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r), r == '\u2028', r == '\u2029':
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
