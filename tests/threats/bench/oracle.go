package bench

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/client"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/unit"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/tests/cluster"
)

// Host is the machine of a unit.
func (w *World) Host(t testing.TB, m names.Model, u names.Unit) names.Machine {
	t.Helper()
	row, err := unit.Get(w.Store.View(), model.ScopeOf(m), u)
	if err != nil {
		t.Fatal(err)
	}
	return row.Machine
}

// kinds of row that a refused call may write: its record, and who was seen.
var recording = []string{"/audit/", "/audit-head/", "/last-connection/"}

// Rows returns every row of the store by key, those aside that record calls.
func (w *World) Rows(t testing.TB) map[string]string {
	t.Helper()
	if err := w.Store.Fresh(cluster.Context(t)); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := w.Store.View().Dump(&b); err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for line := range strings.Lines(b.String()) {
		key, val, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if !slices.ContainsFunc(recording, func(k string) bool { return strings.Contains(key, k) }) {
			out[key] = val
		}
	}
	return out
}

// Digest is the digest of the whole store, records of calls aside.
func (w *World) Digest(t testing.TB) string {
	t.Helper()
	h := sha256.New()
	rows := w.Rows(t)
	for _, k := range slices.Sorted(maps.Keys(rows)) {
		fmt.Fprintln(h, k, rows[k])
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Changed returns the keys of rows that differ.
func Changed(before, after map[string]string) []string {
	var out []string
	for k, v := range after {
		if old, ok := before[k]; !ok || old != v {
			out = append(out, k)
		}
	}
	for k := range before {
		if _, ok := after[k]; !ok {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return out
}

// Unchanged runs an attack and fails if the store is not what it was. It waits
// for workers to come to rest first.
func (w *World) Unchanged(t testing.TB, attack func()) {
	t.Helper()
	w.Settle(t)
	before := w.Rows(t)
	attack()
	if d := Changed(before, w.Rows(t)); len(d) > 0 {
		t.Errorf("the attack changed the store: %v", d)
	}
}

// Settle waits until nothing changes the store any more.
func (w *World) Settle(t testing.TB) {
	t.Helper()
	last, since := "", time.Now()
	cluster.Eventually(t, "the store is at rest", func() bool {
		if d := w.Digest(t); d != last {
			last, since = d, time.Now()
		}
		return time.Since(since) > 60*time.Millisecond
	})
}

// codes that say no.
var refusals = []string{
	"unauthorized access", "bad request", "not found", "not implemented", "not supported", "no credentials provided", "forbidden",
	"not provisioned", "quota limit exceeded", "try again", "method not allowed", "model not found", "blob-digest",
}

// Refused says whether an error is a typed refusal.
func Refused(err error) bool {
	return err != nil && slices.Contains(refusals, client.Code(err))
}

// Forms are the ways in which bytes can lie about: plain, hex, base64.
func Forms(marker []byte) [][]byte {
	out := [][]byte{marker, []byte(hex.EncodeToString(marker)), []byte(strings.ToUpper(hex.EncodeToString(marker)))}
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
		for shift := range 3 { // the marker may begin anywhere in a group of three
			e := enc.EncodeToString(append(bytes.Repeat([]byte{0}, shift), marker...))
			from := []int{0, 2, 3}[shift]
			to := (len(marker) + shift) / 3 * 4
			if to-from > 12 {
				out = append(out, []byte(e[from:to]))
			}
		}
	}
	return out
}

// Holds tells whether data holds the marker in any form, or packed.
func Holds(data, marker []byte) bool {
	for _, f := range Forms(marker) {
		if contains(data, f) {
			return true
		}
	}
	for at := 0; ; { // gzip streams inside
		i := bytes.Index(data[at:], []byte{0x1f, 0x8b, 0x08})
		if i < 0 {
			return false
		}
		at += i
		if z, err := gzip.NewReader(bytes.NewReader(data[at:])); err == nil {
			plain, _ := io.ReadAll(io.LimitReader(z, 64<<20)) // what can be read counts
			if contains(plain, marker) {
				return true
			}
		}
		at += 3
	}
}

// contains is bytes.Contains, which is slow for long texts where the race
// detector watches: it looks for a piece from the middle first.
func contains(data, text []byte) bool {
	const piece = 40
	if len(text) <= piece {
		return bytes.Contains(data, text)
	}
	mid := (len(text) - piece) / 2
	for at := 0; ; at++ {
		i := bytes.Index(data[at:], text[mid:mid+piece])
		if i < 0 {
			return false
		}
		at += i
		if from := at - mid; from >= 0 && bytes.HasPrefix(data[from:], text) {
			return true
		}
	}
}

// NoLeak fails if a marker is found in data.
func NoLeak(t testing.TB, where string, data []byte, markers map[string][]byte) {
	t.Helper()
	for name, m := range markers {
		if len(m) < 8 {
			t.Fatalf("the marker %q is too short to prove anything", name)
		}
		if Holds(data, m) {
			t.Errorf("%s leaks %s", where, name)
		}
	}
}

// NoLeakOnDisk looks through every file below dir.
func NoLeakOnDisk(t testing.TB, dir string, markers map[string][]byte) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(p)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		files++
		rel, _ := filepath.Rel(dir, p)
		NoLeak(t, "the file "+rel, b, markers)
		return err
	})
	if err != nil || files == 0 {
		t.Fatalf("looked at %d files below %s: %v", files, dir, err)
	}
}

// A Canary is an honest user and an honest agent at work during an attack.
type Canary struct {
	mu     sync.Mutex
	ops    int
	slow   time.Duration
	failed []error
	stop   context.CancelFunc
	done   chan struct{}
}

// Alive runs an attack beside a canary and fails if one of its operations
// failed or took longer than limit.
func (w *World) Alive(t testing.TB, limit time.Duration, attack func()) {
	t.Helper()
	person := w.Login(t, cluster.Admin, cluster.AdminPassword, cluster.AdminModel)
	agent := w.Unit(t, M2, "z/0").Connect(t, w.Cluster)
	c := &Canary{done: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	c.stop = cancel
	go func() {
		defer close(c.done)
		for i := 0; ctx.Err() == nil; i++ {
			c.op(ctx, person.Ping)
			c.op(ctx, func(ctx context.Context) error { _, err := agent.Unit().Want(ctx); return err })
			c.op(ctx, func(ctx context.Context) error { return agent.Unit().SetWorkloadVersion(ctx, fmt.Sprint(i)) })
			select {
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	attack()
	cancel()
	<-c.done
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.failed) > 0 {
		t.Errorf("honest work failed %d times of %d during the attack: %v", len(c.failed), c.ops, c.failed[0])
	}
	if c.ops == 0 || c.slow > limit {
		t.Errorf("honest work: %d operations, the slowest took %s", c.ops, c.slow)
	}
	_, _ = person.Close(), agent.Close()
}

func (c *Canary) op(ctx context.Context, f func(context.Context) error) {
	start := time.Now()
	err := f(ctx)
	if ctx.Err() != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ops++
	c.slow = max(c.slow, time.Since(start))
	if err != nil {
		c.failed = append(c.failed, err)
	}
}

// Bounded runs an attack and fails unless goroutines and open files come back.
func Bounded(t testing.TB, attack func()) {
	t.Helper()
	goroutines, files := runtime.NumGoroutine(), openFiles()
	attack()
	cluster.Eventually(t, "goroutines and files come back", func() bool {
		return runtime.NumGoroutine() <= goroutines+goroutines/10+10 && openFiles() <= files+files/10+5
	})
}

func openFiles() int {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(list)
}
