package confine

import "golang.org/x/sys/unix"

// The plain profile: one process under a small reaper, no_new_privs, and no
// way to make or change mounts and namespaces.

// PlainCaps is what the process has: what a package's scripts need on the
// machine's own files and users, and nothing else.
func PlainCaps() []uintptr {
	return []uintptr{
		unix.CAP_AUDIT_WRITE, unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FOWNER, unix.CAP_FSETID,
		unix.CAP_KILL, unix.CAP_NET_BIND_SERVICE, unix.CAP_SETFCAP, unix.CAP_SETGID, unix.CAP_SETPCAP,
		unix.CAP_SETUID, unix.CAP_SYS_CHROOT,
	}
}

// plainDenied are the calls that nobody inside may make, beyond systemDenied.
func plainDenied() []uint32 {
	return append(systemDenied(), []uint32{
		unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSOPEN, unix.SYS_FSPICK, unix.SYS_MOUNT,
		unix.SYS_MOUNT_SETATTR, unix.SYS_MOVE_MOUNT, unix.SYS_NAME_TO_HANDLE_AT, unix.SYS_OPEN_TREE,
		unix.SYS_PIVOT_ROOT, unix.SYS_PROCESS_MADVISE, unix.SYS_PROCESS_VM_READV,
		unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PTRACE, unix.SYS_REBOOT, unix.SYS_SETDOMAINNAME,
		unix.SYS_SETHOSTNAME, unix.SYS_SETNS, unix.SYS_UMOUNT2, unix.SYS_UNSHARE, unix.SYS_VHANGUP,
	}...)
}

// plainSockets are the address families within reach.
func plainSockets() []uint32 {
	return []uint32{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK}
}
