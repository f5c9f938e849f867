// Package bootstrap owns the making and the taking down of a controller on the
// local cloud: the host's supervisor, the base image, the controller's first
// record. It keeps no record of its own; the client's files are the caller's.
// An ordinary user gets a local cloud of his own below his home, and a warning
// that says how weak its machines are and why.
//
// It refuses to touch a host that runs another controller, and it undoes what
// it began if it cannot finish, whatever the reason.
package bootstrap

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/scarab-ops/scarab/client"
	"github.com/scarab-ops/scarab/hostd"
	"github.com/scarab-ops/scarab/hostd/hostapi"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/password"
)

// Version is what this build reports of itself.
const Version = "0.1.0"

// Paths say where things lie on the host. The zero Paths are the ordinary ones.
type Paths struct {
	Lib   string // /var/lib/scarab: programs, controller, keys
	Run   string // /run/scarab
	Log   string // /var/log/scarab
	Cache string // /var/cache/scarab
	// Programs is the folder that holds the four programs to install.
	Programs string
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

func (p Paths) installation() hostd.Installation {
	return hostd.Installation{
		Program: []string{filepath.Join(p.bin(), "scarab-agent"), "host", "--config", p.host()},
		File:    p.host(), Log: filepath.Join(p.Log, "host.log"),
	}
}

// A Request asks for a controller.
type Request struct {
	Name        string
	Admin       names.User // admin if empty
	APIPort     int        // 17070 if 0
	ModelConfig map[string]string
	Config      map[string]string
	RSA         bool
	CheckOnly   bool // only look whether it would work
}

// A Controller is one that serves.
type Controller struct {
	UUID      names.ControllerID
	ModelUUID names.Model
	Addresses []string
	CACert    string
	Admin     names.User
	Password  client.Secret
}

// A Report is told of each step: when it begins (done false) and ends.
type Report func(step string, done bool, err error)

// Start makes a controller, or undoes all it began.
func Start(ctx context.Context, paths Paths, r Request, report Report) (c Controller, err error) {
	if err := paths.fill(); err != nil {
		return c, err
	}
	if r.Admin == "" {
		r.Admin = "admin"
	}
	if r.APIPort == 0 {
		r.APIPort = 17070
	}
	unlock, err := lock(paths)
	if err != nil {
		return c, err
	}
	defer unlock()
	b := &builder{paths: paths, req: r, report: report}
	if err := b.step("check this host", func() error { return b.check() }); err != nil || r.CheckOnly {
		return c, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.undo(ctx))
		}
	}()
	return b.build(ctx)
}

type builder struct {
	paths  Paths
	req    Request
	report Report
	secret password.Secret
	hash   func() (password.Hash, error) // of secret
	c      Controller
}

func (b *builder) step(name string, f func() error) error {
	b.report(name, false, nil)
	err := f()
	b.report(name, true, err)
	return err
}

// lock lets one bootstrap or destruction run at a time.
func lock(p Paths) (unlock func(), err error) {
	if err := os.MkdirAll(p.Lib, mode(0o711)); err != nil {
		return nil, rights(err)
	}
	name := filepath.Join(p.Lib, ".bootstrap.lock")
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, rights(err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, errors.New("cannot bootstrap: another bootstrap or destruction runs on this host; wait for it to end")
	}
	return func() {
		if _, err := os.Stat(p.host()); os.IsNotExist(err) {
			_ = os.Remove(name)
			_ = os.Remove(p.Lib) // only if nothing else is in it
		}
		_ = f.Close()
	}, nil
}

// minFree is the least free space to begin with.
const minFree = 2 << 30

func (b *builder) check() error {
	b.warn()
	if cfg, err := hostd.LoadConfig(b.paths.host()); err == nil {
		e := &RunningError{UUID: names.ControllerID(cfg.ControllerID)}
		if len(cfg.HostTCP) > 0 {
			e.Address = net.JoinHostPort("127.0.0.1", strconv.Itoa(int(cfg.HostTCP[0])))
		}
		return e
	}
	if _, err := os.Stat(b.paths.data()); err == nil {
		return fmt.Errorf("cannot bootstrap: %s holds the data of an earlier controller; move it away or remove it", b.paths.data())
	}
	for _, p := range programs() {
		if _, err := os.Stat(filepath.Join(b.paths.Programs, p)); err != nil {
			return fmt.Errorf("cannot bootstrap: the program %s is not beside scarab in %s; run: make build", p, b.paths.Programs)
		}
	}
	//nolint:noctx // it binds, or fails at once
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(b.req.APIPort)))
	if err != nil {
		return fmt.Errorf("cannot bootstrap: port %d of this host is in use; free it, or choose another with: --config api-port=PORT",
			b.req.APIPort)
	}
	if err := l.Close(); err != nil {
		return fmt.Errorf("cannot bootstrap: %w", err)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(b.paths.Lib, &fs); err == nil && int64(fs.Bavail)*fs.Bsize < minFree {
		return fmt.Errorf("cannot bootstrap: %s has %d MiB free; at least %d are needed",
			b.paths.Lib, int64(fs.Bavail)*fs.Bsize>>20, int64(minFree)>>20)
	}
	return nil
}

// warn says in one line how weak machines will be, if they are.
func (b *builder) warn() {
	if kind, why := hostd.NextRung(); kind != "container" {
		b.report("WARNING: weak isolation: machines here will be "+kind+", not containers: "+strings.Join(why, "; "), true, nil)
	}
}

func programs() []string { return []string{"scarab-controller", "scarab-agent", "scarab-hooktool"} }

func (b *builder) build(ctx context.Context) (Controller, error) {
	b.c = Controller{
		UUID: names.ControllerID(uuid.NewString()), ModelUUID: names.Model(uuid.NewString()), Admin: b.req.Admin,
		Addresses: []string{net.JoinHostPort("127.0.0.1", strconv.Itoa(b.req.APIPort))},
	}
	b.secret = password.NewSecret(rand.Text())
	b.c.Password = client.NewSecret(b.secret.Reveal())
	// It takes long by design; files are copied meanwhile.
	b.hash = sync.OnceValues(func() (password.Hash, error) { return password.Of(b.secret) })
	var early sync.WaitGroup
	defer early.Wait()
	early.Go(func() { _, _ = b.hash() })
	if err := b.step("install programs", b.install); err != nil {
		return b.c, err
	}
	if err := b.step("write the controller's first record", func() error { return b.writeInit(ctx) }); err != nil {
		return b.c, err
	}
	if err := b.step("start the host's supervisor and the controller", func() error { return b.start(ctx) }); err != nil {
		return b.c, err
	}
	host := hostapi.NewClient(b.paths.socket())
	defer host.Close()
	err := b.step("prepare the base image", func() error {
		return host.Prepare(ctx, func(s string) { b.report("prepare the base image: "+s, false, nil) })
	})
	if err != nil {
		return b.c, err
	}
	return b.c, b.step("wait for the API", func() error { return b.await(ctx) })
}

func (b *builder) install() error {
	uid, gid := controllerUser()
	for dir, m := range map[string]os.FileMode{b.paths.Lib: 0o711, b.paths.bin(): 0o755, b.paths.Log: 0o711} {
		m = mode(m)
		if err := os.MkdirAll(dir, m); err != nil {
			return fmt.Errorf("cannot install: %w", err)
		}
		if err := os.Chmod(dir, m); err != nil {
			return fmt.Errorf("cannot install: %w", err)
		}
	}
	for _, p := range programs() {
		if err := copyFile(filepath.Join(b.paths.Programs, p), filepath.Join(b.paths.bin(), p)); err != nil {
			return err
		}
	}
	for _, dir := range []string{b.paths.keys(), b.paths.data()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("cannot install: %w", err)
		}
		if err := os.Lchown(dir, uid, gid); err != nil {
			return fmt.Errorf("cannot install: %w", err)
		}
	}
	return nil
}

// start installs the host's supervisor, which runs the controller.
func (b *builder) start(ctx context.Context) error {
	data := b.paths.data()
	uid, gid := controllerUser()
	return hostd.Install(ctx, b.paths.installation(), hostd.Config{
		Version: Version, Socket: b.paths.socket(), Images: filepath.Join(b.paths.Cache, "images"),
		Dir: b.paths.Lib, RunDir: filepath.Join(b.paths.Run, "machines"),
		ControllerID: string(b.c.UUID), HostFiles: []string{b.paths.bin()}, HostTCP: []uint16{uint16(b.req.APIPort)},
		Controller: &hostd.ControllerConfig{
			Argv: []string{
				filepath.Join(b.paths.bin(), "scarab-controller"), "--data-dir", data,
				"--unseal-key-file", filepath.Join(b.paths.keys(), "unseal.key"), "--init-file", b.paths.init(),
				"--host-socket", b.paths.socket(), "--controller-uuid", string(b.c.UUID),
				"--api-port", strconv.Itoa(b.req.APIPort),
			},
			Dir: data, UID: uid, GID: gid, Log: filepath.Join(b.paths.Log, "controller.log"),
		},
	})
}

// awaitFor bounds the wait for a controller that was started.
const awaitFor = 60 * time.Second

// await waits until the controller lets its administrator in.
func (b *builder) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, awaitFor)
	defer cancel()
	var last error
	for {
		pause := 50 * time.Millisecond
		switch last = b.login(ctx); {
		case last == nil:
			return nil
		case errors.Is(last, errNotStarted): // a look costs nothing
			pause = 5 * time.Millisecond
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("cannot reach the new controller: %w; its log is %s",
				errors.Join(last, ctx.Err()), filepath.Join(b.paths.Log, "controller.log"))
		case <-time.After(pause):
		}
	}
}

var errNotStarted = errors.New("the controller has not started yet")

func (b *builder) login(ctx context.Context) error {
	ca, err := os.ReadFile(filepath.Join(b.paths.data(), "ca.crt"))
	if err != nil {
		return errNotStarted
	}
	b.c.CACert = string(ca)
	conn, err := client.Dial(ctx, client.Config{Addresses: b.c.Addresses, CACert: b.c.CACert, Model: b.c.ModelUUID})
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // nothing was left to say
	_, err = conn.Login(ctx, client.Credentials{Tag: b.c.Admin.Tag(), Password: b.c.Password})
	return err
}

// undo removes what was begun. It goes on when ctx has ended: half a
// controller is worse than a moment's wait.
func (b *builder) undo(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
	defer cancel()
	if err := b.step("undo", func() error { return remove(ctx, b.paths, func(string) {}) }); err != nil {
		return &undoError{b.c.UUID, err}
	}
	return nil
}

// Destroy takes down the host's controller with all its machines. Caches stay.
func Destroy(ctx context.Context, paths Paths, id names.ControllerID, report Report) error {
	if err := paths.fill(); err != nil {
		return err
	}
	unlock, err := lock(paths)
	if err != nil {
		return err
	}
	defer unlock()
	cfg, err := hostd.LoadConfig(paths.host())
	if err == nil && id != "" && cfg.ControllerID != string(id) {
		return fmt.Errorf("cannot destroy: this host runs the controller %s, not %s", cfg.ControllerID, id)
	}
	report("remove machines, network and controller", false, nil)
	err = remove(ctx, paths, func(s string) { report(s, false, nil) })
	report("remove machines, network and controller", true, err)
	return err
}

func remove(ctx context.Context, p Paths, report func(string)) error {
	if err := hostd.Uninstall(ctx, p.installation(), report); err != nil {
		return err
	}
	var errs []error
	for _, dir := range []string{p.data(), p.keys(), p.bin(), p.Log, p.Run} {
		errs = append(errs, os.RemoveAll(dir))
	}
	left, err := os.ReadDir(p.Lib)
	if err == nil {
		for _, e := range left {
			if e.Name() != ".bootstrap.lock" {
				errs = append(errs, os.RemoveAll(filepath.Join(p.Lib, e.Name())))
			}
		}
	}
	return errors.Join(errs...)
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to+".new", data, 0o755)
	}
	if err == nil {
		err = os.Rename(to+".new", to)
	}
	if err != nil {
		return fmt.Errorf("cannot install %s: %w", filepath.Base(to), err)
	}
	return nil
}

// initFile is what the controller begins from; see app/controller.Init.
type initFile struct {
	Name        string             `json:"name"`
	UUID        names.ControllerID `json:"uuid"`
	ModelUUID   names.Model        `json:"model-uuid"`
	Admin       names.User         `json:"admin"`
	Verifier    string             `json:"verifier"`
	ModelConfig map[string]string  `json:"model-config"`
	Config      map[string]string  `json:"config"`
	APIAddr     []string           `json:"api-addresses"`
	AgentAddr   []string           `json:"agent-addresses"`
	RSA         bool               `json:"rsa,omitempty"`
}

func (b *builder) writeInit(ctx context.Context) error {
	h, err := b.hash()
	if err != nil {
		return err
	}
	config, err := hostd.HostSettings(ctx)
	if err != nil && b.req.ModelConfig[hostd.SettingMirror] == "" {
		return fmt.Errorf("%w; or give one with: --config apt-mirror=ADDRESS", err)
	}
	maps.Copy(config, b.req.ModelConfig)
	raw, err := json.Marshal(initFile{
		Name: b.req.Name, UUID: b.c.UUID, ModelUUID: b.c.ModelUUID, Admin: b.c.Admin, Verifier: string(h),
		ModelConfig: config, Config: b.req.Config, APIAddr: b.c.Addresses, RSA: b.req.RSA,
	})
	if err == nil {
		err = os.WriteFile(b.paths.init(), raw, 0o600)
	}
	if err == nil {
		uid, gid := controllerUser()
		err = os.Lchown(b.paths.init(), uid, gid)
	}
	if err != nil {
		return fmt.Errorf("cannot write the init file: %w", err)
	}
	return nil
}
