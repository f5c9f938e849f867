package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/scarab-ops/scarab/hostd"
	"github.com/scarab-ops/scarab/names"
)

// A RunningError is a host that has a controller already.
type RunningError struct {
	UUID    names.ControllerID
	Address string // of its API, from this host
}

func (e *RunningError) Error() string {
	return fmt.Sprintf("cannot bootstrap: this host already runs the controller %s", e.UUID)
}

// Here tells whether this host runs the controller, or holds the remains of
// one that is not on record any more.
func Here(paths Paths, id names.ControllerID) (bool, error) {
	if err := paths.fill(); err != nil {
		return false, err
	}
	cfg, err := hostd.LoadConfig(paths.host())
	if err == nil {
		return cfg.ControllerID == string(id), nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return false, err
	}
	if m, found, err := paths.readMark(); err == nil && found {
		return m.UUID == id, nil
	}
	for _, dir := range []string{paths.data(), paths.keys()} {
		if _, err := os.Lstat(dir); err == nil {
			return true, nil
		}
	}
	return false, nil
}

// Asleep gives the command that starts the supervisor of this host, if it is
// the controller's and does not run: then nothing else can start either. It is
// empty for everything else, and for who may not see it.
func Asleep(ctx context.Context, paths Paths, id names.ControllerID) string {
	if paths.fill() != nil {
		return ""
	}
	cfg, err := hostd.LoadConfig(paths.host())
	if err != nil || cfg.ControllerID != string(id) || cfg.Runs(ctx) {
		return ""
	}
	command := filepath.Join(paths.bin(), "scarab-agent") + " host --start"
	if paths.host() != hostd.DefaultFile {
		command += " --config " + paths.host()
	}
	return command
}

// An undoError is what could not be taken back.
type undoError struct {
	uuid names.ControllerID
	err  error
}

func (e *undoError) Error() string { return e.Unfinished() }
func (e *undoError) Unwrap() error { return e.err }

// Unfinished says what is left, also to who interrupted.
func (e *undoError) Unfinished() string {
	return fmt.Sprintf("cannot take back what was begun: %v; take it down with: scarab kill-controller %s", e.err, e.uuid)
}

func rights(err error) error {
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("cannot bootstrap: %w; run it with sudo, or as the user whose folders these are", err)
	}
	return fmt.Errorf("cannot bootstrap: %w", err)
}
