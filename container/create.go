package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scarab-ops/scarab/container/confine"

	"github.com/scarab-ops/scarab/container/proc"
)

// startPatience bounds how long a machine's first process may take.
const startPatience = 60 * time.Second

// Create makes the machine of a key, or gives the one that is there.
func (r *Runtime) Create(ctx context.Context, s Spec) (Machine, error) {
	if err := s.validate(); err != nil {
		return Machine{}, fmt.Errorf("%w: %w", err, ErrBadSpec)
	}
	if err := r.checkHostFiles(s.Files); err != nil {
		return Machine{}, fmt.Errorf("%w: %w", err, ErrBadSpec)
	}
	id := MachineID(s.Controller, s.Key)
	release, err := r.hold(ctx, id)
	if err != nil {
		return Machine{}, err
	}
	defer release()
	if m, err := r.Get(id); err == nil {
		if m.Controller != s.Controller || m.Key != s.Key {
			return Machine{}, fmt.Errorf("cannot make machine %s: another key has the same id", id)
		}
		switch m.State {
		case StateRunning:
			return m, nil
		case StateStopped:
			return r.restart(ctx, &m)
		}
		return Machine{}, fmt.Errorf("cannot make machine %s: it is %s", id, m.State)
	}
	m := r.describe(id, &s)
	if err := r.allocate(m); err != nil {
		return Machine{}, err
	}
	started := *m
	err = r.make(ctx, &started, &s)
	if err != nil {
		// The caller's patience may be over; cleaning up must go on.
		return Machine{}, errors.Join(err, r.wipe(&started))
	}
	r.put(&started)
	r.watchRunning(&started)
	return started, nil
}

func (r *Runtime) describe(id string, s *Spec) *Machine {
	m := &Machine{
		ID: id, Key: s.Key, Controller: s.Controller, State: StateCreating, Isolation: r.cfg.Isolation,
		Profile: s.Profile, Hostname: s.Hostname, Root: s.Root, Limits: s.Limits, Start: s.Start,
		Resolvers: s.Resolvers, Meta: s.Meta, Created: r.cfg.Now(), BootID: proc.BootID(),
	}
	if r.cfg.Isolation != IsolationContainer {
		m.Limits = Limits{} // nothing could hold them: the record does not promise them
	}
	for _, f := range s.Files {
		if f.Host != "" {
			m.HostFiles = append(m.HostFiles, File{Path: f.Path, Host: f.Host})
		}
	}
	return m
}

// checkHostFiles refuses files outside of the folders that may be shown: the
// caller may be less privileged than we are.
func (r *Runtime) checkHostFiles(files []File) error {
	for _, f := range files {
		if f.Host == "" {
			continue
		}
		// Links in the way must not lead out of an allowed folder.
		name, err := filepath.EvalSymlinks(f.Host)
		if err != nil {
			return fmt.Errorf("cannot share host file %s: %w", f.Host, err)
		}
		allowed := false
		for _, dir := range r.cfg.HostFiles {
			allowed = allowed || strings.HasPrefix(name, strings.TrimSuffix(dir, "/")+"/")
		}
		if !allowed {
			return fmt.Errorf("cannot share host file %s: it is outside of the folders that may be shared", f.Host)
		}
	}
	return nil
}

// make builds a new machine. Its record is on disk before anything else is.
func (r *Runtime) make(ctx context.Context, m *Machine, s *Spec) error {
	if err := os.Mkdir(r.store.machineDir(m.ID), 0o700); err != nil {
		return fmt.Errorf("cannot make the machine's folder: %w", err)
	}
	if err := r.store.save(m); err != nil {
		return err
	}
	var err error
	if r.cfg.Isolation == IsolationProcess {
		err = r.makeFolder(m)
	} else {
		err = makeLayers(r.layersOf(m), m.Limits.DiskMiB, m.IDBase)
	}
	if err != nil {
		return err
	}
	if err := r.start(ctx, m, s.Files); err != nil {
		return err
	}
	m.State, m.Ready = StateRunning, r.cfg.Now()
	return r.store.save(m)
}

func (r *Runtime) layersOf(m *Machine) layers {
	return layers{base: r.store.machineDir(m.ID), disk: m.Limits.DiskMiB > 0, direct: r.cfg.Isolation == IsolationRootless}
}

// start clones the first process of a machine, builds the machine around it
// and returns when it is ready. On an error the caller cleans up.
func (r *Runtime) start(ctx context.Context, m *Machine, files []File) error {
	if r.cfg.Isolation == IsolationProcess {
		return r.startProcess(ctx, m, files)
	}
	if err := r.groups.Create(m.ID, m.Limits, m.IDBase); err != nil {
		return err
	}
	conn, pid, err := r.clone(m)
	if err != nil {
		return err
	}
	defer conn.Close() // a child that was told nothing ends with this
	m.Pid, m.BootID = pid, proc.BootID()
	if m.PidStart, err = proc.StartTime(pid); err != nil {
		return err
	}
	root, err := r.equip(m)
	if err != nil {
		return err
	}
	defer unix.Close(root)
	// From here on the process can outlive us: it must be known.
	if err := r.store.save(m); err != nil {
		return err
	}
	if err := r.tellInit(conn, m, root, files); err != nil {
		return err
	}
	return proc.AwaitReady(ctx, conn)
}

// clone starts the first process in new namespaces and in its control groups;
// it waits to be told what to be.
func (r *Runtime) clone(m *Machine) (*net.UnixConn, int, error) {
	conn, theirs, err := proc.SocketPair()
	if err != nil {
		return nil, 0, err
	}
	defer theirs.Close()
	group, err := r.groups.Open(m.ID, "machine")
	if err != nil {
		_ = conn.Close()
		return nil, 0, err
	}
	defer closeGroup(group)
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: m.IDBase, Size: r.cfg.IDs}}
	cmd := exec.Command("/proc/self/exe", initArg)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "GOMAXPROCS=1"}
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid: true,
		Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET |
			syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
		UidMappings: ids, GidMappings: ids, GidMappingsEnableSetgroups: r.cfg.IDs > 1,
		Credential:  &syscall.Credential{Uid: 0, Gid: 0},
		UseCgroupFD: group >= 0, CgroupFD: max(group, 0),
	}
	if err := r.startIn(m.ID, cmd); err != nil {
		_ = conn.Close()
		return nil, 0, fmt.Errorf("cannot start the machine's first process: %w", err)
	}
	pid := cmd.Process.Pid
	_ = cmd.Process.Release() // the exit watch buries it
	return conn, pid, nil
}

// startIn starts a process in the control groups of a machine.
func (r *Runtime) startIn(id string, cmd *exec.Cmd) error {
	if len(r.groups.V1) == 0 {
		return cmd.Start()
	}
	return proc.OnThread(func() error {
		if err := r.groups.Enter(id); err != nil {
			return err
		}
		return cmd.Start()
	})
}

// equip gives the waiting process its network and root file system, both at
// once: each waits for the kernel most of its time.
func (r *Runtime) equip(m *Machine) (root int, err error) {
	root = -1
	errs := make(chan error, 2)
	go func() {
		err := r.wall.Add(r.net.wallOf(m)) // before the first packet
		if err == nil {
			err = r.net.attach(m)
		}
		errs <- err
	}()
	go func() {
		userns, err := os.Open(fmt.Sprintf("/proc/%d/ns/user", m.Pid))
		if err == nil {
			root, err = assemble(r.layersOf(m), m.Root, m.IDBase, int(userns.Fd()))
			_ = userns.Close()
		}
		errs <- err
	}()
	for range 2 {
		err = errors.Join(err, <-errs)
	}
	if err != nil && root >= 0 {
		_ = unix.Close(root)
	}
	return root, err
}

// tellInit sends what the machine is to be, with the descriptors it needs.
func (r *Runtime) tellInit(conn *net.UnixConn, m *Machine, root int, files []File) error {
	s := initSpec{
		Hostname: m.Hostname, Profile: m.Profile, Isolation: m.Isolation, Address: m.Address, Gateway: r.net.gateway(),
		Resolvers: m.Resolvers, HostFiles: m.HostFiles, Masked: confine.SystemMasked(), Start: m.Start,
	}
	for _, f := range files {
		if f.Host == "" {
			s.Files = append(s.Files, f)
		}
	}
	fds := []int{root}
	defer func() {
		for _, fd := range fds[1:] {
			_ = unix.Close(fd)
		}
	}()
	for _, f := range m.HostFiles {
		name, err := filepath.EvalSymlinks(f.Host)
		if err != nil {
			return fmt.Errorf("cannot share host file %s: %w", f.Host, err)
		}
		fd, err := openHostFile(name)
		if err != nil {
			return err
		}
		fds = append(fds, fd)
	}
	notify, err := r.listenNotify(m)
	if err != nil {
		return err
	}
	fds = append(fds, notify)
	data, err := json.Marshal(&s)
	if err != nil {
		return fmt.Errorf("cannot describe the machine: %w", err)
	}
	_ = conn.SetDeadline(time.Now().Add(startPatience))
	return proc.Send(conn, data, fds)
}

// keepFiles is for a machine that is started again.
func keepFiles() error { return nil }

// restart starts a stopped machine again on the files it has.
func (r *Runtime) restart(ctx context.Context, m *Machine) (Machine, error) {
	now := *m
	if err := r.clean(&now, keepFiles); err != nil { // of what a predecessor may have begun
		return Machine{}, err
	}
	if err := r.start(ctx, &now, nil); err != nil {
		err = errors.Join(err, r.clean(&now, keepFiles))
		now.State, now.Message, now.Pid = StateStopped, err.Error(), 0
		r.put(&now)
		return Machine{}, errors.Join(err, r.store.save(&now))
	}
	now.State, now.Message, now.Ready, now.Booted = StateRunning, "", r.cfg.Now(), time.Time{}
	now.Restarts++
	r.put(&now)
	r.watchRunning(&now)
	return now, r.store.save(&now)
}
