package bootstrap

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/scarab-ops/scarab/hostd"
)

// Paths say where things lie on the host. The zero Paths are the ordinary ones.
type Paths struct {
	Lib   string // /var/lib/scarab: programs, controller, keys
	Run   string // /run/scarab
	Log   string // /var/log/scarab
	Cache string // /var/cache/scarab
	// Programs is the folder that holds the four programs to install.
	Programs string
	// Supervisor is the command of the host's supervisor, to which its
	// configuration is added; the installed agent's if it is empty.
	Supervisor []string
}

func (p *Paths) fill() error {
	set := func(s *string, d string) {
		if *s == "" {
			*s = d
		}
	}
	if os.Geteuid() != 0 {
		if err := p.fillUser(set); err != nil {
			return err
		}
	}
	set(&p.Lib, "/var/lib/scarab")
	set(&p.Run, "/run/scarab")
	set(&p.Log, "/var/log/scarab")
	set(&p.Cache, "/var/cache/scarab")
	if p.Programs != "" {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("cannot find the program's own file: %w", err)
	}
	self, err = filepath.EvalSymlinks(self)
	if err != nil {
		return fmt.Errorf("cannot find the program's own file: %w", err)
	}
	p.Programs = filepath.Dir(self)
	return nil
}

// fillUser chooses the folders of a local cloud that an ordinary user has for
// himself.
func (p *Paths) fillUser(set func(s *string, d string)) error {
	home, err := os.UserHomeDir()
	if err != nil {
		return fmt.Errorf("cannot find the folders of a local cloud: %w", err)
	}
	base := func(variable, under string) string {
		if d := os.Getenv(variable); filepath.IsAbs(d) {
			return d
		}
		return filepath.Join(home, under)
	}
	cache := filepath.Join(base("XDG_CACHE_HOME", ".cache"), "scarab")
	set(&p.Lib, filepath.Join(base("XDG_DATA_HOME", ".local/share"), "scarab"))
	set(&p.Cache, cache)
	run := filepath.Join(cache, "run")
	if d := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(d) {
		run = filepath.Join(d, "scarab")
	}
	set(&p.Run, run)
	set(&p.Log, filepath.Join(p.Lib, "log"))
	return nil
}

// Socket is where the supervisor of this user's local cloud listens.
func Socket() (string, error) {
	var p Paths
	if err := p.fill(); err != nil {
		return "", err
	}
	return p.socket(), nil
}

// controllerUser is who runs the controller: where there is the choice, a user
// that nothing else has.
func controllerUser() (uid, gid int) {
	if os.Geteuid() == 0 {
		return hostd.DefaultUID, hostd.DefaultUID
	}
	return os.Geteuid(), os.Getegid()
}

// mode is of a folder that others walk through to what is shown to them; an
// ordinary user shows nothing to anybody.
func mode(m os.FileMode) os.FileMode {
	if os.Geteuid() != 0 {
		return 0o700
	}
	return m
}

func (p Paths) bin() string    { return filepath.Join(p.Lib, "bin") }
func (p Paths) data() string   { return filepath.Join(p.Lib, "controller") }
func (p Paths) keys() string   { return filepath.Join(p.Lib, "keys") }
func (p Paths) init() string   { return filepath.Join(p.keys(), "init.json") }
func (p Paths) host() string   { return filepath.Join(p.Lib, "host.json") }
func (p Paths) socket() string { return filepath.Join(p.Run, "host", "host.sock") }

func (p Paths) images() string        { return filepath.Join(p.Cache, "images") }
func (p Paths) markFile() string      { return filepath.Join(p.Lib, "bootstrap.json") }
func (p Paths) reserve() string       { return filepath.Join(p.Lib, ".reserve") }
func (p Paths) hostLog() string       { return filepath.Join(p.Log, "host.log") }
func (p Paths) controllerLog() string { return filepath.Join(p.Log, "controller.log") }

func (p Paths) installation() hostd.Installation {
	program := p.Supervisor
	if len(program) == 0 {
		program = []string{filepath.Join(p.bin(), "scarab-agent"), "host"}
	}
	return hostd.Installation{Program: append(slices.Clone(program), "--config", p.host()), File: p.host(), Log: p.hostLog()}
}
