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
	// HostFiles are folders whose files may be shown to machines.
	HostFiles []string `json:"host-files"`
	// Ports of the host that machines may connect to.
	HostTCP []uint16 `json:"host-tcp"`

	// Machines overrides names and ranges of the runtime; for tests.
	Machines *container.Config `json:"-"`
	Log      *slog.Logger      `json:"-"`
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
	c.Machines.Log = c.Log
	if len(c.HostFiles) > 0 {
		c.Machines.HostFiles = c.HostFiles
	}
	if len(c.HostTCP) > 0 {
		c.Machines.HostTCP = c.HostTCP
	}
	if c.Controller != nil && c.Controller.UID == 0 {
		c.Controller.UID, c.Controller.GID = DefaultUID, DefaultUID
	}
}

// controllerUID is the one user besides root that is answered.
func (c *Config) controllerUID() int {
	if c.Controller == nil {
		return 0
	}
	return c.Controller.UID
}

// Run is the supervisor. It returns when ctx ends, leaving the machines
// running, or when root asked for everything to be removed.
func Run(ctx context.Context, cfg Config) error {
	cfg.fill()
	machines, err := container.New(*cfg.Machines)
	if err != nil {
		return err
	}
	defer machines.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &server{cfg: cfg, machines: machines, images: &image.Store{Dir: cfg.Images}, quit: cancel}
	s.child = newChild(cfg.Controller, filepath.Join(cfg.Machines.RunDir, "controller.json"), cfg.Log)
	listener, err := listen(cfg.Socket, cfg.Machines.RunDir, cfg.controllerUID())
	if err != nil {
		return err
	}
	defer os.Remove(cfg.Socket)
	errs := make(chan error, 2)
	go func() { errs <- s.serve(ctx, listener) }()
	go func() { errs <- s.child.run(ctx) }()
	err = <-errs
	cancel()
	if err = errors.Join(err, <-errs); errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
