package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

const maxRecord = 4 << 20

// store keeps one record per machine, each in the machine's own folder.
type store struct{ dir string }

func (s store) machineDir(id string) string { return filepath.Join(s.dir, "machines", id) }

func (s store) save(m *Machine) error {
	return writeJSON(filepath.Join(s.machineDir(m.ID), "machine.json"), m)
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
		err := readJSON(filepath.Join(s.dir, "machines", e.Name(), "machine.json"), m)
		if err != nil || m.ID != e.Name() {
			broken = append(broken, e.Name())
			continue
		}
		machines = append(machines, m)
	}
	return machines, broken, nil
}

// writeJSON replaces a file in one step that survives a power cut.
func writeJSON(name string, v any) error {
	data, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return fmt.Errorf("cannot encode %s: %w", filepath.Base(name), err)
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".new-*")
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", name, err)
	}
	defer os.Remove(f.Name()) // fails after the rename, as it should
	_, err = f.Write(append(data, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", name, err)
	}
	return nil
}

func readJSON(name string, v any) error {
	f, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("cannot read a record: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxRecord))
	if err != nil {
		return fmt.Errorf("cannot read %s: %w", name, err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("cannot read %s: %w", name, err)
	}
	return nil
}
