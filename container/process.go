package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scarab-ops/scarab/container/confine"

	"github.com/scarab-ops/scarab/container/proc"
)

// A process machine is a folder and the processes that can see little else of
// the host's files. It has the host's programs, read-only, and the host's
// network. Landlock keeps its processes from files, signals and memory of
// others, seccomp from what reaches the kernel; where the supervisor may
// change users, each machine has one of its own as well.

// What a machine's command is told of its place.
const (
	EnvMachineDir = "SCARAB_MACHINE_DIR" // stands for the root of its files
	EnvMachineRun = "SCARAB_MACHINE_RUN" // for sockets, whose names must be short
)

func (r *Runtime) folderOf(id string) string { return filepath.Join(r.store.machineDir(id), "files") }
func (r *Runtime) runDirOf(id string) string { return filepath.Join(r.cfg.RunDir, "m", id) }

// owner is the user of a process machine: its own, if there is a choice.
func owner(m *Machine) int {
	if os.Geteuid() == 0 {
		return m.IDBase
	}
	return os.Geteuid()
}

// ownUser is the user that only this machine has, 0 if it has none.
func ownUser(m *Machine) int {
	if os.Geteuid() == 0 {
		return m.IDBase
	}
	return 0
}

func (r *Runtime) makeFolder(m *Machine) error {
	dirs := []string{r.folderOf(m.ID)}
	for _, name := range []string{"tmp", "root", "var/lib", "var/log", "etc"} {
		dirs = append(dirs, filepath.Join(dirs[0], name))
	}
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("cannot make the machine's folder: %w", err)
		}
	}
	if os.Geteuid() != 0 {
		return nil
	}
	// Its user must be able to walk to its folder, and nobody else into it.
	for dir := r.store.machineDir(m.ID); len(dir) >= len(r.cfg.Dir); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o711); err != nil {
			return fmt.Errorf("cannot make the machine's folder: %w", err)
		}
	}
	return nil
}

// boundSpec is what the first process of a process machine is told.
type boundSpec struct {
	Dir   string   `json:"dir"`
	Run   string   `json:"run"`
	Read  []string `json:"read"` // files of the host
	Start []string `json:"start"`
	Once  bool     `json:"once"` // a command, not an init
}

func (r *Runtime) boundSpec(m *Machine) (boundSpec, error) {
	s := boundSpec{Dir: r.folderOf(m.ID), Run: r.runDirOf(m.ID), Start: m.Start}
	for _, f := range m.HostFiles {
		name, err := filepath.EvalSymlinks(f.Host)
		if err != nil {
			return s, fmt.Errorf("cannot share host file %s: %w", f.Host, err)
		}
		s.Read = append(s.Read, name)
	}
	return s, nil
}

// startProcess starts a process machine and returns when it is confined.
func (r *Runtime) startProcess(ctx context.Context, m *Machine, files []File) error {
	if err := r.writeFiles(m, files); err != nil {
		return err
	}
	spec, err := r.boundSpec(m)
	if err != nil {
		return err
	}
	conn, theirs, err := proc.SocketPair()
	if err != nil {
		return err
	}
	defer conn.Close()
	cmd := boundCommand(context.Background(), m, spec, theirs)
	err = cmd.Start()
	_ = theirs.Close()
	if err != nil {
		return fmt.Errorf("cannot start the machine's first process: %w", err)
	}
	m.Pid, m.BootID = cmd.Process.Pid, proc.BootID()
	_ = cmd.Process.Release() // the exit watch buries it
	if m.PidStart, err = proc.StartTime(m.Pid); err != nil {
		return err
	}
	if err := r.store.save(m); err != nil {
		return err
	}
	data, err := json.Marshal(&spec)
	if err != nil {
		return fmt.Errorf("cannot describe the machine: %w", err)
	}
	_ = conn.SetDeadline(time.Now().Add(startPatience))
	if err := proc.Send(conn, data, nil); err != nil {
		return err
	}
	return proc.AwaitReady(ctx, conn)
}

func boundCommand(ctx context.Context, m *Machine, spec boundSpec, conn *os.File) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", boundArg)
	cmd.Env = []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "container=scarab",
		EnvIsolation + "=" + string(IsolationProcess), EnvMachineDir + "=" + spec.Dir, EnvMachineRun + "=" + spec.Run,
		"HOME=" + filepath.Join(spec.Dir, "root"), "TMPDIR=" + filepath.Join(spec.Dir, "tmp"),
	}
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{conn}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if os.Geteuid() == 0 {
		id := uint32(owner(m))
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: id, Gid: id, Groups: []uint32{}}
	}
	return cmd
}

// writeFiles puts the machine's files into its folder. Files of the host are
// links: the machine may read them where they are.
func (r *Runtime) writeFiles(m *Machine, files []File) error {
	if err := os.MkdirAll(filepath.Dir(r.runDirOf(m.ID)), 0o711); err != nil {
		return fmt.Errorf("cannot make the machine's folder: %w", err)
	}
	if err := os.Mkdir(r.runDirOf(m.ID), 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("cannot make the machine's folder: %w", err)
	}
	root, err := os.OpenRoot(r.folderOf(m.ID))
	if err != nil {
		return fmt.Errorf("cannot write the machine's files: %w", err)
	}
	defer root.Close()
	for _, f := range files {
		if strings.HasPrefix(f.Path, "/etc/") {
			continue // its programs read the host's
		}
		if err := writeBeneath(root, f); err != nil {
			return fmt.Errorf("cannot write %s: %w", f.Path, err)
		}
	}
	if os.Geteuid() != 0 {
		return nil
	}
	return errors.Join(giveTree(r.folderOf(m.ID), owner(m)), os.Lchown(r.runDirOf(m.ID), owner(m), owner(m)))
}

// writeBeneath writes one file; os.Root follows no link out of the folder.
func writeBeneath(root *os.Root, f File) error {
	name := strings.TrimPrefix(f.Path, "/")
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	if err := root.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if target := f.Host + f.Link; target != "" {
		return root.Symlink(target, name)
	}
	file, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, os.FileMode(f.Mode))
	if err != nil {
		return err
	}
	_, err = file.Write(f.Data)
	return errors.Join(err, file.Chmod(os.FileMode(f.Mode)), file.Close())
}

// giveTree gives a folder that nobody else has written to yet, or only its
// owner-to-be has, to a user. Links are not followed.
func giveTree(dir string, uid int) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return fs.WalkDir(root.FS(), ".", func(p string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return root.Lchown(p, uid, uid)
	})
}

// becomeBound confines the calling process and becomes the machine's init.
func becomeBound() error {
	conn := os.NewFile(3, "supervisor")
	unix.CloseOnExec(3)
	data, _, err := proc.Receive(conn, maxAllBytes)
	if err != nil {
		return err // the supervisor died: so do we
	}
	var s boundSpec
	if err = json.Unmarshal(data, &s); err == nil {
		err = s.confine()
	}
	if err != nil {
		_, _ = conn.WriteString(err.Error())
		return err
	}
	if s.Once {
		_ = conn.Close()
		return becomeInner(s.Start)
	}
	if _, err := conn.WriteString(proc.ReadyWord); err != nil {
		return err
	}
	return unix.Exec("/proc/self/exe", append([]string{"scarab", reapArg, "--bound"}, s.path()...), os.Environ())
}

// path is the command to start; a file of the machine's own goes before one of
// the host's of the same name.
func (s *boundSpec) path() []string {
	if len(s.Start) == 0 {
		return nil
	}
	own := filepath.Join(s.Dir, s.Start[0])
	if _, err := os.Lstat(own); err == nil {
		return append([]string{own}, s.Start[1:]...)
	}
	return s.Start
}

func (s *boundSpec) confine() error {
	unix.Umask(0o022)
	if err := os.Chdir(s.Dir); err != nil {
		return fmt.Errorf("cannot enter the machine's folder: %w", err)
	}
	// What loses its parent inside stays with the machine's init.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("cannot keep the machine's processes together: %w", err)
	}
	rules := append(confine.HostRules(), confine.Rule{Path: s.Dir, Access: confine.All | confine.ResolveUnix}, confine.Rule{Path: s.Run, Access: confine.All | confine.ResolveUnix},
		confine.Rule{Path: "/proc/self/exe", Access: confine.Read})
	for _, name := range s.Read {
		rules = append(rules, confine.Rule{Path: name, Access: confine.Read})
	}
	if err := confine.Landlock(rules); err != nil {
		return err
	}
	if os.Geteuid() == 0 {
		return errors.New("cannot confine the machine: it would run as root")
	}
	return confine.Plain().Load()
}

// becomeInner confines once more, so that the command cannot end the machine's
// init, and becomes the command.
func becomeInner(argv []string) error {
	if len(argv) == 0 {
		return errors.New("cannot run a command: none was given")
	}
	if err := confine.Landlock(nil); err != nil {
		return err
	}
	path, err := exec.LookPath(argv[0])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(127)
	}
	return unix.Exec(path, argv, os.Environ())
}

// execBound runs a command with the confinement of a process machine.
func (r *Runtime) execBound(ctx context.Context, m *Machine, argv []string, in io.Reader, out, errOut io.Writer) (ExecResult, error) {
	fail := func(err error) (ExecResult, error) {
		return ExecResult{}, fmt.Errorf("cannot run a command in machine %s: %w", m.ID, err)
	}
	spec, err := r.boundSpec(m)
	if err != nil {
		return fail(err)
	}
	spec.Start, spec.Once = argv, true
	conn, theirs, err := proc.SocketPair()
	if err != nil {
		return fail(err)
	}
	defer conn.Close()
	cmd := boundCommand(ctx, m, spec, theirs)
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = in, out, errOut, time.Second
	err = cmd.Start()
	_ = theirs.Close()
	if err != nil {
		return fail(err)
	}
	data, err := json.Marshal(&spec)
	if err == nil {
		err = proc.Send(conn, data, nil)
	}
	err = errors.Join(err, cmd.Wait())
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		return ExecResult{exit.ExitCode()}, nil
	}
	if err != nil {
		return fail(err)
	}
	return ExecResult{}, nil
}
