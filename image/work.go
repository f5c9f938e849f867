package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A build mounts the host's own folders below its own. Where the kernel lets
// us it has mounts and processes of its own, which end with it however it
// ends; its folder is then like any other. What cannot be known to be free of
// mounts is not removed.

const workPrefix = "scarab-image-"

// workDir is where builds have their folders: beside the images, which nobody
// else may look at, as apt has to. A user's cache is below a home that apt
// cannot walk through.
func (s *Store) workDir() string {
	if s.userOwned() {
		return os.TempDir()
	}
	return filepath.Join(filepath.Dir(s.Dir), "build")
}

// workspace makes a folder for one build. Its lock tells that the build lives.
func (s *Store) workspace() (dir string, release func() error, err error) {
	base := s.workDir()
	if !s.userOwned() {
		if err := walkable(base); err != nil {
			return "", nil, err
		}
	}
	if dir, err = os.MkdirTemp(base, workPrefix); err != nil {
		return "", nil, fmt.Errorf("cannot make a folder to build in: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err == nil {
		err = errors.Join(os.Chmod(dir, 0o755), unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)) //nolint:gosec // apt reads in it
	}
	if err != nil {
		return "", nil, errors.Join(fmt.Errorf("cannot make a folder to build in: %w", err), os.RemoveAll(dir))
	}
	return dir, func() error { return errors.Join(removeWork(dir), lock.Close()) }, nil
}

// walkable makes a folder of our own that apt, which drops its privileges, can
// walk through; the one above it too.
func walkable(base string) error {
	if err := os.MkdirAll(base, 0o711); err != nil {
		return fmt.Errorf("cannot make a folder to build in: %w", err)
	}
	for _, dir := range []string{base, filepath.Dir(base)} {
		var st unix.Stat_t
		if err := unix.Lstat(dir, &st); err != nil {
			return fmt.Errorf("cannot make a folder to build in: %w", err)
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Geteuid() {
			return fmt.Errorf("cannot build in %s: it is not a folder of our own", dir)
		}
		if st.Mode&0o111 != 0o111 {
			if err := unix.Chmod(dir, st.Mode&0o7777|0o111); err != nil {
				return fmt.Errorf("cannot make a folder to build in: %w", err)
			}
		}
	}
	return nil
}

// Sweep removes the folders of builds that were killed.
func (s *Store) Sweep() error {
	names, _ := filepath.Glob(filepath.Join(s.workDir(), workPrefix+"*")) // of a folder's name only
	var errs []error
	for _, dir := range names {
		var st unix.Stat_t
		if unix.Lstat(dir, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Geteuid() {
			continue // somebody else's
		}
		lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|unix.O_NOFOLLOW, 0)
		if err != nil {
			continue // being made, or not ours
		}
		if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			errs = append(errs, removeWork(dir))
		}
		_ = lock.Close()
	}
	return errors.Join(errs...)
}

// removeWork takes away what is mounted below a folder, and then the folder.
func removeWork(dir string) error {
	for range 8 { // mounts may lie upon each other
		below, err := mountsBelow(dir)
		if err != nil {
			return err
		}
		if len(below) == 0 {
			if err := os.RemoveAll(dir); err != nil {
				return fmt.Errorf("cannot remove the folder of a build: %w", err)
			}
			return nil
		}
		for i := len(below) - 1; i >= 0; i-- { // the last mounted first
			_ = unix.Unmount(below[i], unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		}
	}
	return fmt.Errorf("cannot remove the folder of a build: something stays mounted below %s; unmount it", dir)
}

// mountsBelow gives what is mounted in a folder, as the kernel lists it.
func mountsBelow(dir string) ([]string, error) {
	dir, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	var data []byte
	if err == nil {
		data, err = os.ReadFile("/proc/self/mountinfo")
	}
	if err != nil {
		return nil, fmt.Errorf("cannot see what is mounted: %w", err)
	}
	var out []string
	unquote := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 4 {
			if at := unquote.Replace(f[4]); strings.HasPrefix(at, dir+"/") {
				out = append(out, at)
			}
		}
	}
	return out, nil
}

// apart gives the words before a command that give it mounts and processes of
// its own; as much of it as this kernel allows.
func apart(ctx context.Context) []string {
	mounts := []string{"unshare", "--mount", "--propagation", "private"}
	all := append(append([]string{}, mounts...), "--pid", "--fork", "--kill-child", "--mount-proc")
	for _, words := range [][]string{all, mounts} {
		words = append(words, "--")
		if exec.CommandContext(ctx, words[0], append(words[1:len(words):len(words)], "true")...).Run() == nil { //nolint:gosec // our own words
			return words
		}
	}
	return nil
}

// startTree starts a command whose processes all end when its context does, or
// we do. The kernel ends it with the thread that started it: so that one waits.
func startTree(cmd *exec.Cmd) (wait func() error, err error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error {
		return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) // its group; with --kill-child all of its processes
	}
	cmd.WaitDelay = 5 * time.Second
	started, asked, over := make(chan error), make(chan struct{}), make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			<-asked
			over <- cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return func() error {
		close(asked)
		return <-over
	}, nil
}
