package realm

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// testUnmade are mistakes before there is a controller.
func testUnmade(t *testing.T) {
	t.Run("PortInUse", func(t *testing.T) {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", apiPort))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		checkRefusal(t, host.run("bootstrap", "localhost", "refused"), 1, "port 17070", "--config api-port=")
		checkNothing(t, "refused")
	})
	t.Run("DiskFull", func(t *testing.T) {
		const dir = "/var/lib/scarab"
		if err := os.Mkdir(dir, 0o711); err != nil {
			t.Fatal(err)
		}
		defer os.Remove(dir)
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=8m"); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := unix.Unmount(dir, 0); err != nil {
				t.Error(err)
			}
		}()
		checkRefusal(t, host.run("bootstrap", "localhost", "refused"), 1, "MiB free", dir)
	})
	t.Run("NoController", func(t *testing.T) {
		checkRefusal(t, host.run("status"), 1, "scarab bootstrap localhost")
		checkRefusal(t, host.run("status", "-m", "nowhere:demo"), 1, "nowhere")
		checkRefusal(t, host.run("kill-controller", "--no-prompt", "nowhere"), 1, "nowhere")
		checkRefusal(t, host.run("bootstrap", "mars"), 1, "localhost")
		checkRefusal(t, host.run("bootstrap", "localhost", "a:b"), 2, "a:b")
		checkRefusal(t, host.run("bootstrap", "localhost", "x", "--config", "api-port=banana"), 1, "banana")
		checkRefusal(t, host.run("frobnicate"), 2, "scarab help")
		checkNothing(t, "x")
	})
	t.Run("TwoAtOnce", testTwoAtOnce)
}

// checkNothing shows that no controller of the name is left, on the host or
// in the client's files.
func checkNothing(t *testing.T, name string) {
	t.Helper()
	for _, path := range []string{hostFile, "/var/lib/scarab", "/run/scarab", "/var/log/scarab"} {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s is left behind", path)
		}
	}
	if r := host.run("controllers", "--format", "json"); strings.Contains(r.out, `"`+name+`"`) {
		t.Errorf("the client knows the controller:\n%s", r)
	}
	p := picture{}
	if err := processes(p); err != nil {
		t.Fatal(err)
	}
	for line := range p {
		t.Errorf("left behind: %s", line)
	}
}

func testTwoAtOnce(t *testing.T) {
	names := []string{"twin-a", "twin-b"}
	results := make([]result, len(names))
	var wg sync.WaitGroup
	for i, n := range names {
		wg.Go(func() { results[i] = host.run("bootstrap", "localhost", n) })
	}
	wg.Wait()
	won := -1
	for i, r := range results {
		if r.code == 0 && won >= 0 {
			t.Fatalf("both bootstraps succeeded:\n%s\n%s", results[0], results[1])
		}
		if r.code == 0 {
			won = i
		}
	}
	if won < 0 {
		t.Fatalf("neither bootstrap succeeded:\n%s\n%s", results[0], results[1])
	}
	checkRefusal(t, results[1-won], 1, "this host")
	if r := host.run("models", "-c", names[won]); r.code != 0 {
		t.Errorf("the one that won does not work:\n%s", r)
	}
	if r := host.run("kill-controller", "--no-prompt", names[won]); r.code != 0 {
		t.Error(r)
	}
	checkNothing(t, names[won])
}

// testInterrupt interrupts bootstrap at points spread over all it does. Each
// time it takes back what it began, or had finished.
func testInterrupt(t *testing.T) {
	const span = 3 * time.Second // of a bootstrap with a prepared image
	points := 8
	if long() {
		points = 40
	}
	finished, slowest := 0, time.Duration(0)
	for i := range points {
		after := span * time.Duration(i) / time.Duration(points)
		name := fmt.Sprintf("cut-%d", i)
		r, reaction := interrupt(t, after, "bootstrap", "localhost", name)
		slowest = max(slowest, reaction)
		if r.code == 0 {
			finished++
			if k := host.run("kill-controller", "--no-prompt", name); k.code != 0 {
				t.Errorf("bootstrap ended well although interrupted after %s, but the controller cannot be removed:\n%s\n%s", after, r, k)
			}
		} else if r.code == 1 || after > 50*time.Millisecond { // before that the program had not begun
			checkRefusal(t, r, 1, "interrupted")
		}
		checkNothing(t, name)
		if t.Failed() {
			if out, err := host.script("down.sh").CombinedOutput(); err != nil {
				t.Errorf("cannot clean up: %v\n%s", err, out)
			}
			t.Fatalf("interrupted after %s:\n%s", after, r)
		}
	}
	t.Logf("%d interruptions, %d came after the end; the slowest took %s to undo", points, finished, slowest.Round(time.Millisecond))
}

// interrupt runs the client and interrupts it as a terminal would.
func interrupt(t *testing.T, after time.Duration, args ...string) (result, time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := host.command(ctx, args...)
	done := make(chan result, 1)
	started := make(chan struct{})
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	go func() {
		done <- finishStarted(cmd, started)
	}()
	<-started
	timer := time.NewTimer(after)
	defer timer.Stop()
	select {
	case r := <-done:
		return r, 0
	case <-timer.C:
	}
	began := time.Now()
	if cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) // it may have ended
	}
	return <-done, time.Since(began)
}
