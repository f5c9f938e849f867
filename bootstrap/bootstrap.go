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
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/scarab-ops/scarab/client"
	"github.com/scarab-ops/scarab/hostd"
	"github.com/scarab-ops/scarab/names"
)

// Version is what this build reports of itself.
const Version = "0.1.0"

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
	defer b.aside.Wait()
	b.weakness = beside(b, func() (weakness, error) {
		kind, why := hostd.NextRung()
		return weakness{kind, why}, nil
	})
	if paths.begun() && !r.CheckOnly { // and is not going on, or there would be no lock
		if err := b.step("take back a bootstrap that was killed", func() error { return remove(ctx, paths, func(string) {}) }); err != nil {
			return c, err
		}
	}
	if err := b.step("check this host", b.check); err != nil || r.CheckOnly {
		return c, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.undo(ctx))
		}
	}()
	return b.build(ctx)
}

// minFree is the least free space to begin with.
const minFree = 2 << 30

func (b *builder) check() error {
	if b.paths.begun() { // the next bootstrap takes it back first
		b.warn()
		return b.checkPrograms()
	}
	if cfg, err := hostd.LoadConfig(b.paths.host()); err == nil {
		e := &RunningError{UUID: names.ControllerID(cfg.ControllerID)}
		if len(cfg.HostTCP) > 0 {
			e.Address = net.JoinHostPort("127.0.0.1", strconv.Itoa(int(cfg.HostTCP[0])))
		}
		return e
	}
	if m, found, err := b.paths.readMark(); found || err != nil {
		return errors.Join(err, fmt.Errorf("cannot bootstrap: %s holds what is left of controller %s; end its removal with: scarab kill-controller %s",
			b.paths.Lib, m.UUID, m.UUID))
	}
	if _, err := os.Stat(b.paths.data()); err == nil {
		return fmt.Errorf("cannot bootstrap: %s holds the data of an earlier controller; move it away or remove it", b.paths.data())
	}
	if err := b.checkPrograms(); err != nil {
		return err
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
	if left, err := free(b.paths.Lib); err == nil && left < minFree {
		return fmt.Errorf("cannot bootstrap: %s has %d MiB free; at least %d are needed", b.paths.Lib, left>>20, int64(minFree)>>20)
	}
	if b.req.CheckOnly {
		b.warn()
	}
	return nil
}

func (b *builder) checkPrograms() error {
	for _, p := range programs() {
		if _, err := os.Stat(filepath.Join(b.paths.Programs, p)); err != nil {
			return fmt.Errorf("cannot bootstrap: the program %s is not beside scarab in %s; run: make build", p, b.paths.Programs)
		}
	}
	return nil
}

// weakness is what machines here will be, and why not something better.
type weakness struct {
	kind string
	why  []string
}

// warn says in one line how weak machines will be, if they are.
func (b *builder) warn() {
	if w, err := b.weakness(); err == nil && w.kind != "container" {
		b.report("WARNING: weak isolation: machines here will be "+w.kind+", not containers: "+strings.Join(w.why, "; "), true, nil)
	}
}
