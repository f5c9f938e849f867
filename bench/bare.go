package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A bareMachine is what the kernel needs for a machine and nothing else: a
// process cloned into new namespaces, the image seen through its ids, an
// overlay over it, the kernel's own file systems, a new root. No network, no
// limits, no firewall, no record, no confinement.
type bareMachine struct {
	cmd  *exec.Cmd
	conn *os.File
}

const (
	bareBase = 0x7b000000
	bareIDs  = 65536
)

// newBare makes one and returns when its first process says that it is ready.
func newBare(self, dir, image string, n int) (*bareMachine, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	conn, theirs := os.NewFile(uintptr(fds[0]), "conn"), os.NewFile(uintptr(fds[1]), "theirs")
	defer func() { _ = theirs.Close() }()
	base := bareBase + n*bareIDs
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: base, Size: bareIDs}}
	cmd := exec.Command(self, roleArg, "bare")
	cmd.Dir, cmd.Env, cmd.ExtraFiles, cmd.Stderr = "/", []string{"PATH=/bin", "GOMAXPROCS=1"}, []*os.File{theirs}, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid: true, UidMappings: ids, GidMappings: ids, GidMappingsEnableSetgroups: true,
		Credential: &syscall.Credential{Uid: 0, Gid: 0},
		Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET |
			syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
	}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	m := &bareMachine{cmd, conn}
	if err := m.equip(filepath.Join(dir, strconv.Itoa(n)), image, base); err != nil {
		return nil, errors.Join(err, m.end())
	}
	return m, nil
}

func (m *bareMachine) equip(dir, image string, base int) error {
	userns, err := os.Open(fmt.Sprintf("/proc/%d/ns/user", m.cmd.Process.Pid))
	if err != nil {
		return err
	}
	defer func() { _ = userns.Close() }()
	root, err := bareRoot(dir, image, base, int(userns.Fd()))
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(root) }()
	if err := unix.Sendmsg(int(m.conn.Fd()), []byte{1}, unix.UnixRights(root), nil, 0); err != nil {
		return err
	}
	var word [64]byte
	n, err := m.conn.Read(word[:])
	if err == nil && string(word[:n]) != "ready" {
		err = fmt.Errorf("the bare machine says %q", word[:n])
	}
	return err
}

// end kills the machine and returns when the kernel has taken it down.
func (m *bareMachine) end() error {
	err := m.cmd.Process.Kill()
	_ = m.cmd.Wait() // it was killed
	return errors.Join(err, m.conn.Close())
}

// bareRoot makes the overlay as a detached mount, on a thread whose mounts go
// with it.
func bareRoot(dir, image string, base, userns int) (root int, err error) {
	for _, name := range []string{"lower", "root", "upper", "work"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil { //nolint:gosec // the machine's own
			return -1, err
		}
	}
	for _, name := range []string{"upper", "work"} {
		if err := os.Chown(filepath.Join(dir, name), base, base); err != nil {
			return -1, err
		}
	}
	type result struct {
		fd  int
		err error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread must die
		fd, err := overlay(dir, image, userns)
		done <- result{fd, err}
	}()
	r := <-done
	return r.fd, r.err
}

func overlay(dir, image string, userns int) (int, error) {
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return -1, err
	}
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return -1, err
	}
	lower, merged := filepath.Join(dir, "lower"), filepath.Join(dir, "root")
	fd, err := unix.OpenTree(unix.AT_FDCWD, image, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return -1, err
	}
	defer func() { _ = unix.Close(fd) }()
	attr := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP | unix.MOUNT_ATTR_RDONLY, Userns_fd: uint64(userns)} //nolint:gosec // a descriptor
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, attr); err != nil {
		return -1, err
	}
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, lower, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return -1, err
	}
	options := "lowerdir=" + lower + ",upperdir=" + filepath.Join(dir, "upper") + ",workdir=" + filepath.Join(dir, "work") + ",xino=off"
	if err := unix.Mount("overlay", merged, "overlay", unix.MS_NODEV, options); err != nil {
		return -1, err
	}
	return unix.OpenTree(unix.AT_FDCWD, merged, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
}

// bareRole is the first process of a bare machine.
func bareRole() error {
	runtime.LockOSThread()
	conn := os.NewFile(3, "conn")
	var b [1]byte
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(3, b[:], oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) != 1 {
		return fmt.Errorf("the root is missing: %w", err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return err
	}
	if err := bareEnter(fds[0]); err != nil {
		_, _ = conn.WriteString(err.Error())
		return err
	}
	if _, err := conn.WriteString("ready"); err != nil {
		return err
	}
	for { // until it is killed
		time.Sleep(time.Hour)
	}
}

func bareEnter(root int) error {
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return err
	}
	if err := unix.MoveMount(root, "", unix.AT_FDCWD, "/sys", unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return err
	}
	if err := os.Chdir("/sys"); err != nil {
		return err
	}
	for _, m := range []struct{ kind, target string }{{"proc", "proc"}, {"tmpfs", "dev"}, {"sysfs", "sys"}, {"tmpfs", "run"}} {
		if err := os.MkdirAll(m.target, 0o755); err != nil { //nolint:gosec // the machine's own
			return err
		}
		if err := unix.Mount(m.kind, m.target, m.kind, unix.MS_NOSUID, ""); err != nil {
			return fmt.Errorf("%s: %w", m.kind, err)
		}
	}
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		if err := os.WriteFile("dev/"+name, nil, 0o666); err != nil { //nolint:gosec // a device
			return err
		}
		if err := unix.Mount("/dev/"+name, "dev/"+name, "", unix.MS_BIND, ""); err != nil {
			return err
		}
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return err
	}
	return unix.Unmount(".", unix.MNT_DETACH)
}
