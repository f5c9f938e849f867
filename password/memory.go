package password

import (
	"crypto/fips140"
	"runtime"

	"golang.org/x/sys/unix"
)

// LargePages has the memory of so many hashes at a time come in large pages. A
// hash touches all of its 64 MiB at once; having the kernel find them page by
// page takes longer than the hash itself. It costs no memory, and it is only
// advice: where it is not taken, all is as before.
func LargePages(hashes int) {
	if fips140.Enabled() || hashes < 1 {
		return // such hashes need no memory to speak of
	}
	const one = argonMemory<<10 + 2<<20
	piece := make([]byte, hashes*one) // never touched
	_ = unix.Madvise(piece, unix.MADV_HUGEPAGE)
	runtime.KeepAlive(piece)
	runtime.GC() // the next hash is given this memory, advice and all
}
