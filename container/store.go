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

func (s store) save(m *Machine) error {
	return proc.WriteJSON(filepath.Join(s.machineDir(m.ID), "machine.json"), m)
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
		err := proc.ReadJSON(filepath.Join(s.dir, "machines", e.Name(), "machine.json"), m)
		if err != nil || m.ID != e.Name() {
			broken = append(broken, e.Name())
			continue
		}
		machines = append(machines, m)
	}
	return machines, broken, nil
}
