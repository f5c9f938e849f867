package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestEnsureDefault(t *testing.T) {
	s := Store{Dir: DefaultDir}
	began := time.Now()
	img, err := s.Ensure(context.Background(), Default, func(step string) { t.Logf("%6.1f %s", time.Since(began).Seconds(), step) })
	if err != nil {
		t.Fatal(err)
	}
	checkKept(t, &s, &img)
	checkRoot(t, img.Root)
	// A kept image is taken as it is: nothing is done, so nothing is told.
	again, err := s.Ensure(context.Background(), Default, func(step string) { t.Errorf("a second call has the step %q", step) })
	if err != nil || again != img {
		t.Errorf("a second call gave %+v, %v", again, err)
	}
}

// checkKept compares the compressed file with its record.
func checkKept(t *testing.T, s *Store, img *Image) {
	t.Helper()
	f, err := os.Open(s.file(Default, "image.tar.zst"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, f)
	if got := hex.EncodeToString(sum.Sum(nil)); err != nil || got != img.Digest || n != img.Bytes {
		t.Errorf("the file has %d bytes and digest %s, %v; recorded is %+v", n, got, err, img)
	}
	for name, want := range map[string]os.FileMode{s.Dir: 0o700, s.file(Default): 0o700, s.file(Default, "image.tar.zst"): 0o600} {
		if st, err := os.Stat(name); err != nil || st.Mode().Perm() != want {
			t.Errorf("%s is %v, %v", name, st.Mode(), err)
		}
	}
}

// checkRoot sees that the image is what charms expect, and has nothing of the
// host it was made on.
func checkRoot(t *testing.T, root string) {
	t.Helper()
	for _, name := range []string{"usr/bin/python3", "usr/lib/systemd/systemd", "usr/sbin/sshd", "usr/bin/sudo", "home/ubuntu"} {
		if _, err := os.Stat(filepath.Join(root, name)); err != nil {
			t.Errorf("the image lacks something: %v", err)
		}
	}
	for _, name := range []string{"etc/hostname", "etc/resolv.conf", "usr/sbin/policy-rc.d", "var/lib/dbus/machine-id", "etc/apt/apt.conf.d/99mmdebstrap"} {
		if _, err := os.Lstat(filepath.Join(root, name)); !os.IsNotExist(err) {
			t.Errorf("the image has %s: %v", name, err)
		}
	}
	for _, name := range []string{"etc/machine-id", "etc/apt/sources.list"} {
		if st, err := os.Stat(filepath.Join(root, name)); err != nil || st.Size() != 0 {
			t.Errorf("%s is not empty: %v", name, err)
		}
	}
	for _, pattern := range []string{"etc/ssh/ssh_host_*", "etc/apt/sources.list.d/*", "root/.ssh/*", "home/ubuntu/.ssh/*", "var/lib/scarab"} {
		if got, err := filepath.Glob(filepath.Join(root, pattern)); err != nil || len(got) > 0 {
			t.Errorf("the image has %v, %v", got, err)
		}
	}
	for _, name := range []string{"etc/shadow", "etc/passwd"} {
		host, err1 := os.ReadFile("/" + name)
		own, err2 := os.ReadFile(filepath.Join(root, name))
		if err1 != nil || err2 != nil || string(host) == string(own) {
			t.Errorf("/%s is the host's own: %v, %v", name, err1, err2)
		}
	}
}

// TestShared takes an image of another store over, and no other than the one
// that was recorded.
func TestShared(t *testing.T) {
	shared := Store{Dir: t.TempDir(), OneID: true}
	want, err := shared.Add(context.Background(), Default, tarReader(t))
	if err != nil {
		t.Fatal(err)
	}
	own := Store{Dir: t.TempDir(), Shared: shared.Dir, OneID: true}
	got, err := own.Ensure(context.Background(), Default, func(string) {})
	if err != nil || got.Digest != want.Digest || filepath.Dir(filepath.Dir(got.Root)) != own.Dir {
		t.Errorf("got %+v, %v", got, err)
	}
	f, err := os.OpenFile(shared.file(Default, "image.tar.zst"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("more"); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	other := Store{Dir: t.TempDir(), Shared: shared.Dir, OneID: true}
	if got, err := other.Ensure(context.Background(), Default, func(string) {}); err == nil {
		t.Errorf("a changed image was taken over: %+v", got)
	}
	if left, err := filepath.Glob(filepath.Join(other.Dir, "*", "*.tar.zst")); err != nil || len(left) > 0 {
		t.Errorf("a refused image left %v, %v", left, err)
	}
}
