package hostd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scarab-ops/scarab/hostd/hostapi"
	"github.com/scarab-ops/scarab/image"
)

const unitName = "scarab-host.service"

// Installation says where a supervisor lives on its host.
type Installation struct {
	Program []string // command of the supervisor, absolute: agent, "host", ...
	File    string   // configuration; DefaultFile
	Units   string   // folder of systemd units; "/etc/systemd/system"
	Log     string   // of a supervisor that no systemd runs
}

// Defaults fills in what is left out.
func (i *Installation) defaults() {
	if i.File == "" {
		i.File = DefaultFile
	}
	if i.Units == "" {
		i.Units = "/etc/systemd/system"
	}
	if i.Log == "" {
		i.Log = "/var/log/scarab/host.log"
	}
}

// underSystemd tells whether systemd is this host's init and takes our orders.
func underSystemd() bool {
	st, err := os.Lstat("/run/systemd/system")
	return err == nil && st.IsDir() && os.Geteuid() == 0
}

// Install writes the configuration, makes the controller's folder and starts
// the supervisor, as a unit where systemd is the init and else as a process
// of its own. Doing it again with the same values changes nothing.
func Install(ctx context.Context, inst Installation, cfg Config) error {
	inst.defaults()
	cfg.fill()
	cfg.Program = inst.Program
	if len(inst.Program) == 0 || !filepath.IsAbs(inst.Program[0]) {
		return errors.New("cannot install the supervisor: its program must be an absolute path")
	}
	data, err := json.MarshalIndent(cfg, "", " ")
	if err != nil {
		return fmt.Errorf("cannot install the supervisor: %w", err)
	}
	for _, dir := range []string{filepath.Dir(inst.File), filepath.Dir(inst.Log)} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return fmt.Errorf("cannot install the supervisor: %w", err)
		}
	}
	if err := writeAtomic(inst.File, data, 0o600); err != nil {
		return err
	}
	if c := cfg.Controller; c != nil && c.Dir != "" {
		if err := os.MkdirAll(c.Dir, 0o700); err != nil {
			return fmt.Errorf("cannot make the controller's folder: %w", err)
		}
		if err := os.Lchown(c.Dir, c.UID, c.GID); err != nil { // itself, without rights
			return fmt.Errorf("cannot make the controller's folder: %w", err)
		}
	}
	return start(ctx, inst, cfg.Socket)
}

func start(ctx context.Context, inst Installation, socket string) error {
	if answers(ctx, socket) {
		return nil
	}
	if underSystemd() {
		if err := startUnit(ctx, inst); err != nil {
			return err
		}
		return awaitAnswer(ctx, inst, socket, nil)
	}
	p, err := startProcess(inst)
	if err != nil {
		return err
	}
	if err = awaitAnswer(ctx, inst, socket, p.ended); err != nil {
		p.end() // or it begins its work when whoever started it has given up
	}
	return err
}

// process is a supervisor that we started ourselves.
type process struct {
	cmd   *exec.Cmd
	ended chan error // has the outcome, and is then closed
}

func (p *process) end() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(2 * stopPatience): // it ends the controller first
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
}

// Start starts an installed supervisor that does not run.
func Start(ctx context.Context, inst Installation) error {
	inst.defaults()
	cfg, err := LoadConfig(inst.File)
	if err != nil {
		return err
	}
	cfg.fill()
	return start(ctx, inst, cfg.Socket)
}

// Installation is where a supervisor of this configuration is, by its file.
func (c *Config) Installation(file string) Installation {
	inst := Installation{Program: c.Program, File: file}
	if c.Controller != nil && c.Controller.Log != "" {
		inst.Log = filepath.Join(filepath.Dir(c.Controller.Log), "host.log")
	}
	return inst
}

// Runs tells whether the supervisor of a configuration answers.
func (c *Config) Runs(ctx context.Context) bool {
	socket := c.Socket
	if socket == "" {
		socket = hostapi.Socket
	}
	return answers(ctx, socket)
}

// Uninstall removes all machines, the network, and the supervisor with its
// configuration. The controller's folder and the images stay.
func Uninstall(ctx context.Context, inst Installation, report func(string)) error {
	inst.defaults()
	cfg, err := LoadConfig(inst.File)
	if errors.Is(err, os.ErrNotExist) {
		return nil // nothing is installed
	}
	if err != nil {
		return err
	}
	cfg.fill()
	if !answers(ctx, cfg.Socket) {
		if err := stopUnit(ctx); err != nil {
			return err
		}
		if err := unanswering(ctx, &inst, &cfg); err != nil {
			return err
		}
	}
	if err := removeAll(ctx, inst, cfg.Socket, report); err != nil {
		if ctx.Err() != nil {
			return err
		}
		// It answers, but cannot do it, or not in time: a new one may.
		report("the supervisor cannot do it (" + err.Error() + "); a new one tries")
		if err := errors.Join(stopUnit(ctx), unanswering(ctx, &inst, &cfg)); err != nil {
			return err
		}
		if err := removeAll(ctx, inst, cfg.Socket, report); err != nil {
			return err
		}
	}
	if underSystemd() {
		if err := systemctl(ctx, "disable", "--now", unitName); err != nil {
			return err
		}
		if err := os.Remove(filepath.Join(inst.Units, unitName)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("cannot remove the unit: %w", err)
		}
	}
	if err := awaitEnd(ctx, &inst, &cfg); err != nil {
		return err
	}
	if os.Geteuid() == 0 { // an ordinary user's are swept by his supervisor, who has their ids
		if err := (&image.Store{Dir: cfg.Images}).Sweep(); err != nil {
			return err
		}
	}
	if err := os.Remove(inst.File); err != nil {
		return fmt.Errorf("cannot remove the configuration: %w", err)
	}
	return nil
}

// shutdownPatience bounds what a supervisor needs to remove everything.
const shutdownPatience = 50 * time.Second

// removeAll has the supervisor remove everything, which is started if it does
// not run.
func removeAll(ctx context.Context, inst Installation, socket string, report func(string)) error {
	if err := start(ctx, inst, socket); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, shutdownPatience)
	defer cancel()
	client := hostapi.NewClient(socket)
	defer client.Close()
	return client.Shutdown(ctx, report)
}

// stopUnit keeps systemd from starting again what is about to be ended.
func stopUnit(ctx context.Context) error {
	if !underSystemd() {
		return nil
	}
	err := exec.CommandContext(ctx, "systemctl", "cat", unitName).Run()
	if err != nil {
		return nil // there is no such unit
	}
	return systemctl(ctx, "stop", unitName)
}

// awaitEnd waits until a supervisor is gone, process and all: one that goes on
// would be in the way of the next. It is not waited for without end.
func awaitEnd(ctx context.Context, inst *Installation, cfg *Config) error {
	all := supervisors(inst, cfg)
	defer release(all)
	if !awaitAll(ctx, all, 5*time.Second) {
		if err := unanswering(ctx, inst, cfg); err != nil {
			return err
		}
	}
	if err := end(ctx, controllers(cfg)); err != nil {
		return err
	}
	if err := os.Remove(cfg.Socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cannot remove the supervisor's socket: %w", err)
	}
	return nil
}

func answers(ctx context.Context, socket string) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	client := hostapi.NewClient(socket)
	defer client.Close()
	_, err := client.Status(ctx)
	return err == nil
}

func pause(ctx context.Context) error {
	select {
	case <-time.After(20 * time.Millisecond):
		return nil
	case <-ctx.Done():
		return fmt.Errorf("cannot wait for the supervisor: %w", ctx.Err())
	}
}

func awaitAnswer(ctx context.Context, inst Installation, socket string, ended <-chan error) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	look := time.NewTicker(2 * time.Millisecond) // as long as there is no socket, a look costs nothing
	defer look.Stop()
	for !answers(ctx, socket) {
		select {
		case <-look.C:
		case err := <-ended:
			if !answers(ctx, socket) { // else another one was there first
				return fmt.Errorf("cannot start the supervisor, it ended (%w): %s", err, tail(inst.Log))
			}
		case <-ctx.Done():
			return fmt.Errorf("cannot wait for the supervisor: %w: %s", context.Cause(ctx), tail(inst.Log))
		}
	}
	return nil
}

// tail is the end of a log, for whoever may not find the log any more.
func tail(name string) string {
	f, err := os.Open(name)
	if err != nil {
		return "see " + name
	}
	defer f.Close()
	const most = 600
	if st, err := f.Stat(); err == nil && st.Size() > most {
		_, _ = f.Seek(-most, io.SeekEnd) // else all of it
	}
	text, _ := io.ReadAll(io.LimitReader(f, most)) // what could be read
	return strings.ReplaceAll(strings.TrimSpace(string(text)), "\n", "; ")
}

// unit is the supervisor's unit. Ending it leaves the machines alone, whose
// processes are in control groups of their own anyway.
func unit(program []string) string {
	var cmd []string
	for _, p := range program {
		cmd = append(cmd, `"`+strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%", "$", "$$").Replace(p)+`"`)
	}
	return "[Unit]\nDescription=Scarab local cloud\nAfter=network.target\nStartLimitIntervalSec=0\n\n" +
		"[Service]\nExecStart=" + strings.Join(cmd, " ") + "\nRestart=on-failure\nRestartSec=1\nKillMode=process\n" +
		"OOMScoreAdjust=-900\nTasksMax=infinity\nLimitNOFILE=1048576\n\n[Install]\nWantedBy=multi-user.target\n"
}

func startUnit(ctx context.Context, inst Installation) error {
	if err := writeAtomic(filepath.Join(inst.Units, unitName), []byte(unit(inst.Program)), 0o644); err != nil {
		return err
	}
	if err := systemctl(ctx, "daemon-reload"); err != nil {
		return err
	}
	return systemctl(ctx, "enable", "--now", unitName)
}

func systemctl(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, "systemctl", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("cannot run systemctl %s: %w: %.300s", args[0], err, out)
	}
	return nil
}

// startProcess starts the supervisor in a session of its own. Nobody starts
// it again if it ends: a host without systemd has to.
func startProcess(inst Installation) (*process, error) {
	out, err := openLog(inst.Log)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	// Whoever called us may have files open that are nobody else's business, a
	// lock for one; a process that stays must not keep them.
	if err := unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return nil, fmt.Errorf("cannot start the supervisor: %w", err)
	}
	cmd := exec.Command(inst.Program[0], inst.Program[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = "/", out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start the supervisor: %w", err)
	}
	p := &process{cmd, make(chan error, 1)}
	go func() { // it may end before we do
		p.ended <- cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

func writeAtomic(name string, data []byte, mode os.FileMode) error {
	tmp := name + ".new"
	err := os.WriteFile(tmp, data, mode)
	if err == nil {
		err = errors.Join(os.Chmod(tmp, mode), os.Rename(tmp, name))
	}
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", name, err)
	}
	return nil
}
