package proc

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Open gives a pidfd of a machine's first process if it still runs.
func Open(pid int, start uint64, boot string) (int, error) {
	if pid <= 1 || boot != BootID() {
		return -1, os.ErrProcessDone
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return -1, fmt.Errorf("cannot find the first process: %w", err)
	}
	// The pidfd holds the process; only now the comparison is safe.
	if started, err := StartTime(pid); err != nil || started != start {
		_ = unix.Close(fd)
		return -1, os.ErrProcessDone
	}
	return fd, nil
}

// AwaitExit waits for the end of a process and buries it if it is our child.
func AwaitExit(pidfd int, patience time.Duration) {
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, int(time.Until(deadline).Milliseconds())+1)
		if n > 0 || err != nil && err != unix.EINTR {
			break
		}
	}
	Bury(pidfd)
}

// Bury takes the end of a child of ours.
func Bury(pidfd int) {
	for unix.Waitid(unix.P_PIDFD, pidfd, nil, unix.WEXITED|unix.WNOHANG, nil) == unix.EINTR {
	}
}

// StartTime is when a process began, which tells it from a later one with the
// same number.
func StartTime(pid int) (uint64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("cannot look at process %d: %w", pid, err)
	}
	// The name, in parentheses, may hold anything.
	text := string(data)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) < 20 {
		return 0, fmt.Errorf("cannot look at process %d: its state is not readable", pid)
	}
	start, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("cannot look at process %d: %w", pid, err)
	}
	return start, nil
}

// BootID names this run of the host's kernel.
func BootID() string {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// Runs tells whether the process of a record still runs.
func Runs(pid int, start uint64, boot string) bool {
	fd, err := Open(pid, start, boot)
	if err != nil {
		return false
	}
	_ = unix.Close(fd)
	return true
}
