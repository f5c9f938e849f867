package want

import (
	"context"
	"crypto/sha256"
	"encoding/json"

	"github.com/scarab-ops/scarab/domain/application"
	"github.com/scarab-ops/scarab/domain/controller"
	"github.com/scarab-ops/scarab/domain/machine"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/relation"
	"github.com/scarab-ops/scarab/domain/task"
	"github.com/scarab-ops/scarab/domain/unit"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/wire/agentapi"
)

// A Watch tells an agent when its want has changed. It wakes for the rows that
// the want is made of and speaks up only if the answer differs, so that a
// lease renewed or a row touched in passing costs the agent nothing.
//
// What the units of an application have alike is looked at once for all that
// watch it; what is an agent's own only when rows have changed that it is made of.
type Watch struct {
	store *state.Store
	sub   *state.Subscription
	of    sides
	last  [2]digest // of the shared side and of the agent's own
	begun bool
	moved bool // the keys may be others by now
	stale bool // the agent's own side may be another by now
}

// sides are the two sides of a want; shared may be nil.
type sides struct {
	keys   func(*state.View) []state.Key
	shared func(*state.View) digest
	own    func(*state.View) digest
}

type digest [sha256.Size]byte

func digestOf(v any, err error) digest {
	if err != nil {
		return sha256.Sum256([]byte(err.Error()))
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return digest{}
	}
	return sha256.Sum256(raw)
}

// WatchUnit watches a unit's Want.
func WatchUnit(st *state.Store, m names.Model, u names.Unit) *Watch {
	key := commonKey{m, u.Application()}
	return newWatch(st, sides{
		keys:   func(v *state.View) []state.Key { return UnitKeys(v, m, u) },
		shared: func(v *state.View) digest { return commonOf(v, key).sum() },
		own:    func(v *state.View) digest { return digestOf(ownSide(v, m, u)) },
	})
}

// ownSide is a unit's Want without what all units have alike.
func ownSide(r state.Reader, m names.Model, name names.Unit) (any, error) {
	s := model.ScopeOf(m)
	u, err := unit.Get(r, s, name)
	if err != nil {
		return nil, err
	}
	var w agentapi.Want
	if all := commonOf(r, commonKey{m, u.Application}); all.err == nil { // shared tells of it
		own(&w, r, s, u, all)
	}
	return []any{w, machine.Address(r, s, u.Machine)}, nil
}

// WatchMachine watches a machine's MachineWant.
func WatchMachine(st *state.Store, m names.Model, id names.Machine) *Watch {
	return newWatch(st, sides{
		keys: func(v *state.View) []state.Key { return MachineKeys(v, m, id) },
		own:  func(v *state.View) digest { return digestOf(Machine(v, m, id)) },
	})
}

func newWatch(st *state.Store, of sides) *Watch {
	return &Watch{store: st, of: of, sub: st.Subscribe(of.keys(st.View())...), moved: true, stale: true}
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
			for _, c := range w.sub.Take() {
				w.moved = w.moved || movesKeys(c)
				w.stale = w.stale || w.of.shared == nil || !isShared(c)
			}
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

// isShared tells whether a change is one of rows that only the shared side of a
// unit's want is made of.
func isShared(c state.Change) bool {
	switch c.Kind {
	case model.Table.Kind, model.ConfigTable.Kind, controller.Table.Kind, application.Table.Kind, application.Leaders.Kind:
		return true
	}
	return false
}

// look reports whether the value differs from the one last told.
func (w *Watch) look() bool {
	if w.moved {
		w.sub.Add(w.of.keys(w.store.View())...)
		w.moved = false
	}
	v, now := w.store.View(), w.last // after Add: it shows what the new keys cannot tell of
	if w.of.shared != nil {
		now[0] = w.of.shared(v)
	}
	if w.stale {
		now[1] = w.of.own(v)
		w.stale = false
	}
	if w.begun && now == w.last {
		return false
	}
	w.begun, w.last = true, now
	return true
}

// Stop ends the watch.
func (w *Watch) Stop() { w.sub.Close() }
