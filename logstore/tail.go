package logstore

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Filter says which lines a stream has.
type Filter struct {
	IncludeEntity, ExcludeEntity []string // tags, or with a "*" at the end
	IncludeModule, ExcludeModule []string // prefixes of dotted modules
	IncludeLabel, ExcludeLabel   []string
	Level                        Level // least level; 0 is all
	Since                        time.Time

	Backlog int  // lines to begin with; ignored with Replay
	Replay  bool // begin with the oldest line
	NoTail  bool // end after the backlog
	Max     int  // end after so many lines; 0 is no end
}

// MaxBacklog bounds the lines held in memory to begin a stream with.
const MaxBacklog = 10_000

// Match reports whether the filter lets r through.
func (f *Filter) Match(r *Record) bool {
	switch {
	case r.Level < f.Level, r.Time.Before(f.Since):
		return false
	case len(f.IncludeEntity) > 0 && !slices.ContainsFunc(f.IncludeEntity, func(p string) bool { return glob(p, r.Entity) }):
		return false
	case slices.ContainsFunc(f.ExcludeEntity, func(p string) bool { return glob(p, r.Entity) }):
		return false
	case len(f.IncludeModule) > 0 && !slices.ContainsFunc(f.IncludeModule, func(p string) bool { return under(p, r.Module) }):
		return false
	case slices.ContainsFunc(f.ExcludeModule, func(p string) bool { return under(p, r.Module) }):
		return false
	case len(f.IncludeLabel) > 0 && !slices.ContainsFunc(f.IncludeLabel, func(p string) bool { return slices.Contains(r.Labels, p) }):
		return false
	case slices.ContainsFunc(f.ExcludeLabel, func(p string) bool { return slices.Contains(r.Labels, p) }):
		return false
	}
	return true
}

func glob(pattern, s string) bool {
	if p, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(s, p)
	}
	return pattern == s
}

func under(prefix, module string) bool {
	return module == prefix || strings.HasPrefix(module, prefix+".")
}

// tail is one follower.
type tail struct {
	wake chan struct{}

	mu     sync.Mutex
	queue  []Record
	missed int // lines that did not fit
	ended  bool
	max    int
}

func (t *tail) push(rs []Record) {
	t.mu.Lock()
	room := max(0, t.max-len(t.queue))
	n := min(room, len(rs))
	t.queue = append(t.queue, rs[:n]...)
	t.missed += len(rs) - n
	t.mu.Unlock()
	t.signal()
}

func (t *tail) end() {
	t.mu.Lock()
	t.ended = true
	t.mu.Unlock()
	t.signal()
}

func (t *tail) signal() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

func (t *tail) take() (rs []Record, missed int, ended bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	rs, missed, ended = t.queue, t.missed, t.ended
	t.queue, t.missed = nil, 0
	return rs, missed, ended
}

// errEnough ends a stream that has had all its lines.
var errEnough = errors.New("enough lines")

// Tail calls emit with the lines that f lets through, first those that are
// there, then each as it comes, until ctx ends, emit fails or f says so. A
// follower that is too slow misses lines and is told how many.
func (s *Store) Tail(ctx context.Context, model string, f Filter, emit func(Record) error) error {
	l, err := s.log(model)
	if err != nil {
		return err
	}
	t := &tail{wake: make(chan struct{}, 1), max: s.cfg.QueueLines}
	past, end := l.follow(t)
	defer l.unfollow(t)
	left := f.Max
	send := func(r Record) error {
		if !f.Match(&r) {
			return nil
		}
		if err := emit(r); err != nil {
			return err
		}
		if left--; left == 0 {
			return errEnough
		}
		return nil
	}
	err = l.backlog(ctx, past, end, f, send)
	for err == nil && !f.NoTail {
		select {
		case <-ctx.Done():
			return nil
		case <-t.wake:
		}
		err = s.relay(t, send)
	}
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// relay sends what waits.
func (s *Store) relay(t *tail, send func(Record) error) error {
	rs, missed, ended := t.take()
	for _, r := range rs {
		if err := send(r); err != nil {
			return err
		}
	}
	if missed > 0 {
		r := Record{Time: s.cfg.Now().UTC(), Module: "scarab.log", Level: Warning, Message: fmt.Sprintf("%d lines missed: this stream is read too slowly", missed)}
		if err := send(r); err != nil {
			return err
		}
	}
	if ended {
		return errEnough
	}
	return nil
}

// follow begins to collect lines and says what lies before them: the segments,
// and the end of the newest.
func (l *log) follow(t *tail) ([]string, int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		t.end()
		return nil, 0
	}
	l.tails[t] = struct{}{}
	names := make([]string, 0, len(l.old)+1)
	for _, s := range l.old {
		names = append(names, s.name)
	}
	return append(names, l.name()), l.size
}

func (l *log) unfollow(t *tail) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.tails, t)
}

func (l *log) backlog(ctx context.Context, names []string, end int64, f Filter, send func(Record) error) error {
	switch {
	case f.Replay || !f.Since.IsZero() && f.Backlog == 0:
		return l.read(ctx, names, end, send)
	case f.Backlog <= 0:
		return nil
	}
	keep := min(f.Backlog, MaxBacklog)
	var ring []Record
	for i := len(names) - 1; i >= 0 && len(ring) < keep; i-- { // newest segment first
		limit := int64(-1)
		if i == len(names)-1 {
			limit = end
		}
		var part []Record
		err := l.readOne(ctx, names[i], limit, func(r Record) error {
			if f.Match(&r) {
				part = append(part, r)
				if len(part) > 2*keep {
					part = append(part[:0], part[len(part)-keep:]...)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		ring = append(part, ring...)
	}
	for _, r := range ring[max(0, len(ring)-keep):] {
		if err := send(r); err != nil {
			return err
		}
	}
	return nil
}

func (l *log) read(ctx context.Context, names []string, end int64, send func(Record) error) error {
	for i, n := range names {
		limit := int64(-1)
		if i == len(names)-1 {
			limit = end
		}
		if err := l.readOne(ctx, n, limit, send); err != nil {
			return err
		}
	}
	return nil
}

// readOne reads a segment up to limit bytes; -1 is all. A segment that was
// removed meanwhile, and a line that cannot be read, are left out.
func (l *log) readOne(ctx context.Context, name string, limit int64, send func(Record) error) error {
	f, err := l.root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot read log: %w", err)
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	sc.Buffer(make([]byte, 0, 64<<10), 1<<20)
	var at int64
	for sc.Scan() {
		at += int64(len(sc.Bytes())) + 1
		if limit >= 0 && at > limit {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		var r Record
		if json.Unmarshal(sc.Bytes(), &r) != nil {
			continue
		}
		if err := send(r); err != nil {
			return err
		}
	}
	if err := sc.Err(); err != nil {
		return fmt.Errorf("cannot read log: %w", err)
	}
	return nil
}
