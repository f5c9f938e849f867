package machine

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"
)

// The agent of a machine that boots may start before its services do: it
// enrols, and its units fetch their charms, while the machine boots. But what a
// charm runs finds the machine as any service does, with its sockets, its
// temporary files and its init ready to take orders: hooks and commands wait
// until the mark of that is there.

const (
	bootMarkLook = 5 * time.Millisecond
	bootPatience = 3 * time.Minute
)

// awaitMark closes up once the mark is there. A machine that does not come so
// far gets its hooks in the end: they, and not silence, show what is wrong.
func (m *Machine) awaitMark(ctx context.Context) {
	defer close(m.up)
	if m.cfg.BootMark == "" {
		return
	}
	patience := time.NewTimer(bootPatience)
	defer patience.Stop()
	look := time.NewTicker(bootMarkLook)
	defer look.Stop()
	for !m.marked() {
		select {
		case <-look.C:
		case <-patience.C:
			m.logf("WARNING", "the machine has not started its services in %s: hooks run without them", bootPatience)
			return
		case <-ctx.Done():
			return
		}
	}
}

func (m *Machine) marked() bool {
	if m.cfg.BootMark == "" {
		return true
	}
	_, err := os.Lstat(m.cfg.BootMark)
	return !errors.Is(err, fs.ErrNotExist)
}

// awaitUp waits until whatever a charm may rely on is there.
func (m *Machine) awaitUp(ctx context.Context) error {
	select {
	case <-m.up:
	case <-ctx.Done():
	}
	return ctx.Err()
}

// lock serialises what runs on the machine, which waits until it is up.
func (m *Machine) lock(ctx context.Context, name string) (func(), error) {
	if err := m.awaitUp(ctx); err != nil {
		return nil, err
	}
	return m.locks.take(ctx, name)
}
