package hostd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	firstPause   = 200 * time.Millisecond
	longestPause = 30 * time.Second
	healthyAfter = time.Minute
	stopPatience = 20 * time.Second
	maxChildLog  = 32 << 20
)

// child keeps the controller's process running. The process outlives a
// supervisor that is killed; the next one finds it by its record.
type child struct {
	cfg    *ControllerConfig
	record string
	log    *slog.Logger
	halt   chan struct{} // closed: stop and stay so
	once   sync.Once
	ended  chan struct{} // closed when the process ended for good

	mu       sync.Mutex
	pid      int
	restarts int
}

type childRecord struct {
	Pid   int    `json:"pid"`
	Start string `json:"start"`
}

func newChild(cfg *ControllerConfig, record string, log *slog.Logger) *child {
	return &child{cfg: cfg, record: record, log: log, halt: make(chan struct{}), ended: make(chan struct{})}
}

func (c *child) state() (pid, restarts int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pid, c.restarts
}

func (c *child) set(pid int, again bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pid = pid
	if again {
		c.restarts++
	}
}

// stop ends the process and keeps it so.
func (c *child) stop(ctx context.Context) error {
	c.once.Do(func() { close(c.halt) })
	select {
	case <-c.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("cannot stop the controller: %w", ctx.Err())
	}
}

// run starts the process again whenever it ends, until ctx ends or stop.
func (c *child) run(ctx context.Context) error {
	if c.cfg != nil && len(c.cfg.Argv) > 0 {
		c.keep(ctx)
	}
	close(c.ended)
	<-ctx.Done()
	return nil
}

func (c *child) keep(ctx context.Context) {
	pidfd, pid := c.adopt()
	for pause := firstPause; ; {
		began := time.Now()
		if pidfd < 0 {
			var err error
			if pidfd, pid, err = c.start(); err != nil {
				c.log.Error("cannot start the controller", "error", err)
			}
		}
		stopped := false
		if pidfd >= 0 {
			c.set(pid, false)
			stopped = c.await(ctx, pidfd)
			_ = unix.Close(pidfd)
			pidfd = -1
			c.set(0, !stopped)
		}
		if stopped {
			return
		}
		if time.Since(began) > healthyAfter {
			pause = firstPause
		}
		c.log.Warn("the controller ended, starting it again", "pause", pause)
		select {
		case <-time.After(pause):
		case <-c.halt:
			return
		case <-ctx.Done():
			return
		}
		pause = min(2*pause, longestPause)
	}
}

// await waits for the end of the process. It is true if we ended it.
func (c *child) await(ctx context.Context, pidfd int) bool {
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		for {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, -1)
			if n > 0 || err != nil && err != unix.EINTR {
				break
			}
		}
		_ = unix.Waitid(unix.P_PIDFD, pidfd, nil, unix.WEXITED|unix.WNOHANG, nil)
	}()
	select {
	case <-gone:
		return false
	case <-c.halt:
	case <-ctx.Done():
	}
	_ = unix.PidfdSendSignal(pidfd, unix.SIGTERM, nil, 0)
	select {
	case <-gone:
	case <-time.After(stopPatience):
		_ = unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0)
		<-gone
	}
	_ = os.Remove(c.record)
	return true
}

func (c *child) start() (pidfd, pid int, err error) {
	out, err := openLog(c.cfg.Log)
	if err != nil {
		return -1, 0, err
	}
	defer out.Close()
	cmd := exec.Command(c.cfg.Argv[0], c.cfg.Argv[1:]...)
	cmd.Env = append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"}, c.cfg.Env...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = c.cfg.Dir, out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if os.Geteuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(c.cfg.UID), Gid: uint32(c.cfg.GID), Groups: []uint32{}}
	}
	if err := startUnprivileged(cmd); err != nil {
		return -1, 0, fmt.Errorf("cannot run %s: %w", c.cfg.Argv[0], err)
	}
	pid = cmd.Process.Pid
	_ = cmd.Process.Release()
	if pidfd, err = unix.PidfdOpen(pid, 0); err != nil {
		return -1, 0, fmt.Errorf("cannot watch the controller: %w", err)
	}
	data, err := json.Marshal(childRecord{pid, processStart(pid)})
	if err == nil {
		err = os.WriteFile(c.record, data, 0o600)
	}
	if err != nil {
		c.log.Warn("cannot record the controller's process", "error", err)
	}
	return pidfd, pid, nil
}

// startUnprivileged starts a process that can never gain privileges. The
// kernel keeps this for each thread and hands it on to what the thread starts;
// the thread, which cannot go back, ends with the call.
func startUnprivileged(cmd *exec.Cmd) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread must die
		err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
		if err == nil {
			err = cmd.Start()
		}
		done <- err
	}()
	return <-done
}

// adopt finds the process that an earlier supervisor started.
func (c *child) adopt() (pidfd, pid int) {
	var rec childRecord
	data, err := os.ReadFile(c.record)
	if err != nil || json.Unmarshal(data, &rec) != nil || rec.Pid <= 1 {
		return -1, 0
	}
	fd, err := unix.PidfdOpen(rec.Pid, 0)
	if err != nil {
		return -1, 0
	}
	if start := processStart(rec.Pid); start == "" || start != rec.Start {
		_ = unix.Close(fd)
		return -1, 0
	}
	c.log.Info("found the controller running", "pid", rec.Pid)
	return fd, rec.Pid
}

// processStart tells a process from a later one with the same number, on this
// boot of the host.
func processStart(pid int) string {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return ""
	}
	text := string(data)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) < 20 || fields[0] == "Z" {
		return ""
	}
	return fields[19]
}

func openLog(name string) (*os.File, error) {
	if name == "" {
		return os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	}
	if st, err := os.Stat(name); err == nil && st.Size() > maxChildLog {
		_ = os.Rename(name, name+".1")
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot open the controller's log: %w", errors.Unwrap(err))
	}
	return f, nil
}
