package threats_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scarab-ops/scarab/agent/machine"
	"github.com/scarab-ops/scarab/agent/sandbox"
	"github.com/scarab-ops/scarab/agent/unit/toolproto"
	"github.com/scarab-ops/scarab/agent/unit/toolserver"
	"github.com/scarab-ops/scarab/charm"
	"github.com/scarab-ops/scarab/domain/agentcred"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/status"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/tests/cluster"
	"github.com/scarab-ops/scarab/tests/threats/bench"
)

func agentParts() []part {
	return []part{
		{"A-WL-I", "tokens", "the workload's user and strangers guess contexts and tokens, and use those of hooks that ended: refused, and no answer holds a valid one", guessTokens},
		{"F-AG-CHARM-I", "socket", "a stranger with the right token, and one who plants files and links where sockets will be: refused", plantedSockets},
		{"F-AG-CHARM-C", "proc", "what a stranger and another unit's user see of a running hook holds no token and no environment", sniffHooks},
		{"A-UNIT-A", "limits", "fork bomb, endless memory, endless loop, endless output: ended at their limit while other hooks run", hostileHooks},
		{"A-UNIT-C", "co-located", "a hook of B does not see A's files, not as its own user and not as root", coLocated},
		{"A-WL-C", "user", "the workload's user cannot read the agents' files", coLocated},
		{"A-AGENT-C", "files", "a stranger on the machine reads no file of the agent that holds a password or key", agentFiles},
		{"A-AGENT-A", "confuse", "401, 404, silence, an empty store and garbage: the agent keeps its files and its service, and works again afterwards", confusedAgent},
	}
}

// child is the attacker's side of the attacks that need another user.
func child(what string, args []string) int {
	switch what {
	case "tool": // address, context, token: one call
		reply, err := callTool(args[0], args[1], args[2])
		if err != nil {
			fmt.Println("ERROR", err)
			return 3
		}
		fmt.Printf("code %d stdout %q stderr %q\n", reply.Code, reply.Stdout, reply.Stderr)
		return reply.Code
	case "plant": // directory: tries to put things there
		return plantFiles(args[0])
	case "sniff": // pid: prints all that can be read of a process
		for _, f := range []string{"environ", "cmdline", "maps", "mem", "stack"} {
			b, err := os.ReadFile(filepath.Join("/proc", args[0], f))
			fmt.Printf("%s: %d bytes, %v\n%s\n", f, len(b), err, b)
		}
		if err := sandboxPtrace(args[0]); err == nil {
			fmt.Println("PTRACE WORKED")
		}
		return 0
	case "walk": // directories: prints the content of each file that can be read
		for _, dir := range args {
			for _, known := range []string{"machine-0", "unit-a-0", "unit-b-0"} { // a name needs no listing
				if b, err := os.ReadFile(filepath.Join(dir, "agents", known, "agent.conf")); err == nil {
					fmt.Printf("READ %s\n%s\n", known, b)
				}
			}
			_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
				if err == nil && d.Type().IsRegular() {
					if b, err := os.ReadFile(p); err == nil {
						fmt.Printf("READ %s\n%s\n", p, b)
					}
				}
				if err == nil && d.Type()&fs.ModeSocket != 0 {
					if c, err := net.Dial("unix", p); err == nil {
						fmt.Printf("CONNECTED %s\n", p)
						_ = c.Close()
					}
				}
				return nil
			})
		}
		fmt.Println("WALKED", len(args))
		return 0
	}
	return 9
}

func sandboxPtrace(pid string) error {
	n, err := strconv.Atoi(pid)
	if err != nil {
		return err
	}
	return unix.PtraceAttach(n)
}

func plantFiles(dir string) int {
	for i := range 1000 {
		p := filepath.Join(dir, fmt.Sprintf("h-%016x", i))
		if os.Mkdir(p, 0o777) == nil || os.Symlink("/tmp", p) == nil || os.WriteFile(filepath.Join(p, "agent.socket"), nil, 0o666) == nil {
			fmt.Println("PLANTED", p)
			return 1
		}
		l, err := net.Listen("unix", filepath.Join(p, "agent.socket"))
		if err == nil {
			fmt.Println("BOUND", l.Addr())
			return 1
		}
	}
	if list, err := os.ReadDir(dir); err == nil {
		fmt.Println("LISTED", len(list))
		return 1
	}
	return 0
}

func callTool(address, contextID, token string) (*toolproto.Reply, error) {
	c, err := net.Dial("unix", address)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if err := toolproto.WriteRequest(c, &toolproto.Request{ContextID: contextID, Token: token, Dir: "/", Command: "relation-get"}); err != nil {
		return nil, err
	}
	return toolproto.ReadReply(c)
}

// hookSocket opens a hook's socket, and serves it until the test ends.
func hookSocket(t *testing.T, dir string, uid int) (s *toolserver.Server, token string) {
	t.Helper()
	s, err := toolserver.Open(toolserver.Config{
		Dir: dir, UID: uid, GID: uid, Unit: "a/0", Hook: "install",
		Handle: func(context.Context, *toolproto.Request) *toolproto.Reply {
			return &toolproto.Reply{Stdout: []byte("the-answer")}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { s.Serve(context.Background()) })
	t.Cleanup(func() { s.Close(); wg.Wait() })
	for _, e := range s.Env() {
		if v, ok := strings.CutPrefix(e, toolproto.EnvToken+"="); ok {
			token = v
		}
	}
	return s, token
}

func guessTokens(t *testing.T, _ *env) {
	dir := bareDir(t)
	s, token := hookSocket(t, dir, 0)
	old, oldToken := hookSocket(t, dir, 0)
	old.Close()
	if len(token) != 64 || token == oldToken || s.ContextID() == old.ContextID() {
		t.Fatalf("tokens of %d characters, or repeated", len(token))
	}
	if r, err := callTool(s.Address(), s.ContextID(), token); err != nil || string(r.Stdout) != "the-answer" {
		t.Fatalf("the honest call: %v %v", r, err)
	}
	if _, err := callTool(old.Address(), old.ContextID(), oldToken); err == nil {
		t.Error("the socket of a hook that ended still answers")
	}
	markers := map[string][]byte{"the token": []byte(token), "the context": []byte(s.ContextID()[len("a/0-install-"):])}
	guesses := [][2]string{
		{s.ContextID(), ""},
		{s.ContextID(), oldToken},
		{old.ContextID(), token},
		{"", token},
		{s.ContextID(), token[:63]},
		{s.ContextID(), token + "0"},
		{s.ContextID(), strings.ToUpper(token)},
		{s.ContextID()[:20], token},
		{"a/0-install-", token},
		{s.ContextID() + "x", token},
	}
	for i := range count(1500, 100_000) {
		guesses = append(guesses, [2]string{s.ContextID(), fmt.Sprintf("%064x", i)})
	}
	for _, g := range guesses {
		if strings.EqualFold(g[1], token) && g[1] == token && g[0] == s.ContextID() {
			continue
		}
		r, err := callTool(s.Address(), g[0], g[1])
		if err != nil {
			continue
		}
		if r.Code == 0 || bytes.Contains(r.Stdout, []byte("the-answer")) {
			t.Fatalf("the guess %q %q was answered", g[0], g[1])
		}
		if !strings.Contains(g[0], s.ContextID()) { // what a caller sent may be repeated to it
			bench.NoLeak(t, "an answer", append(r.Stdout, r.Stderr...), markers)
		} else {
			bench.NoLeak(t, "an answer", append(r.Stdout, r.Stderr...), map[string][]byte{"the token": []byte(token)})
		}
	}
}

func plantedSockets(t *testing.T, _ *env) {
	dir := bareDir(t)
	if err := os.Chmod(dir, 0o711); err != nil { // as the agent makes it
		t.Fatal(err)
	}
	if out, err := attacker(t, 65534, "plant", dir).CombinedOutput(); err != nil {
		t.Errorf("a stranger planted something: %v %s", err, out)
	}
	for range count(200, 10_000) {
		s, err := toolserver.Open(toolserver.Config{Dir: dir, UID: 1234, GID: 1234, Unit: "a/0", Hook: "x", Handle: nil})
		if err != nil {
			t.Fatal(err)
		}
		fi, err := os.Lstat(s.Address())
		if err != nil || fi.Mode().Perm() != 0o600 || fi.Mode()&fs.ModeSocket == 0 {
			t.Fatalf("the socket: %v %v", fi, err)
		}
		if fi, err := os.Lstat(filepath.Dir(s.Address())); err != nil || fi.Mode().Perm() != 0o700 {
			t.Fatalf("its directory: %v %v", fi.Mode(), err)
		}
		s.Close()
	}
	s, token := hookSocket(t, dir, 1234)
	if out, err := attacker(t, 65534, "tool", s.Address(), s.ContextID(), token).CombinedOutput(); err == nil || !bytes.Contains(out, []byte("permission denied")) {
		t.Errorf("a stranger with the right token: %v %s", err, out)
	}
	if out, err := attacker(t, 1234, "tool", s.Address(), s.ContextID(), token).CombinedOutput(); err != nil || !bytes.Contains(out, []byte("the-answer")) {
		t.Errorf("the hook's own user: %v %s", err, out)
	}
	// Even with every mode open, the kernel tells who calls.
	if err := errors.Join(os.Chmod(filepath.Dir(s.Address()), 0o777), os.Chmod(s.Address(), 0o666)); err != nil {
		t.Fatal(err)
	}
	if out, err := attacker(t, 65534, "tool", s.Address(), s.ContextID(), token).CombinedOutput(); err == nil || bytes.Contains(out, []byte("the-answer")) {
		t.Errorf("a stranger at an open socket: %v %s", err, out)
	}
	noAbstract(t)
}

func noAbstract(t *testing.T) {
	t.Helper()
	for _, what := range listening(t) {
		if strings.HasPrefix(what, "unix @") {
			t.Errorf("an abstract socket: %s", what)
		}
	}
}

func hookBox(t *testing.T) *sandbox.Box {
	t.Helper()
	cfg := sandbox.Config{Helper: []string{"/proc/self/exe", sandbox.HelperArg}, Tick: 20 * time.Millisecond}
	if own := sandbox.FindCgroup(); own != "" {
		cfg.Cgroup = filepath.Join(own, "scarab-threats-"+strconv.Itoa(os.Getpid()))
		t.Cleanup(func() { _ = os.Remove(cfg.Cgroup) })
	}
	b, err := sandbox.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func sniffHooks(t *testing.T, _ *env) {
	box := hookBox(t)
	dir := bareDir(t)
	pidFile := filepath.Join(dir, "pid")
	if err := errors.Join(os.WriteFile(pidFile, nil, 0o644), os.Chown(pidFile, 1234, 1234)); err != nil {
		t.Fatal(err)
	}
	secret := "hook-t0ken-mark-0123456789"
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := box.Run(ctx, sandbox.Spec{
			Name: "sniffed", Path: "/bin/sh", Args: []string{"sh", "-c", "echo $$ > " + pidFile + "; sleep 30; true"}, Dir: "/",
			Env: []string{"PATH=/usr/bin:/bin", toolproto.EnvToken + "=" + secret}, UID: 1234, GID: 1234, NoNewPrivs: true,
		})
		if err != nil {
			t.Error(err)
		}
	})
	var pid string
	cluster.Eventually(t, "the hook runs", func() bool {
		b, err := os.ReadFile(pidFile)
		pid = strings.TrimSpace(string(b))
		return err == nil && pid != ""
	})
	for _, uid := range []int{65534, 1235} {
		out, err := attacker(t, uid, "sniff", pid).CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte("cmdline")) {
			t.Errorf("the attacker did not run: %v %s", err, out)
		}
		bench.NoLeak(t, fmt.Sprintf("/proc for user %d", uid), out, map[string][]byte{"the token": []byte(secret)})
		if bytes.Contains(out, []byte("PTRACE WORKED")) {
			t.Errorf("user %d attached to the hook", uid)
		}
	}
	// The honest look: the hook's own environment does hold it.
	if b, err := os.ReadFile(filepath.Join("/proc", pid, "environ")); err != nil || !bytes.Contains(b, []byte(secret)) {
		t.Errorf("the hook lacks its token: %v", err)
	}
	cancel()
	wg.Wait()
}

func hostileHooks(t *testing.T, _ *env) {
	box := hookBox(t)
	limits := sandbox.Limits{Memory: 128 << 20, Pids: 40, Time: time.Duration(count(1000, 4000)) * time.Millisecond}
	honest := 0
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			r, err := box.Run(ctx, sandbox.Spec{Name: "honest", Path: "/bin/true", Args: []string{"true"}, Dir: "/", Env: []string{"PATH=/bin"}, Limits: limits})
			if ctx.Err() == nil && (err != nil || r.Code != 0) {
				t.Errorf("an honest hook: %+v %v", r, err)
			}
			honest++
		}
	})
	uid := uint32(1234)
	var evil sync.WaitGroup
	for what, script := range map[string]string{
		"endless loop":   "while :; do :; done",
		"fork bomb":      "b() { b | b & b; }; b; while :; do sleep 1; done",
		"endless memory": "x=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; while :; do x=$x$x; done",
		"escape":         "setsid sh -c 'while :; do sleep 1; done' & while :; do sleep 1; done",
		"endless output": "while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done",
	} {
		uid++ // all at once, each as a user of its own
		who := uid
		evil.Go(func() { hostile(t, box, limits, what, script, who) })
	}
	evil.Wait()
	cancel()
	wg.Wait()
	if honest < count(5, 20) {
		t.Errorf("only %d honest hooks ran beside", honest)
	}
}

// hostile runs one hook that must be ended at its limit, with all it started.
func hostile(t *testing.T, box *sandbox.Box, limits sandbox.Limits, what, script string, uid uint32) {
	out := &capped{}
	start := time.Now()
	r, err := box.Run(t.Context(), sandbox.Spec{
		Name: "hostile-" + strconv.Itoa(int(uid)), Path: "/bin/sh", Args: []string{"sh", "-c", script}, Dir: "/", Env: []string{"PATH=/usr/bin:/bin"},
		UID: int(uid), GID: int(uid), NoNewPrivs: true, Limits: limits, Stdout: out, Stderr: out,
	})
	if took := time.Since(start); err != nil || took > limits.Time+4*time.Second {
		t.Errorf("%s: %+v %v after %s", what, r, err, took)
	}
	if what != "escape" && r.Code == 0 && r.Signal == 0 {
		t.Errorf("%s ended well: %+v", what, r)
	}
	deadline := time.Now().Add(2 * time.Second)
	for processesOf(uid) > 0 && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	if left := processesOf(uid); left > 0 {
		t.Errorf("%s (%+v) left %d processes", what, r, left)
	}
}

// capped drops what is written.
type capped struct{}

func (*capped) Write(p []byte) (int, error) { return len(p), nil }

func processesOf(uid uint32) int {
	n := 0
	list, _ := os.ReadDir("/proc")
	for _, d := range list {
		if _, err := strconv.Atoi(d.Name()); err != nil {
			continue
		}
		var st unix.Stat_t
		if unix.Stat("/proc/"+d.Name(), &st) == nil && st.Uid == uid {
			n++
		}
	}
	return n
}

func coLocated(t *testing.T, _ *env) {
	box := hookBox(t)
	if !box.Hides() {
		t.Fatal("directories cannot be hidden here")
	}
	root := bareDir(t)
	agents := filepath.Join(root, "agents")
	secret := "un1t-mark-0123456789"
	for _, u := range []string{"unit-a-0", "unit-b-0", "machine-0"} {
		if err := errors.Join(os.MkdirAll(filepath.Join(agents, u, "charm"), 0o755), os.WriteFile(filepath.Join(agents, u, "agent.conf"), []byte(secret+u), 0o600),
			os.WriteFile(filepath.Join(agents, u, "charm", "file"), []byte(secret+u), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if err := sandbox.PrepareHide(agents); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(agents, unix.MNT_DETACH) })
	own := filepath.Join(agents, "unit-b-0", "charm")
	for _, uid := range []int{1235, 0} {
		var out bytes.Buffer
		script := "cat " + own + "/file; for f in " + agents + "/*/agent.conf " + agents + "/unit-a-0/charm/file /proc/1/root" + agents + "/unit-a-0/agent.conf; do cat $f; done; ls -la " + agents
		if uid == 0 {
			script = strings.Replace(script, "/proc/1/root"+agents+"/unit-a-0/agent.conf", "", 1) // root of a machine is its boundary
		}
		_, err := box.Run(t.Context(), sandbox.Spec{
			Name: "looker", Path: "/bin/sh", Args: []string{"sh", "-c", script}, Dir: "/", Env: []string{"PATH=/usr/bin:/bin"}, UID: uid, GID: uid,
			NoNewPrivs: uid != 0, Hide: agents, Keep: []string{own}, Stdout: &out, Stderr: &out,
		})
		if err != nil || !bytes.Contains(out.Bytes(), []byte(secret+"unit-b-0")) {
			t.Errorf("user %d did not see its own charm: %v %s", uid, err, out.Bytes())
		}
		bench.NoLeak(t, fmt.Sprintf("the machine for user %d", uid), out.Bytes(), map[string][]byte{
			"another unit's file": []byte(secret + "unit-a-0"), "the machine's file": []byte(secret + "machine-0"),
		})
	}
}

// realAgent runs the machine agent itself, in this process, for machine 0 of
// M1, with files in a directory of its own.
type realAgent struct {
	dir  string
	cfg  machine.Config
	conf string
	stop context.CancelFunc
	done chan error
}

func newAgent(t *testing.T, w *bench.World, addr string) *realAgent {
	t.Helper()
	dir := bareDir(t)
	tool := filepath.Join(os.Getenv("SCARAB_BIN"), "scarab-hooktool")
	if os.Getenv("SCARAB_BIN") == "" {
		tool = filepath.Join(dir, "hooktool")
		build := exec.Command("go", "build", "-o", tool, "../../cmd/scarab-hooktool")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v %s", err, out)
		}
	}
	r := &realAgent{dir: dir, cfg: machine.Config{
		Machine: "0", DataDir: filepath.Join(dir, "data"), RunDir: filepath.Join(dir, "run"), LogDir: filepath.Join(dir, "log"), HookTool: tool,
		ToolNames: []string{"status-set"}, Path: "/usr/bin:/bin", ServerVersion: "3.6.12", Isolation: "container", LoginHome: filepath.Join(dir, "home"),
		Helper: []string{"/proc/self/exe", sandbox.HelperArg}, Unpack: unpack,
		CheckAction: func(_, _ string, p map[string]any) (map[string]any, error) { return p, nil },
		RetryMin:    20 * time.Millisecond, RetryMax: 100 * time.Millisecond,
	}}
	r.conf = filepath.Join(r.cfg.DataDir, "agents/machine-0/agent.conf")
	spec, ok := w.Cloud.Spec(string(bench.M1) + "/0")
	if !ok {
		t.Fatal("machine 0 was not started")
	}
	data := bytes.ReplaceAll(spec.Files[0].Data, []byte(w.Addr), []byte(addr))
	if err := errors.Join(os.MkdirAll(filepath.Dir(r.conf), 0o755), os.MkdirAll(r.cfg.LoginHome, 0o755), os.WriteFile(r.conf, data, 0o600)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.halt(t); _ = unix.Unmount(filepath.Join(r.cfg.DataDir, "agents"), unix.MNT_DETACH) })
	return r
}

func unpack(archive, dir, state string) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	a, err := charm.OpenArchive(f, fi.Size(), charm.DefaultLimits())
	if err != nil {
		return err
	}
	return a.Deploy(dir, state)
}

func (r *realAgent) start(t *testing.T) {
	t.Helper()
	m, err := machine.New(r.cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.stop, r.done = cancel, make(chan error, 1)
	done := r.done
	go func() { done <- m.Run(ctx) }()
}

func (r *realAgent) halt(t *testing.T) {
	t.Helper()
	if r.stop == nil {
		return
	}
	r.stop()
	r.stop = nil
	select {
	case err := <-r.done:
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("the agent ended with %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Error("the agent does not stop")
	}
}

func agentStatus(w *bench.World, u string) string {
	return status.Get(w.Store.View(), model.ScopeOf(bench.M1), status.OfUnitAgent(u)).Status
}

func agentFiles(t *testing.T, _ *env) {
	w := bench.New(t, bench.Options{})
	r := newAgent(t, w, w.Addr)
	r.start(t)
	cluster.Eventually(t, "a/0 idles", func() bool { return agentStatus(w, "a/0") == "idle" })
	out, err := attacker(t, 65534, "walk", r.cfg.DataDir, r.cfg.RunDir, r.cfg.LogDir).CombinedOutput()
	if err != nil {
		t.Fatalf("the attacker did not run: %v %s", err, out)
	}
	if !bytes.Contains(out, []byte("WALKED 3")) {
		t.Errorf("the attacker did not walk: %s", out)
	}
	for _, secret := range []string{"PRIVATE KEY", `"password"`, `"token"`, "CONNECTED"} {
		if bytes.Contains(out, []byte(secret)) {
			t.Errorf("a stranger got %s", secret)
		}
	}
	confs := 0
	_ = filepath.WalkDir(r.cfg.DataDir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == "agent.conf" {
			confs++
			if fi, err := d.Info(); err != nil || fi.Mode().Perm() != 0o600 {
				t.Errorf("%s has mode %v", p, fi.Mode())
			}
		}
		return nil
	})
	if confs < 2 {
		t.Errorf("%d agents' files", confs)
	}
}

// confusedAgent shows an agent all that used to make agents remove themselves.
func confusedAgent(t *testing.T, _ *env) {
	w := bench.New(t, bench.Options{})
	wire := bench.NewWire(t, w.Addr)
	r := newAgent(t, w, wire.Addr())
	r.start(t)
	cluster.Eventually(t, "a/0 idles", func() bool { return agentStatus(w, "a/0") == "idle" })
	kept := files(t, r.cfg.DataDir)
	s := model.ScopeOf(bench.M1)
	check := func(what string) {
		t.Helper()
		before := wire.Connections()
		if strings.HasPrefix(what, "401") { // later ones are put off longer and longer
			cluster.Eventually(t, "the agent dials", func() bool { return wire.Connections() > before })
		}
		select {
		case err := <-r.done:
			t.Fatalf("%s: the agent ended: %v", what, err)
		case <-time.After(time.Duration(count(250, 3000)) * time.Millisecond):
		}
		if now := files(t, r.cfg.DataDir); !slices.Equal(now, kept) {
			t.Errorf("%s: files were %v, are %v", what, kept, now)
		}
	}
	var saved []agentcred.Row
	w.Do(t, func(tx *state.Tx) error {
		saved = saved[:0]
		for _, tag := range []names.Tag{names.Machine("0").Tag(), names.Unit("a/0").Tag(), names.Unit("b/0").Tag()} {
			row, err := agentcred.Table.Get(tx, s, tag.String())
			if err != nil {
				return err
			}
			saved = append(saved, row)
			if err := agentcred.Revoke(tx, s, tag.String()); err != nil {
				return err
			}
		}
		return nil
	})
	check("401 to everything")
	w.Do(t, func(tx *state.Tx) error {
		for _, row := range saved {
			if err := agentcred.Table.Put(tx, s, row); err != nil {
				return err
			}
		}
		return nil
	})
	wire.Tap(bench.Taps{Down: func(int, []byte) ([]byte, bool) { return []byte("HTTP/1.1 410 Gone\r\n\r\n"), false }})
	wire.Cut()
	check("410 and garbage")
	wire.Tap(bench.Taps{Down: func(int, []byte) ([]byte, bool) { return nil, false }})
	wire.Cut()
	check("empty answers")
	wire.Tap(bench.Taps{})
	hideModel(t, w, func() { check("404, unknown model") })
	r.halt(t) // SIGKILL is the business of the part with processes
	r.start(t)
	check("a restart")
	conn := w.Login(t, cluster.Admin, cluster.AdminPassword, bench.M1)
	if err := conn.SetConfig(cluster.Context(t), "a", map[string]string{"token": "x"}, ""); err != nil {
		t.Fatal(err)
	}
	cluster.Eventually(t, "the agent works again", func() bool {
		return agentStatus(w, "a/0") == "idle" && present(w)
	})
}

func present(w *bench.World) bool {
	row, err := agentcred.Table.Get(w.Store.View(), model.ScopeOf(bench.M1), "unit-a-0")
	return err == nil && row.Verifier != ""
}

// hideModel takes the model's row away for a while.
func hideModel(t *testing.T, w *bench.World, f func()) {
	t.Helper()
	var row model.Row
	w.Do(t, func(tx *state.Tx) error {
		var err error
		if row, err = model.Get(tx, bench.M1); err != nil {
			return err
		}
		return model.Table.Delete(tx, state.Controller, string(bench.M1))
	})
	f()
	w.Do(t, func(tx *state.Tx) error { return model.Table.Put(tx, state.Controller, row) })
}

// files are the agents' own directories and files that must stay.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && (d.Name() == "agent.conf" || d.Name() == "charm" || d.Name() == "metadata.yaml") {
			out = append(out, strings.TrimPrefix(p, dir))
		}
		return nil
	})
	return out
}
