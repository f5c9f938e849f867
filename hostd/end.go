package hostd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A supervisor that does not answer is ended by its process. It is known by
// what no other process has: the lock of its machines' folder, or the command
// line that names its configuration. Nothing is ended by its number alone.

// endPatience is how long a process may take to end by itself.
const endPatience = 3 * time.Second

// held is a process that was found, whose number cannot be another's while it
// is kept.
type held struct{ pid, fd int }

// find gives the processes of our own user, or of the one named, of which is
// is true.
func find(uid int, is func(pid int) bool) []held {
	names, _ := filepath.Glob("/proc/[1-9]*") // the pattern is good
	var out []held
	for _, name := range names {
		pid, err := strconv.Atoi(filepath.Base(name))
		if err != nil || pid == os.Getpid() {
			continue
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue
		}
		// What is seen now is of the process that fd holds, if it still lives.
		if ownerOf(pid) != uid || !is(pid) || unix.PidfdSendSignal(fd, 0, nil, 0) != nil {
			_ = unix.Close(fd)
			continue
		}
		out = append(out, held{pid, fd})
	}
	return out
}

func ownerOf(pid int) int {
	var st unix.Stat_t
	if unix.Stat("/proc/"+strconv.Itoa(pid), &st) != nil {
		return -1
	}
	return int(st.Uid)
}

func argvOf(pid int) []string {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if err != nil {
		return nil
	}
	return strings.Split(string(bytes.TrimSuffix(data, []byte{0})), "\x00")
}

// endsWith tells whether a command line ends with tail.
func endsWith(argv, tail []string) bool {
	n := len(argv) - len(tail)
	if n < 1 || len(tail) == 0 {
		return false
	}
	for i, a := range tail {
		if argv[n+i] != a {
			return false
		}
	}
	return true
}

// supervisors are the processes that have charge of the machines' folder, or
// were started for this configuration.
func supervisors(inst *Installation, cfg *Config) []held {
	lock, err := os.Stat(filepath.Join(cfg.Machines.Dir, "lock"))
	var holders map[int]bool
	if err == nil {
		holders = holdersOf(lock)
	}
	var tail []string
	if n := len(inst.Program); n > 2 && inst.Program[n-1] == inst.File {
		tail = inst.Program[n-2:]
	}
	return find(os.Geteuid(), func(pid int) bool {
		argv := argvOf(pid)
		return endsWith(argv, tail) || len(tail) > 0 && endsWith(argv, append(append([]string{}, tail...), InsideArg)) ||
			holders[pid] && hasOpen(pid, lock)
	})
}

// controllers are the processes that run the controller of this configuration.
func controllers(cfg *Config) []held {
	c := cfg.Controller
	if c == nil || len(c.Argv) < 3 { // too little to tell it by
		return nil
	}
	uid := c.UID
	if os.Geteuid() != 0 {
		uid = os.Geteuid()
	}
	return find(uid, func(pid int) bool { return strings.Join(argvOf(pid), "\x00") == strings.Join(c.Argv, "\x00") })
}

// holdersOf are the processes that the kernel names as those who locked a
// file. It tells a file by its number, which those of another disk may have.
func holdersOf(file os.FileInfo) map[int]bool {
	st, ok := file.Sys().(*syscall.Stat_t)
	data, err := os.ReadFile("/proc/locks")
	if !ok || err != nil {
		return nil
	}
	out := map[int]bool{}
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) < 6 || f[1] != "FLOCK" || !strings.HasSuffix(f[5], ":"+strconv.FormatUint(st.Ino, 10)) {
			continue
		}
		if pid, err := strconv.Atoi(f[4]); err == nil && pid > 1 {
			out[pid] = true
		}
	}
	return out
}

func hasOpen(pid int, file os.FileInfo) bool {
	names, _ := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/fd/*")
	for _, name := range names {
		if st, err := os.Stat(name); err == nil && os.SameFile(st, file) {
			return true
		}
	}
	return false
}

// end ends processes, if need be without asking.
func end(ctx context.Context, all []held) error {
	defer release(all)
	signal(all, unix.SIGTERM)
	if awaitAll(ctx, all, endPatience) {
		return nil
	}
	signal(all, unix.SIGKILL)
	if awaitAll(context.WithoutCancel(ctx), all, endPatience) {
		return nil
	}
	var left []string
	for _, p := range all {
		if !p.over() {
			left = append(left, strconv.Itoa(p.pid))
		}
	}
	return fmt.Errorf("cannot end the supervisor: the kernel keeps process %s; restart this host", strings.Join(left, ", "))
}

func signal(all []held, sig unix.Signal) {
	for _, p := range all {
		_ = unix.PidfdSendSignal(p.fd, sig, nil, 0) // it may have ended
	}
}

func release(all []held) {
	for _, p := range all {
		_ = unix.Close(p.fd)
	}
}

// over tells whether the process has ended.
func (p held) over() bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}, 0) //nolint:gosec // a descriptor
	return n > 0 && err == nil
}

func awaitAll(ctx context.Context, all []held, patience time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		left := false
		for _, p := range all {
			left = left || !p.over()
		}
		if !left {
			return true
		}
		if pause(ctx) != nil {
			return false
		}
	}
}

// unanswering ends whatever is left of a supervisor that does not answer, with
// its controller: whoever starts it again has no use for either.
func unanswering(ctx context.Context, inst *Installation, cfg *Config) error {
	return errors.Join(end(ctx, supervisors(inst, cfg)), end(ctx, controllers(cfg)))
}
