package threats_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/scarab-ops/scarab/agent/sandbox"
	"github.com/scarab-ops/scarab/cli/store"
)

// TestMain is also what attackers run as: the helper of hooks, a writer of
// client files that is killed, and a local process without rights.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == sandbox.HelperArg {
		os.Exit(sandbox.HelperMain(os.Args[2:]))
	}
	if dir := os.Getenv("THREATS_WRITE"); dir != "" {
		writeForever(dir)
		return
	}
	if what := os.Getenv("THREATS_CHILD"); what != "" {
		os.Exit(child(what, os.Args[1:]))
	}
	if os.Getuid() != 0 {
		fmt.Fprintln(os.Stderr, "these tests need root, to become other users")
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(bareRoot())
	os.Exit(code)
}

func writeForever(dir string) {
	st, err := store.New(store.Config{Dir: dir, UID: os.Geteuid()})
	fmt.Println("ready")
	for i := 0; err == nil; i++ {
		name := fmt.Sprintf("busy%d", i%2)
		c := store.Controller{UUID: fmt.Sprint("u", i), Endpoints: []string{"10.0.0.1:17070"}, Cloud: strings.Repeat("x", i%5000)}
		err = errors.Join(st.SetController(context.Background(), name, c, true),
			st.SetAccount(context.Background(), name, store.Account{User: "admin", Password: store.NewPassword(fmt.Sprint(i))}))
	}
	fmt.Println(err)
	os.Exit(3)
}

// bareDir is a directory that every user can reach; t.TempDir is not.
func bareDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "thr")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func bareRoot() string { return filepath.Join(os.TempDir(), fmt.Sprintf("thr-%d", os.Getpid())) }

// bareCopy is this binary where every user can run it, made once.
var bareCopy = sync.OnceValues(func() (string, error) {
	dir := bareRoot()
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	self := filepath.Join(dir, "attacker")
	in, err := os.Open("/proc/self/exe")
	if err != nil {
		return "", err
	}
	defer in.Close()
	out, err := os.OpenFile(self, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(out, in)
	return self, errors.Join(err, out.Close(), os.Chmod(dir, 0o755))
})

// attacker is a command that runs this binary as another user.
func attacker(t *testing.T, uid int, what string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := bareCopy()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = []string{"THREATS_CHILD=" + what, "PATH=/usr/bin:/bin"}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	return cmd
}
