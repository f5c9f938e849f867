package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// wire is what the helper needs of a Spec; it travels on the helper's standard
// input, so that the run's environment is in no command line.
type wire struct {
	Path       string   `json:"path"`
	Args       []string `json:"args"`
	Env        []string `json:"env"`
	Dir        string   `json:"dir"`
	UID        int      `json:"uid"`
	GID        int      `json:"gid"`
	Groups     []int    `json:"groups"`
	NoNewPrivs bool     `json:"no-new-privs"`
	Hide       string   `json:"hide"`
	Keep       []string `json:"keep"`
	Pids       int      `json:"pids"`
}

func (s Spec) wire() wire {
	return wire{
		Path: s.Path, Args: s.Args, Env: s.Env, Dir: s.Dir, UID: s.UID, GID: s.GID, Groups: s.Groups,
		NoNewPrivs: s.NoNewPrivs, Hide: s.Hide, Keep: s.Keep, Pids: s.Limits.Pids,
	}
}

// exitHelper is the code of a helper that could not become the program.
const exitHelper = 126

const (
	maxSpec      = 8 << 20
	softFiles    = 1024
	hardFiles    = 65536
	oomScore     = "500"
	maskOptions  = "size=64k,nr_inodes=256,mode=0755"
	maskMountBit = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
)

// HelperMain is the helper: it reads a spec, confines itself and becomes the
// program. It returns only on failure, with the code to exit with; args are
// what followed HelperArg.
func HelperMain(args []string) int {
	runtime.LockOSThread()
	if len(args) == 1 && args[0] == "probe" {
		if err := probeMask(); err != nil {
			return exitHelper
		}
		return 0
	}
	err := become(os.Stdin)
	_, _ = fmt.Fprintf(os.Stderr, "cannot start: %v\n", err)
	return exitHelper
}

func become(in io.Reader) error {
	data, err := io.ReadAll(io.LimitReader(in, maxSpec))
	if err != nil {
		return err
	}
	var w wire
	if err := json.Unmarshal(data, &w); err != nil {
		return err
	}
	if err := nullInput(); err != nil {
		return err
	}
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte(oomScore), 0) // raising is always allowed; best effort elsewhere
	if w.Hide != "" {
		if err := hide(w.Hide, w.Keep); err != nil {
			return fmt.Errorf("cannot hide %s: %w", w.Hide, err)
		}
	}
	if err := limits(w); err != nil {
		return err
	}
	if err := identity(w); err != nil {
		return err
	}
	if err := os.Chdir(w.Dir); err != nil {
		return err
	}
	return syscall.Exec(w.Path, w.Args, w.Env)
}

// nullInput gives the program an empty standard input in the spec's place.
func nullInput() error {
	f, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	return unix.Dup2(int(f.Fd()), 0)
}

func limits(w wire) error {
	var cur syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &cur); err != nil {
		return err
	}
	hard := min(cur.Max, uint64(hardFiles))
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: min(hard, softFiles), Max: hard}); err != nil {
		return err
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		return err
	}
	n := uint64(rootProcesses)
	if w.UID != 0 {
		n = uint64(max(w.Pids, 0))
	}
	if n == 0 {
		return nil
	}
	return syscall.Setrlimit(unix.RLIMIT_NPROC, &syscall.Rlimit{Cur: n, Max: n})
}

// rootProcesses is how many processes and threads root's hooks may bring a
// machine to, the agent's and root's services counted. A machine may have 4096
// (container/cgroup.DefaultPids); the rest is for the agent, which without
// pids groups ends a hook that multiplies only at its next look. It binds
// root in a machine, which is no root to the kernel, and not the host's root.
const rootProcesses = 4096 - 512

func identity(w wire) error {
	if os.Getuid() == 0 {
		// A machine with one id only cannot set groups, and has none to lose.
		err := syscall.Setgroups(w.Groups)
		if err != nil && (w.UID != 0 || len(w.Groups) > 0 || !errors.Is(err, syscall.EPERM)) {
			return err
		}
		if err := syscall.Setgid(w.GID); err != nil {
			return err
		}
		if err := syscall.Setuid(w.UID); err != nil {
			return err
		}
	}
	// A change of user forgets this; without a parent there is nobody to serve.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return err
	}
	if w.NoNewPrivs {
		return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	}
	return nil
}

// PrepareHide makes a directory a mount of its own that tells no other
// namespace of what is mounted in it. It is done once for the machine, so that
// hiding the directory from a run stays with that run, while what a charm
// mounts elsewhere is seen by the machine as it must.
func PrepareHide(dir string) error {
	err := unix.Mount("", dir, "", unix.MS_PRIVATE, "")
	if errors.Is(err, unix.EINVAL) { // not a mount yet
		if err = unix.Mount(dir, dir, "", unix.MS_BIND, ""); err == nil {
			err = unix.Mount("", dir, "", unix.MS_PRIVATE, "")
		}
	}
	if err != nil {
		return fmt.Errorf("cannot prepare %s for hiding: %w", dir, err)
	}
	return nil
}

// hide covers dir in a mount namespace of the caller's own.
func hide(dir string, keep []string) error {
	// First the namespace: what is opened before belongs to the machine's, and
	// cannot be mounted here.
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	var fds []int
	for _, k := range keep {
		if !strings.HasPrefix(k, dir+"/") {
			return fmt.Errorf("%s is not inside", k)
		}
		fd, err := unix.Open(k, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		fds = append(fds, fd)
	}
	// A directory that was not prepared shares its mount with the machine: cut
	// the ties rather than cover it for everybody.
	if err := unix.Mount("", dir, "", unix.MS_PRIVATE, ""); err != nil {
		if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
			return err
		}
	}
	if err := unix.Mount("none", dir, "tmpfs", maskMountBit, maskOptions); err != nil {
		return err
	}
	for i, k := range keep {
		if err := os.MkdirAll(k, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		from := filepath.Join("/proc/self/fd", fmt.Sprint(fds[i]))
		if err := unix.Mount(from, k, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return err
		}
	}
	return unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|maskMountBit, "")
}

// probeMask tries in a throw-away namespace whether hiding works here.
func probeMask() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return err
	}
	return unix.Mount("none", "/proc", "tmpfs", maskMountBit, maskOptions)
}

// Harden keeps other processes of the same user from reading this one's memory
// and environment.
func Harden() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("cannot protect the agent's memory: %w", err)
	}
	return nil
}
