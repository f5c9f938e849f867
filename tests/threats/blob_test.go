package threats_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/app/controller"
	"github.com/scarab-ops/scarab/blob"
	"github.com/scarab-ops/scarab/charm/charmtest"
	"github.com/scarab-ops/scarab/domain/charmstore"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/tests/cluster"
	"github.com/scarab-ops/scarab/tests/threats/bench"
)

func blobParts() []part {
	return []part{
		{"A-BLOB-A", "flood", "parallel, endless and half-open uploads end at the quota, leave no file, and honest work goes on", blobFlood},
		{"A-BLOB-C", "api", "another model's blobs by address, digest and tricks of paths: refused to units, readers and strangers", blobTheft},
		{"A-BLOB-C", "disk", "the files hold no byte of a charm in the clear", blobsOnDisk},
		{"A-BLOB-I", "single", "a flipped bit, swapped, cut or linked files: blob-digest at the next read, an alarm, and no byte given out as whole", blobTampering},
	}
}

func noise(t *testing.T, n int) string {
	t.Helper()
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(b)
}

func diskUse(t *testing.T, dir string) (bytes int64, files int) {
	t.Helper()
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil //nolint:nilerr // gone by now
		}
		if fi, err := d.Info(); err == nil {
			bytes, files = bytes+fi.Size(), files+1
		}
		return nil
	})
	return bytes, files
}

func upload(ctx context.Context, t *testing.T, w *bench.World, hc *http.Client, m names.Model, u names.User, body io.Reader) (int, string, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+w.Addr+"/model/"+string(m)+"/charms", body)
	if err != nil {
		return 0, "", err
	}
	r.SetBasicAuth(u.Tag().String(), bench.Password(u).Reveal())
	r.Header.Set("Content-Type", "application/zip")
	resp, err := hc.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, string(b), err
}

func blobFlood(t *testing.T, _ *env) {
	const quota = 2 << 20
	w := bench.New(t, bench.Options{Change: func(cfg *controller.Config) {
		cfg.BlobLimits = blob.Config{MaxModel: quota, MaxBlob: 1 << 20, MaxTotal: 64 << 20, MaxAtOnce: 4}
	}})
	dir := filepath.Join(w.Dir, "blobs")
	hc := w.HTTP(t, nil)
	base, _ := diskUse(t, dir)
	var mu sync.Mutex
	answers := map[string]int{}
	stop, peak := make(chan struct{}), int64(0)
	var watch sync.WaitGroup
	watch.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
				n, _ := diskUse(t, dir)
				peak = max(peak, n)
			}
		}
	})
	bench.Bounded(t, func() {
		w.Alive(t, 15*time.Second, func() {
			var wg sync.WaitGroup
			slots := make(chan struct{}, 16)
			for range count(36, 2000) {
				slots <- struct{}{}
				wg.Go(func() {
					defer func() { <-slots }()
					a := charmtest.Build(charmtest.Tail{}, charmtest.Entry{Name: "metadata.yaml", Data: charmtest.Metadata},
						charmtest.Entry{Name: "x", Data: noise(t, 64<<10)})
					status, body, err := upload(cluster.Context(t), t, w, hc, bench.M1, bench.Writer, bytes.NewReader(a))
					mu.Lock()
					defer mu.Unlock()
					switch {
					case err != nil:
						answers["cut"]++
					case status == http.StatusOK:
						answers["stored"]++
					case strings.Contains(body, "quota"):
						answers["quota"]++
					case strings.Contains(body, "try again"):
						answers["busy"]++
					default:
						answers[body]++
					}
				})
			}
			wg.Wait()
			endless(t, w, hc)
			halfOpen(t, w, hc)
			hc.CloseIdleConnections()
		})
	})
	close(stop)
	watch.Wait()
	if answers["stored"] == 0 || answers["quota"] == 0 {
		t.Errorf("answers: %v", answers)
	}
	if peak > base+quota+4<<20 {
		t.Errorf("the disk held %d bytes; the quota is %d", peak-base, quota)
	}
	cluster.Eventually(t, "what aborted uploads left is gone", func() bool {
		left, err := filepath.Glob(filepath.Join(dir, "tmp*", "*"))
		return err == nil && len(left) == 0
	})
}

// endless uploads bodies that never end.
func endless(t *testing.T, w *bench.World, hc *http.Client) {
	t.Helper()
	for range count(1, 3) {
		status, body, err := upload(cluster.Context(t), t, w, hc, bench.M1, bench.Writer, io.LimitReader(zeros{}, 1<<30))
		if err == nil && status == http.StatusOK {
			t.Errorf("an endless body was stored: %s", body)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// halfOpen begins uploads and leaves.
func halfOpen(t *testing.T, w *bench.World, hc *http.Client) {
	t.Helper()
	var wg sync.WaitGroup
	for range count(10, 100) {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			rd, wr := io.Pipe()
			go func() { _, _ = wr.Write(make([]byte, 10<<10)); <-ctx.Done(); _ = wr.CloseWithError(errors.New("gone")) }()
			if status, _, err := upload(ctx, t, w, hc, bench.M1, bench.Writer, rd); err == nil && status == http.StatusOK {
				t.Error("half an upload was stored")
			}
		})
	}
	wg.Wait()
}

type thief struct {
	name, user, pw string
	cert           *tls.Certificate
}

func blobTheft(t *testing.T, e *env) {
	w := e.world()
	row, err := charmstore.Get(w.Store.View(), model.ScopeOf(bench.M2), w.Charm(bench.M2, "giver"))
	if err != nil {
		t.Fatal(err)
	}
	other, err := charmstore.Get(w.Store.View(), model.ScopeOf(bench.M1), w.Charm(bench.M1, "taker"))
	if err != nil {
		t.Fatal(err)
	}
	a := w.Unit(t, bench.M1, "a/0")
	marker := map[string][]byte{"the other model's charm": []byte(bench.MarkerCharm + string(bench.M2))}
	d := row.SHA256
	ask := func(m names.Model, q url.Values) string { return "/model/" + string(m) + "/charms?" + q.Encode() }
	paths := []string{
		ask(bench.M2, url.Values{"url": {row.URL}, "file": {"*"}}), ask(bench.M2, url.Values{"url": {row.URL}}),
		ask(bench.M2, url.Values{"url": {row.URL}, "file": {"hooks/install"}}),
		"/model-" + string(bench.M2) + "/charms/giver-" + d[:7],
		"/model/" + string(bench.M1) + "/../" + string(bench.M2) + "/charms?url=" + row.URL + "&file=*",
		"/model/" + string(bench.M1) + "%2f..%2f" + string(bench.M2) + "/charms?url=" + row.URL + "&file=*",
		"/model-" + string(bench.M1) + "/charms/giver-" + d[:7], "/model-" + string(bench.M1) + "/charms/giver-" + d,
		"/charms?url=" + row.URL + "&file=*",
	}
	for _, trick := range []string{d, "../" + string(bench.M2) + "/" + d, "%2e%2e/" + d, "/etc/passwd", "local:../" + d, "local:giver-0\x00", "sha256:" + d, string(bench.M2) + "/" + row.URL} {
		paths = append(paths, ask(bench.M1, url.Values{"url": {trick}, "file": {"*"}}))
	}
	for _, file := range []string{"../../" + string(bench.M2) + "/" + d, "/etc/passwd", "..", "hooks/../../x", "\x00"} {
		paths = append(paths, ask(bench.M1, url.Values{"url": {w.Charm(bench.M1, "giver")}, "file": {file}}))
	}
	thieves := []thief{
		{name: "a stranger"},
		{name: "a reader of M1", user: bench.ReaderU.Tag().String(), pw: bench.Password(bench.ReaderU).Reveal()},
		{name: "a person without rights", user: bench.Stray.Tag().String(), pw: bench.Password(bench.Stray).Reveal()},
		{name: "an evil unit", user: a.Tag.String(), pw: a.Password.Reveal(), cert: a.Certificate(t)},
		{name: "an evil unit without certificate", user: a.Tag.String(), pw: a.Password.Reveal()},
	}
	own := ask(bench.M1, url.Values{"url": {w.Charm(bench.M1, "giver")}, "file": {"*"}})
	// Its first login is an honest one, and ends its token.
	if status, _ := fetch(t, w, thieves[3], own); status != http.StatusOK {
		t.Fatalf("a/0 did not get its own charm: %d", status)
	}
	w.Unchanged(t, func() {
		for _, th := range thieves {
			for i, p := range paths {
				if !long && th.user != "" && th.cert == nil && i%3 != 0 {
					continue // each costs a password's hash
				}
				status, body := fetch(t, w, th, p)
				bench.NoLeak(t, p+" for "+th.name, body, marker)
				if status == http.StatusOK && th.name != "a reader of M1" {
					t.Errorf("%s got %d for %s", th.name, status, p)
				}
			}
		}
		// A unit gets no charm of its model but its own.
		mine := ask(bench.M1, url.Values{"url": {other.URL}, "file": {"*"}})
		if status, body := fetch(t, w, thieves[3], mine); status == http.StatusOK {
			t.Errorf("a/0 got the charm of another application: %d bytes", len(body))
		}
	})
}

// fetch asks for a path. An agent that logs in too often is told to wait, which
// is no answer to what it asked.
func fetch(t *testing.T, w *bench.World, th thief, path string) (status int, body []byte) {
	t.Helper()
	cluster.Eventually(t, "an answer to "+th.name, func() bool {
		status, body = fetchOnce(t, w, th, path)
		return status != http.StatusServiceUnavailable
	})
	return status, body
}

func fetchOnce(t *testing.T, w *bench.World, th thief, path string) (int, []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(cluster.Context(t), http.MethodGet, "https://"+w.Addr+path, nil)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if th.user != "" {
		r.SetBasicAuth(th.user, th.pw)
	}
	resp, err := w.HTTP(t, th.cert).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 8<<20))
	if err != nil {
		return 0, b
	}
	return resp.StatusCode, b
}

func blobsOnDisk(t *testing.T, _ *env) {
	w := bench.New(t, bench.Options{})
	w.Halt(t)
	bench.NoLeakOnDisk(t, filepath.Join(w.Dir, "blobs"), map[string][]byte{
		"a charm's hook": []byte(bench.MarkerCharm), "a charm's metadata": []byte("interface: link"), "a ZIP": []byte("hooks/install"),
	})
}

func blobTampering(t *testing.T, _ *env) {
	w := bench.New(t, bench.Options{})
	dir := filepath.Join(w.Dir, "blobs", string(bench.M1))
	var files []string
	_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files = append(files, p)
		}
		return nil
	})
	if len(files) != 2 {
		t.Fatalf("%d blobs in %s", len(files), dir)
	}
	honest := [][]byte{must[[]byte](t)(os.ReadFile(files[0])), must[[]byte](t)(os.ReadFile(files[1]))}
	put := func(i int, b []byte) {
		t.Helper()
		_ = os.Remove(files[i])
		if err := os.WriteFile(files[i], b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for at := range count(4, 400) {
		pos := at * (len(honest[0]) - 1) / count(3, 399)
		evil := bytes.Clone(honest[0])
		evil[pos] ^= 1 << (at % 8)
		put(0, evil)
		damaged(t, w, fmt.Sprintf("a bit flipped at %d of %d", pos, len(evil)), 1)
	}
	put(0, honest[1])
	put(1, honest[0])
	damaged(t, w, "two blobs swapped", 2)
	put(0, honest[0][:len(honest[0])-20])
	put(1, honest[1])
	damaged(t, w, "a blob cut", 1)
	put(0, nil)
	damaged(t, w, "a blob emptied", 1)
	_ = os.Remove(files[0])
	if err := os.Symlink(files[1], files[0]); err != nil {
		t.Fatal(err)
	}
	damaged(t, w, "a blob replaced by a link", 1)
	put(0, honest[0])
	damaged(t, w, "all as it was", 0)
}

// damaged downloads both charms; n of them must fail, with an alarm and by type.
func damaged(t *testing.T, w *bench.World, what string, n int) {
	t.Helper()
	alarms := bytes.Count(w.Log.Bytes(), []byte("a stored blob was changed"))
	failed := 0
	for _, name := range []string{"giver", "taker"} {
		row, err := charmstore.Get(w.Store.View(), model.ScopeOf(bench.M1), w.Charm(bench.M1, name))
		if err != nil {
			t.Fatal(err)
		}
		r, err := http.NewRequestWithContext(cluster.Context(t), http.MethodGet, "https://"+w.Addr+"/model/"+string(bench.M1)+"/charms?file=*&url="+row.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth(bench.Writer.Tag().String(), bench.Password(bench.Writer).Reveal())
		resp, err := w.HTTP(t, nil).Do(r)
		if err != nil {
			failed++
			continue
		}
		b, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		sum := sha256.Sum256(b)
		whole := err == nil && resp.StatusCode == http.StatusOK
		if whole && hex.EncodeToString(sum[:]) != row.SHA256 {
			t.Errorf("%s: other bytes were given out as the charm", what)
		}
		if !whole {
			failed++
			if resp.StatusCode != http.StatusOK && !bytes.Contains(b, []byte("blob-digest")) {
				t.Errorf("%s: detected as %d %s", what, resp.StatusCode, b)
			}
		}
	}
	if failed != n {
		t.Errorf("%s: %d downloads failed, want %d", what, failed, n)
	}
	if got := bytes.Count(w.Log.Bytes(), []byte("a stored blob was changed")) - alarms; got < n {
		t.Errorf("%s: %d alarms, want %d", what, got, n)
	}
}
