package etcdstate_test

import (
	"bytes"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/state/etcdstate"
	"github.com/scarab-ops/scarab/state/statetest"
)

type account struct {
	ID      string
	Balance int
	Text    string `json:",omitempty"`
}

var accounts = state.Table[account]{Kind: "account", ID: func(a account) string { return a.ID }}

func start(t testing.TB, dir string) *etcdstate.Backend {
	t.Helper()
	b, err := etcdstate.Open(t.Context(), etcdstate.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func stop(t testing.TB, b *etcdstate.Backend) {
	t.Helper()
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

func open(t testing.TB, b state.Backend) *state.Store {
	t.Helper()
	s, err := state.Open(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestConformance(t *testing.T) {
	b := start(t, t.TempDir())
	t.Cleanup(func() { stop(t, b) })
	statetest.Run(t, func(t *testing.T) []*state.Store {
		return []*state.Store{open(t, b), open(t, b)}
	})
}

// sockets lists the sockets of this process that others could reach, or that
// are connected to anything.
func sockets(t *testing.T) (found []string) {
	t.Helper()
	own := map[string]bool{}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil {
			if ino, ok := strings.CutPrefix(to, "socket:["); ok {
				own[strings.TrimSuffix(ino, "]")] = true
			}
		}
	}
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6", "unix"} {
		raw, err := os.ReadFile("/proc/self/net/" + table)
		if err != nil {
			continue // no IPv6 here
		}
		for line := range strings.Lines(string(raw)) {
			f := strings.Fields(line)
			for _, col := range []int{6, 9} { // inode in unix, in the others
				if len(f) > col && own[f[col]] {
					found = append(found, table+" "+strings.TrimSpace(line))
				}
			}
		}
	}
	return found
}

func TestNoSockets(t *testing.T) {
	before := sockets(t)
	b := start(t, t.TempDir())
	defer stop(t, b)
	s := open(t, b)
	if err := s.Update(t.Context(), func(tx *state.Tx) error { return accounts.Put(tx, state.Controller, account{ID: "a"}) }); err != nil {
		t.Fatal(err)
	}
	after := sockets(t)
	c, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if with := sockets(t); len(with) != len(after)+1 {
		t.Fatalf("the test does not see a socket: %q", with)
	}
	if len(after) > len(before) {
		t.Errorf("etcd opened sockets: %q, before %q", after, before)
	}
}

func TestPrivateFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(dir, 0o755); err != nil { //nolint:gosec // too open on purpose
		t.Fatal(err)
	}
	b := start(t, dir)
	defer stop(t, b)
	n := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		n++
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		if !info.IsDir() && !info.Mode().IsRegular() {
			t.Errorf("%s is a %v", path, info.Mode().Type())
		}
		return nil
	})
	if err != nil || n < 4 {
		t.Errorf("saw %d files: %v", n, err)
	}
}

func TestSecondOpenIsRefused(t *testing.T) {
	dir := t.TempDir()
	b := start(t, dir)
	defer stop(t, b)
	if _, err := etcdstate.Open(t.Context(), etcdstate.Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("second open: %v", err)
	}
	if _, err := etcdstate.Open(t.Context(), etcdstate.Config{Dir: "relative"}); err == nil {
		t.Error("a relative directory was accepted")
	}
}

func TestRestart(t *testing.T) {
	dir := t.TempDir()
	var rev int64
	for round := range 3 {
		b := start(t, dir)
		s := open(t, b)
		if s.View().Rev() < rev {
			t.Errorf("round %d: opened at %d, was at %d", round, s.View().Rev(), rev)
		}
		n := 0
		for a, err := range accounts.All(s.View(), state.Controller) {
			if err != nil || a.Balance != 7 {
				t.Errorf("row %v, %v", a, err)
			}
			n++
		}
		if n != round {
			t.Errorf("round %d: %d rows", round, n)
		}
		var err error
		rev, err = s.UpdateRev(t.Context(), func(tx *state.Tx) error {
			return accounts.Put(tx, state.Controller, account{ID: string(rune('a' + round)), Balance: 7})
		})
		if err != nil {
			t.Fatal(err)
		}
		stop(t, b)
		<-s.Done()
		if s.Err() == nil {
			t.Error("the store does not know that etcd has stopped")
		}
		if err := s.Update(t.Context(), func(tx *state.Tx) error {
			return accounts.Put(tx, state.Controller, account{ID: "z"})
		}); err == nil {
			t.Error("a commit to a stopped etcd succeeded")
		}
	}
}

func TestReloadAfterCompaction(t *testing.T) {
	b := start(t, t.TempDir())
	defer stop(t, b)
	s := open(t, b)
	put := func(s *state.Store, a account) int64 {
		rev, err := s.UpdateRev(t.Context(), func(tx *state.Tx) error { return accounts.Put(tx, state.Controller, a) })
		if err != nil {
			t.Fatal(err)
		}
		return rev
	}
	put(s, account{ID: "kept"})
	put(s, account{ID: "changed", Balance: 1})
	first := put(s, account{ID: "gone"})

	// A second store that lives through a compaction of what it has not seen:
	// its watch begins again at a revision that is no longer there.
	slow := &staleWatch{Backend: b, loaded: make(chan struct{}), resume: make(chan struct{})}
	s2 := open(t, slow)
	sub := s2.Subscribe(accounts.Keys(state.Controller))
	defer sub.Close()
	if s2.View().Rev() != first {
		t.Fatalf("view at %d, want %d", s2.View().Rev(), first)
	}
	put(s, account{ID: "changed", Balance: 2})
	last, err := s.UpdateRev(t.Context(), func(tx *state.Tx) error { return accounts.Delete(tx, state.Controller, "gone") })
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Compact(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	close(slow.resume)
	if err := s2.Wait(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	v := s2.View()
	if accounts.Has(v, state.Controller, "gone") || !accounts.Has(v, state.Controller, "kept") {
		t.Error("the view after the reload is not what is stored")
	}
	got := map[string]bool{}
	for _, c := range sub.Take() {
		got[c.ID] = c.Deleted
	}
	if deleted, ok := got["gone"]; len(got) != 2 || !ok || !deleted || got["changed"] {
		t.Errorf("subscriber was told %v, want changed and gone", got)
	}
}

// TestCatchUp has a watch that is more revisions behind than etcd sends at once.
func TestCatchUp(t *testing.T) {
	b := start(t, t.TempDir())
	defer stop(t, b)
	slow := &staleWatch{Backend: b, loaded: make(chan struct{}), resume: make(chan struct{})}
	s, behind := open(t, b), open(t, slow)
	const n = 2600
	var wg sync.WaitGroup
	for w := range 20 {
		wg.Go(func() {
			for i := w; i < n; i += 20 {
				if err := s.Update(t.Context(), func(tx *state.Tx) error {
					return accounts.Put(tx, state.Controller, account{ID: strconv.Itoa(i)})
				}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	last := s.View().Rev()
	sub := behind.Subscribe(accounts.Keys(state.Controller))
	defer sub.Close()
	close(slow.resume)
	if err := behind.Wait(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	if got := behind.View().Len(); got != n || len(sub.Take()) != n {
		t.Errorf("%d rows after catching up, want %d", got, n)
	}
}

func TestSnapshotAndLog(t *testing.T) {
	var log bytes.Buffer
	b, err := etcdstate.Open(t.Context(), etcdstate.Config{Dir: t.TempDir(), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, b)
	if err := s.Update(t.Context(), func(tx *state.Tx) error {
		return accounts.Put(tx, state.Controller, account{ID: "findme-in-the-copy"})
	}); err != nil {
		t.Fatal(err)
	}
	var copied bytes.Buffer
	if err := b.Snapshot(t.Context(), &copied); err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(copied.Bytes(), []byte("findme-in-the-copy")) {
		t.Errorf("the snapshot of %d bytes lacks the row", copied.Len())
	}
	stop(t, b)
	if strings.Contains(log.String(), "level=INFO") {
		t.Errorf("etcd chats: %s", log.String())
	}
}
