package confine

import "golang.org/x/sys/unix"

const auditArch = unix.AUDIT_ARCH_AARCH64

// x32Bit is unused on this architecture: no call number reaches it.
const x32Bit = 0x40000000

func archDenied() []uint32 { return nil }
