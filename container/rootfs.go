package container

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/scarab-ops/scarab/container/proc"
)

// layers are the folders of one machine's writable layer.
type layers struct {
	base string // the machine's folder
	disk bool   // upper and work lie on an own file system in disk.img
	// direct uses the image as it is: its ids are the machines' already, and an
	// overlay may not set the trusted attributes.
	direct bool
}

func (l layers) upper() string { return filepath.Join(l.top(), "upper") }
func (l layers) work() string  { return filepath.Join(l.top(), "work") }
func (l layers) top() string {
	if l.disk {
		return filepath.Join(l.base, "disk")
	}
	return l.base
}

// makeLayers prepares the writable layer of a new machine.
func makeLayers(l layers, diskMiB int64, idBase int) error {
	for _, name := range []string{"lower", "root"} {
		if err := os.MkdirAll(filepath.Join(l.base, name), 0o700); err != nil {
			return fmt.Errorf("cannot make the machine's folder: %w", err)
		}
	}
	if l.disk {
		if err := os.MkdirAll(l.top(), 0o700); err != nil {
			return fmt.Errorf("cannot make the machine's folder: %w", err)
		}
		return makeDisk(filepath.Join(l.base, "disk.img"), diskMiB)
	}
	return makeUpper(l, idBase)
}

// makeUpper makes the two folders an overlay writes to. The machine's root
// owns them, so that the top folder of its file system is its own.
func makeUpper(l layers, idBase int) error {
	for _, dir := range []string{l.upper(), l.work()} {
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("cannot make the writable layer: %w", err)
		}
		if err := os.Chown(dir, idBase, idBase); err != nil {
			return fmt.Errorf("cannot make the writable layer: %w", err)
		}
	}
	return nil
}

// makeDisk makes a sparse file with a file system of the wanted size.
func makeDisk(name string, mib int64) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("cannot make the root disk: %w", err)
	}
	err = errors.Join(f.Truncate(mib<<20), f.Close())
	if err != nil {
		return fmt.Errorf("cannot make the root disk: %w", err)
	}
	out, err := exec.Command("mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard", name).CombinedOutput()
	if err != nil {
		return fmt.Errorf("cannot make the root disk: mkfs.ext4: %w: %.200s", err, out)
	}
	return nil
}

// attachLoop makes a block device of a file. The kernel frees the device by
// itself at the last unmount.
func attachLoop(name string) (*os.File, string, error) {
	back, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return nil, "", fmt.Errorf("cannot open the root disk: %w", err)
	}
	defer back.Close()
	ctl, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, "", fmt.Errorf("cannot attach the root disk: %w", err)
	}
	defer ctl.Close()
	for range 64 { // somebody else may take the free device first
		n, err := unix.IoctlRetInt(int(ctl.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, "", fmt.Errorf("cannot attach the root disk: %w", err)
		}
		dev := fmt.Sprintf("/dev/loop%d", n)
		loop, err := os.OpenFile(dev, os.O_RDWR, 0)
		if err != nil {
			return nil, "", fmt.Errorf("cannot attach the root disk: %w", err)
		}
		cfg := &unix.LoopConfig{Fd: uint32(back.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR}}
		err = unix.IoctlLoopConfigure(int(loop.Fd()), cfg)
		if err == nil {
			return loop, dev, nil
		}
		_ = loop.Close()
		if !errors.Is(err, unix.EBUSY) {
			return nil, "", fmt.Errorf("cannot attach the root disk: %w", err)
		}
	}
	return nil, "", fmt.Errorf("cannot attach the root disk: no free loop device")
}

// inPrivateMounts runs f on a thread of its own whose mounts nobody else sees.
// The thread ends with f, and with it everything f mounted and did not keep a
// descriptor of: a crash leaves no mount behind.
func inPrivateMounts(f func() error) error {
	return proc.OnThread(func() error {
		if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("cannot have private mounts: %w", err)
		}
		if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("cannot have private mounts: %w", err)
		}
		return f()
	})
}

// assemble builds a machine's root file system and gives it as a detached
// mount. userns is a descriptor of the machine's user namespace: seen through
// the read-only lower layer, the image's root is the machine's root.
func assemble(l layers, image string, idBase, userns int) (root int, err error) {
	root = -1
	err = inPrivateMounts(func() error {
		if l.disk {
			if err := mountDisk(l, idBase); err != nil {
				return err
			}
		}
		lower := filepath.Join(l.base, "lower")
		if l.direct {
			lower = image
		} else if err := idmapMount(image, lower, userns); err != nil {
			return err
		}
		opts := "lowerdir=" + lower + ",upperdir=" + l.upper() + ",workdir=" + l.work() + ",xino=off"
		if l.direct {
			opts += ",userxattr"
		}
		merged := filepath.Join(l.base, "root")
		if err := unix.Mount("overlay", merged, "overlay", unix.MS_NODEV, opts); err != nil {
			return fmt.Errorf("cannot mount the overlay: %w", err)
		}
		fd, err := unix.OpenTree(unix.AT_FDCWD, merged, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
		if err != nil {
			return fmt.Errorf("cannot detach the root file system: %w", err)
		}
		root = fd
		return nil
	})
	return root, err
}

func mountDisk(l layers, idBase int) error {
	loop, dev, err := attachLoop(filepath.Join(l.base, "disk.img"))
	if err != nil {
		return err
	}
	defer loop.Close()
	if err := unix.Mount(dev, l.top(), "ext4", unix.MS_NODEV|unix.MS_NOATIME, ""); err != nil {
		return fmt.Errorf("cannot mount the root disk: %w", err)
	}
	return makeUpper(l, idBase)
}

// idmapMount shows source at target, read-only and with ids shifted into the
// user namespace.
func idmapMount(source, target string, userns int) error {
	fd, err := unix.OpenTree(unix.AT_FDCWD, source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return fmt.Errorf("cannot open the image: %w", err)
	}
	defer unix.Close(fd)
	attr := &unix.MountAttr{
		Attr_set:  unix.MOUNT_ATTR_IDMAP | unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NODEV,
		Userns_fd: uint64(userns),
	}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, attr); err != nil {
		return fmt.Errorf("cannot map the image's ids: %w", err)
	}
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("cannot mount the image: %w", err)
	}
	return nil
}

// openHostFile gives a detached read-only mount of one file of the host. The
// file must be one that everybody may read, so that showing it tells nothing,
// and one that only root may write. Its owner is not mapped into the machine,
// so not even a machine that remounts it can write it.
func openHostFile(name string) (int, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, name, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		return -1, fmt.Errorf("cannot open host file %s: %w", name, err)
	}
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil {
		switch {
		case st.Mode&unix.S_IFMT != unix.S_IFREG:
			err = errors.New("it is no ordinary file")
		case st.Uid != 0 || st.Mode&0o022 != 0:
			err = errors.New("somebody besides root may write it")
		case st.Mode&0o004 == 0:
			err = errors.New("it is not readable by everybody")
		}
	}
	if err == nil {
		err = unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{
			Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV,
		})
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("cannot share host file %s: %w", name, err)
	}
	return fd, nil
}
