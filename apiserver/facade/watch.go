package facade

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/scarab-ops/scarab/authz"
)

// A Watcher gives one event after another. Next returns the first event at
// once and later ones when something has changed; it is never called twice at
// the same time. Stop may be called at any time and more than once.
type Watcher interface {
	Next(ctx context.Context) (any, error)
	Stop()
}

// A WatcherKind is the name of the facade that serves a watcher's Next.
type WatcherKind string

// The kinds of watcher.
const (
	NotifyWatcher        WatcherKind = "NotifyWatcher"
	StringsWatcher       WatcherKind = "StringsWatcher"
	RelationUnitsWatcher WatcherKind = "RelationUnitsWatcher"
	AllWatcher           WatcherKind = "AllWatcher"
	AllModelWatcher      WatcherKind = "AllModelWatcher"
	ModelSummaryWatcher  WatcherKind = "ModelSummaryWatcher"
)

// kinds says for each kind which version it has, who may use it, whether its
// first event belongs to the call that made it, and how an event travels.
var kinds = map[WatcherKind]struct {
	version int
	who     authz.Kinds
	eager   bool
	event   func(id string, v any) any
}{
	NotifyWatcher:        {1, authz.Everyone, true, func(string, any) any { return struct{}{} }},
	StringsWatcher:       {1, authz.Everyone, true, changes},
	RelationUnitsWatcher: {1, authz.Everyone, true, changes},
	AllWatcher:           {3, authz.User, false, func(_ string, v any) any { return map[string]any{"deltas": v} }},
	AllModelWatcher:      {4, authz.User, false, func(_ string, v any) any { return map[string]any{"deltas": v} }},
	ModelSummaryWatcher:  {1, authz.User, false, func(_ string, v any) any { return map[string]any{"models": v} }},
}

func changes(id string, v any) any { return map[string]any{"watcher-id": id, "changes": v} }

// A StoppedError is the answer to Next of a watcher that was stopped.
type StoppedError struct{ kind WatcherKind }

// Error is the sentence that clients look for.
func (e *StoppedError) Error() string {
	if e.kind == AllWatcher || e.kind == AllModelWatcher {
		return "watcher was stopped"
	}
	return "watcher has been stopped"
}

// Code is the wire code.
func (e *StoppedError) Code() string { return "stopped" }

type unknownWatcher struct{}

func (unknownWatcher) Error() string { return "unknown watcher id" }
func (unknownWatcher) Code() string  { return "not found" }

type quotaError struct{ max int }

func (e quotaError) Error() string {
	return fmt.Sprintf("cannot watch more than %d things on one connection: stop a watcher first", e.max)
}
func (e quotaError) Code() string { return "quota limit exceeded" }

// A Registry holds the watchers of one connection.
type Registry struct {
	max int

	mu     sync.Mutex
	last   int // newest id given out
	live   map[string]*watching
	closed bool
}

type watching struct {
	kind WatcherKind
	w    Watcher
	// may asks again whether the caller may still watch; it is asked before
	// each event is given out, so a grant that was withdrawn ends the watcher.
	may  func() error
	turn chan struct{} // held by the one Next that runs
	stop chan struct{} // closed when stopped
}

func newRegistry(limit int) *Registry {
	return &Registry{max: limit, live: map[string]*watching{}}
}

// Len returns how many watchers live.
func (r *Registry) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.live)
}

// add takes w over; it stops w if it cannot.
func (r *Registry) add(kind WatcherKind, w Watcher, may func() error) (string, error) {
	r.mu.Lock()
	var err error
	switch {
	case r.closed:
		err = &StoppedError{kind}
	case len(r.live) >= r.max:
		err = quotaError{r.max}
	}
	if err != nil {
		r.mu.Unlock()
		w.Stop()
		return "", err
	}
	r.last++
	id := strconv.Itoa(r.last)
	r.live[id] = &watching{kind, w, may, make(chan struct{}, 1), make(chan struct{})}
	r.mu.Unlock()
	return id, nil
}

func (r *Registry) get(kind WatcherKind, id string) (*watching, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e, ok := r.live[id]; ok && e.kind == kind {
		return e, nil
	}
	if n, err := strconv.Atoi(id); err == nil && n > 0 && n <= r.last && strconv.Itoa(n) == id && r.live[id] == nil {
		return nil, &StoppedError{kind}
	}
	return nil, unknownWatcher{}
}

func (r *Registry) next(ctx context.Context, kind WatcherKind, id string) (any, error) {
	e, err := r.get(kind, id)
	if err != nil {
		return nil, err
	}
	select {
	case e.turn <- struct{}{}:
		defer func() { <-e.turn }()
	case <-e.stop:
		return nil, &StoppedError{kind}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	v, err := e.w.Next(ctx)
	select {
	case <-e.stop:
		return nil, &StoppedError{kind}
	default:
	}
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return nil, err // the connection ends; Close is near
	}
	if err == nil {
		err = e.may()
	}
	if err != nil {
		r.drop(id)
		return nil, err
	}
	return v, nil
}

func (r *Registry) drop(id string) {
	r.mu.Lock()
	e, ok := r.live[id]
	delete(r.live, id)
	r.mu.Unlock()
	if ok {
		close(e.stop)
		e.w.Stop()
	}
}

// Close stops every watcher and refuses new ones.
func (r *Registry) Close() {
	r.mu.Lock()
	live := r.live
	r.live, r.closed = map[string]*watching{}, true
	r.mu.Unlock()
	for _, e := range live {
		close(e.stop)
		e.w.Stop()
	}
}

// Watch gives w to the connection and returns its id, and its first event for
// the kinds whose first event belongs to the call that makes them.
func (c Call) Watch(kind WatcherKind, w Watcher) (id string, first any, err error) {
	k, ok := kinds[kind]
	if !ok || k.who&c.Caller.Kind == 0 {
		w.Stop()
		return "", nil, authz.ErrDenied
	}
	id, err = c.s.Watchers.add(kind, w, c.stillMay())
	if err != nil || !k.eager {
		return id, nil, err
	}
	first, err = c.s.Watchers.next(c, kind, id)
	if err != nil {
		c.s.Watchers.drop(id)
		return "", nil, err
	}
	if kind == NotifyWatcher {
		first = nil
	}
	return id, first, nil
}

// stillMay asks the rule of the call that makes a watcher, and the checks made
// for its item, against the state as it is then.
func (c Call) stillMay() func() error {
	s, rule, checks := c.s, c.op.endpoint.Rule, c.item.checks
	return func() error {
		g := s.grants(s.cfg.Store.View())
		if err := rule.Admit(s.Caller, g); err != nil {
			return err
		}
		for _, ck := range checks {
			if err := s.Caller.Check(g, ck.need, ck.target); err != nil {
				return err
			}
		}
		return nil
	}
}

// WatcherEndpoints serves Next and Stop of every kind of watcher.
func WatcherEndpoints() ([]Endpoint, error) {
	var es []Endpoint
	for kind, k := range kinds {
		rule := authz.Self(k.who).Reads().During(authz.Upgrading | authz.Migrating)
		f := Facade[struct{}]{Name: string(kind), Version: k.version, Methods: []Method[struct{}]{
			None("Next", rule, func(_ struct{}, c Call) (any, error) {
				v, err := c.s.Watchers.next(c, kind, c.ID)
				if err != nil {
					return nil, err
				}
				return k.event(c.ID, v), nil
			}),
			None("Stop", rule, func(_ struct{}, c Call) (struct{}, error) {
				if _, err := c.s.Watchers.get(kind, c.ID); err != nil {
					return struct{}{}, err
				}
				c.s.Watchers.drop(c.ID)
				return struct{}{}, nil
			}),
		}}
		bound, err := Bind(f, struct{}{})
		if err != nil {
			return nil, err
		}
		es = append(es, bound...)
	}
	return es, nil
}
