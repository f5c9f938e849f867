package toolserver

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/scarab-ops/scarab/agent/unit/toolproto"
)

func start(t *testing.T, uid int, h func(context.Context, *toolproto.Request) *toolproto.Reply) (*Server, *atomic.Int32) {
	t.Helper()
	dir, err := os.MkdirTemp("", "ts")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	refused := &atomic.Int32{}
	s, err := Open(Config{Dir: dir, UID: uid, GID: uid, Unit: "app/0", Hook: "install", Handle: h, Refused: func(int, string) { refused.Add(1) }})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { s.Serve(context.Background()); close(done) }()
	t.Cleanup(func() {
		s.Close()
		<-done
		left, err := os.ReadDir(dir)
		if err != nil || len(left) != 0 {
			t.Errorf("left behind: %v %v", left, err)
		}
		_ = os.RemoveAll(dir)
	})
	return s, refused
}

func ok(_ context.Context, r *toolproto.Request) *toolproto.Reply {
	return &toolproto.Reply{Stdout: []byte(r.Command + " " + strings.Join(r.Args, ","))}
}

func send(t *testing.T, s *Server, r *toolproto.Request) *toolproto.Reply {
	t.Helper()
	c, err := net.Dial("unix", s.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if err := toolproto.WriteRequest(c, r); err != nil {
		t.Fatal(err)
	}
	rep, err := toolproto.ReadReply(c)
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

func TestCredentials(t *testing.T) {
	s, _ := start(t, os.Getuid(), ok)
	if !regexp.MustCompile(`^app/0-install-[0-9a-f]{32}$`).MatchString(s.ContextID()) {
		t.Errorf("context id %q", s.ContextID())
	}
	good := toolproto.Request{ContextID: s.contextID, Token: s.token, Dir: "/", Command: "x", Args: []string{"a"}}
	if r := send(t, s, &good); string(r.Stdout) != "x a" {
		t.Fatalf("good call: %+v", r)
	}
	for want, change := range map[string]func(r *toolproto.Request){
		`wrong context ID; got "app/0-install-x"`: func(r *toolproto.Request) { r.ContextID = "app/0-install-x" },
		"token mismatch":         func(r *toolproto.Request) { r.Token = strings.Repeat("0", 64) },
		"command not specified":  func(r *toolproto.Request) { r.Command = "" },
		"directory not absolute": func(r *toolproto.Request) { r.Dir = "x" },
	} {
		r := good
		change(&r)
		rep := send(t, s, &r)
		if rep.Code != 1 || string(rep.Stderr) != "ERROR bad request: "+want+"\n" {
			t.Errorf("got %d %q, want %q", rep.Code, rep.Stderr, want)
		}
		if strings.Contains(string(rep.Stderr), s.token) || strings.Contains(string(rep.Stderr), s.contextID) {
			t.Errorf("answer holds a credential: %q", rep.Stderr)
		}
	}
}

func TestModes(t *testing.T) {
	s, _ := start(t, 1234, ok)
	for path, mode := range map[string]os.FileMode{s.dir: 0o700, s.Address(): 0o600} {
		fi, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		if fi.Mode().Perm() != mode || fi.Sys().(*syscall.Stat_t).Uid != 1234 {
			t.Errorf("%s: mode %v uid %d", path, fi.Mode(), fi.Sys().(*syscall.Stat_t).Uid)
		}
	}
	if names, err := os.ReadFile("/proc/net/unix"); err != nil || strings.Contains(string(names), "@"+s.dir) {
		t.Errorf("abstract socket or %v", err)
	}
}

func TestPanicIsContained(t *testing.T) {
	s, _ := start(t, os.Getuid(), func(context.Context, *toolproto.Request) *toolproto.Reply { panic("x") })
	r := &toolproto.Request{ContextID: s.contextID, Token: s.token, Dir: "/", Command: "x"}
	for range 2 {
		if rep := send(t, s, r); rep.Code != 1 {
			t.Fatalf("got %+v", rep)
		}
	}
}

func TestOneAtATime(t *testing.T) {
	var in, most atomic.Int32
	s, _ := start(t, os.Getuid(), func(_ context.Context, r *toolproto.Request) *toolproto.Reply {
		if n := in.Add(1); n > most.Load() {
			most.Store(n)
		}
		defer in.Add(-1)
		return ok(context.Background(), r)
	})
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			send(t, s, &toolproto.Request{ContextID: s.contextID, Token: s.token, Dir: "/", Command: "x"})
		})
	}
	wg.Wait()
	if most.Load() != 1 {
		t.Errorf("%d calls ran at once", most.Load())
	}
}

// TestHookTool runs the real binary: as the hook's user, as another one, by
// symlink, with input, with an output file, after the hook's end.
func TestHookTool(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("needs root to act as other users")
	}
	dir, err := os.MkdirTemp("", "ht")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "scarab-hooktool")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", bin, "../../../cmd/scarab-hooktool")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if fi, err := os.Stat(bin); err != nil || fi.Size() > 2500<<10 {
		t.Errorf("binary is %d bytes, %v", fi.Size(), err)
	}
	if err := os.Symlink(bin, filepath.Join(dir, "config-get")); err != nil {
		t.Fatal(err)
	}
	s, refused := start(t, 1234, func(_ context.Context, r *toolproto.Request) *toolproto.Reply {
		if len(r.Args) == 1 && !r.HasInput {
			return &toolproto.Reply{NeedInput: true, InputName: r.Args[0]}
		}
		if len(r.Args) == 2 {
			return &toolproto.Reply{OutFile: r.Args[1], Stdout: []byte("data")}
		}
		return &toolproto.Reply{Code: 3, Stdout: []byte(r.Command + string(r.Input)), Stderr: []byte("err")}
	})
	run := func(uid uint32, env []string, stdin, prog string, args ...string) (string, int) {
		c := exec.Command(prog, args...)
		c.Dir, c.Env, c.Stdin = dir, env, strings.NewReader(stdin)
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		out, err := c.CombinedOutput()
		var ee *exec.ExitError
		if err != nil && !errors.As(err, &ee) {
			t.Fatal(err)
		}
		return string(out), c.ProcessState.ExitCode()
	}
	env := s.Env()
	check := func(what string, out string, code int, wantOut string, wantCode int) {
		t.Helper()
		if out != wantOut || code != wantCode {
			t.Errorf("%s: got %q, %d; want %q, %d", what, out, code, wantOut, wantCode)
		}
	}
	out, code := run(1234, env, "", filepath.Join(dir, "config-get"))
	check("symlink", out, code, "errconfig-get", 3)
	out, code = run(0, env, "", bin, "x")
	check("root, by argument", out, code, "errx", 3)
	out, code = run(1234, env, "+in", bin, "x", "-")
	check("stdin", out, code, "errx+in", 3)
	out, code = run(1234, env, "", bin, "x", "/etc/shadow")
	check("file of another user", out, code, "ERROR open /etc/shadow: permission denied\n", 1)
	out, code = run(1234, env, "", bin, "x", "-o", "out.txt")
	check("output file", out, code, "", 0)
	if fi, err := os.Stat(filepath.Join(dir, "out.txt")); err != nil || fi.Sys().(*syscall.Stat_t).Uid != 1234 {
		t.Errorf("output file is not the user's: %v", err)
	}
	out, code = run(1234, env[1:], "", bin, "x")
	check("no context", out, code, "ERROR JUJU_CONTEXT_ID not set\n", 1)
	if out, code = run(1235, env, "", bin, "x"); code != 1 || !strings.Contains(out, "permission denied") {
		t.Errorf("other user: %q, %d", out, code)
	}
	// Even with the directory open, the kernel's word on the caller decides.
	if err := errors.Join(os.Chmod(s.dir, 0o777), os.Chmod(s.Address(), 0o666)); err != nil {
		t.Fatal(err)
	}
	if out, code = run(1235, env, "", bin, "x"); code != 1 || strings.Contains(out, "errx") || refused.Load() == 0 {
		t.Errorf("other user past the modes: %q, %d", out, code)
	}
	s.Close()
	if out, code = run(1234, env, "", bin, "x"); code != 1 || strings.Contains(out, "errx") {
		t.Errorf("after the hook: %q, %d", out, code)
	}
}
