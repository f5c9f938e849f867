// Package effects holds what a hook asked to change and has not changed yet: a
// value, merged in order, sent as one request when the hook succeeds and
// forgotten when it fails. It owns the size limits of what a hook may ask for.
// It does no I/O and knows no tool.
package effects

import (
	"fmt"
	"maps"
	"slices"
	"sort"

	"github.com/scarab-ops/scarab/wire/agentapi"
)

// Limits of one hook.
const (
	MaxRelationValue = 512 << 10
	MaxRelationBag   = 1 << 20
	MaxFlush         = 8 << 20
	MaxStateKey      = 256
	MaxStateValue    = 64 << 10
	MaxState         = 2 << 20
)

// A LimitError reports a value over a limit.
type LimitError struct {
	What  string
	Limit int
	Got   int
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("max allowed %s (%d bytes) exceeded: %d bytes", e.What, e.Limit, e.Got)
}

// Effects are the buffered changes of one hook. It is not safe for concurrent
// use; the tool server runs one call at a time.
type Effects struct {
	relations map[int]*agentapi.RelationSettings
	state     map[string]*string // nil deletes
	open      []agentapi.PortRange
	closed    []agentapi.PortRange
	size      int
	// Reboot asks for a reboot of the machine once the hook is committed.
	Reboot bool
}

// New returns no effects.
func New() *Effects {
	return &Effects{relations: map[int]*agentapi.RelationSettings{}, state: map[string]*string{}}
}

// grow accounts for n bytes of the flush.
func (e *Effects) grow(n int) error {
	if e.size+n > MaxFlush {
		return &LimitError{What: "size of one hook's changes", Limit: MaxFlush, Got: e.size + n}
	}
	e.size += n
	return nil
}

// Relation returns the buffered changes to a bag; a value of "" is a deletion.
func (e *Effects) Relation(id int, app bool) agentapi.Settings {
	r := e.relations[id]
	if r == nil {
		return nil
	}
	if app {
		return r.App
	}
	return r.Unit
}

// Bag applies the buffered changes to what the bag held at the hook's start.
func (e *Effects) Bag(base agentapi.Settings, id int, app bool) agentapi.Settings {
	out := agentapi.Settings{}
	maps.Copy(out, base)
	for k, v := range e.Relation(id, app) {
		if v == "" {
			delete(out, k)
			continue
		}
		out[k] = v
	}
	return out
}

// SetRelation merges settings into a bag whose committed content is base. A
// value of "" deletes the key. Nothing is changed when it fails.
func (e *Effects) SetRelation(id int, app bool, base, kv agentapi.Settings) error {
	n := 0
	for k, v := range kv {
		if len(v) > MaxRelationValue {
			return &LimitError{What: fmt.Sprintf("size of relation value %q", k), Limit: MaxRelationValue, Got: len(v)}
		}
		n += len(k) + len(v)
	}
	after := e.Bag(base, id, app)
	for k, v := range kv {
		if v == "" {
			delete(after, k)
			continue
		}
		after[k] = v
	}
	if s := bagSize(after); s > MaxRelationBag {
		return &LimitError{What: "size of relation bag", Limit: MaxRelationBag, Got: s}
	}
	if err := e.grow(n); err != nil {
		return err
	}
	r := e.relations[id]
	if r == nil {
		r = &agentapi.RelationSettings{ID: id}
		e.relations[id] = r
	}
	to := &r.Unit
	if app {
		to = &r.App
	}
	if *to == nil {
		*to = agentapi.Settings{}
	}
	maps.Copy(*to, kv)
	return nil
}

func bagSize(s agentapi.Settings) int {
	n := 0
	for k, v := range s {
		n += len(k) + len(v)
	}
	return n
}

// State applies the buffered changes to the charm state at the hook's start.
func (e *Effects) State(base agentapi.Settings) agentapi.Settings {
	out := agentapi.Settings{}
	maps.Copy(out, base)
	for k, v := range e.state {
		if v == nil {
			delete(out, k)
			continue
		}
		out[k] = *v
	}
	return out
}

// SetState merges keys into the charm state.
func (e *Effects) SetState(base, kv agentapi.Settings) error {
	n := 0
	after := e.State(base)
	for k, v := range kv {
		if len(k) > MaxStateKey {
			return &LimitError{What: "charm state key size", Limit: MaxStateKey, Got: len(k)}
		}
		if len(v) > MaxStateValue {
			return &LimitError{What: "charm state value size", Limit: MaxStateValue, Got: len(v)}
		}
		n += len(k) + len(v)
		after[k] = v
	}
	if s := bagSize(after); s > MaxState {
		return &LimitError{What: "charm state size", Limit: MaxState, Got: s}
	}
	if err := e.grow(n); err != nil {
		return err
	}
	for k, v := range kv {
		e.state[k] = &v
	}
	return nil
}

// DeleteState removes a key of the charm state.
func (e *Effects) DeleteState(key string) error {
	if err := e.grow(len(key)); err != nil {
		return err
	}
	e.state[key] = nil
	return nil
}

// OpenPort asks for a range; it cancels an equal pending close.
func (e *Effects) OpenPort(p agentapi.PortRange) error {
	e.closed = without(e.closed, p)
	return e.addPort(&e.open, p)
}

// ClosePort gives up a range; it cancels an equal pending open.
func (e *Effects) ClosePort(p agentapi.PortRange) error {
	if p.Endpoint == "" {
		e.open = slices.DeleteFunc(e.open, func(o agentapi.PortRange) bool {
			o.Endpoint = ""
			return o == p
		})
	}
	e.open = without(e.open, p)
	return e.addPort(&e.closed, p)
}

func (e *Effects) addPort(to *[]agentapi.PortRange, p agentapi.PortRange) error {
	if slices.Contains(*to, p) {
		return nil
	}
	if err := e.grow(32 + len(p.Endpoint)); err != nil {
		return err
	}
	*to = append(*to, p)
	return nil
}

func without(in []agentapi.PortRange, p agentapi.PortRange) []agentapi.PortRange {
	return slices.DeleteFunc(in, func(o agentapi.PortRange) bool { return o == p })
}

// PendingOpen returns the ranges that this hook asks to open.
func (e *Effects) PendingOpen() []agentapi.PortRange { return slices.Clone(e.open) }

// PendingClose returns the ranges that this hook asks to close.
func (e *Effects) PendingClose() []agentapi.PortRange { return slices.Clone(e.closed) }

// Fill writes the effects into the one request that commits them, in a stable
// order.
func (e *Effects) Fill(a *agentapi.CommitArgs) {
	for _, id := range slices.Sorted(maps.Keys(e.relations)) {
		a.Relations = append(a.Relations, *e.relations[id])
	}
	a.OpenPorts = e.PendingOpen()
	a.ClosePorts = e.PendingClose()
	for k, v := range e.state {
		if v == nil {
			a.StateDelete = append(a.StateDelete, k)
			continue
		}
		if a.StateSet == nil {
			a.StateSet = agentapi.Settings{}
		}
		a.StateSet[k] = *v
	}
	sort.Strings(a.StateDelete)
}

// Empty reports whether nothing was asked for.
func (e *Effects) Empty() bool {
	return len(e.relations) == 0 && len(e.state) == 0 && len(e.open) == 0 && len(e.closed) == 0 && !e.Reboot
}
