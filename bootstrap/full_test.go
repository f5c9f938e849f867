package bootstrap_test

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scarab-ops/scarab/bootstrap"
	"github.com/scarab-ops/scarab/container"
	"github.com/scarab-ops/scarab/hostd"
	"github.com/scarab-ops/scarab/image"
)

// hostEnv makes the test binary the supervisor of a host whose names and
// ranges are nobody else's.
const hostEnv = "SCARAB_TEST_HOST"

func hostMain() int {
	cfg, err := hostd.LoadConfig(os.Args[len(os.Args)-1])
	if err == nil {
		m := container.Defaults()
		m.Bridge, m.PortPrefix, m.Table, m.Cgroups = "scfbr0", "scf", "scarabfull", "scarabfull"
		m.Subnet, m.IDBase = netip.MustParsePrefix("10.95.0.0/16"), 0x79000000
		cfg.Machines, cfg.Log = &m, slog.New(slog.NewTextHandler(os.Stderr, nil))
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		err = hostd.Run(ctx, cfg)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "ERROR", err)
		return 1
	}
	return 0
}

// volume is a file system of a size, that takes no more than what is written.
func volume(t *testing.T, size int64) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test makes a file system: run it as root")
	}
	base, err := os.MkdirTemp("", "full")
	if err != nil {
		t.Fatal(err)
	}
	dir, file := filepath.Join(base, "mnt"), filepath.Join(base, "img")
	t.Cleanup(func() {
		_ = unix.Unmount(dir, 0) // it may not be mounted
		if err := os.RemoveAll(base); err != nil {
			t.Error(err)
		}
	})
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
	}
	run("truncate", "-s", fmt.Sprint(size), file)
	run("mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", file)
	if err := os.Mkdir(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(base, 0o711); err != nil { // the controller's user walks through
		t.Fatal(err)
	}
	run("mount", "-o", "loop", file, dir)
	return dir
}

// place is where a bootstrap goes on a volume, with a free port.
func place(t *testing.T, dir string) (bootstrap.Paths, bootstrap.Request) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (&image.Store{Dir: image.DefaultDir}).Ensure(t.Context(), image.Default, func(string) {}); err != nil {
		t.Fatal(err)
	}
	return bootstrap.Paths{
		Lib: filepath.Join(dir, "lib"), Run: filepath.Join(dir, "run"), Log: filepath.Join(dir, "log"), Cache: filepath.Dir(image.DefaultDir),
		Programs: programs(t), Supervisor: []string{"/usr/bin/env", hostEnv + "=1", self},
	}, bootstrap.Request{Name: "full", APIPort: port, ModelConfig: map[string]string{hostd.SettingMirror: "http://192.0.2.1/debian"}}
}

// fill takes all of a volume but so many bytes.
func fill(t *testing.T, dir string, leave int64) {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	size := int64(st.Bavail)*st.Bsize - leave
	for size > 0 { // what the file system needs for itself is found by trying
		if err = unix.Fallocate(int(f.Fd()), 0, 0, size); err == nil {
			return
		}
		size -= 1 << 20
	}
	t.Fatal(err)
}

// untouched fails unless a bootstrap left nothing behind.
func untouched(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, _ fs.DirEntry, err error) error {
		if rel, _ := filepath.Rel(dir, name); err == nil && rel != "." && rel != "lost+found" && rel != "filler" {
			t.Errorf("%s is left", name)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	names, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if cmd, err := os.ReadFile(name); err == nil && strings.Contains(string(cmd), dir) {
			t.Errorf("a process is left: %s", strings.ReplaceAll(string(cmd), "\x00", " "))
		}
	}
	if _, err := net.InterfaceByName("scfbr0"); err == nil {
		t.Error("the bridge is left")
	}
}

// works bootstraps with nothing in the way, and takes all down.
func works(t *testing.T, paths bootstrap.Paths, r bootstrap.Request) {
	t.Helper()
	c, err := bootstrap.Start(t.Context(), paths, r, tell(t))
	if err != nil {
		t.Fatalf("with room again: %v", err)
	}
	if err := bootstrap.Destroy(t.Context(), paths, c.UUID, tell(t)); err != nil {
		t.Fatal(err)
	}
}

func tell(t *testing.T) bootstrap.Report {
	return func(step string, done bool, err error) {
		if err != nil {
			t.Logf("%s: %v", step, err)
		}
	}
}

// A disk that runs full at any depth of a bootstrap is one clear error, and
// nothing is left that would be in the way of the next one.
func TestDiskFull(t *testing.T) {
	dir := volume(t, 3<<30)
	paths, req := place(t, dir)
	for _, c := range []struct {
		step  string // at whose beginning the disk fills up
		leave int64
	}{
		{"install programs", 0},
		{"install programs", 20 << 20},                               // a program does not fit
		{"start the host's supervisor and the controller", 0},        // nor its configuration
		{"start the host's supervisor and the controller", 64 << 10}, // nor the store's first file
		{"start the host's supervisor and the controller", 70 << 20}, // nor its second
		{"write the controller's first record", 0},                   // nor what it begins from
	} {
		t.Run(fmt.Sprintf("%s/%d", strings.ReplaceAll(c.step, " ", "-"), c.leave>>10), func(t *testing.T) {
			begun := time.Now()
			_, err := bootstrap.Start(t.Context(), paths, req, func(step string, done bool, err error) {
				if step == c.step && !done {
					fill(t, dir, c.leave)
				}
				tell(t)(step, done, err)
			})
			t.Logf("after %s: %v", time.Since(begun).Round(time.Millisecond), err)
			switch {
			case err == nil:
				t.Fatal("it worked on a full disk")
			case !strings.Contains(err.Error(), "full"), !strings.Contains(err.Error(), "free at least"):
				t.Errorf("the error says nothing of use: %v", err)
			case strings.Contains(err.Error(), "\n"):
				t.Errorf("it is not one error: %v", err)
			}
			if took := time.Since(begun); took > 20*time.Second {
				t.Errorf("it took %s to say so", took)
			}
			untouched(t, dir)
			if err := os.Remove(filepath.Join(dir, "filler")); err != nil {
				t.Fatal(err)
			}
		})
	}
	works(t, paths, req)
	untouched(t, dir)
}

// An interrupt at any moment of a bootstrap leaves nothing behind.
func TestInterrupted(t *testing.T) {
	dir := volume(t, 3<<30)
	paths, req := place(t, dir)
	began := time.Now()
	works(t, paths, req)
	span := time.Since(began)
	const points = 8
	for i := range points {
		ctx, cancel := context.WithTimeout(t.Context(), span*time.Duration(i)/points/2)
		c, err := bootstrap.Start(ctx, paths, req, tell(t))
		cancel()
		if err == nil { // it was done before
			err = bootstrap.Destroy(t.Context(), paths, c.UUID, tell(t))
			if err != nil {
				t.Error(err)
			}
		}
		untouched(t, dir)
	}
	works(t, paths, req)
	untouched(t, dir)
}
