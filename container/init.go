package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/scarab-ops/scarab/container/confine"

	"github.com/scarab-ops/scarab/container/proc"
	"github.com/scarab-ops/scarab/container/space"
)

// Hidden subcommands of the binary: the first process of a machine before it
// becomes the machine's init, the small init of plain machines, and the two
// steps of entering a machine.
const (
	initArg  = "container-init"
	reapArg  = "container-reap"
	enterArg = "container-enter"
	execArg  = "container-exec"
	boundArg = "container-bound"
	innerArg = "container-inner"
)

// EnvIsolation tells a machine's command how the machine is kept apart.
const EnvIsolation = "SCARAB_ISOLATION"

// EnvBootMark names, to a machine's command, a file that appears once the
// machine has come as far as its ordinary services need it. Where it is not
// set, there is nothing to wait for.
const EnvBootMark = "SCARAB_BOOT_MARK"

// IsInit tells whether the process was started to become part of a machine.
// Every binary that uses a Runtime asks this first thing in main.
func IsInit(args []string) bool {
	if len(args) < 2 {
		return false
	}
	switch args[1] {
	case initArg, reapArg, enterArg, execArg, space.HoldArg, space.HeldArg, boundArg, innerArg:
		return true
	}
	return false
}

// InitMain does what IsInit found and does not return.
func InitMain() {
	runtime.LockOSThread()
	var err error
	switch os.Args[1] {
	case initArg:
		err = becomeMachine()
	case reapArg:
		err = reap(os.Args[2:])
	case enterArg:
		err = enter(os.Args[2:])
	case execArg:
		err = execInside(os.Args[2:])
	case space.HoldArg:
		err = space.Hold()
	case space.HeldArg:
		err = space.Held()
	case boundArg:
		err = becomeBound()
	case innerArg:
		err = becomeInner(os.Args[2:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(70)
}

// initSpec is what the first process of a machine is told. It comes with the
// descriptors of the root, of each host file and of the notify socket.
type initSpec struct {
	Hostname  string     `json:"hostname"`
	Profile   Profile    `json:"profile"`
	Isolation Isolation  `json:"isolation"`
	Address   netip.Addr `json:"address"`
	Gateway   netip.Addr `json:"gateway"`
	Resolvers []string   `json:"resolvers"`
	Files     []File     `json:"files"`
	HostFiles []File     `json:"host-files"`
	Masked    []string   `json:"masked"`
	Start     []string   `json:"start"`
}

// becomeMachine runs as PID 1 in new namespaces, with the host's files still
// in view, until it has built the machine around itself.
func becomeMachine() error {
	conn := os.NewFile(3, "supervisor")
	unix.CloseOnExec(3)
	data, fds, err := proc.Receive(conn, maxAllBytes*2)
	if err != nil {
		return err // the supervisor died: so do we
	}
	var s initSpec
	if err = json.Unmarshal(data, &s); err == nil && len(fds) != len(s.HostFiles)+2 {
		err = errors.New("cannot start the machine: descriptors are missing")
	}
	if err == nil {
		err = s.build(fds)
	}
	if err == nil {
		err = s.confine()
	}
	if err != nil {
		_, _ = conn.WriteString(err.Error())
		return err
	}
	if _, err := conn.WriteString(proc.ReadyWord); err != nil {
		return err
	}
	env := []string{"container=scarab", EnvIsolation + "=" + string(s.Isolation), "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"}
	if s.Profile == ProfileSystem {
		env = append(env, "NOTIFY_SOCKET="+notifyPath)
		return unix.Exec("/sbin/init", []string{"/sbin/init", "--log-level=notice", "--show-status=no"}, env)
	}
	return unix.Exec("/proc/self/exe", append([]string{"scarab", reapArg}, s.Start...), append(env, "HOME=/root", "USER=root"))
}

func (s *initSpec) build(fds []int) error {
	unix.Umask(0o022)
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("cannot hide the host's control groups: %w", err)
	}
	if err := enterRoot(fds[0]); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(s.Hostname)); err != nil {
		return fmt.Errorf("cannot set the host name: %w", err)
	}
	if err := configureInside(s.Address, s.Gateway); err != nil {
		return err
	}
	for _, f := range append(s.systemFiles(), s.Files...) {
		if err := writeFile(f); err != nil {
			return err
		}
	}
	for i, f := range s.HostFiles {
		if err := showFile(fds[1+i], f.Path); err != nil {
			return err
		}
	}
	if s.Profile == ProfileSystem {
		if err := showFile(fds[len(fds)-1], notifyPath); err != nil {
			return err
		}
	}
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
	return protectKernel(s.Profile)
}

// confine takes privileges away for good, in the order the kernel wants.
func (s *initSpec) confine() error {
	if s.Profile == ProfileSystem {
		if err := confine.System().Load(); err != nil {
			return err
		}
		return confine.LimitCaps(confine.SystemCaps())
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("cannot refuse new privileges: %w", err)
	}
	if err := confine.LimitCaps(confine.PlainCaps()); err != nil {
		return err
	}
	return confine.Plain().Load()
}

// systemFiles are the files that belong to the machine's place in the network
// and to its init, and are the same at every start.
func (s *initSpec) systemFiles() []File {
	resolv := ""
	for _, r := range s.Resolvers {
		resolv += "nameserver " + r + "\n"
	}
	hosts := "127.0.0.1 localhost\n::1 localhost ip6-localhost\n"
	if s.Address.IsValid() {
		hosts += s.Address.String() + " " + s.Hostname + "\n"
	}
	files := []File{
		{Path: "/etc/hostname", Mode: 0o644, Data: []byte(s.Hostname + "\n")},
		{Path: "/etc/hosts", Mode: 0o644, Data: []byte(hosts)},
		{Path: "/etc/resolv.conf", Mode: 0o644, Data: []byte(resolv)},
	}
	if s.Profile != ProfileSystem {
		return files
	}
	const units = "/etc/systemd/system/"
	for _, name := range s.Masked {
		files = append(files, File{Path: units + name, Link: "/dev/null"})
	}
	if len(s.Start) > 0 {
		files = append(files,
			File{Path: units + serviceName, Mode: 0o644, Data: []byte(serviceUnit(s.Start))},
			File{Path: units + "multi-user.target.wants/" + serviceName, Link: units + serviceName},
			File{Path: units + markName, Mode: 0o644, Data: []byte(markUnit())},
			File{Path: units + "multi-user.target.wants/" + markName, Link: units + markName})
	}
	return files
}

const (
	serviceName = "scarab-machine.service"
	markName    = "scarab-basic.service"
	bootMark    = "/run/scarab-basic" // gone after every boot
)

// markUnit is the unit that makes the mark: it is ordered as an ordinary
// service is.
func markUnit() string {
	return "[Unit]\nDescription=Tell the Scarab machine agent that services can start\nAfter=basic.target\n\n" +
		"[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/touch " + bootMark + "\n\n[Install]\nWantedBy=multi-user.target\n"
}

// serviceUnit is the unit that runs the machine's command. It is started at
// once, beside what makes the machine ready for services, for it has much to
// do that needs none of them; the mark tells it when they can be relied on.
func serviceUnit(start []string) string {
	var cmd strings.Builder
	for i, arg := range start {
		if i > 0 {
			cmd.WriteByte(' ')
		}
		cmd.WriteString(quoteUnit(arg))
	}
	return "[Unit]\nDescription=Scarab machine agent\nDefaultDependencies=no\nConflicts=shutdown.target\nBefore=shutdown.target\n" +
		"StartLimitIntervalSec=0\n\n" +
		"[Service]\nEnvironment=" + EnvBootMark + "=" + bootMark + "\nExecStart=" + cmd.String() + "\nRestart=always\nRestartSec=1\nKillMode=process\nDelegate=yes\n" +
		"TasksMax=infinity\nLimitNOFILE=65536\n\n[Install]\nWantedBy=multi-user.target\n"
}

// quoteUnit writes one argument so that systemd takes it as it is.
func quoteUnit(arg string) string {
	r := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "%", "%%", "$", "$$")
	return `"` + r.Replace(arg) + `"`
}

// writeFile writes one file inside the machine, in the place of whatever is
// there; links are replaced, not followed.
func writeFile(f File) error {
	if err := os.MkdirAll(filepath.Dir(f.Path), 0o755); err != nil {
		return fmt.Errorf("cannot write %s: %w", f.Path, err)
	}
	if err := os.Remove(f.Path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cannot write %s: %w", f.Path, err)
	}
	if f.Link != "" {
		if err := os.Symlink(f.Link, f.Path); err != nil {
			return fmt.Errorf("cannot link %s: %w", f.Path, err)
		}
		return nil
	}
	file, err := os.OpenFile(f.Path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, os.FileMode(f.Mode))
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", f.Path, err)
	}
	_, err = file.Write(f.Data)
	if err = errors.Join(err, file.Chmod(os.FileMode(f.Mode)), file.Close()); err != nil {
		return fmt.Errorf("cannot write %s: %w", f.Path, err)
	}
	return nil
}

// showFile puts a detached mount of one file at a path inside the machine.
func showFile(fd int, target string) error {
	if _, err := os.Lstat(target); errors.Is(err, os.ErrNotExist) {
		if err := writeFile(File{Path: target, Mode: 0o644}); err != nil {
			return err
		}
	}
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("cannot show %s: %w", target, err)
	}
	return nil
}
