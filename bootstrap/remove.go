package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scarab-ops/scarab/hostd"
	"github.com/scarab-ops/scarab/names"
)

const lockPatience = 300 * time.Millisecond

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
	// A process that a killed bootstrap was just starting holds its lock for a moment.
	for end := time.Now().Add(lockPatience); unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil; <-time.After(10 * time.Millisecond) {
		if time.Now().After(end) {
			_ = f.Close()
			return nil, errors.New("cannot bootstrap: another bootstrap or destruction runs on this host; wait for it to end")
		}
	}
	// Who ended between our opening and our locking took the file away: another
	// one may have a lock on its successor.
	ours, err := f.Stat()
	if now, nerr := os.Lstat(name); err != nil || nerr != nil || !os.SameFile(ours, now) {
		_ = f.Close()
		return nil, errors.New("cannot bootstrap: another bootstrap or destruction just ended on this host; try again")
	}
	return func() {
		if _, err := os.Stat(p.host()); os.IsNotExist(err) {
			_ = os.Remove(name)
			_ = os.Remove(p.Lib) // only if nothing else is in it
		}
		_ = f.Close()
	}, nil
}

// undo removes what was begun. It goes on when ctx has ended: half a
// controller is worse than a moment's wait.
func (b *builder) undo(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
	defer cancel()
	err := b.step("undo", func() error {
		if err := os.Remove(b.paths.reserve()); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("cannot undo: %w", err)
		}
		return remove(ctx, b.paths, func(string) {})
	})
	if err != nil {
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
	if err := own(paths, id); err != nil {
		return err
	}
	report("remove machines, network and controller", false, nil)
	err = remove(ctx, paths, func(s string) { report(s, false, nil) })
	report("remove machines, network and controller", true, err)
	return err
}

// own refuses what belongs to another controller than the one that is meant.
func own(paths Paths, id names.ControllerID) error {
	cfg, err := hostd.LoadConfig(paths.host())
	if err == nil && id != "" && cfg.ControllerID != string(id) {
		return fmt.Errorf("cannot destroy: this host runs the controller %s, not %s", cfg.ControllerID, id)
	}
	m, found, merr := paths.readMark()
	if errors.Is(err, os.ErrNotExist) && merr == nil && found && id != "" && m.UUID != id {
		return fmt.Errorf("cannot destroy: this host holds the controller %s, not %s", m.UUID, id)
	}
	return nil
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
			if name := filepath.Join(p.Lib, e.Name()); e.Name() != ".bootstrap.lock" && name != p.markFile() {
				errs = append(errs, os.RemoveAll(name))
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if err := os.Remove(p.markFile()); err != nil && !errors.Is(err, os.ErrNotExist) { // the last
		return fmt.Errorf("cannot remove the record of the bootstrap: %w", err)
	}
	return nil
}
