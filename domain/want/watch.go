package want

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"slices"

	"github.com/scarab-ops/scarab/domain/relation"
	"github.com/scarab-ops/scarab/domain/task"
	"github.com/scarab-ops/scarab/domain/unit"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
)

// A Watch tells an agent when its want has changed. It wakes for the rows that
// the want is made of and speaks up only if the answer differs, so that a
// lease renewed or a row touched in passing costs the agent nothing.
type Watch struct {
	store *state.Store
	sub   *state.Subscription
	keys  func(*state.View) []state.Key
	value func(*state.View) (any, error)
	last  [sha256.Size]byte
	begun bool
	stale bool // the keys may be others by now
}

// WatchUnit watches a unit's Want.
func WatchUnit(st *state.Store, m names.Model, u names.Unit) *Watch {
	return newWatch(st,
		func(v *state.View) []state.Key { return UnitKeys(v, m, u) },
		func(v *state.View) (any, error) { return Unit(v, m, u) })
}

// WatchMachine watches a machine's MachineWant.
func WatchMachine(st *state.Store, m names.Model, id names.Machine) *Watch {
	return newWatch(st,
		func(v *state.View) []state.Key { return MachineKeys(v, m, id) },
		func(v *state.View) (any, error) { return Machine(v, m, id) })
}

func newWatch(st *state.Store, keys func(*state.View) []state.Key, value func(*state.View) (any, error)) *Watch {
	return &Watch{store: st, keys: keys, value: value, sub: st.Subscribe(keys(st.View())...), stale: true}
}

// Next returns at once the first time, and then after each change.
func (w *Watch) Next(ctx context.Context) (any, error) {
	for {
		if w.look() {
			return nil, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-w.sub.C():
			w.stale = w.stale || slices.ContainsFunc(w.sub.Take(), movesKeys)
		}
	}
}

// movesKeys tells whether a change may be one of what UnitKeys and MachineKeys
// look at to tell the keys.
func movesKeys(c state.Change) bool {
	switch c.Kind {
	case unit.Table.Kind, relation.Table.Kind, task.Queues.Kind, task.Table.Kind:
		return true
	}
	return false
}

// look reports whether the value differs from the one last told.
func (w *Watch) look() bool {
	if w.stale {
		w.sub.Add(w.keys(w.store.View())...)
		w.stale = false
	}
	v := w.store.View() // after Add: it shows what the new keys cannot tell of
	value, err := w.value(v)
	var sum [sha256.Size]byte
	if err != nil {
		sum = sha256.Sum256([]byte(err.Error()))
	} else if raw, err := json.Marshal(value); err == nil {
		sum = sha256.Sum256(raw)
	}
	if w.begun && sum == w.last {
		return false
	}
	w.begun, w.last = true, sum
	return true
}

// Stop ends the watch.
func (w *Watch) Stop() { w.sub.Close() }
