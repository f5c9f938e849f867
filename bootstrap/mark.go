package bootstrap

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/scarab-ops/scarab/names"
)

// A Mark is what a host keeps of its bootstrap: whose it is, and whether it
// was finished. It is the first file that is written and the last that goes,
// so what a killed bootstrap left can be told from a controller's data.
type Mark struct {
	Name  string             `json:"name"`
	UUID  names.ControllerID `json:"controller-id"`
	Ready bool               `json:"ready"`
}

const maxMark = 4 << 10

// mark writes the record; what is there is replaced as a whole.
func (p Paths) mark(m Mark) error {
	raw, err := json.Marshal(m)
	if err == nil {
		err = writeWhole(p.markFile(), append(raw, '\n'))
	}
	if err != nil {
		return fmt.Errorf("cannot record the bootstrap: %w", err)
	}
	return nil
}

func writeWhole(name string, raw []byte) error {
	tmp := name + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(tmp, name)
}

// readMark gives the record; none is no error.
func (p Paths) readMark() (m Mark, found bool, err error) {
	f, err := os.Open(p.markFile())
	if errors.Is(err, os.ErrNotExist) {
		return m, false, nil
	}
	var raw []byte
	if err == nil {
		raw, err = io.ReadAll(io.LimitReader(f, maxMark))
		_ = f.Close()
	}
	if err == nil {
		err = json.Unmarshal(raw, &m)
	}
	if err != nil {
		return m, false, fmt.Errorf("cannot read the record of this host's bootstrap: %w", err)
	}
	return m, true, nil
}

// begun tells whether a bootstrap began here and neither ended nor was taken
// back: it was killed.
func (p Paths) begun() bool {
	m, found, err := p.readMark()
	return err == nil && found && !m.Ready
}
