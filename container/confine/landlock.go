package confine

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// leastLandlock is the kernel's version that keeps signals and abstract sockets
// inside; without that, processes of one user can end each other.
const leastLandlock = 6

// Kinds of access.
const (
	Read      = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR | unix.LANDLOCK_ACCESS_FS_EXECUTE
	landWrite = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE
	All       = 0xffff // all that version 6 knows
	// What a rule about a file, not a folder, may hold.
	landFile   = landWrite | unix.LANDLOCK_ACCESS_FS_EXECUTE
	landScopes = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL
	// ResolveUnix is asked of kernels that can hold sockets of the file system.
	ResolveUnix      = unix.LANDLOCK_ACCESS_FS_RESOLVE_UNIX
	ResolveUnixSince = 9
)

// LandlockVersion is what the kernel offers.
func LandlockVersion() (int, error) {
	v, _, e := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if e != 0 {
		return 0, fmt.Errorf("cannot use Landlock: %w", e)
	}
	return int(v), nil
}

// CheckLandlock tells whether processes of one user can be kept apart here.
func CheckLandlock() error {
	v, err := LandlockVersion()
	if err == nil && v < leastLandlock {
		err = fmt.Errorf("this kernel has version %d of Landlock, version %d is needed (Linux 6.12)", v, leastLandlock)
	}
	if err != nil {
		return fmt.Errorf("cannot run machines as processes: %w", err)
	}
	return nil
}

// Rule lets in what is below a path.
type Rule struct {
	Path   string
	Access uint64
}

// HostRules are the host's programs and what they need to run. Nothing in
// them can be written but devices without memory.
func HostRules() []Rule {
	var rules []Rule
	for _, p := range []string{
		"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc", "/proc", "/sys/devices/system/cpu",
		"/sys/kernel/mm/transparent_hugepage", "/run/systemd/resolve",
	} {
		rules = append(rules, Rule{p, Read})
	}
	for _, p := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		rules = append(rules, Rule{"/dev/" + p, landWrite})
	}
	return rules
}

// Landlock confines the calling thread, for good. Without rules only the scopes
// are closed: the thread leaves the reach of none of its own, and can no longer
// reach those that began it.
func Landlock(rules []Rule) error {
	version, err := LandlockVersion()
	if err != nil {
		return err
	}
	attr := unix.LandlockRulesetAttr{Scoped: landScopes}
	if len(rules) > 0 {
		attr.Handled_access_fs = All
		if version >= ResolveUnixSince {
			attr.Handled_access_fs |= ResolveUnix
		}
	}
	// The rules' own size of the structure is that of version 6.
	size := unsafe.Offsetof(attr.Scoped) + unsafe.Sizeof(attr.Scoped)
	fd, _, e := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), size, 0) //nolint:gosec // the system call takes a pointer
	if e != 0 {
		return fmt.Errorf("cannot make confinement: %w", e)
	}
	defer unix.Close(int(fd))
	for _, r := range rules {
		if err := addRule(int(fd), r, attr.Handled_access_fs); err != nil {
			return err
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("cannot refuse new privileges: %w", err)
	}
	if _, _, e := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0); e != 0 {
		return fmt.Errorf("cannot confine the machine: %w", e)
	}
	return nil
}

func addRule(ruleset int, r Rule, handled uint64) error {
	fd, err := unix.Open(r.Path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
		return nil // nothing is let in
	}
	if err != nil {
		return fmt.Errorf("cannot let %s in: %w", r.Path, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("cannot let %s in: %w", r.Path, err)
	}
	access := r.Access & handled
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		access &= landFile
	}
	attr := unix.LandlockPathBeneathAttr{Allowed_access: access, Parent_fd: int32(fd)}
	_, _, e := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset), unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&attr)), 0, 0, 0) //nolint:gosec // the system call takes a pointer
	if e != 0 {
		return fmt.Errorf("cannot let %s in: %w", r.Path, e)
	}
	return nil
}
