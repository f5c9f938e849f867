package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/scarab-ops/scarab/container/proc"
)

// ExecResult is how a command inside a machine ended.
type ExecResult struct{ Code int }

// Exec runs a command as root inside a machine, under the machine's limits and
// with the privileges of its profile.
func (r *Runtime) Exec(ctx context.Context, id string, argv []string, in io.Reader, out, errOut io.Writer) (ExecResult, error) {
	m, err := r.Get(id)
	if err != nil {
		return ExecResult{}, err
	}
	if m.State != StateRunning || len(argv) == 0 {
		return ExecResult{}, fmt.Errorf("cannot run a command: machine %s is %s", id, m.State)
	}
	if m.Isolation == IsolationProcess {
		return r.execBound(ctx, &m, argv, in, out, errOut)
	}
	proc, err := proc.Open(m.Pid, m.PidStart, m.BootID)
	if err != nil {
		return ExecResult{}, fmt.Errorf("cannot run a command in machine %s: %w", id, err)
	}
	defer unix.Close(proc)
	cmd, release, err := r.enterCommand(ctx, &m, argv)
	if err != nil {
		return ExecResult{}, err
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, errOut
	err = r.startIn(id, cmd)
	release()
	if err == nil {
		err = cmd.Wait()
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		return ExecResult{exit.ExitCode()}, nil
	}
	if err != nil {
		return ExecResult{}, fmt.Errorf("cannot run a command in machine %s: %w", id, err)
	}
	return ExecResult{}, nil
}

// enterCommand makes the process that will enter the machine. It is to be
// started in the machine's groups; release frees what only the start needs.
func (r *Runtime) enterCommand(ctx context.Context, m *Machine, argv []string) (cmd *exec.Cmd, release func(), err error) {
	text, err := json.Marshal(argv)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot enter a machine: %w", err)
	}
	group, err := r.groups.OpenExec(m.ID, m.IDBase)
	if err != nil {
		return nil, nil, err
	}
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		closeGroup(group)
		return nil, nil, fmt.Errorf("cannot enter a machine: %w", err)
	}
	cmd = exec.CommandContext(ctx, "/proc/self/exe", enterArg, strconv.Itoa(m.Pid), string(m.Profile), string(text), strconv.Itoa(r.cfg.IDs))
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "USER=root", "LANG=C.UTF-8", "TERM=dumb"}
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{self}
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: group >= 0, CgroupFD: max(group, 0)}
	// A command that ends may leave children behind that hold its output.
	cmd.WaitDelay = 1e9
	return cmd, func() { closeGroup(group); _ = self.Close() }, nil
}

// closeGroup closes a descriptor of a group, if there is one.
func closeGroup(fd int) {
	if fd >= 0 {
		_ = unix.Close(fd)
	}
}

// enter joins the machine's namespaces. A process with threads may not join a
// user namespace, and a Go program always has threads, so util-linux's nsenter
// does it and starts us again inside.
func enter(args []string) error {
	if len(args) != 4 {
		return errors.New("cannot enter the machine: arguments are missing")
	}
	nsenter, err := exec.LookPath("nsenter")
	if err != nil {
		return fmt.Errorf("cannot enter the machine: install util-linux: %w", err)
	}
	call := []string{
		"nsenter", "--target", args[0], "--user", "--mount", "--pid", "--net", "--uts", "--ipc",
		"--cgroup", "--root=/proc/" + args[0] + "/root",
	}
	if args[3] == "1" { // we are the machine's only user, and groups cannot be set
		call = append(call, "--preserve-credentials")
	} else {
		call = append(call, "--setuid", "0", "--setgid", "0")
	}
	return unix.Exec(nsenter, append(call, "/proc/self/fd/3", execArg, args[1], args[2]), os.Environ())
}

// execInside takes the profile's privileges away and becomes the command.
func execInside(args []string) error {
	unix.CloseOnExec(3)
	var argv []string
	if len(args) != 2 || json.Unmarshal([]byte(args[1]), &argv) != nil || len(argv) == 0 {
		return errors.New("cannot run a command: arguments are missing")
	}
	s := initSpec{Profile: Profile(args[0])}
	if err := s.confine(); err != nil {
		return err
	}
	if err := os.Chdir("/"); err != nil {
		return fmt.Errorf("cannot run a command: %w", err)
	}
	path, err := exec.LookPath(argv[0])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(127)
	}
	return unix.Exec(path, argv, os.Environ())
}
