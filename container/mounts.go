package container

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	notifyPath = "/run/host/notify"
	quiet      = unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV
)

// enterRoot makes the detached mount the root and puts the kernel's own file
// systems into it.
func enterRoot(root int) error {
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("cannot have private mounts: %w", err)
	}
	// Any folder that every host has will do: it is covered for good.
	if err := unix.MoveMount(root, "", unix.AT_FDCWD, "/sys", unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("cannot mount the root file system: %w", err)
	}
	if err := os.Chdir("/sys"); err != nil {
		return fmt.Errorf("cannot enter the root file system: %w", err)
	}
	for _, dir := range []string{"proc", "dev", "sys", "run"} {
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("cannot use the image: %w", err)
		}
	}
	if err := mountKernel(); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("cannot change the root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("cannot leave the host's files: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return fmt.Errorf("cannot enter the root file system: %w", err)
	}
	return nil
}

func mountKernel() error {
	for _, m := range []struct {
		kind, target string
		flags        uintptr
		options      string
	}{
		{"proc", "proc", quiet, ""},
		{"tmpfs", "dev", unix.MS_NOSUID, "mode=755,size=4m,nr_inodes=4096"},
		{"sysfs", "sys", quiet | unix.MS_RDONLY, ""},
		{"tmpfs", "run", unix.MS_NOSUID | unix.MS_NODEV, "mode=755,size=512m,nr_inodes=200000"},
	} {
		if err := unix.Mount(m.kind, m.target, m.kind, m.flags, m.options); err != nil {
			return fmt.Errorf("cannot mount /%s: %w", m.target, err)
		}
	}
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		if err := os.WriteFile("dev/"+name, nil, 0o666); err != nil {
			return fmt.Errorf("cannot make /dev/%s: %w", name, err)
		}
		if err := unix.Mount("/dev/"+name, "dev/"+name, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("cannot show /dev/%s: %w", name, err)
		}
	}
	for _, m := range []struct {
		kind, target string
		flags        uintptr
		options      string
	}{
		{"devpts", "dev/pts", unix.MS_NOSUID | unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5"}, // terminals are devices
		{"tmpfs", "dev/shm", quiet, "mode=1777,size=1g"},
		{"mqueue", "dev/mqueue", quiet, ""},
	} {
		if err := os.Mkdir(m.target, 0o755); err != nil {
			return fmt.Errorf("cannot make /%s: %w", m.target, err)
		}
		err := unix.Mount(m.kind, m.target, m.kind, m.flags, m.options)
		if err == unix.EINVAL { // a machine with one id has no group of terminals
			err = unix.Mount(m.kind, m.target, m.kind, m.flags, strings.TrimSuffix(m.options, ",gid=5"))
		}
		if err != nil && m.kind != "mqueue" {
			return fmt.Errorf("cannot mount /%s: %w", m.target, err)
		}
	}
	for link, target := range map[string]string{
		"dev/ptmx": "pts/ptmx", "dev/fd": "/proc/self/fd",
		"dev/stdin": "/proc/self/fd/0", "dev/stdout": "/proc/self/fd/1", "dev/stderr": "/proc/self/fd/2",
	} {
		if err := os.Symlink(target, link); err != nil {
			return fmt.Errorf("cannot make /%s: %w", link, err)
		}
	}
	return nil
}

// protectKernel hides the knobs of the host's kernel. The user namespace makes
// them read-only already; in the plain profile nobody inside can take the
// covers off again.
func protectKernel(p Profile) error {
	if p == ProfileSystem {
		// systemd needs a tree of its own; it sees the machine's part only.
		if err := unix.Mount("cgroup2", "/sys/fs/cgroup", "cgroup2", quiet, "nsdelegate"); err != nil {
			if err = unix.Mount("cgroup2", "/sys/fs/cgroup", "cgroup2", quiet, ""); err != nil {
				return fmt.Errorf("cannot mount the control group tree: %w", err)
			}
		}
	}
	paths := []string{"/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs"}
	if p == ProfileSystem {
		paths = paths[1:] // services set their own network's values
	}
	for _, name := range paths {
		err := unix.Mount(name, name, "", unix.MS_BIND|unix.MS_REC, "")
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err == nil {
			err = unix.Mount("", name, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|quiet, "")
		}
		if err != nil {
			return fmt.Errorf("cannot protect %s: %w", name, err)
		}
	}
	for _, name := range []string{"/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/kallsyms", "/proc/kmsg"} {
		err := unix.Mount("/dev/null", name, "", unix.MS_BIND, "")
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("cannot hide %s: %w", name, err)
		}
	}
	return nil
}
