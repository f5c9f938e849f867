//go:build unix

package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func owner(info fs.FileInfo) (int, bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(st.Uid), true
}

// lock takes the one lock of the data directory, so that two clients do not interleave their writes. It waits at most
// ten seconds.
func (s *Store) lock(ctx context.Context) (unlock func(), err error) {
	if err := s.ensureDir(); err != nil {
		return nil, err
	}
	path := filepath.Join(s.dir, ".lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot lock the client files: %w", err)
	}
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil //nolint:errcheck // closing gives the lock back
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			f.Close() //nolint:errcheck // the error before says more
			return nil, fmt.Errorf("cannot lock the client files: %w", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			f.Close() //nolint:errcheck // the error before says more
			return nil, ctx.Err()
		case <-deadline.C:
			f.Close() //nolint:errcheck // the error before says more
			return nil, fmt.Errorf("cannot lock the client files: another client holds %s for over ten seconds", path)
		}
	}
}
