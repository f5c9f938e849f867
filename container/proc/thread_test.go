package proc

import (
	"errors"
	"runtime"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// TestOnThread has many at once, so that some begin on the first thread.
func TestOnThread(t *testing.T) {
	fault := errors.New("fault")
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			var tid int
			err := OnThread(func() error {
				tid = unix.Gettid()
				runtime.Gosched()
				if tid != unix.Gettid() {
					t.Error("it moved to another thread")
				}
				return fault
			})
			if !errors.Is(err, fault) {
				t.Errorf("it gave %v", err)
			}
			if tid == unix.Getpid() {
				t.Error("it ran on the process's first thread, which cannot end")
			}
		})
	}
	wg.Wait()
}
