package container

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/scarab-ops/scarab/container/proc"
)

// store keeps one record per machine, each in the machine's own folder.
type store struct{ dir string }

func (s store) machineDir(id string) string { return filepath.Join(s.dir, "machines", id) }

// recordName is a machine's record in its folder. It is made first and removed
// last: while it is there, the rest is found again after a crash.
const recordName = "machine.json"

func (s store) save(m *Machine) error {
	return proc.WriteJSON(filepath.Join(s.machineDir(m.ID), recordName), m)
}

// removeFiles removes all that a machine has in its folder but its record.
func (s store) removeFiles(id string) error {
	dir := s.machineDir(id)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if e.Name() != recordName {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	if err != nil {
		return fmt.Errorf("cannot remove the files of machine %s: %w", id, err)
	}
	return nil
}

// load reads all records. A folder without a readable record is returned by
// name only: it is half-made, and ours, since it has an id for a name.
func (s store) load() (machines []*Machine, broken []string, err error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, "machines"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read the machines' folder: %w", err)
	}
	for _, e := range entries {
		if !idPattern.MatchString(e.Name()) {
			continue
		}
		m := new(Machine)
		err := proc.ReadJSON(filepath.Join(s.dir, "machines", e.Name(), recordName), m)
		if err != nil || m.ID != e.Name() {
			broken = append(broken, e.Name())
			continue
		}
		machines = append(machines, m)
	}
	return machines, broken, nil
}
