package facade

import (
	"context"
	"sync"

	"github.com/scarab-ops/scarab/state"
)

// Notify is a watcher that fires when a change that filter lets through reaches
// sub; a nil filter lets all through. It is pushed by the store and costs one
// parked goroutine and nothing else until then. It owns sub.
func Notify(sub *state.Subscription, filter func(state.Change) bool) Watcher {
	return &subscribed{sub: sub, done: make(chan struct{}), event: func(cs []state.Change) (any, bool, error) {
		for _, c := range cs {
			if filter == nil || filter(c) {
				return struct{}{}, true, nil
			}
		}
		return nil, false, nil
	}, first: func() (any, error) { return struct{}{}, nil }}
}

// Strings is a watcher of names: first gives the initial set, of maps changes
// to the names they concern. Names come once in each event.
func Strings(sub *state.Subscription, first func() ([]string, error), of func(state.Change) []string) Watcher {
	return &subscribed{sub: sub, done: make(chan struct{}), first: func() (any, error) {
		ns, err := first()
		if ns == nil {
			ns = []string{}
		}
		return ns, err
	}, event: func(cs []state.Change) (any, bool, error) {
		seen, out := map[string]bool{}, []string{}
		for _, c := range cs {
			for _, n := range of(c) {
				if !seen[n] {
					seen[n] = true
					out = append(out, n)
				}
			}
		}
		return out, len(out) > 0, nil
	}}
}

// Events is a watcher with events of any form. first makes the initial one;
// event turns changes into the next, or says that there is none in them.
func Events(sub *state.Subscription, first func() (any, error), event func([]state.Change) (any, bool, error)) Watcher {
	return &subscribed{sub: sub, done: make(chan struct{}), first: first, event: event}
}

type subscribed struct {
	sub   *state.Subscription
	first func() (any, error) // nil once used
	event func([]state.Change) (any, bool, error)
	once  sync.Once
	done  chan struct{}
}

// Next implements [Watcher].
func (w *subscribed) Next(ctx context.Context) (any, error) {
	if f := w.first; f != nil {
		w.first = nil
		return f()
	}
	for {
		select {
		case <-w.done:
			return nil, &StoppedError{NotifyWatcher}
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-w.sub.C():
		}
		v, ok, err := w.event(w.sub.Take())
		if err != nil || ok {
			return v, err
		}
	}
}

// Stop implements [Watcher].
func (w *subscribed) Stop() {
	w.once.Do(func() {
		close(w.done)
		w.sub.Close()
	})
}
