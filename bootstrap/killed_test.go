package bootstrap_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scarab-ops/scarab/bootstrap"
	"github.com/scarab-ops/scarab/hostd"
)

// childEnv makes the test binary a bootstrap that can be killed.
const childEnv = "SCARAB_TEST_BOOTSTRAP"

type childOrder struct {
	Paths   bootstrap.Paths
	Request bootstrap.Request
}

func childMain(text string) int {
	var o childOrder
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return 2
	}
	if err := os.Unsetenv(childEnv); err != nil { // the supervisor is not one
		return 2
	}
	_, err := bootstrap.Start(context.Background(), o.Paths, o.Request, func(step string, done bool, _ error) {
		fmt.Println(step, done)
	})
	if err != nil {
		fmt.Println("ERROR", err)
		return 1
	}
	return 0
}

// killAt begins a bootstrap and kills it as soon as it says a line.
func killAt(t *testing.T, o childOrder, line string, env ...string) {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(append(os.Environ(), env...), childEnv+"="+string(text))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := bufio.NewScanner(out)
	met := false
	var all []string
	for !met && said.Scan() {
		all = append(all, said.Text())
		met = strings.HasPrefix(said.Text(), line)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if !met {
		t.Fatalf("it never said %q but %q", line, all)
	}
}

// A bootstrap that is killed at any moment is taken back by the next one, and
// by kill-controller; no hand has to help.
func TestKilled(t *testing.T) {
	dir, err := os.MkdirTemp("", "killed")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil { // the controller's user walks through
		t.Fatal(err)
	}
	paths, req := place(t, dir)
	for i, line := range []string{
		"check this host true", "install programs false", "install programs true", "start the host's supervisor and the controller false",
		"start the host's supervisor and the controller true", "write the controller's first record true", "wait for the API false",
	} {
		began := time.Now()
		killAt(t, childOrder{paths, req}, line)
		killed := time.Since(began)
		if i%2 == 0 {
			works(t, paths, req)
		} else {
			takeDown(t, paths)
		}
		t.Logf("%s: killed after %s, right again after %s", line, killed.Round(time.Millisecond), (time.Since(began) - killed).Round(time.Millisecond))
		untouched(t, dir)
	}
}

// takeDown removes what a killed bootstrap left, as kill-controller does.
func takeDown(t *testing.T, paths bootstrap.Paths) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(paths.Lib, "bootstrap.json"))
	if os.IsNotExist(err) { // nothing was begun
		_ = os.RemoveAll(paths.Lib)
		return
	}
	var m bootstrap.Mark
	if err == nil {
		err = json.Unmarshal(raw, &m)
	}
	if err != nil || m.Ready || m.Name != "full" {
		t.Fatalf("the mark is %+v, %v", m, err)
	}
	if here, err := bootstrap.Here(paths, m.UUID); err != nil || !here {
		t.Errorf("it is not here: %v, %v", here, err)
	}
	if err := bootstrap.Destroy(t.Context(), paths, m.UUID, tell(t)); err != nil {
		t.Fatal(err)
	}
}

// In the build of the image a kill leaves a supervisor, a controller and a
// tree of processes with mounts, all of which end.
func TestKilledInImageBuild(t *testing.T) {
	dir, err := os.MkdirTemp("", "killed")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	paths, req := place(t, dir)
	bin := filepath.Join(dir, "fake")
	// It ignores what asks it to end, as one that waits for a network may.
	const fake = "#!/bin/sh\ntrap '' INT TERM\nmkdir -p $TMPDIR/root/proc && mount -t proc proc $TMPDIR/root/proc\n" +
		"echo 'I: stuck...' >&2\nsleep 1000 &\nsleep 1000\n"
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bin, "mmdebstrap"), []byte(fake), 0o755); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	mirror := paths
	mirror.Cache = filepath.Join(dir, "cache")
	killAt(t, childOrder{mirror, req}, "prepare the base image: stuck", "PATH="+bin+":"+os.Getenv("PATH"))
	began := time.Now()
	takeDown(t, mirror)
	took := time.Since(began)
	t.Logf("taken down in %s", took)
	if took > 20*time.Second {
		t.Errorf("it took %s", took)
	}
	if mounts, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(mounts), dir) {
		t.Errorf("mounts are left: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(mirror.Cache, "build", "*")); len(left) > 0 {
		t.Errorf("folders of the build are left: %q", left)
	}
	for _, d := range []string{mirror.Cache, bin} {
		if err := os.RemoveAll(d); err != nil {
			t.Fatal(err)
		}
	}
	untouched(t, dir)
	if c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", req.APIPort), time.Second); err == nil {
		_ = c.Close()
		t.Error("the controller is left")
	}
	var st unix.Stat_t
	if err := unix.Stat(paths.Lib, &st); err == nil {
		t.Error("the folder is left")
	}
}

// A supervisor that was killed is missed, and started with one command.
func TestAsleep(t *testing.T) {
	dir, err := os.MkdirTemp("", "asleep")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	paths, req := place(t, dir)
	c, err := bootstrap.Start(t.Context(), paths, req, tell(t))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(paths.Lib, "host.json")
	if got := bootstrap.Asleep(t.Context(), paths, c.UUID); got != "" {
		t.Errorf("awake, but said to be started by %q", got)
	}
	names, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, name := range names {
		cmd, err := os.ReadFile(name)
		if pid, perr := strconv.Atoi(filepath.Base(filepath.Dir(name))); err == nil && perr == nil && strings.HasSuffix(string(cmd), "--config\x00"+file+"\x00") {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil {
				t.Error(err)
			}
		}
	}
	want := filepath.Join(paths.Lib, "bin", "scarab-agent") + " host --start --config " + file
	for deadline := time.Now().Add(10 * time.Second); bootstrap.Asleep(t.Context(), paths, c.UUID) != want; {
		if time.Now().After(deadline) {
			t.Fatalf("said to be started by %q, want %q", bootstrap.Asleep(t.Context(), paths, c.UUID), want)
		}
	}
	if got := bootstrap.Asleep(t.Context(), paths, "another"); got != "" {
		t.Errorf("another controller is said to be started by %q", got)
	}
	cfg, err := hostd.LoadConfig(file)
	if err == nil {
		err = hostd.Start(t.Context(), cfg.Installation(file))
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := bootstrap.Asleep(t.Context(), paths, c.UUID); got != "" {
		t.Errorf("started, but said to be started by %q", got)
	}
	if err := bootstrap.Destroy(t.Context(), paths, c.UUID, tell(t)); err != nil {
		t.Fatal(err)
	}
	untouched(t, dir)
}
