package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/scarab-ops/scarab/container/firewall"
	"golang.org/x/sys/unix"

	"github.com/scarab-ops/scarab/container/proc"
)

// adopt takes the recorded machines over.
func (r *Runtime) adopt() error {
	recorded, broken, err := r.store.load()
	if err != nil {
		return err
	}
	var lost, stopped []*Machine
	var walls []firewall.Machine
	for _, m := range recorded {
		r.machines[m.ID] = m
		fd, err := proc.Open(m.Pid, m.PidStart, m.BootID)
		alive := err == nil
		if alive {
			_ = unix.Close(fd)
		}
		switch {
		case m.State == StateCreating || m.State == StateRemoving:
			lost = append(lost, m)
		case alive && m.State == StateRunning:
			walls = append(walls, r.net.wallOf(m))
		default:
			stopped = append(stopped, m)
		}
	}
	for _, id := range broken {
		lost = append(lost, &Machine{ID: id})
	}
	if err := r.wall.Rebuild(walls); err != nil {
		return err
	}
	var wg sync.WaitGroup
	for _, m := range lost {
		wg.Go(func() {
			if err := r.wipe(m); err != nil {
				r.cfg.Log.Warn("cannot remove a half-made machine", "machine", m.ID, "error", err)
			}
		})
	}
	wg.Wait()
	for _, w := range walls {
		m, err := r.Get(w.ID)
		if err != nil {
			continue
		}
		r.watchRunning(&m)
		if m.Profile == ProfileSystem && m.Booted.IsZero() {
			r.background(func() { r.askBooted(m.ID) })
		}
	}
	for _, m := range stopped {
		now := *m
		now.State = StateStopped
		r.machines[m.ID] = &now
		r.later(m.ID, 0)
	}
	return nil
}

// watchRunning waits for the end of a machine.
func (r *Runtime) watchRunning(m *Machine) {
	fd, err := proc.Open(m.Pid, m.PidStart, m.BootID)
	if err == nil {
		err = r.exits.Add(m.ID, fd)
	}
	if err != nil {
		r.onExit(m.ID)
	}
}

// background runs f until Close, which waits for it.
func (r *Runtime) background(f func()) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx.Err() != nil {
		return false
	}
	r.wg.Go(f)
	return true
}

// askBooted asks the init of an adopted machine, which told our predecessor
// or nobody.
func (r *Runtime) askBooted(id string) {
	ctx, cancel := context.WithTimeout(r.ctx, 5*time.Minute)
	defer cancel()
	for ctx.Err() == nil {
		_, err := r.Exec(ctx, id, []string{"systemctl", "is-system-running", "--wait"}, nil, io.Discard, io.Discard)
		if err == nil {
			var out strings.Builder
			_, err = r.Exec(ctx, id, []string{"systemctl", "is-system-running"}, nil, &out, io.Discard)
			if state := strings.TrimSpace(out.String()); err == nil && (state == "running" || state == "degraded") {
				r.setBooted(id)
				return
			}
		}
		if _, err := r.Get(id); err != nil {
			return
		}
		select {
		case <-time.After(time.Second): // its bus is not up yet
		case <-ctx.Done():
		}
	}
}

// onExit is called when a machine's first process ended: it rebooted, was
// powered off, or died. It starts again until somebody destroys it.
func (r *Runtime) onExit(id string) {
	m, err := r.Get(id)
	if err != nil || m.State != StateRunning {
		return
	}
	// A machine that ran for long was healthy: no reason to wait.
	pause := r.cfg.RestartPause << min(m.Restarts, 6)
	if r.cfg.Now().Sub(m.Ready) > 5*time.Minute {
		pause = r.cfg.RestartPause
	}
	if _, err := r.change(id, func(m *Machine) { m.State, m.Message = StateStopped, "its first process ended" }); err != nil {
		return
	}
	r.later(id, min(pause, time.Minute))
}

// later starts a stopped machine after a pause, in the background.
func (r *Runtime) later(id string, pause time.Duration) {
	r.background(func() {
		timer := time.NewTimer(pause)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.ctx.Done():
			return
		}
		r.startAgain(id, pause)
	})
}

func (r *Runtime) startAgain(id string, pause time.Duration) {
	release, err := r.hold(r.ctx, id)
	if err != nil {
		return
	}
	defer release()
	m, err := r.Get(id)
	if err != nil || m.State != StateStopped {
		return
	}
	r.exits.Forget(id)
	if _, err := r.restart(r.ctx, &m); err != nil {
		r.cfg.Log.Warn("cannot start a machine again", "machine", id, "error", err)
		r.later(id, min(max(2*pause, r.cfg.RestartPause), time.Minute))
	}
}

func (r *Runtime) notifySocket(id string) string {
	return filepath.Join(r.cfg.RunDir, "notify", id)
}

// listenNotify makes the socket at which the machine's init says that it has
// booted, and gives a detached mount of it.
func (r *Runtime) listenNotify(m *Machine) (int, error) {
	name := r.notifySocket(m.ID)
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return -1, fmt.Errorf("cannot listen for the machine: %w", err)
	}
	_ = os.Remove(name)
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return -1, fmt.Errorf("cannot listen for the machine: %w", err)
	}
	if err = errors.Join(os.Chmod(name, 0o600), os.Chown(name, m.IDBase, m.IDBase)); err == nil {
		var fd int
		fd, err = unix.OpenTree(unix.AT_FDCWD, name, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
		if err == nil {
			r.listenBoot(m.ID, conn)
			return fd, nil
		}
	}
	_ = conn.Close()
	return -1, fmt.Errorf("cannot listen for the machine: %w", err)
}

// listenBoot reads what the init says, which is not trusted beyond one word.
func (r *Runtime) listenBoot(id string, conn *net.UnixConn) {
	ok := r.background(func() {
		defer conn.Close()
		stop := context.AfterFunc(r.ctx, func() { _ = conn.Close() })
		defer stop()
		_ = conn.SetDeadline(time.Now().Add(10 * time.Minute))
		buf := make([]byte, 4096)
		for range 10_000 {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			if hasLine(string(buf[:n]), "READY=1") {
				r.setBooted(id)
				return
			}
		}
	})
	if !ok {
		_ = conn.Close()
	}
}

func hasLine(text, line string) bool {
	for l := range strings.SplitSeq(text, "\n") {
		if l == line {
			return true
		}
	}
	return false
}

func (r *Runtime) setBooted(id string) {
	now := r.cfg.Now()
	_, _ = r.change(id, func(m *Machine) { m.Booted = now })
}
