package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// FindCgroup returns the directory of the calling process's own cgroup2, or ""
// where there is none that can be written.
func FindCgroup() string {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return ""
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return ""
	}
	path := ""
	for _, line := range strings.Split(string(own), "\n") {
		if p, ok := strings.CutPrefix(line, "0::"); ok {
			path = p
		}
	}
	for _, line := range strings.Split(string(mounts), "\n") {
		pre, post, ok := strings.Cut(line, " - ")
		f := strings.Fields(pre)
		if !ok || path == "" || len(f) < 5 || !strings.HasPrefix(post, "cgroup2 ") {
			continue
		}
		// A mount may show a part of the tree that we are not in.
		if root := strings.TrimSuffix(f[3], "/"); root == "" || path == root || strings.HasPrefix(path, root+"/") {
			dir := filepath.Join(f[4], strings.TrimPrefix(path, root))
			if syscall.Access(dir, 2) == nil {
				return dir
			}
		}
	}
	return ""
}

// prepareTree makes the directory for runs, asks for the controllers that are
// there, and ends what is left of earlier runs.
func prepareTree(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	old, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range old {
		if e.IsDir() && !strings.HasSuffix(e.Name(), leftSuffix) {
			stale := &group{dir: filepath.Join(dir, e.Name()), fd: -1}
			stale.kill()
			stale.remove()
		}
	}
	have, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	for _, c := range strings.Fields(string(have)) {
		if c == "memory" || c == "pids" {
			// Refused where the tree is not ours: then the watchdog is alone.
			_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0)
		}
	}
	return nil
}

// leftSuffix marks the cgroup of processes that a run left behind on purpose.
const leftSuffix = "-left"

// group is the set of a run's processes.
type group struct {
	dir    string // cgroup2 directory, empty without cgroups
	left   string
	fd     int
	leader int
}

func (b *Box) group(s Spec) (*group, error) {
	g := &group{fd: -1}
	if b.cfg.Cgroup == "" {
		return g, nil
	}
	if s.Name == "" || strings.ContainsAny(s.Name, "/.") {
		return nil, fmt.Errorf("cannot run %q: bad name", s.Name)
	}
	g.dir = filepath.Join(b.cfg.Cgroup, s.Name)
	g.left = g.dir + leftSuffix
	if err := os.Mkdir(g.dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("cannot make cgroup: %w", err)
	}
	if s.Limits.Memory > 0 {
		_ = os.WriteFile(filepath.Join(g.dir, "memory.max"), strconv.AppendInt(nil, s.Limits.Memory, 10), 0)
	}
	if s.Limits.Pids > 0 {
		_ = os.WriteFile(filepath.Join(g.dir, "pids.max"), strconv.AppendInt(nil, int64(s.Limits.Pids), 10), 0)
	}
	fd, err := syscall.Open(g.dir, syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open cgroup: %w", err)
	}
	g.fd = fd
	return g, nil
}

// take moves a process into the group.
func (g *group) take(pid int) error {
	if err := os.WriteFile(filepath.Join(g.dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
		return fmt.Errorf("cannot join cgroup: %w", err)
	}
	return nil
}

// close moves what still runs (a daemon that the program started on purpose)
// out of the way of the next run, and removes the cgroup.
func (g *group) close() {
	if g.dir == "" {
		return
	}
	_ = syscall.Close(g.fd)
	for _, pid := range g.pids() {
		if err := os.Mkdir(g.left, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			break
		}
		_ = os.WriteFile(filepath.Join(g.left, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0)
	}
	g.remove()
}

func (g *group) remove() {
	for range 50 {
		if err := os.Remove(g.dir); err == nil || errors.Is(err, fs.ErrNotExist) {
			return
		}
		time.Sleep(10 * time.Millisecond) //nolint:forbidigo // the kernel tells nobody when a cgroup is empty of zombies
	}
}

// pids lists the processes of the run.
func (g *group) pids() []int {
	if g.dir == "" {
		return session(g.leader)
	}
	data, err := os.ReadFile(filepath.Join(g.dir, "cgroup.procs"))
	if err != nil {
		return nil
	}
	var out []int
	for _, f := range bytes.Fields(data) {
		if n, err := strconv.Atoi(string(f)); err == nil && n > 0 {
			out = append(out, n)
		}
	}
	return out
}

// session lists the processes whose session is led by pid.
func session(pid int) []int {
	if pid <= 0 {
		return nil
	}
	names, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var out []int
	for _, e := range names {
		n, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue
		}
		// pid (name) state ppid pgrp session; the name may hold anything.
		f := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if len(f) > 3 && string(f[3]) == strconv.Itoa(pid) {
			out = append(out, n)
		}
	}
	return out
}

// kill ends every process of the run and does not return before they are gone
// or a second has passed.
func (g *group) kill() {
	for range 100 {
		if g.dir != "" {
			_ = os.WriteFile(filepath.Join(g.dir, "cgroup.kill"), []byte("1"), 0)
		}
		if g.leader > 0 {
			_ = syscall.Kill(-g.leader, syscall.SIGKILL)
		}
		pids := g.pids()
		alive := false
		for _, p := range pids {
			_ = syscall.Kill(p, syscall.SIGKILL)
			alive = alive || !zombie(p)
		}
		if !alive {
			return
		}
		time.Sleep(10 * time.Millisecond) //nolint:forbidigo // see remove
	}
}

func zombie(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return true
	}
	f := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	return len(f) > 0 && (f[0][0] == 'Z' || f[0][0] == 'X')
}

// over names the limit that the run exceeds, if any.
func (g *group) over(l Limits) string {
	if l.Memory == 0 && l.Pids == 0 {
		return ""
	}
	pids := g.pids()
	if l.Pids > 0 && len(pids) > l.Pids {
		return "pids"
	}
	if l.Memory > 0 && memory(pids) > l.Memory {
		return "memory"
	}
	return ""
}

// memory adds up what the processes have for themselves, and counts what they
// share once, by the largest share.
func memory(pids []int) int64 {
	var own, shared int64
	for _, p := range pids {
		data, err := os.ReadFile("/proc/" + strconv.Itoa(p) + "/statm")
		if err != nil {
			continue
		}
		f := strings.Fields(string(data))
		if len(f) < 3 {
			continue
		}
		rss, err1 := strconv.ParseInt(f[1], 10, 64)
		sh, err2 := strconv.ParseInt(f[2], 10, 64)
		if err1 != nil || err2 != nil {
			continue
		}
		own += rss - sh
		shared = max(shared, sh)
	}
	return (own + shared) * int64(os.Getpagesize())
}
