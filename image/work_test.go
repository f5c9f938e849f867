package image

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// tree is a tool that mounts, begins processes and does not end when asked.
const tree = `#!/bin/sh
trap '' INT TERM
mkdir -p $TMPDIR/root/proc $TMPDIR/root/sys
mount -t proc proc $TMPDIR/root/proc && mount --rbind /sys $TMPDIR/root/sys || exit 1
(exec -a scarab-test-$TAG sleep 1000) &
echo "I: mounted..." >&2
sleep 1000
`

func TestCancelledBuildLeavesNothing(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("a build mounts: run this as root")
	}
	base := t.TempDir()
	bin := filepath.Join(base, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	script := strings.ReplaceAll(strings.ReplaceAll(tree, "#!/bin/sh", "#!/bin/bash"), "$TAG", filepath.Base(base)+"x"+t.Name())
	if err := os.WriteFile(filepath.Join(bin, "mmdebstrap"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	s := &Store{Dir: filepath.Join(base, "cache", "images"), Apt: &Apt{Mirror: "http://192.0.2.1/debian"}}
	ctx, cancel := context.WithCancel(t.Context())
	began := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		_, err := s.Ensure(ctx, Default, func(step string) {
			if step == "mounted" {
				close(began)
			}
		})
		done <- err
	}()
	select {
	case <-began:
	case err := <-done:
		t.Fatalf("the build ended: %v", err)
	}
	if below, err := mountsBelow(base); err != nil || len(below) > 0 {
		t.Errorf("the host sees the build's mounts: %q, %v", below, err)
	}
	if err := s.Sweep(); err != nil {
		t.Fatal(err)
	}
	work := filepath.Join(base, "cache", "build")
	if all, err := os.ReadDir(work); err != nil || len(all) != 1 {
		t.Errorf("a build that goes on was swept: %v, %v", all, err)
	}
	cancel()
	at := time.Now()
	if err := <-done; err == nil {
		t.Error("a build that was cancelled made an image")
	}
	if took := time.Since(at); took > 5*time.Second {
		t.Errorf("it took %s to end", took)
	}
	if all, err := os.ReadDir(work); err != nil || len(all) > 0 {
		t.Errorf("left in the folder: %v, %v", all, err)
	}
	names, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, name := range names {
		if cmd, err := os.ReadFile(name); err == nil && strings.Contains(string(cmd), filepath.Base(base)+"x"+t.Name()) {
			t.Errorf("left running: %s", cmd)
		}
	}
}

// What a killed build left is swept, with what is mounted in it: never what is
// behind a mount or a link.
func TestSweep(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test mounts: run it as root")
	}
	base := t.TempDir()
	s := &Store{Dir: filepath.Join(base, "images")}
	dir, _, err := s.workspace()
	if err != nil {
		t.Fatal(err)
	}
	precious := filepath.Join(base, "precious")
	inside, linked := filepath.Join(dir, "mmdebstrap.x", "dev"), filepath.Join(dir, "link")
	err = errors.Join(os.Mkdir(precious, 0o755), os.WriteFile(filepath.Join(precious, "file"), nil, 0o600), os.MkdirAll(inside, 0o755),
		os.Symlink(precious, linked), unix.Mount(precious, inside, "", unix.MS_BIND, ""))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(inside, unix.MNT_DETACH) })
	if below, err := mountsBelow(dir); err != nil || len(below) != 1 {
		t.Fatalf("mounts %q, %v", below, err)
	}
	if err := s.Sweep(); err != nil { // the lock is held
		t.Fatal(err)
	}
	if _, err := os.Stat(inside); err != nil {
		t.Fatal("a build that goes on was swept")
	}
	// The killed one's lock is nobody's any more.
	if err := os.Remove(filepath.Join(dir, "lock")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "lock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Sweep(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(dir); !os.IsNotExist(err) {
		t.Errorf("the folder is left: %v", err)
	}
	if _, err := os.Stat(filepath.Join(precious, "file")); err != nil {
		t.Errorf("it reached through a mount: %v", err)
	}
}

// A folder that another user made is not built in.
func TestForeignFolder(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test gives a folder away: run it as root")
	}
	base := t.TempDir()
	s := &Store{Dir: filepath.Join(base, "images")}
	if err := errors.Join(os.Mkdir(filepath.Join(base, "build"), 0o700), os.Chown(filepath.Join(base, "build"), 65534, 65534)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.workspace(); err == nil || !strings.Contains(err.Error(), "not a folder of our own") {
		t.Errorf("error %v", err)
	}
	if err := errors.Join(os.Chown(filepath.Join(base, "build"), 0, 0), os.Chmod(base, 0o700)); err != nil {
		t.Fatal(err)
	}
	dir, release, err := s.workspace()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]os.FileMode{base: 0o711, filepath.Join(base, "build"): 0o711, dir: 0o755} {
		if st, err := os.Stat(name); err != nil || st.Mode().Perm() != want {
			t.Errorf("%s is %v, %v", name, st.Mode(), err)
		}
	}
	if err := release(); err != nil {
		t.Error(err)
	}
}
