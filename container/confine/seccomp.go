package confine

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Instructions and answers of the kernel's packet filter machine.
const (
	bpfLoad   = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	bpfEqual  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	bpfNotLow = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
	bpfAnyBit = unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
	bpfReturn = unix.BPF_RET | unix.BPF_K

	offNumber, offArch, offArg0, offArg1 = 0, 4, 16, 24 // little endian: low halves

	retAllow = unix.SECCOMP_RET_ALLOW
	retKill  = unix.SECCOMP_RET_KILL_PROCESS
	retErrno = unix.SECCOMP_RET_ERRNO
)

// namespaceFlags are the namespaces whose making by clone is refused in both
// profiles or in the plain one. A new user namespace would give back every
// capability that the bounding set took away.
const (
	userNamespace = unix.CLONE_NEWUSER
	anyNamespace  = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET |
		unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWCGROUP
)

// Rules is a denylist in words.
type Rules struct {
	denied     []uint32
	sockets    []uint32 // the only address families
	namespaces uint32   // clone flags refused
}

// System are the rules of a machine with systemd.
func System() Rules { return Rules{systemDenied(), systemSockets(), userNamespace} }

// Plain are the rules of all others.
func Plain() Rules { return Rules{plainDenied(), plainSockets(), anyNamespace} }

// program writes the rules as a filter. Each rule is a short block of its own,
// so no jump is long.
func (r Rules) program() []unix.SockFilter {
	stmt := func(code uint16, k uint32) unix.SockFilter { return unix.SockFilter{Code: code, K: k} }
	jump := func(code uint16, k uint32, yes, no uint8) unix.SockFilter {
		return unix.SockFilter{Code: code, K: k, Jt: yes, Jf: no}
	}
	p := []unix.SockFilter{
		stmt(bpfLoad, offArch), jump(bpfEqual, auditArch, 1, 0), stmt(bpfReturn, retKill),
		stmt(bpfLoad, offNumber), jump(bpfNotLow, x32Bit, 0, 1), stmt(bpfReturn, retErrno|uint32(unix.ENOSYS)),
		// The filter cannot look into clone3's argument; programs fall back to clone.
		jump(bpfEqual, unix.SYS_CLONE3, 0, 1), stmt(bpfReturn, retErrno|uint32(unix.ENOSYS)),
	}
	for _, n := range r.denied {
		p = append(p, jump(bpfEqual, n, 0, 1), stmt(bpfReturn, retErrno|uint32(unix.EPERM)))
	}
	for _, n := range []uint32{unix.SYS_CLONE, unix.SYS_UNSHARE} {
		p = append(p, jump(bpfEqual, n, 0, 4), stmt(bpfLoad, offArg0),
			jump(bpfAnyBit, r.namespaces, 0, 1), stmt(bpfReturn, retErrno|uint32(unix.EPERM)), stmt(bpfReturn, retAllow))
	}
	// Pushing characters into a terminal is how a session is taken over.
	p = append(p, jump(bpfEqual, unix.SYS_IOCTL, 0, 4), stmt(bpfLoad, offArg1),
		jump(bpfEqual, unix.TIOCSTI, 0, 1), stmt(bpfReturn, retErrno|uint32(unix.EPERM)), stmt(bpfReturn, retAllow))
	for _, n := range []uint32{unix.SYS_SOCKET, unix.SYS_SOCKETPAIR} {
		p = append(p, jump(bpfEqual, n, 0, uint8(2+2*len(r.sockets))), stmt(bpfLoad, offArg0))
		for _, family := range r.sockets {
			p = append(p, jump(bpfEqual, family, 0, 1), stmt(bpfReturn, retAllow))
		}
		p = append(p, stmt(bpfReturn, retErrno|uint32(unix.EAFNOSUPPORT)))
	}
	return append(p, stmt(bpfReturn, retAllow))
}

// Load sets the filter for the calling thread and all others of its process.
func (r Rules) Load() error {
	p := r.program()
	prog := unix.SockFprog{Len: uint16(len(p)), Filter: &p[0]}
	_, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog))) //nolint:gosec // the system call takes a pointer
	if e != 0 {
		return fmt.Errorf("cannot filter system calls: %w", e)
	}
	return nil
}

// LimitCaps drops everything but the named capabilities, for good.
func LimitCaps(keep []uintptr) error {
	var low, high uint32
	kept := map[uintptr]bool{}
	for _, c := range keep {
		kept[c] = true
		if c < 32 {
			low |= 1 << c
		} else {
			high |= 1 << (c - 32)
		}
	}
	for c := uintptr(0); c < 64; c++ {
		if kept[c] {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil && err != unix.EINVAL {
			return fmt.Errorf("cannot drop capability %d: %w", c, err)
		}
	}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := [2]unix.CapUserData{{Effective: low, Permitted: low}, {Effective: high, Permitted: high}}
	if err := unix.Capset(&hdr, &data[0]); err != nil {
		return fmt.Errorf("cannot drop capabilities: %w", err)
	}
	return nil
}
