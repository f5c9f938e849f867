package container

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"github.com/scarab-ops/scarab/container/confine"
)

// Probe tries what this host allows, strongest first. The reasons say why a
// stronger isolation is not to be had. A Runtime makes machines of the
// strongest kind only; New fails where that is refused.
func Probe() (Isolation, []string) {
	var why []string
	namespaces := tryClone(syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET)
	switch {
	case os.Geteuid() != 0:
		why = append(why, "not root")
	case namespaces != nil:
		why = append(why, namespaces.Error())
	default:
		err := inPrivateMounts(func() error { return nil })
		if err == nil {
			return IsolationContainer, nil
		}
		why = append(why, err.Error())
	}
	if namespaces == nil {
		return IsolationRootless, why
	}
	return IsolationProcess, append(why, namespaces.Error())
}

// Lacks says what machines of a rung do not have that containers have.
func Lacks(kind Isolation) []string {
	switch kind {
	case IsolationRootless:
		return []string{"limits of memory, processors and disk are not held and systemd does not run inside, for no control groups are ours"}
	case IsolationProcess:
		out := []string{
			"machines have the host's programs and network: ports of one are in the way of another's, and no packet is filtered",
			"limits of memory, processors and disk are not held",
		}
		if v, err := confine.LandlockVersion(); os.Geteuid() != 0 && (err != nil || v < confine.ResolveUnixSince) {
			out = append(out, "this kernel does not keep a machine from sockets that its user listens on (a session bus, an agent for keys): "+
				"run charms that you trust, or as a user who has none")
		}
		return out
	}
	return nil
}

// tryClone makes a process in new namespaces that ends at once.
func tryClone(flags uintptr) error {
	cmd := exec.Command("/bin/true")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  flags,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
	}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("cannot make namespaces: %w", err)
	}
	return nil
}
