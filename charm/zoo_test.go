package charm_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/charm"
	"github.com/scarab-ops/scarab/charm/charmtest"
)

const (
	zooMemory = 64 << 20
)

// TestZoo shows every hostile archive to the reader and the unpacker.
func TestZoo(t *testing.T) {
	cases := charmtest.Zoo(t)
	if len(cases) < 60 {
		t.Fatalf("the zoo has %d archives, want at least 60", len(cases))
	}
	for _, c := range cases {
		t.Run(strings.ReplaceAll(c.Name, " ", "-"), func(t *testing.T) { tryHostile(t, c) })
	}
	t.Logf("%d archives refused", len(cases))
}

func tryHostile(t *testing.T, c charmtest.Case) {
	data := c.Build()
	scratch := t.TempDir()
	target, state := filepath.Join(scratch, "in", "charm"), filepath.Join(scratch, "in", "state")
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		t.Fatal(err)
	}
	before := listing(t, scratch)
	var m0, m1 runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m0)
	start := time.Now()
	a, err := charm.OpenArchive(bytes.NewReader(data), int64(len(data)), charm.DefaultLimits())
	if err == nil {
		err = a.Extract(target)
		if err2 := a.Deploy(target, state); err2 == nil {
			err = nil
		}
	}
	took := time.Since(start)
	runtime.ReadMemStats(&m1)
	if err == nil {
		t.Fatal("accepted")
	}
	if !errors.Is(err, c.Class) {
		t.Errorf("refused with %v, which is not of the class %q", err, c.Class)
	}
	if len(err.Error()) > 1000 {
		t.Errorf("error text of %d bytes", len(err.Error()))
	}
	if took > zooTime {
		t.Errorf("took %v, the limit is %v", took, zooTime)
	}
	// All that was ever allocated, so the peak is below it.
	if used := m1.TotalAlloc - m0.TotalAlloc; used > zooMemory {
		t.Errorf("allocated %d MiB, the limit is %d", used>>20, zooMemory>>20)
	}
	if after := listing(t, scratch); after != before {
		t.Errorf("left files behind:\n%s", after)
	}
}

func listing(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		b.WriteString(p + "\n")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestHonestCharm(t *testing.T) {
	data := charmtest.Valid()
	a, err := charm.OpenArchive(bytes.NewReader(data), int64(len(data)), charm.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "charm")
	if err := a.Extract(dir); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, "hooks", "install"))
	if err != nil || info.Mode().Perm() != 0o744 {
		t.Errorf("hook: %v, %v; want the owner's x added to 0644", info.Mode(), err)
	}
	if to, err := os.Readlink(filepath.Join(dir, "hooks", "start")); err != nil || to != "install" {
		t.Errorf("symlink: %q, %v", to, err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "revision")); err != nil || string(text) != "0" {
		t.Errorf("revision: %q, %v", text, err)
	}
}

// FuzzReadArchive looks for panics and for members that are accepted and lead
// out.
func FuzzReadArchive(f *testing.F) {
	f.Add(charmtest.Valid())
	for _, c := range charmtest.Zoo(f) {
		if data := c.Build(); len(data) < 64<<10 {
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		lim := charm.DefaultLimits()
		lim.Total = 4 << 20
		a, err := charm.OpenArchive(bytes.NewReader(data), int64(len(data)), lim)
		if err != nil {
			return
		}
		scratch := t.TempDir()
		if err := a.Extract(filepath.Join(scratch, "charm")); err != nil {
			return
		}
		entries, err := os.ReadDir(scratch)
		if err != nil || len(entries) != 1 {
			t.Fatalf("something else than the charm was written: %v, %v", entries, err)
		}
	})
}
