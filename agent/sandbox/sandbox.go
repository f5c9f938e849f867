// Package sandbox runs one program confined: as a given user, in a cgroup of
// its own that dies as a whole, under limits of memory, processes, files and
// time, and with directories of the agent hidden from it. It owns how a
// process is started and ended. It knows nothing of charms.
//
// What holds a hook, and what does not:
//
//   - A cgroup2 directory for each run, from birth; ended by cgroup.kill. Where
//     the memory and pids controllers are delegated they carry the limits; where
//     they are not (hybrid hosts) a watchdog adds up what the cgroup's
//     processes use, ten times a second, and ends the run over its limit.
//   - Without cgroup2, the session of the run stands for its cgroup; a process
//     that leaves the session leaves the limits too.
//   - Hidden directories are covered, in a mount namespace of the run's own, by
//     an empty read-only file system. For a charm that runs as root this keeps
//     honest charms out; the machine stays its boundary, because root of a
//     machine can find another way. Charms of other users are held by
//     ownership as well, and get no_new_privs.
//   - The kernel ends a run before the agent when memory gets short
//     (oom_score_adj).
package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
)

// HelperArg is the hidden first argument under which the agent's own binary
// becomes the helper that confines itself and then executes the program.
const HelperArg = "hook-helper"

// Limits of one run; zero means none.
type Limits struct {
	Memory int64 // bytes
	Pids   int
	Time   time.Duration
}

// Spec is one run.
type Spec struct {
	Name   string   // of the cgroup; letters, digits, dashes
	Path   string   // absolute
	Args   []string // including argv[0]
	Env    []string
	Dir    string
	UID    int
	GID    int
	Groups []int
	// NoNewPrivs keeps set-uid programs from giving privileges.
	NoNewPrivs bool
	// Hide is a directory whose content the run must not see, but for the
	// directories in Keep, each directly or deeper inside it.
	Hide           string
	Keep           []string
	Limits         Limits
	Stdout, Stderr io.Writer
}

// Result is how a run ended.
type Result struct {
	Code   int            // exit code, -1 when a signal ended it
	Signal syscall.Signal // 0 when it exited
	// Limit names the limit that ended it: memory, pids, time.
	Limit string
	// Stopped is true when the context ended the run.
	Stopped bool
}

// Config says what the machine offers.
type Config struct {
	// Helper is the command that becomes the helper, usually the agent's own
	// binary with HelperArg.
	Helper []string
	// Cgroup is a directory below the agent's own cgroup2; empty for no
	// cgroups. See FindCgroup.
	Cgroup string
	// Tick is how often the watchdog looks; 0 is 100 ms.
	Tick time.Duration
}

// Box runs programs.
type Box struct {
	cfg   Config
	hides bool
	moves atomic.Bool // helpers are moved into their cgroup, not born there
}

// New prepares the cgroup tree, ends what an earlier agent left running in it,
// and finds out whether directories can be hidden here.
func New(cfg Config) (*Box, error) {
	if cfg.Tick == 0 {
		cfg.Tick = 100 * time.Millisecond
	}
	if cfg.Cgroup != "" {
		if err := prepareTree(cfg.Cgroup); err != nil {
			return nil, fmt.Errorf("cannot prepare cgroups for hooks: %w", err)
		}
	}
	b := &Box{cfg: cfg}
	b.hides = b.probe()
	return b, nil
}

// Close removes the cgroup tree; what still runs in it keeps its part.
func (b *Box) Close() {
	if b.cfg.Cgroup != "" {
		_ = os.Remove(b.cfg.Cgroup) // refused while it is in use
	}
}

// Hides reports whether directories can be hidden from a run.
func (b *Box) Hides() bool { return b.hides }

func (b *Box) probe() bool {
	cmd := exec.Command(b.cfg.Helper[0], append(b.cfg.Helper[1:], "probe")...)
	cmd.Env = []string{}
	return cmd.Run() == nil
}

// Run starts the program and waits for its end. An error means that it could
// not be started; how it ended is in the result.
func (b *Box) Run(ctx context.Context, s Spec) (Result, error) {
	if !b.hides {
		s.Hide, s.Keep = "", nil
	}
	g, err := b.group(s)
	if err != nil {
		return Result{}, err
	}
	defer g.close()
	spec, err := json.Marshal(s.wire())
	if err != nil {
		return Result{}, fmt.Errorf("cannot describe run: %v", err)
	}
	type ended struct {
		r   Result
		err error
	}
	out := make(chan ended, 1)
	go func() {
		// The thread that starts a process must outlive it: its end is the
		// parent's death for the kernel.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		r, err := b.run(ctx, s, g, spec)
		out <- ended{r, err}
	}()
	e := <-out
	return e.r, e.err
}

// begin starts the helper in its control group. The kernel can do so at birth;
// where a machine's filter forbids that call, the helper is moved before it
// gets its orders, so that nothing of the program ever runs outside.
func (b *Box) begin(s Spec, g *group, spec []byte) (*exec.Cmd, error) {
	if g.fd >= 0 && !b.moves.Load() {
		cmd := b.helper(s)
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, g.fd
		cmd.Stdin = bytes.NewReader(spec)
		err := cmd.Start()
		if !errors.Is(err, syscall.ENOSYS) {
			return cmd, err
		}
		b.moves.Store(true)
	}
	cmd := b.helper(s)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	if g.fd >= 0 {
		err = g.take(cmd.Process.Pid)
	}
	if err == nil {
		_, err = in.Write(spec)
	}
	if err = errors.Join(err, in.Close()); err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return nil, err
	}
	return cmd, nil
}

func (b *Box) helper(s Spec) *exec.Cmd {
	cmd := exec.Command(b.cfg.Helper[0], b.cfg.Helper[1:]...)
	cmd.Env, cmd.Dir = []string{}, "/"
	cmd.Stdout, cmd.Stderr = s.Stdout, s.Stderr
	cmd.WaitDelay = time.Second // of background processes that keep the pipes
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	return cmd
}

func (b *Box) run(ctx context.Context, s Spec, g *group, spec []byte) (Result, error) {
	cmd, err := b.begin(s, g, spec)
	if err != nil {
		return Result{}, fmt.Errorf("cannot start helper: %w", err)
	}
	g.leader = cmd.Process.Pid
	over, limit := make(chan struct{}), make(chan string, 1)
	go func() { limit <- b.watchdog(ctx, over, s.Limits, g) }()
	err = cmd.Wait()
	close(over)
	r := Result{Limit: <-limit, Stopped: ctx.Err() != nil}
	if r.Limit != "" || r.Stopped {
		g.kill()
	}
	var ee *exec.ExitError
	if err != nil && !errors.As(err, &ee) && !errors.Is(err, exec.ErrWaitDelay) {
		return r, fmt.Errorf("cannot wait for run: %w", err)
	}
	ws, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
	r.Code = cmd.ProcessState.ExitCode()
	if ws.Signaled() {
		r.Signal = ws.Signal()
	}
	return r, nil
}

// watchdog ends the run over a limit or with the context, and returns the
// limit's name.
func (b *Box) watchdog(ctx context.Context, ended <-chan struct{}, l Limits, g *group) string {
	tick := time.NewTicker(b.cfg.Tick)
	defer tick.Stop()
	var deadline <-chan time.Time
	if l.Time > 0 {
		t := time.NewTimer(l.Time)
		defer t.Stop()
		deadline = t.C
	}
	over := ""
	for over == "" {
		select {
		case <-ended:
			return ""
		case <-ctx.Done():
			g.kill()
			return ""
		case <-deadline:
			over = "time"
		case <-tick.C:
			over = g.over(l)
		}
	}
	g.kill()
	return over
}
