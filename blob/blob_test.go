package blob_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/scarab-ops/scarab/blob"
)

const m1, m2 = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"

func open(t *testing.T, change func(*blob.Config)) (*blob.Store, string) {
	t.Helper()
	key, err := blob.NewKey(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	cfg := blob.Config{Dir: filepath.Join(t.TempDir(), "blobs"), Key: key}
	if change != nil {
		change(&cfg)
	}
	s, err := blob.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, cfg.Dir
}

func put(t *testing.T, s *blob.Store, model string, content []byte) blob.Digest {
	t.Helper()
	d, n, err := s.Put(context.Background(), model, bytes.NewReader(content), "")
	if err != nil || n != int64(len(content)) {
		t.Fatalf("put: %d bytes, %v", n, err)
	}
	return d
}

func read(s *blob.Store, model string, d blob.Digest) ([]byte, error) {
	r, err := s.Open(context.Background(), model, d)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			out = append(out, p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestRoundTrip(t *testing.T) {
	s, dir := open(t, nil)
	for _, n := range []int{0, 1, 64<<10 - 1, 64 << 10, 64<<10 + 1, 300_000} {
		content := bytes.Repeat([]byte("canary-"), n/7+1)[:n]
		d := put(t, s, m1, content)
		if sum := sha256.Sum256(content); hex.EncodeToString(sum[:]) != string(d) {
			t.Fatalf("digest of %d bytes is wrong", n)
		}
		got, err := read(s, m1, d)
		if err != nil || !bytes.Equal(got, content) {
			t.Fatalf("%d bytes: read %d, %v", n, len(got), err)
		}
		r, err := s.Open(context.Background(), m1, d)
		if err != nil {
			t.Fatal(err)
		}
		got, err = io.ReadAll(io.NewSectionReader(r, 0, r.Size()))
		if err != nil || !bytes.Equal(got, content) {
			t.Fatalf("%d bytes by ReadAt: read %d, %v", n, len(got), err)
		}
		_ = r.Close()
	}
	for _, f := range files(t, dir) {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(raw, []byte("canary")) {
			t.Errorf("%s holds plain content", f)
		}
		if info, _ := os.Stat(f); info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", f, info.Mode())
		}
	}
}

func TestOtherModelsAndTricks(t *testing.T) {
	s, _ := open(t, nil)
	d := put(t, s, m1, []byte("private"))
	if _, err := read(s, m2, d); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("another model's blob: %v", err)
	}
	for _, trick := range []string{
		"", "..", "../" + m1 + "/" + string(d), "/etc/passwd", "%2e%2e", string(d) + "\x00", strings.ToUpper(string(d)),
		string(d[:63]) + "/", strings.Repeat(".", 64),
	} {
		if _, err := read(s, m1, blob.Digest(trick)); !errors.Is(err, blob.ErrNotFound) {
			t.Errorf("%q: %v", trick, err)
		}
	}
	for _, model := range []string{"", "..", "tmp", m2 + "/../" + m1, "."} {
		if _, err := read(s, model, d); err == nil {
			t.Errorf("model %q was read", model)
		}
	}
}

func TestTamper(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 10_000)
	flip := func(at int) func(t *testing.T, f, other string) {
		return func(t *testing.T, f, _ string) {
			raw, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			if at < 0 {
				at += len(raw)
			}
			raw[at] ^= 1
			if err := os.WriteFile(f, raw, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, attack := range map[string]func(t *testing.T, f, other string){
		"magic": flip(0), "salt": flip(20), "first chunk": flip(50), "middle": flip(90_000), "trailer": flip(-1),
		"swap":     func(t *testing.T, f, o string) { must(t, os.Rename(o, f)) },
		"truncate": func(t *testing.T, f, _ string) { must(t, os.Truncate(f, 100_000)) },
		"empty":    func(t *testing.T, f, _ string) { must(t, os.Truncate(f, 0)) },
		"symlink":  func(t *testing.T, f, o string) { must(t, os.Remove(f)); must(t, os.Symlink(o, f)) },
		"device":   func(t *testing.T, f, _ string) { must(t, os.Remove(f)); must(t, os.Symlink("/dev/zero", f)) },
	} {
		t.Run(name, func(t *testing.T) {
			var alarms []string
			s, dir := open(t, func(c *blob.Config) {
				c.Detected = func(_ string, _ blob.Digest, why string) { alarms = append(alarms, why) }
			})
			d := put(t, s, m1, content)
			o := put(t, s, m1, append(bytes.Clone(content[1:]), 'x'))
			at := func(d blob.Digest) string { return filepath.Join(dir, m1, string(d[:2]), string(d)) }
			attack(t, at(d), at(o))
			if got, err := read(s, m1, d); !errors.Is(err, blob.ErrDigest) || len(got) > 2*64<<10 {
				t.Errorf("read %d bytes, %v", len(got), err)
			}
			if len(alarms) == 0 {
				t.Error("no alarm was raised")
			}
			put(t, s, m1, content) // storing it again heals it
			if got, err := read(s, m1, d); err != nil || !bytes.Equal(got, content) {
				t.Errorf("after healing: %d bytes, %v", len(got), err)
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestCopyIntoOtherModelIsRefused(t *testing.T) {
	s, dir := open(t, nil)
	d := put(t, s, m1, []byte("secret of one"))
	raw, err := os.ReadFile(filepath.Join(dir, m1, string(d[:2]), string(d)))
	must(t, err)
	must(t, os.MkdirAll(filepath.Join(dir, m2, string(d[:2])), 0o700))
	must(t, os.WriteFile(filepath.Join(dir, m2, string(d[:2]), string(d)), raw, 0o600))
	if _, err := read(s, m2, d); !errors.Is(err, blob.ErrDigest) {
		t.Errorf("got %v", err)
	}
}

func TestWrongDigestAndAbortLeaveNothing(t *testing.T) {
	s, dir := open(t, nil)
	want := blob.Digest(strings.Repeat("a", 64))
	if _, _, err := s.Put(context.Background(), m1, strings.NewReader("x"), want); !errors.Is(err, blob.ErrDigest) {
		t.Errorf("got %v", err)
	}
	broken := io.MultiReader(strings.NewReader(strings.Repeat("x", 200_000)), iotest{})
	if _, _, err := s.Put(context.Background(), m1, broken, ""); err == nil {
		t.Error("a broken upload was stored")
	}
	cut := io.MultiReader(strings.NewReader(strings.Repeat("x", 70_000)), unexpected{})
	if _, _, err := s.Put(context.Background(), m1, cut, ""); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a body that was cut off: %v", err)
	}
	if fs := files(t, dir); len(fs) != 0 || s.Usage(m1) != 0 {
		t.Errorf("left behind: %v, usage %d", fs, s.Usage(m1))
	}
}

type iotest struct{}

func (iotest) Read([]byte) (int, error) { return 0, errors.New("connection lost") }

type unexpected struct{}

func (unexpected) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestQuotas(t *testing.T) {
	s, dir := open(t, func(c *blob.Config) { c.MaxModel, c.MaxTotal, c.MaxBlob = 300_000, 500_000, 250_000 })
	endless := func() io.Reader { return io.LimitReader(zeros{}, 1<<40) }
	if _, _, err := s.Put(context.Background(), m1, endless(), ""); !errors.Is(err, blob.ErrQuota) {
		t.Errorf("endless upload: %v", err)
	}
	put(t, s, m1, bytes.Repeat([]byte("a"), 200_000))
	if _, _, err := s.Put(context.Background(), m1, bytes.NewReader(bytes.Repeat([]byte("b"), 200_000)), ""); !errors.Is(err, blob.ErrQuota) {
		t.Errorf("past the model's quota: %v", err)
	}
	d := put(t, s, m2, bytes.Repeat([]byte("c"), 200_000))
	if _, _, err := s.Put(context.Background(), "controller", bytes.NewReader(bytes.Repeat([]byte("d"), 200_000)), ""); !errors.Is(err, blob.ErrQuota) {
		t.Errorf("past the total: %v", err)
	}
	must(t, s.Delete(context.Background(), m2, d))
	put(t, s, "controller", bytes.Repeat([]byte("d"), 200_000))
	var size int64
	for _, f := range files(t, dir) {
		info, err := os.Stat(f)
		must(t, err)
		size += info.Size()
	}
	if sum := s.Usage(m1) + s.Usage("controller"); sum != size {
		t.Errorf("counted %d bytes, disk has %d", sum, size)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestAtOnce(t *testing.T) {
	s, _ := open(t, func(c *blob.Config) { c.MaxAtOnce = 2 })
	hold := make(chan struct{})
	started := make(chan struct{}, 2)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() { _, _, _ = s.Put(context.Background(), m1, &blocking{started, hold}, "") })
	}
	<-started
	<-started
	if _, _, err := s.Put(context.Background(), m1, strings.NewReader("x"), ""); !errors.Is(err, blob.ErrBusy) {
		t.Errorf("got %v", err)
	}
	close(hold)
	wg.Wait()
	put(t, s, m1, []byte("x"))
}

type blocking struct {
	started chan<- struct{}
	hold    <-chan struct{}
}

func (b *blocking) Read([]byte) (int, error) {
	b.started <- struct{}{}
	<-b.hold
	return 0, io.EOF
}

func TestReopenSweepsAndCounts(t *testing.T) {
	key, _ := blob.NewKey(bytes.Repeat([]byte{7}, 32))
	s, dir := open(t, nil)
	d := put(t, s, m1, []byte("stays"))
	before := s.Usage(m1)
	must(t, os.WriteFile(filepath.Join(dir, "tmp", "leftover"), []byte("x"), 0o600))
	again, err := blob.Open(blob.Config{Dir: dir, Key: key})
	must(t, err)
	defer again.Close()
	if again.Usage(m1) != before {
		t.Errorf("usage %d, want %d", again.Usage(m1), before)
	}
	if _, err := os.Stat(filepath.Join(dir, "tmp", "leftover")); !errors.Is(err, os.ErrNotExist) {
		t.Error("leftover upload was not removed")
	}
	if got, err := read(again, m1, d); err != nil || string(got) != "stays" {
		t.Errorf("%q, %v", got, err)
	}
	other, _ := blob.NewKey(bytes.Repeat([]byte{8}, 32))
	wrong, err := blob.Open(blob.Config{Dir: dir, Key: other})
	must(t, err)
	defer wrong.Close()
	if _, err := read(wrong, m1, d); !errors.Is(err, blob.ErrDigest) {
		t.Errorf("with the wrong key: %v", err)
	}
}
