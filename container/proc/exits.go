package proc

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// ExitWatch tells when processes end, with one thread for all of them.
type ExitWatch struct {
	epoll, wake int
	told        func(id string)
	done        chan struct{}

	mu   sync.Mutex
	fds  map[string]int
	ids  map[int32]string
	work sync.WaitGroup
}

// NewExitWatch begins to watch; told is called with the id of each end.
func NewExitWatch(told func(string)) (*ExitWatch, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("cannot watch processes: %w", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		_ = unix.Close(epoll)
		return nil, fmt.Errorf("cannot watch processes: %w", err)
	}
	w := &ExitWatch{epoll: epoll, wake: wake, told: told, done: make(chan struct{}), fds: map[string]int{}, ids: map[int32]string{}}
	if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, wake, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(wake)}); err != nil {
		return nil, fmt.Errorf("cannot watch processes: %w", err)
	}
	go w.run()
	return w, nil
}

// Add watches a pidfd, which the watch owns from now on.
func (w *ExitWatch) Add(id string, pidfd int) error {
	w.Forget(id)
	w.mu.Lock()
	defer w.mu.Unlock()
	err := unix.EpollCtl(w.epoll, unix.EPOLL_CTL_ADD, pidfd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(pidfd)})
	if err != nil {
		_ = unix.Close(pidfd)
		return fmt.Errorf("cannot watch a process: %w", err)
	}
	w.fds[id], w.ids[int32(pidfd)] = pidfd, id
	return nil
}

// Forget ends a watch; the end of the process will not be told.
func (w *ExitWatch) Forget(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if fd, ok := w.fds[id]; ok {
		w.drop(id, fd)
	}
}

func (w *ExitWatch) drop(id string, fd int) {
	_ = unix.EpollCtl(w.epoll, unix.EPOLL_CTL_DEL, fd, nil)
	_ = unix.Close(fd)
	delete(w.fds, id)
	delete(w.ids, int32(fd))
}

func (w *ExitWatch) run() {
	defer close(w.done)
	events := make([]unix.EpollEvent, 64)
	for {
		n, err := unix.EpollWait(w.epoll, events, -1)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return
		}
		for _, e := range events[:n] {
			if e.Fd == int32(w.wake) {
				return
			}
			w.ended(e.Fd)
		}
	}
}

func (w *ExitWatch) ended(fd int32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	id, ok := w.ids[fd]
	if !ok {
		return
	}
	Bury(int(fd))
	w.drop(id, int(fd))
	w.work.Go(func() { w.told(id) })
}

// Close ends all watches.
func (w *ExitWatch) Close() {
	_, _ = unix.Write(w.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	<-w.done
	w.work.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, fd := range w.fds {
		w.drop(id, fd)
	}
	_ = unix.Close(w.epoll)
	_ = unix.Close(w.wake)
}
