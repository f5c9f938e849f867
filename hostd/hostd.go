// Package hostd owns the privileged supervisor of a host of the local cloud. It
// keeps the machines (package container) and images (package image), runs the
// controller as an unprivileged user and starts it again when it ends, and
// serves the localhost provider over a private socket.
//
// It believes the kernel about who calls: only root and the controller's user
// are answered, the controller only about its own machines, and it can share
// with a machine only those files of the host that a folder list allows and
// everybody may read. Two supervisors cannot run at once. Machines outlive
// the supervisor; only an explicit order of root removes everything.
//
// Where it runs as an ordinary user, that user stands in the place of root, and
// the controller has no other: it may then order what root may. What a process
// machine runs has the same user too and is turned away by its filters.
package hostd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/scarab-ops/scarab/container"
	"github.com/scarab-ops/scarab/container/space"
	"github.com/scarab-ops/scarab/hostd/hostapi"
	"github.com/scarab-ops/scarab/image"
)

// DefaultUID is the user and group the controller runs as. It needs no entry
// in the user database; nobody else is given ids of this size by default.
const DefaultUID = 64789

// Config of a supervisor. It is kept as a file, so that the supervisor can be
// started again without being told.
type Config struct {
	Version      string            `json:"version"`
	Socket       string            `json:"socket"`
	Images       string            `json:"images"`
	DefaultImage string            `json:"default-image"`
	ControllerID string            `json:"controller-id"`
	Controller   *ControllerConfig `json:"controller,omitempty"`
	// Dir and RunDir are the machines' folders; empty for those of an ordinary
	// host. Program is how the supervisor was started.
	Dir     string   `json:"dir,omitempty"`
	RunDir  string   `json:"run-dir,omitempty"`
	Program []string `json:"program,omitempty"`
	// HostFiles are folders whose files may be shown to machines.
	HostFiles []string `json:"host-files"`
	// Ports of the host that machines may connect to.
	HostTCP []uint16 `json:"host-tcp"`

	// Machines overrides names and ranges of the runtime; for tests.
	Machines *container.Config `json:"-"`
	Log      *slog.Logger      `json:"-"`

	inner    bool // this half runs in a user namespace
	hasGuest bool // in which the controller's user has an id
}

// ControllerConfig says how to run the controller.
type ControllerConfig struct {
	Argv []string `json:"argv"`
	Env  []string `json:"env,omitempty"`
	Dir  string   `json:"dir"`
	UID  int      `json:"uid"`
	GID  int      `json:"gid"`
	Log  string   `json:"log"` // its output is appended to this file
}

// DefaultFile is where the configuration of an ordinary host is kept.
const DefaultFile = "/var/lib/scarab/host.json"

// LoadConfig reads a configuration and fills in what it leaves out.
func LoadConfig(name string) (Config, error) {
	var c Config
	data, err := os.ReadFile(name)
	if err == nil {
		err = json.Unmarshal(data, &c)
	}
	if err != nil {
		return c, fmt.Errorf("cannot read the host's configuration: %w", err)
	}
	return c, nil
}

func (c *Config) fill() {
	if c.Socket == "" {
		c.Socket = hostapi.Socket
	}
	if c.Images == "" {
		c.Images = image.DefaultDir
	}
	if c.DefaultImage == "" {
		c.DefaultImage = image.Default
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Machines == nil {
		m := container.Defaults()
		// The socket's folder is the controller's; nothing of root lies in it.
		m.RunDir = "/run/scarab/machines"
		c.Machines = &m
	}
	if c.Dir != "" {
		c.Machines.Dir = c.Dir
	}
	if c.RunDir != "" {
		c.Machines.RunDir = c.RunDir
	}
	c.Machines.Log = c.Log
	if len(c.HostFiles) > 0 {
		c.Machines.HostFiles = c.HostFiles
	}
	if len(c.HostTCP) > 0 {
		c.Machines.HostTCP = c.HostTCP
	}
	switch {
	case c.Controller == nil:
	case c.hasGuest:
		c.Controller.UID, c.Controller.GID = space.GuestID, space.GuestID
	case os.Geteuid() != 0 || c.inner: // there is no other user to be had
		c.Controller.UID, c.Controller.GID = os.Geteuid(), os.Getegid()
	case c.Controller.UID == 0:
		c.Controller.UID, c.Controller.GID = DefaultUID, DefaultUID
	}
}

// controllerUID is the one user besides root that is answered.
func (c *Config) controllerUID() int {
	if c.Controller == nil {
		return os.Geteuid()
	}
	return c.Controller.UID
}

// Run is the supervisor. It returns when ctx ends, leaving the machines
// running, or when root asked for everything to be removed.
func Run(ctx context.Context, cfg Config) error {
	cfg.fill()
	r := probe(&cfg)
	switch r.kind {
	case container.IsolationRootless:
		return runRootless(ctx, cfg, r)
	case container.IsolationProcess:
		return runProcesses(ctx, cfg, r)
	}
	return runHere(ctx, cfg, r, nil)
}

// runHere is the supervisor proper. The controller is its own child, but for
// one that another half of it runs.
func runHere(ctx context.Context, cfg Config, r rung, out *outside) error {
	machines, err := container.New(*cfg.Machines)
	if err != nil {
		return err
	}
	defer machines.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &server{cfg: cfg, rung: r, machines: machines, images: imagesOf(&cfg), quit: cancel}
	if err := s.images.Sweep(); err != nil {
		cfg.Log.Warn("what a killed build left cannot be removed", "error", err)
	}
	var own *child
	if out == nil {
		own = newChild(cfg.Controller, filepath.Join(cfg.Machines.RunDir, "controller.json"), cfg.Log)
		s.child = own
	} else {
		s.child = out
		for _, port := range cfg.HostTCP {
			if err := out.handOver(ctx, machines.Gateway().String(), port); err != nil {
				return err
			}
		}
	}
	listener, err := listen(cfg.Socket, cfg.Machines.RunDir, cfg.controllerUID())
	if err != nil {
		return err
	}
	defer os.Remove(cfg.Socket)
	errs := make(chan error, 2)
	go func() { errs <- s.serve(ctx, listener) }()
	go func() {
		if own != nil {
			errs <- own.run(ctx)
			return
		}
		err := say(out.conn, asked{Ready: true})
		<-ctx.Done()
		errs <- err
	}()
	err = <-errs
	cancel()
	if err = errors.Join(err, <-errs); errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// imagesOf is the store of images for the rung: below the first, ids are taken
// as the namespace has them.
func imagesOf(cfg *Config) *image.Store {
	st := &image.Store{Dir: cfg.Images}
	if cfg.Machines.Isolation == container.IsolationRootless {
		st.Shared = image.DefaultDir
		st.Shift, st.OneID = cfg.Machines.IDBase, cfg.Machines.IDs == 1
	}
	return st
}
