package confine

import "golang.org/x/sys/unix"

// The system profile: systemd is PID 1 and mounts, so mounting stays allowed
// and the user namespace is the wall. What no service of an ordinary machine
// needs is taken away, above all what reaches code of the kernel that other
// machines share.

// SystemCaps is what may ever be gained inside. NET_ADMIN stays: it concerns the
// machine's own network namespace, and what leaves it is filtered outside.
func SystemCaps() []uintptr {
	return []uintptr{
		unix.CAP_AUDIT_WRITE, unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_DAC_READ_SEARCH,
		unix.CAP_FOWNER, unix.CAP_FSETID, unix.CAP_IPC_LOCK, unix.CAP_IPC_OWNER, unix.CAP_KILL,
		unix.CAP_LEASE, unix.CAP_NET_ADMIN, unix.CAP_NET_BIND_SERVICE, unix.CAP_NET_BROADCAST,
		unix.CAP_NET_RAW, unix.CAP_SETFCAP, unix.CAP_SETGID, unix.CAP_SETPCAP, unix.CAP_SETUID,
		unix.CAP_SYS_ADMIN, unix.CAP_SYS_BOOT, unix.CAP_SYS_CHROOT, unix.CAP_SYS_NICE,
		unix.CAP_SYS_PTRACE, unix.CAP_SYS_RESOURCE, unix.CAP_SYS_TTY_CONFIG,
	}
}

// systemDenied are the calls nobody inside may make.
func systemDenied() []uint32 {
	return append(archDenied(), []uint32{
		unix.SYS_ACCT, unix.SYS_ADD_KEY, unix.SYS_ADJTIMEX, unix.SYS_BPF, unix.SYS_CLOCK_ADJTIME,
		unix.SYS_CLOCK_SETTIME, unix.SYS_DELETE_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_INIT_MODULE,
		unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER, unix.SYS_IO_URING_SETUP, unix.SYS_KCMP,
		unix.SYS_KEXEC_FILE_LOAD, unix.SYS_KEXEC_LOAD, unix.SYS_KEYCTL, unix.SYS_LOOKUP_DCOOKIE,
		unix.SYS_NFSSERVCTL, unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_PERF_EVENT_OPEN, unix.SYS_QUOTACTL,
		unix.SYS_QUOTACTL_FD, unix.SYS_REQUEST_KEY, unix.SYS_SETTIMEOFDAY, unix.SYS_SWAPOFF,
		unix.SYS_SWAPON, unix.SYS_SYSLOG, unix.SYS_USERFAULTFD,
	}...)
}

// systemSockets are the address families whose kernel code is within reach.
func systemSockets() []uint32 {
	return []uint32{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK, unix.AF_PACKET}
}

// SystemMasked are units that only work on real hardware or with the host's
// own kernel file systems; left on, systemd would report "degraded".
func SystemMasked() []string {
	return []string{
		"dev-hugepages.mount", "dev-mqueue.mount", "modprobe@.service", "proc-sys-fs-binfmt_misc.automount",
		"proc-sys-fs-binfmt_misc.mount", "sys-fs-fuse-connections.mount", "sys-kernel-config.mount",
		"sys-kernel-debug.mount", "sys-kernel-tracing.mount", "systemd-binfmt.service",
		"systemd-firstboot.service", "systemd-modules-load.service", "systemd-remount-fs.service",
		"systemd-sysctl.service", "systemd-timesyncd.service", "systemd-udevd.service",
		"systemd-udev-trigger.service", "systemd-udevd-control.socket", "systemd-udevd-kernel.socket",
	}
}
