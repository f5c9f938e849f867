package localhost

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/container"
	"github.com/scarab-ops/scarab/hostd"
	"github.com/scarab-ops/scarab/hostd/hostapi"
	"github.com/scarab-ops/scarab/image"
	"github.com/scarab-ops/scarab/provider"
	"github.com/scarab-ops/scarab/provider/providertest"
)

// rungEnv makes the test binary, as an ordinary user, run the conformance
// tests on one rung of the ladder, with its files below the folder it names.
const rungEnv = "SCARAB_TEST_RUNG"

// ordinary is the user of these tests; it has no name and no range of ids.
const ordinary = 64803

func insideMain() {
	var cfg hostd.Config
	data, err := os.ReadFile(filepath.Join(os.Getenv("HOME"), "host.json"))
	if err == nil {
		err = json.Unmarshal(data, &cfg)
	}
	if err == nil {
		err = hostd.RunInside(context.Background(), cfg)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func TestLadder(t *testing.T) {
	if rung := os.Getenv(rungEnv); rung != "" {
		onRung(t, container.Isolation(rung))
		return
	}
	for _, rung := range []container.Isolation{container.IsolationRootless, container.IsolationProcess} {
		t.Run(string(rung), func(t *testing.T) { asUser(t, ordinary, rung) })
		t.Run(string(rung)+" of root", func(t *testing.T) { asUser(t, 0, rung) })
	}
}

// asUser runs the tests of a rung as the ordinary user, or as a root who must
// not mount, as in many a container.
func asUser(t *testing.T, uid uint32, rung container.Isolation) {
	t.Parallel()
	home, err := os.MkdirTemp("", "rung")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(home) })
	self := filepath.Join(home, "bin", "test")
	script := `mkdir -p "$1/bin" "$1/tmp" && cp /proc/$PPID/exe "$1/bin/test"`
	script += ` && chown -R "$2:$2" "$1"`
	out, err := exec.Command("/bin/sh", "-c", script, "sh", home, fmt.Sprint(uid)).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	args := []string{self, "-test.run=^TestLadder$", "-test.v"}
	if uid == 0 {
		if err := os.Chmod(home, 0o711); err != nil { // the controller's user walks through
			t.Fatal(err)
		}
		args = append([]string{"setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"}, args...)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + home, "TMPDIR=" + home + "/tmp", rungEnv + "=" + string(rung)}
	cmd.Dir = home
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid, Groups: []uint32{}}}
	cmd.WaitDelay = time.Second
	out, err = cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestLadder/Rules") {
		t.Errorf("%v\n%s", err, out)
	}
}

// idBase differs between the rungs: a process machine's user is nobody else's.
func idBase(rung container.Isolation) int {
	if rung == container.IsolationProcess {
		return 0x7e000000
	}
	return 0x7d000000
}

// emptyImage is all that machines need in which nothing is started.
func emptyImage(t *testing.T, dir string) {
	t.Helper()
	root := t.TempDir()
	for _, name := range []string{"usr", "etc"} {
		if err := os.Mkdir(filepath.Join(root, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	tarball, err := exec.Command("tar", "-cf", "-", "--owner=0", "--group=0", "-C", root, "usr", "etc").Output()
	if err != nil {
		t.Fatal(err)
	}
	s := image.Store{Dir: dir, OneID: true}
	if os.Geteuid() == 0 {
		s = image.Store{Dir: dir, Shift: idBase(container.IsolationRootless)}
	}
	if _, err := s.Add(context.Background(), image.Default, bytes.NewReader(tarball)); err != nil {
		t.Fatal(err)
	}
}

func onRung(t *testing.T, rung container.Isolation) {
	home := os.Getenv("HOME")
	m := container.Defaults()
	m.Isolation, m.IDBase, m.Subnet = rung, idBase(rung), netip.MustParsePrefix("10.96.0.0/16")
	cfg := hostd.Config{
		Socket: filepath.Join(home, "host", "host.sock"), Images: filepath.Join(home, "images"), Dir: filepath.Join(home, "state"),
		RunDir: filepath.Join(home, "run"), Program: []string{filepath.Join(home, "bin", "test")}, Machines: &m,
	}
	want := os.Geteuid()
	if want == 0 {
		want = ordinary
		cfg.Controller = &hostd.ControllerConfig{Argv: []string{"/bin/sleep", "1000"}, Dir: "/", UID: want, GID: want}
	}
	data, err := json.Marshal(cfg)
	if err == nil {
		err = os.WriteFile(filepath.Join(home, "host.json"), data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if rung == container.IsolationRootless {
		emptyImage(t, cfg.Images)
	}
	socket := serve(t, cfg)
	host := hostapi.NewClient(socket)
	defer host.Close()
	st, err := host.Status(context.Background())
	if err != nil || st.Isolation != string(rung) || len(st.Why) < 2 || !st.Relayed || st.Gateway == "" {
		t.Errorf("the host is %+v, %v", st, err)
	}
	for _, name := range []string{socket, filepath.Dir(socket)} {
		if info, err := os.Lstat(name); err != nil || int(info.Sys().(*syscall.Stat_t).Uid) != want {
			t.Errorf("%s is not the controller's: %v", name, err)
		}
	}
	providertest.Run(t, func(controller string) provider.Instances {
		c, err := New(Config{Socket: socket, ControllerID: controller})
		if err != nil {
			t.Fatal(err)
		}
		return c
	})
}
