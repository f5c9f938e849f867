package logstore_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/logstore"
)

const m1 = "11111111-1111-4111-8111-111111111111"

func open(t *testing.T, change func(*logstore.Config)) (*logstore.Store, string) {
	t.Helper()
	cfg := logstore.Config{Dir: filepath.Join(t.TempDir(), "logs"), Now: time.Now}
	if change != nil {
		change(&cfg)
	}
	s, err := logstore.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, cfg.Dir
}

func line(level logstore.Level, module, msg string) logstore.Record {
	return logstore.Record{Time: time.Now(), Module: module, Level: level, Message: msg}
}

func add(t *testing.T, s *logstore.Store, entity string, rs ...logstore.Record) {
	t.Helper()
	if err := s.Append(m1, entity, rs...); err != nil {
		t.Fatal(err)
	}
}

func past(t *testing.T, s *logstore.Store, f logstore.Filter) []string {
	t.Helper()
	f.NoTail = true
	var out []string
	err := s.Tail(t.Context(), m1, f, func(r logstore.Record) error {
		out = append(out, r.Entity+" "+r.Message)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestFilters(t *testing.T) {
	s, _ := open(t, nil)
	add(t, s, "unit-a-0", line(logstore.Info, "juju.worker.uniter", "one"), line(logstore.Debug, "unit.a/0.juju-log", "two"))
	add(t, s, "unit-ab-0", line(logstore.Error, "juju.workers", "three"))
	add(t, s, "machine-0", logstore.Record{Time: time.Now(), Level: logstore.Warning, Module: "x", Message: "four", Labels: []string{"#net"}})
	for name, c := range map[string]struct {
		f    logstore.Filter
		want string
	}{
		"all":            {logstore.Filter{Replay: true}, "one two three four"},
		"backlog":        {logstore.Filter{Backlog: 2}, "three four"},
		"none":           {logstore.Filter{}, ""},
		"entity":         {logstore.Filter{Replay: true, IncludeEntity: []string{"unit-a-0"}}, "one two"},
		"entity glob":    {logstore.Filter{Replay: true, IncludeEntity: []string{"unit-a*"}}, "one two three"},
		"exclude entity": {logstore.Filter{Replay: true, ExcludeEntity: []string{"unit-*"}}, "four"},
		"module":         {logstore.Filter{Replay: true, IncludeModule: []string{"juju.worker"}}, "one"},
		"exclude module": {logstore.Filter{Replay: true, ExcludeModule: []string{"juju"}}, "two four"},
		"label":          {logstore.Filter{Replay: true, IncludeLabel: []string{"#net"}}, "four"},
		"exclude label":  {logstore.Filter{Replay: true, ExcludeLabel: []string{"#net"}}, "one two three"},
		"level":          {logstore.Filter{Replay: true, Level: logstore.Warning}, "three four"},
		"max":            {logstore.Filter{Replay: true, Max: 1}, "one"},
	} {
		var got []string
		for _, l := range past(t, s, c.f) {
			got = append(got, strings.Fields(l)[1])
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: got %v, want %s", name, got, c.want)
		}
	}
}

func TestNobodyWritesInAnothersName(t *testing.T) {
	s, dir := open(t, nil)
	forged := logstore.Record{
		Time: time.Now().Add(100 * time.Hour), Entity: "machine-0", Level: 99, Module: "a\nb",
		Message: "x\n{\"e\":\"machine-0\"}\r\x00\x1b[2J\xff\u202e",
	}
	add(t, s, "unit-evil-0", forged)
	got := past(t, s, logstore.Filter{Replay: true})
	want := `unit-evil-0 x\n{"e":"machine-0"}\u000d\u0000\u001b[2J\xff\u202e`
	if len(got) != 1 || got[0] != want {
		t.Errorf("got %q, want %q", got, want)
	}
	var when time.Time
	err := s.Tail(t.Context(), m1, logstore.Filter{Replay: true, NoTail: true}, func(r logstore.Record) error { when = r.Time; return nil })
	if err != nil || time.Since(when) > time.Hour || time.Until(when) > time.Hour {
		t.Errorf("a forged time was kept: %v, %v", when, err)
	}
	for _, model := range []string{"", "..", "../x", "a/b", "A"} {
		if err := s.Append(model, "unit-evil-0", forged); err == nil {
			t.Errorf("model %q was accepted", model)
		}
	}
	names, err := filepath.Glob(filepath.Join(dir, m1, "*"))
	if err != nil || len(names) != 1 {
		t.Errorf("%v, %v", names, err)
	}
}

func TestFloodHurtsOnlyItsSource(t *testing.T) {
	now := time.Now()
	s, dir := open(t, func(c *logstore.Config) {
		c.ModelBytes, c.SegmentBytes, c.SourceLines, c.SourceBurst = 40_000, 10_000, 10, 100
		c.Now = func() time.Time { return now }
	})
	for i := range 5000 {
		add(t, s, "unit-evil-0", line(logstore.Info, "m", strings.Repeat("\x00", 100)))
		if i%500 == 0 {
			add(t, s, "unit-good-0", line(logstore.Info, "m", fmt.Sprint("good ", i)))
		}
	}
	if d := s.Dropped(m1); d["unit-evil-0"] != 4900 || d["unit-good-0"] != 0 {
		t.Errorf("dropped %v", d)
	}
	now = now.Add(time.Minute)
	add(t, s, "unit-evil-0", line(logstore.Info, "m", "calm"))
	got := strings.Join(past(t, s, logstore.Filter{Backlog: 30}), "\n")
	if !strings.Contains(got, "unit-evil-0 4900 lines dropped") || !strings.Contains(got, "good 4500") {
		t.Errorf("got %s", got)
	}
	var size int64
	names, err := filepath.Glob(filepath.Join(dir, m1, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		info, err := os.Stat(n)
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	if size > 50_000 {
		t.Errorf("%d bytes on disk", size)
	}
}

// Few long lines are as much as many short ones: a source's budget is one of
// bytes too, as they are stored, whatever part of a line they are in.
func TestLongLinesHurtOnlyTheirSource(t *testing.T) {
	for name, evil := range map[string]logstore.Record{
		"text":    line(logstore.Info, "m", strings.Repeat("x", 16<<10)),
		"escapes": line(logstore.Info, "m", strings.Repeat("<", 16<<10)),
		"labels":  {Level: logstore.Info, Message: "x", Labels: slices.Repeat([]string{strings.Repeat("<", 128)}, 16)},
	} {
		now := time.Now()
		s, dir := open(t, func(c *logstore.Config) {
			c.ModelBytes, c.SegmentBytes = 20<<20, 1<<20
			c.Now = func() time.Time { return now }
		})
		add(t, s, "unit-good-0", line(logstore.Info, "m", "good before"))
		for range 60 { // a minute of as much as may be
			now = now.Add(time.Second)
			for range 150 {
				add(t, s, "unit-evil-0", evil)
			}
		}
		add(t, s, "unit-good-0", line(logstore.Info, "m", "good after"))
		if d := s.Dropped(m1); d["unit-evil-0"] == 0 || d["unit-good-0"] != 0 {
			t.Errorf("%s: dropped %v", name, d)
		}
		var size int64
		names, err := filepath.Glob(filepath.Join(dir, m1, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			info, err := os.Stat(n)
			if err != nil {
				t.Fatal(err)
			}
			size += info.Size()
		}
		if most := int64(2<<20 + 61*(128<<10) + 64<<10); size > most {
			t.Errorf("%s: one source stored %d bytes in a minute, want at most %d", name, size, most)
		}
		if got := strings.Join(past(t, s, logstore.Filter{Replay: true}), "\n"); !strings.Contains(got, "good before") || !strings.Contains(got, "good after") {
			t.Errorf("%s: another's lines were pushed out", name)
		}
	}
}

func TestLongLineIsCut(t *testing.T) {
	s, _ := open(t, nil)
	add(t, s, "unit-a-0", line(logstore.Info, "m", strings.Repeat("x", 10<<20)))
	got := past(t, s, logstore.Filter{Replay: true})
	if len(got) != 1 || len(got[0]) > 17<<10 || !strings.Contains(got[0], "bytes more") {
		t.Errorf("got %d lines", len(got))
	}
}

func TestTailIsPushedWithoutGap(t *testing.T) {
	s, _ := open(t, func(c *logstore.Config) { c.SourceBurst = 1 << 20 })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	lines := make(chan string, 4096)
	done := make(chan error, 1)
	go func() {
		for i := range 2000 {
			if err := s.Append(m1, "unit-a-0", line(logstore.Info, "m", fmt.Sprint(i))); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	stopped := make(chan error, 1)
	go func() {
		stopped <- s.Tail(ctx, m1, logstore.Filter{Replay: true}, func(r logstore.Record) error { lines <- r.Message; return nil })
	}()
	for i := range 2000 {
		select {
		case got := <-lines:
			if got != fmt.Sprint(i) {
				t.Fatalf("line %d is %q", i, got)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("line %d did not come", i)
		}
	}
	cancel()
	if err := errors.Join(<-done, <-stopped); err != nil {
		t.Error(err)
	}
}

func TestSlowFollowerIsTold(t *testing.T) {
	s, _ := open(t, func(c *logstore.Config) { c.QueueLines, c.SourceBurst = 4, 1<<20 })
	first := make(chan struct{})
	hold := make(chan struct{})
	var got []string
	stopped := make(chan error, 1)
	go func() {
		stopped <- s.Tail(t.Context(), m1, logstore.Filter{}, func(r logstore.Record) error {
			if len(got) == 0 {
				close(first)
				<-hold
			}
			got = append(got, r.Message)
			return nil
		})
	}()
	for started := false; !started; {
		add(t, s, "unit-a-0", line(logstore.Info, "m", "x"))
		select {
		case <-first:
			started = true
		default:
		}
	}
	for range 100 {
		add(t, s, "unit-a-0", line(logstore.Info, "m", "x"))
	}
	close(hold)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	if all := strings.Join(got, " "); !strings.Contains(all, "lines missed") {
		t.Errorf("got %s", all)
	}
}

func TestReopenKeeps(t *testing.T) {
	s, dir := open(t, nil)
	add(t, s, "unit-a-0", line(logstore.Info, "m", "before"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := logstore.Open(logstore.Config{Dir: dir, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	add(t, s, "unit-a-0", line(logstore.Info, "m", "after"))
	if got := past(t, s, logstore.Filter{Replay: true}); strings.Join(got, ",") != "unit-a-0 before,unit-a-0 after" {
		t.Errorf("got %v", got)
	}
	if err := s.DeleteModel(m1); err != nil {
		t.Fatal(err)
	}
	if got := past(t, s, logstore.Filter{Replay: true}); len(got) != 0 {
		t.Errorf("after delete: %v", got)
	}
}

func FuzzEscape(f *testing.F) {
	for _, s := range []string{"", "plain", "a\nb\x00", "\xff\xfe", "\u202e\u2028", strings.Repeat("é", 600)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := logstore.Escape(s, 500)
		if len(got) > 600 || strings.ContainsAny(got, "\n\r\x00\x1b\u2028\u2029\u202e") || strings.ToValidUTF8(got, "") != got {
			t.Errorf("%q became %q", s, got)
		}
	})
}
