package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// UnsafeError says that somebody else could have changed a client file, so it is not believed.
type UnsafeError struct{ Path, Reason, Repair string }

func (e *UnsafeError) Error() string {
	return fmt.Sprintf("cannot trust client file %s: %s", e.Path, e.Reason)
}

// Advice is the line that says what to do.
func (e *UnsafeError) Advice() string { return e.Repair }

func (s *Store) checkDir() error {
	err := s.checkOwned(s.dir, true)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

func (s *Store) ensureDir() error {
	if err := os.MkdirAll(filepath.Dir(s.dir), 0o755); err != nil { //nolint:gosec // the folders above are others' too; ours is 0700
		return fmt.Errorf("cannot make the client directory: %w", err)
	}
	if err := os.Mkdir(s.dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("cannot make the client directory: %w", err)
	}
	return s.checkDir()
}

func (s *Store) checkOwned(path string, dir bool) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if dir && !info.IsDir() {
		return &UnsafeError{path, "it is not a directory", "move it away or set JUJU_DATA"}
	}
	return s.judge(path, info)
}

func (s *Store) checkFile(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return &UnsafeError{f.Name(), "it is not a regular file", "move it away"}
	}
	return s.judge(f.Name(), info)
}

func (s *Store) judge(path string, info fs.FileInfo) error {
	if uid, known := owner(info); known && uid != s.uid {
		return &UnsafeError{
			path, fmt.Sprintf("it belongs to user id %d, you are %d: its owner could make you act for them", uid, s.uid),
			fmt.Sprintf("if you know why, take it over: chown %d %s; or use a directory of your own: JUJU_DATA=...", s.uid, path),
		}
	}
	if perm := info.Mode().Perm(); perm&0o022 != 0 {
		mode := "600"
		if info.IsDir() {
			mode = "700"
		}
		return &UnsafeError{
			path, fmt.Sprintf("others may write to it (mode %04o)", perm),
			fmt.Sprintf("look through what it says, then: chmod %s %s", mode, path),
		}
	}
	return nil
}
