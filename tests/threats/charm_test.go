package threats_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/charm"
	"github.com/scarab-ops/scarab/charm/charmtest"
	"github.com/scarab-ops/scarab/tests/cluster"
	"github.com/scarab-ops/scarab/tests/threats/bench"
)

func charmParts() []part {
	return []part{
		{"A-CHARM-A", "upload", "each archive of the zoo is refused in a second, leaves no file, and honest work goes on", zooUpload},
		{"A-CHARM-I", "paths", "no archive writes outside of the directory it is unpacked in, nor follows a link planted there", zooUnpack},
		{"A-CHARM-I", "digest", "bytes that differ from the digest the controller gave are not kept", wrongBytes},
	}
}

func zooUpload(t *testing.T, e *env) {
	w := e.world()
	hc := w.HTTP(t, nil)
	dir := filepath.Join(w.Dir, "blobs")
	usedBefore, filesBefore := diskUse(t, dir)
	cases := charmtest.Zoo(t)
	if len(cases) < 60 {
		t.Fatalf("only %d archives", len(cases))
	}
	limit := time.Duration(count(5, 3)) * time.Second
	w.Unchanged(t, func() {
		for i, c := range cases {
			if !long && i%9 != 0 && c.Name != "symlink out" {
				continue
			}
			a := c.Build()
			runtime.GC()
			start := time.Now()
			status, body, err := upload(cluster.Context(t), t, w, hc, bench.M1, bench.Writer, bytes.NewReader(a))
			if err == nil && (status < 400 || status >= 500) {
				t.Errorf("%s got %d %s", c.Name, status, body)
			}
			if took := time.Since(start); took > limit {
				t.Errorf("%s took %s", c.Name, took)
			}
		}
		if used, files := diskUse(t, dir); used != usedBefore || files != filesBefore {
			t.Errorf("%d bytes in %d files before, %d in %d after", usedBefore, filesBefore, used, files)
		}
	})
	w.Alive(t, 10*time.Second, func() {
		for _, c := range cases[:count(4, len(cases))] {
			_, _, _ = upload(cluster.Context(t), t, w, hc, bench.M1, bench.Writer, bytes.NewReader(c.Build()))
		}
	})
	if status, body, err := upload(cluster.Context(t), t, w, hc, bench.M1, bench.ReaderU, bytes.NewReader(charmtest.Valid())); err != nil || status != http.StatusForbidden {
		t.Errorf("a reader's upload: %d %s %v", status, body, err)
	}
}

// listing is every path below dir with what it is.
func listing(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		text := d.Type().String()
		if d.Type().IsRegular() {
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			sum := sha256.Sum256(b)
			text += hex.EncodeToString(sum[:])
		}
		out[p] = text
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func zooUnpack(t *testing.T, _ *env) {
	root := t.TempDir()
	scratch := filepath.Join(root, "a", "b", "c")
	if err := os.MkdirAll(scratch, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "victim"), []byte("precious"), 0o644); err != nil {
		t.Fatal(err)
	}
	before := listing(t, root)
	tried := 0
	for _, c := range charmtest.Zoo(t) {
		if strings.Contains(c.Name, "million") || strings.Contains(c.Name, "many") {
			continue // of size, not of place
		}
		a := c.Build()
		dir := filepath.Join(scratch, "charm")
		ar, err := charm.OpenArchive(bytes.NewReader(a), int64(len(a)), charm.DefaultLimits())
		if err == nil {
			err = ar.Extract(dir)
		}
		tried++
		if err == nil {
			t.Errorf("%s was unpacked", c.Name)
			_ = os.RemoveAll(dir)
		}
		if d := changedPaths(before, listing(t, root)); len(d) > 0 {
			t.Fatalf("%s left %v", c.Name, d)
		}
	}
	if tried < 40 {
		t.Errorf("only %d archives", tried)
	}
	plantedLinks(t, root)
}

func changedPaths(before, after map[string]string) []string { return bench.Changed(before, after) }

// plantedLinks plays a charm that left links for its next version to be
// written through.
func plantedLinks(t *testing.T, root string) {
	t.Helper()
	dir, state := filepath.Join(root, "a", "charm"), filepath.Join(root, "a", "state")
	for _, d := range []string{dir, state} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	outside := filepath.Join(root, "outside")
	if err := os.MkdirAll(outside, 0o755); err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{"hooks": outside, "metadata.yaml": filepath.Join(root, "victim"), "config.yaml": filepath.Join(outside, "new")} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	a := bench.Archive("giver", "provides", "x")
	ar, err := charm.OpenArchive(bytes.NewReader(a), int64(len(a)), charm.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	_ = ar.Deploy(dir, state) // refused or written inside: both will do
	if b, err := os.ReadFile(filepath.Join(root, "victim")); err != nil || string(b) != "precious" {
		t.Errorf("a file outside was written through a link: %q %v", b, err)
	}
	if left, err := os.ReadDir(outside); err != nil || len(left) > 0 {
		t.Errorf("written outside: %v %v", left, err)
	}
}

// wrongBytes asks for a charm under another's digest, as if the controller's
// blob had been swapped for another whole one.
func wrongBytes(t *testing.T, e *env) {
	w := e.world()
	a := w.Unit(t, bench.M1, "a/0")
	conn := a.Connect(t, w.Cluster)
	f, err := os.Create(filepath.Join(t.TempDir(), "charm"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sum := sha256.Sum256([]byte("what was promised"))
	err = conn.DownloadCharm(cluster.Context(t), w.Charm(bench.M1, "giver"), hex.EncodeToString(sum[:]), f)
	if err == nil || !strings.Contains(err.Error(), "SHA-256") {
		t.Errorf("other bytes than promised: %v", err)
	}
	if fi, err := f.Stat(); err != nil || fi.Size() != 0 {
		t.Errorf("%d bytes that were not verified stayed: %v", fi.Size(), err)
	}
	want, err := conn.Unit().Want(cluster.Context(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.DownloadCharm(cluster.Context(t), want.CharmURL, want.CharmSHA256, f); err != nil {
		t.Errorf("the honest charm: %v", err)
	}
}
