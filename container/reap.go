package container

import (
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scarab-ops/scarab/container/proc"
)

// reap is the init of plain and process machines: it starts the command, starts
// it again a second after it ended, and buries orphans.
func reap(command []string) error {
	bound := len(command) > 0 && command[0] == "--bound"
	if bound {
		if command = command[1:]; len(command) > 0 {
			command = append([]string{"/proc/self/exe", innerArg}, command...)
		}
	}
	signals := make(chan os.Signal, 64)
	signal.Notify(signals, syscall.SIGCHLD, syscall.SIGTERM)
	again := make(chan struct{}, 1)
	later := func() { time.AfterFunc(time.Second, func() { again <- struct{}{} }) }
	main := startMain(command, later)
	for {
		select {
		case <-again:
			main = startMain(command, later)
		case s := <-signals:
			if s == syscall.SIGTERM {
				if bound { // no kernel ends the others with us
					proc.KillTree(os.Getpid(), 0)
				}
				os.Exit(0)
			}
			for {
				pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
				if pid <= 0 || err != nil {
					break
				}
				if pid == main {
					later()
				}
			}
		}
	}
}

// startMain starts the command; if that fails, later is called.
func startMain(command []string, later func()) int {
	if len(command) == 0 {
		return -1
	}
	cmd := exec.Command(command[0], command[1:]...) //nolint:gosec // the caller's own command line
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	// The command must not outlive us: where we are no namespace's first
	// process, nobody else would end it. The main thread lives as long as we do.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		later()
		return -1
	}
	pid := cmd.Process.Pid
	_ = cmd.Process.Release()
	return pid
}
