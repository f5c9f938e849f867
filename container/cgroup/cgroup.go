// Package cgroup owns the limits of machines: it finds where this host wants them
// written, makes a machine's control groups, puts processes into them and takes
// them away. It touches no group outside of its own folder.
package cgroup

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Limits of one machine. Zero is unlimited, save Pids, which has a default.
type Limits struct {
	Cores   int   `json:"cores,omitempty"`
	MemMiB  int64 `json:"mem-mib,omitempty"`
	DiskMiB int64 `json:"disk-mib,omitempty"`
	Pids    int   `json:"pids,omitempty"`
}

// DefaultPids bounds the processes of a machine that asks for no other limit.
const DefaultPids = 4096

const cgroupPeriod = 100_000 // microseconds

// Groups knows where this host wants limits written. A controller is either
// in a version 1 hierarchy of its own or in the version 2 tree; a host may mix
// both. Machines always get a place in the version 2 tree too: systemd inside
// needs one, and it makes their processes countable.
type Groups struct {
	Folder string            // name of our folder in each hierarchy
	V1     map[string]string // controller -> mount point
	V2     string            // mount point, empty if there is none
	v2ctl  []string          // wanted controllers that live in v2
}

// None tells that no control groups are ours to use.
func (c *Groups) None() bool { return c.V2 == "" }

// V2Dir is a folder of ours in the version 2 tree.
func (c *Groups) V2Dir(parts ...string) string {
	return filepath.Join(append([]string{c.V2, c.Folder}, parts...)...)
}

// Detect reads the mount table; private is where the version 2 tree is
// mounted if the host did not mount it.
func Detect(folder, private string) (*Groups, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("cannot find control groups: %w", err)
	}
	defer f.Close()
	c := &Groups{Folder: folder, V1: map[string]string{}}
	for sc := bufio.NewScanner(f); sc.Scan(); {
		c.readMount(sc.Text())
	}
	if c.V2 == "" {
		if err := os.MkdirAll(private, 0o700); err != nil {
			return nil, fmt.Errorf("cannot mount the control group tree: %w", err)
		}
		if err := unix.Mount("cgroup2", private, "cgroup2", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
			return nil, fmt.Errorf("cannot mount the control group tree: %w", err)
		}
		c.V2 = private
	}
	data, err := os.ReadFile(filepath.Join(c.V2, "cgroup.controllers"))
	if err != nil {
		return nil, fmt.Errorf("cannot read the control group tree: %w", err)
	}
	have := strings.Fields(string(data))
	for _, name := range []string{"cpu", "memory", "pids"} {
		if c.V1[name] == "" && slices.Contains(have, name) {
			c.v2ctl = append(c.v2ctl, name)
		}
	}
	return c, nil
}

func (c *Groups) readMount(line string) {
	left, right, ok := strings.Cut(line, " - ")
	fields, kind := strings.Fields(left), strings.Fields(right)
	if !ok || len(fields) < 5 || len(kind) < 3 {
		return
	}
	switch kind[0] {
	case "cgroup2":
		if c.V2 == "" {
			c.V2 = fields[4]
		}
	case "cgroup":
		for _, opt := range strings.Split(kind[2], ",") {
			if opt == "cpu" || opt == "memory" || opt == "pids" {
				c.V1[opt] = fields[4]
			}
		}
	}
}

// Prepare makes our folder and hands the controllers down to it.
func (c *Groups) Prepare() error {
	if err := os.MkdirAll(c.V2Dir(), 0o755); err != nil {
		return fmt.Errorf("cannot make control groups: %w", err)
	}
	if len(c.v2ctl) == 0 {
		return nil
	}
	for _, dir := range []string{c.V2, c.V2Dir()} {
		if err := c.handDown(dir); err != nil {
			return err
		}
	}
	return nil
}

func (c *Groups) handDown(dir string) error {
	for _, name := range c.v2ctl {
		if err := WriteControl(dir, "cgroup.subtree_control", "+"+name); err != nil {
			return err
		}
	}
	return nil
}

// Create makes the groups of one machine with its limits. In the version 2
// tree the limits sit on the machine's folder, which stays root's; "machine"
// below it belongs to the machine.
func (c *Groups) Create(id string, l Limits, idBase int) error {
	if c.None() {
		return nil
	}
	if l.Pids == 0 {
		l.Pids = DefaultPids
	}
	if err := c.createV1(id, l); err != nil {
		return err
	}
	own := c.V2Dir(id, "machine")
	if err := os.MkdirAll(own, 0o755); err != nil {
		return fmt.Errorf("cannot make control groups: %w", err)
	}
	if err := c.limitV2(c.V2Dir(id), l); err != nil {
		return err
	}
	return give(own, idBase)
}

// give lets the machine's root manage a group of its own tree.
func give(dir string, idBase int) error {
	for _, name := range []string{"", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"} {
		if err := os.Chown(filepath.Join(dir, name), idBase, idBase); err != nil {
			return fmt.Errorf("cannot give a control group to the machine: %w", err)
		}
	}
	return nil
}

func (c *Groups) createV1(id string, l Limits) error {
	for name, mount := range c.V1 {
		dir := filepath.Join(mount, c.Folder, id)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("cannot make control groups: %w", err)
		}
		var err error
		switch {
		case name == "cpu" && l.Cores > 0:
			err = errors.Join(WriteControl(dir, "cpu.cfs_period_us", strconv.Itoa(cgroupPeriod)),
				WriteControl(dir, "cpu.cfs_quota_us", strconv.Itoa(l.Cores*cgroupPeriod)))
		case name == "memory" && l.MemMiB > 0:
			err = WriteControl(dir, "memory.limit_in_bytes", strconv.FormatInt(l.MemMiB<<20, 10))
		case name == "pids":
			err = WriteControl(dir, "pids.max", strconv.Itoa(l.Pids))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *Groups) limitV2(dir string, l Limits) error {
	if err := c.handDown(dir); err != nil {
		return err
	}
	for _, name := range c.v2ctl {
		var err error
		switch {
		case name == "cpu" && l.Cores > 0:
			err = WriteControl(dir, "cpu.max", fmt.Sprintf("%d %d", l.Cores*cgroupPeriod, cgroupPeriod))
		case name == "memory" && l.MemMiB > 0:
			err = WriteControl(dir, "memory.max", strconv.FormatInt(l.MemMiB<<20, 10))
		case name == "pids":
			err = WriteControl(dir, "pids.max", strconv.Itoa(l.Pids))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Enter puts the calling thread into the version 1 groups, and so every process
// that it starts from then on: those are limited from their first instruction.
// A thread that moves itself waits for nobody; to move another process the
// kernel stops all forks of the host, for up to 18 ms a group.
func (c *Groups) Enter(id string) error {
	for _, mount := range c.V1 {
		if err := WriteControl(filepath.Join(mount, c.Folder, id), "tasks", "0"); err != nil {
			return err
		}
	}
	return nil
}

// Open gives a descriptor of one of the machine's version 2 groups, for
// starting a process straight into it.
func (c *Groups) Open(id, leaf string) (int, error) {
	if c.None() {
		return -1, nil
	}
	fd, err := unix.Open(c.V2Dir(id, leaf), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("cannot open a control group: %w", err)
	}
	return fd, nil
}

// OpenExec gives the group for processes sent in later. It lies in the
// machine's own tree, so that the init inside may move them to a session. It
// is made when needed: the init may tidy it away.
func (c *Groups) OpenExec(id string, idBase int) (int, error) {
	if c.None() {
		return -1, nil
	}
	dir := c.V2Dir(id, "machine", "exec")
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return -1, fmt.Errorf("cannot make a control group: %w", err)
	}
	if err := give(dir, idBase); err != nil {
		return -1, err
	}
	return c.Open(id, "machine/exec")
}

// KillAll ends what still runs in a machine's version 2 group.
func (c *Groups) KillAll(id string) {
	if c.None() {
		return
	}
	dir := c.V2Dir(id)
	if os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0) == nil {
		return
	}
	// Kernels before 5.14 have no cgroup.kill.
	_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == "cgroup.procs" {
			data, _ := os.ReadFile(p) //nolint:gosec // the kernel's own tree has no links
			for _, f := range strings.Fields(string(data)) {
				if pid, err := strconv.Atoi(f); err == nil && pid > 1 {
					_ = unix.Kill(pid, unix.SIGKILL)
				}
			}
		}
		return nil
	})
}

// Remove takes a machine's groups away, waiting for the kernel to be done
// with the processes in them.
func (c *Groups) Remove(id string) error {
	if id == "" || id != filepath.Base(id) || id[0] == '.' {
		return fmt.Errorf("cannot remove control groups: %q is no machine", id)
	}
	if c.None() {
		return nil
	}
	dirs := []string{c.V2Dir(id)}
	for _, mount := range c.V1 {
		dirs = append(dirs, filepath.Join(mount, c.Folder, id))
	}
	errs := make(chan error, len(dirs))
	for _, dir := range dirs {
		go func() { errs <- removeTree(dir, 5*time.Second) }()
	}
	var err error
	for range dirs {
		err = errors.Join(err, <-errs)
	}
	return err
}

// RemoveAll takes our folder away from every hierarchy once it is empty.
func (c *Groups) RemoveAll() error {
	if c.None() {
		return nil
	}
	err := removeTree(c.V2Dir(), time.Second)
	for _, mount := range c.V1 {
		err = errors.Join(err, removeTree(filepath.Join(mount, c.Folder), time.Second))
	}
	return err
}

// removeTree removes a folder of control groups bottom-up. Files in it cannot
// be removed and need not be.
func removeTree(dir string, patience time.Duration) error {
	deadline := time.Now().Add(patience)
	for pause := 500 * time.Microsecond; ; pause = min(2*pause, 20*time.Millisecond) {
		var dirs []string
		_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, p)
			}
			return nil
		})
		var err error
		for _, d := range slices.Backward(dirs) {
			if e := unix.Rmdir(d); e != nil && e != unix.ENOENT {
				err = fmt.Errorf("cannot remove control group %s: %w", d, e)
			}
		}
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(pause)
	}
}

// WriteControl sets one value of a group.
func WriteControl(dir, file, value string) error {
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("cannot set a limit: %w", err)
	}
	_, err = f.WriteString(value)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("cannot set a limit: %w", err)
	}
	return nil
}
