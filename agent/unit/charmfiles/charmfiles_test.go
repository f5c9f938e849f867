package charmfiles_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/agent/unit/charmfiles"
)

func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func owner(t *testing.T, name string) int {
	t.Helper()
	fi, err := os.Lstat(name)
	must(t, err)
	return int(fi.Sys().(*syscall.Stat_t).Uid)
}

// Whatever lies in place of a file is read or refused, at once.
func TestRead(t *testing.T) {
	dir := t.TempDir()
	at := func(n string) string { return filepath.Join(dir, n) }
	must(t, os.WriteFile(at("plain"), []byte("12345"), 0o600), os.Symlink("plain", at("inside")),
		os.Symlink("/etc/passwd", at("outside")), os.Mkdir(at("dir"), 0o700), syscall.Mkfifo(at("pipe"), 0o600),
		os.Symlink("pipe", at("to-pipe")), os.Symlink("loop", at("loop")))
	root, err := os.OpenRoot(dir)
	must(t, err)
	defer func() { _ = root.Close() }()
	for name, want := range map[string]string{
		"plain": "12345", "inside": "12345", "outside": "escapes", "dir": "not a plain file", "pipe": "not a plain file",
		"to-pipe": "not a plain file", "loop": "too many", "absent": "no such file",
	} {
		end := make(chan string, 1)
		go func() {
			data, err := charmfiles.Read(root, name, 5)
			if err != nil {
				end <- err.Error()
				return
			}
			end <- string(data)
		}()
		select {
		case got := <-end:
			if !strings.Contains(got, want) {
				t.Errorf("%s: got %q, want %q", name, got, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%s holds the reader up", name)
		}
	}
	if _, err := charmfiles.Read(root, "plain", 4); err == nil {
		t.Error("a file past the bound was read")
	}
}

// The whole tree changes hands, links themselves and not what they point at,
// and nothing that has a second name.
func TestOwn(t *testing.T) {
	uid, gid := other()
	dir, outside := t.TempDir(), filepath.Join(t.TempDir(), "shadow")
	at := func(n string) string { return filepath.Join(dir, n) }
	must(t, os.WriteFile(outside, nil, 0o600), os.MkdirAll(at("a/b/c"), 0o755), os.WriteFile(at("a/b/c/f"), nil, 0o600),
		os.Symlink(outside, at("a/link")), os.Link(outside, at("a/hard")), syscall.Mkfifo(at("a/pipe"), 0o600))
	must(t, charmfiles.Own(dir, uid, gid))
	for _, n := range []string{"", "a", "a/b/c", "a/b/c/f", "a/link", "a/pipe"} {
		if got := owner(t, at(n)); got != uid {
			t.Errorf("%q belongs to %d", n, got)
		}
	}
	if owner(t, outside) != os.Geteuid() {
		t.Error("what a link led to was given away")
	}
	if err := charmfiles.Own(at("absent"), uid, gid); err == nil {
		t.Error("what is not there was given away")
	}
	if err := charmfiles.Own(at("a/link"), uid, gid); err != nil || owner(t, outside) != os.Geteuid() {
		t.Errorf("a link in place of the directory: %v", err)
	}
}

// other is somebody else, where the tests may give files away.
func other() (uid, gid int) {
	if os.Geteuid() == 0 {
		return 4711, 4711
	}
	return os.Geteuid(), os.Getegid()
}

// A charm that swaps its files for links to others' while they change hands
// gets none of the others.
func TestOwnAgainstSwaps(t *testing.T) {
	uid, gid := other()
	base := t.TempDir()
	dir, victims := filepath.Join(base, "charm"), filepath.Join(base, "victims")
	must(t, os.MkdirAll(filepath.Join(dir, "d"), 0o755), os.MkdirAll(victims, 0o755))
	victim := filepath.Join(victims, "f")
	must(t, os.WriteFile(victim, nil, 0o600))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		f, d, tmp := filepath.Join(dir, "d", "f"), filepath.Join(dir, "d"), filepath.Join(dir, "tmp")
		for {
			select {
			case <-stop:
				return
			default:
			}
			_ = os.WriteFile(tmp, nil, 0o600)
			_ = os.Rename(tmp, f)
			_ = os.Link(victim, tmp)
			_ = os.Rename(tmp, f)
			_ = os.Rename(d, d+"-away") // and the directory for a link
			_ = os.Symlink(victims, d)
			_ = os.Remove(d)
			_ = os.Rename(d+"-away", d)
		}
	})
	for range 1500 {
		if err := charmfiles.Own(dir, uid, gid); err != nil && !os.IsNotExist(err) {
			t.Errorf("the swaps stop it: %v", err)
			break
		}
		_ = filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error { // so that it has work to do again
			if fi, serr := os.Lstat(p); err == nil && serr == nil && fi.Sys().(*syscall.Stat_t).Nlink == 1 {
				_ = os.Lchown(p, os.Geteuid(), os.Getegid())
			}
			return nil
		})
	}
	close(stop)
	wg.Wait()
	if owner(t, victim) != os.Geteuid() || owner(t, victims) != os.Geteuid() {
		t.Error("another's file was given away")
	}
}
