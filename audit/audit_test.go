package audit_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/audit"
	"github.com/scarab-ops/scarab/state"
)

type bench struct {
	t     *testing.T
	store *state.Store
	cfg   audit.Config
	n     int
}

func newBench(t *testing.T) *bench {
	t.Helper()
	store, err := state.Open(t.Context(), state.NewMem())
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &bench{t: t, store: store, cfg: audit.Config{
		Store: store, Dir: filepath.Join(t.TempDir(), "audit"), Key: key, Now: time.Now, SegmentBytes: 2000,
		Alarm: func(err error) { t.Errorf("alarm: %v", err) },
	}}
}

func (b *bench) add(n int) {
	b.t.Helper()
	for range n {
		b.n++
		r := audit.Record{
			ID: audit.ID(time.Unix(int64(b.n), 0), "u"), Time: time.Unix(int64(b.n), 0), Actor: "user-bob", Facade: "Application",
			Method: "Deploy", Outcome: audit.OK, Args: json.RawMessage(fmt.Sprintf(`{"application": "<a&%d>"}`, b.n)),
		}
		if err := b.store.Update(b.t.Context(), func(tx *state.Tx) error { return audit.Put(tx, r) }); err != nil {
			b.t.Fatal(err)
		}
	}
}

func (b *bench) move() {
	b.t.Helper()
	s, err := audit.Open(b.cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := errors.Join(s.Step(b.t.Context()), s.Sign(), s.Close()); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) rows() int {
	n := 0
	for range audit.Table.All(b.store.View(), state.Controller) {
		n++
	}
	return n
}

func (b *bench) verify() (audit.Head, error) {
	want, err := audit.ReadHead(b.store.View())
	if err != nil {
		b.t.Fatal(err)
	}
	return audit.Verify(b.cfg.Dir, &b.cfg.Key.PublicKey, &want)
}

func (b *bench) segments() []string {
	names, err := filepath.Glob(filepath.Join(b.cfg.Dir, "audit-*.jsonl"))
	if err != nil {
		b.t.Fatal(err)
	}
	return names
}

func TestMovesAndVerifies(t *testing.T) {
	b := newBench(t)
	for range 3 { // with a restart between
		b.add(5)
		b.move()
	}
	if b.rows() != 0 {
		t.Errorf("%d rows were not pruned", b.rows())
	}
	if h, err := b.verify(); err != nil || h.N != 15 {
		t.Errorf("verify: %d, %v", h.N, err)
	}
	if len(b.segments()) < 2 {
		t.Errorf("no rotation: %v", b.segments())
	}
	var all bytes.Buffer
	if err := audit.Export(b.cfg.Dir, &all); err != nil || strings.Count(all.String(), "Deploy") != 15 {
		t.Errorf("export has %d records, %v", strings.Count(all.String(), "Deploy"), err)
	}
}

func TestCrashBetweenAppendAndPruneDoublesNothing(t *testing.T) {
	b := newBench(t)
	b.cfg.SegmentBytes = 1 << 20
	b.add(3)
	s, err := audit.Open(b.cfg)
	if err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Step(gone); err == nil {
		t.Fatal("a step whose prune cannot commit succeeded")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if b.rows() != 3 {
		t.Fatalf("%d rows", b.rows())
	}
	f, err := os.OpenFile(b.segments()[0], os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"n":4,"prev":"half a li`); err != nil { // torn write
		t.Fatal(err)
	}
	_ = f.Close()
	b.add(1)
	b.move()
	if h, err := b.verify(); err != nil || h.N != 4 || b.rows() != 0 {
		t.Errorf("head %d, %d rows, %v", h.N, b.rows(), err)
	}
}

func TestTamperIsNamed(t *testing.T) {
	lines := func(raw []byte) [][]byte { return bytes.SplitAfter(raw, []byte("\n")) }
	cases := map[string]struct {
		change func(ls [][]byte) [][]byte
		bad    int64
	}{
		"edit":     {func(ls [][]byte) [][]byte { ls[2] = bytes.Replace(ls[2], []byte("bob"), []byte("eve"), 1); return ls }, 3},
		"delete":   {func(ls [][]byte) [][]byte { return append(ls[:2], ls[3:]...) }, 3},
		"reorder":  {func(ls [][]byte) [][]byte { ls[2], ls[3] = ls[3], ls[2]; return ls }, 3},
		"repeat":   {func(ls [][]byte) [][]byte { return append(ls[:2:2], ls[1:]...) }, 3},
		"truncate": {func(ls [][]byte) [][]byte { return ls[:5] }, 6},
		"spaces":   {func(ls [][]byte) [][]byte { ls[4] = bytes.Replace(ls[4], []byte(`:`), []byte(` :`), 1); return ls }, 5},
		"garbage":  {func(ls [][]byte) [][]byte { ls[0] = []byte("{}\n"); return ls }, 1},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.cfg.SegmentBytes = 1 << 20
			b.add(8)
			b.move()
			file := b.segments()[0]
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, bytes.Join(c.change(lines(raw)), nil), 0o600); err != nil {
				t.Fatal(err)
			}
			var bad *audit.BadRecord
			if _, err := b.verify(); !errors.As(err, &bad) || bad.N != c.bad {
				t.Errorf("got %v, want record %d named", err, c.bad)
			}
			if _, err := audit.Open(b.cfg); !errors.As(err, &bad) || bad.N != c.bad {
				t.Errorf("at start: got %v, want record %d named", err, c.bad)
			}
		})
	}
}

func TestForgedCheckpointAndLostSegment(t *testing.T) {
	b := newBench(t)
	b.add(12)
	b.move()
	other, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var bad *audit.BadRecord
	if _, err := audit.Verify(b.cfg.Dir, &other.PublicKey, nil); !errors.As(err, &bad) || !strings.Contains(bad.Reason, "signature") {
		t.Errorf("with another key: %v", err)
	}
	if err := os.Remove(b.segments()[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := b.verify(); !errors.As(err, &bad) || bad.N != 1 {
		t.Errorf("first segment removed: %v", err)
	}
}

func TestFullDiskRaisesAlarmAndLosesNothing(t *testing.T) {
	b := newBench(t)
	b.cfg.SegmentBytes, b.cfg.MaxBytes = 500, 600
	b.add(20)
	s, err := audit.Open(b.cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Step(t.Context()); err != nil { // one batch may pass the limit
		t.Fatal(err)
	}
	b.add(3)
	if err := s.Step(t.Context()); err == nil || b.rows() != 3 {
		t.Errorf("past the budget: %v, %d rows left", err, b.rows())
	}
}

func TestRunFollows(t *testing.T) {
	b := newBench(t)
	s, err := audit.Open(b.cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	b.add(10)
	deadline := time.Now().Add(10 * time.Second)
	for b.rows() > 0 && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	stop()
	if err := errors.Join(<-done, s.Close()); err != nil {
		t.Fatal(err)
	}
	if h, err := b.verify(); err != nil || h.N != 10 || b.rows() != 0 {
		t.Errorf("head %d, %d rows, %v", h.N, b.rows(), err)
	}
}

func TestPutBoundsAndClasses(t *testing.T) {
	b := newBench(t)
	r := audit.Record{ID: "1", Method: "M", Outcome: audit.OK, Args: json.RawMessage(`"` + strings.Repeat("x", 100_000) + `"`), Error: strings.Repeat("e", 5000)}
	if err := b.store.Update(t.Context(), func(tx *state.Tx) error { return audit.Put(tx, r) }); err != nil {
		t.Fatal(err)
	}
	got, err := audit.Table.Get(b.store.View(), state.Controller, "1")
	if err != nil || got.Args != nil || got.ArgsBytes != 100_002 || len(got.Error) > 1100 {
		t.Errorf("stored %d bytes of args, %d of error, %v", len(got.Args), len(got.Error), err)
	}
	if err := b.store.Update(t.Context(), func(tx *state.Tx) error { return audit.Put(tx, audit.Record{}) }); err == nil {
		t.Error("an empty record was stored")
	}
}
