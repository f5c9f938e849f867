package proc

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// OnThread runs f on a thread that nobody else uses, then or later: f may
// change what the kernel keeps for each thread. The thread ends with f.
func OnThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread must die
		if unix.Gettid() != unix.Getpid() {
			done <- f()
			return
		}
		// The process's first thread cannot end before the process. While it
		// waits here, f runs on another.
		err := OnThread(f)
		runtime.UnlockOSThread()
		done <- err
	}()
	return <-done
}
