package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scarab-ops/scarab/container/proc"
)

// sweepPause is how long connections of the gone are gathered.
const sweepPause = time.Second

// Destroy ends a machine and removes everything of it. The unknown is no error.
func (r *Runtime) Destroy(ctx context.Context, id string) error {
	if !idPattern.MatchString(id) {
		return nil // no machine of ours was ever called so
	}
	release, err := r.hold(ctx, id)
	if err != nil {
		return err
	}
	defer release()
	if _, err := r.Get(id); err != nil {
		return nil
	}
	m, err := r.change(id, func(m *Machine) { m.State = StateRemoving })
	if err != nil {
		return err
	}
	return r.wipe(m)
}

// DestroyAll ends many machines at once.
func (r *Runtime) DestroyAll(ctx context.Context, ids ...string) error {
	errs, slots := make(chan error, len(ids)), make(chan struct{}, 8)
	for _, id := range ids {
		go func() {
			slots <- struct{}{}
			errs <- r.Destroy(ctx, id)
			<-slots
		}()
	}
	var err error
	for range ids {
		err = errors.Join(err, <-errs)
	}
	return err
}

// wipe removes all of a machine; on an error the record stays, so that it is
// tried again at the next start.
func (r *Runtime) wipe(m *Machine) error {
	r.exits.Forget(m.ID)
	if err := r.clean(m, func() error { return r.store.removeFiles(m.ID) }); err != nil {
		return err
	}
	if err := os.RemoveAll(r.store.machineDir(m.ID)); err != nil {
		return fmt.Errorf("cannot remove the record of machine %s: %w", m.ID, err)
	}
	r.mu.Lock()
	delete(r.machines, m.ID)
	r.tell()
	r.mu.Unlock()
	r.sweepSoon()
	return nil
}

// sweepSoon forgets what the kernel remembers of the connections of machines
// that are gone, once for all that go at about the same time. Until then their
// addresses have no new owner.
func (r *Runtime) sweepSoon() {
	r.mu.Lock()
	due := r.sweeping
	r.sweeping = true
	r.mu.Unlock()
	if due {
		return
	}
	r.background(func() {
		select {
		case <-time.After(sweepPause):
		case <-r.ctx.Done():
		}
		r.mu.Lock()
		r.sweeping = false
		r.mu.Unlock()
		if err := r.wall.Sweep(); err != nil {
			r.cfg.Log.Warn("cannot forget the connections of a machine that is gone", "error", err)
		}
	})
}

// clean ends a machine's processes and removes what it has outside of its
// folder, all at once: each part waits for the kernel. Without its place in the
// packet filter a machine that still runs is heard by nobody. What is to be
// done once its processes are gone is done meanwhile.
func (r *Runtime) clean(m *Machine, gone func() error) error {
	errs := make(chan error, 3)
	go func() {
		r.kill(m)
		err := r.groups.Remove(m.ID)
		if err == nil {
			err = gone()
		}
		errs <- err
	}()
	go func() { errs <- r.net.detach(m.ID, r.background) }()
	go func() { errs <- r.wall.Remove(m.ID) }()
	var err error
	for range 3 {
		err = errors.Join(err, <-errs)
	}
	_ = os.Remove(r.notifySocket(m.ID))
	if m.Isolation == IsolationProcess {
		err = errors.Join(err, os.RemoveAll(r.runDirOf(m.ID)))
	}
	return err
}

// kill ends all processes of a machine and waits for them. The first process
// is only touched if it is the one that was recorded.
func (r *Runtime) kill(m *Machine) {
	defer r.groups.KillAll(m.ID)
	if uid := ownUser(m); m.Isolation == IsolationProcess && uid != 0 {
		defer proc.KillTree(0, uid) // its user is nobody else's
	}
	fd, err := proc.Open(m.Pid, m.PidStart, m.BootID)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if m.Isolation == IsolationProcess {
		proc.KillTree(m.Pid, ownUser(m))
	}
	_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
	proc.AwaitExit(fd, 20*time.Second)
}
