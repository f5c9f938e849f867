package client

import (
	"context"
	"errors"

	"github.com/scarab-ops/scarab/wire"
)

// NotifyWatcher fires when something changed. The first event is implied by
// its creation.
type NotifyWatcher struct {
	c  *Conn
	id string
}

// Next blocks until the next change.
func (w *NotifyWatcher) Next(ctx context.Context) error {
	_, err := CallObject[none, none](ctx, w.c, "NotifyWatcher", w.id, "Next", none{})
	return err
}

// Stop ends the watcher.
func (w *NotifyWatcher) Stop(ctx context.Context) error {
	_, err := CallObject[none, none](ctx, w.c, "NotifyWatcher", w.id, "Stop", none{})
	return err
}

// StringsWatcher reports texts, such as the progress of a task.
type StringsWatcher struct {
	c  *Conn
	id string
	// Initial is what came with its creation.
	Initial []string
}

// Next blocks until there are more.
func (w *StringsWatcher) Next(ctx context.Context) ([]string, error) {
	r, err := CallObject[none, wire.StringsWatchResult](ctx, w.c, "StringsWatcher", w.id, "Next", none{})
	if err != nil {
		return nil, err
	}
	return r.Changes, asError(r.Error)
}

// Stop ends the watcher.
func (w *StringsWatcher) Stop(ctx context.Context) error {
	_, err := CallObject[none, none](ctx, w.c, "StringsWatcher", w.id, "Stop", none{})
	return err
}

// AllWatcher reports every change of a model; the first Next all there is.
type AllWatcher struct {
	c  *Conn
	id string
}

// Next blocks until something changed. Each delta's Entity is a
// json.RawMessage of the type that package multiwatch names for its kind.
func (w *AllWatcher) Next(ctx context.Context) ([]wire.Delta, error) {
	r, err := CallObject[none, wire.AllWatcherNextResults](ctx, w.c, "AllWatcher", w.id, "Next", none{})
	return r.Deltas, err
}

// Stop ends the watcher.
func (w *AllWatcher) Stop(ctx context.Context) error {
	_, err := CallObject[none, none](ctx, w.c, "AllWatcher", w.id, "Stop", none{})
	return err
}

// asError keeps a nil *wire.Error from becoming an error that is not nil.
func asError(e *wire.Error) error {
	if e == nil {
		return nil
	}
	return e
}

var errNoResult = errors.New("cannot read answer: the server sent another number of results than was asked for")

// Errors turns the results of a bulk call into errors, nil for success, one
// for each of the n items asked for.
func Errors(r wire.ErrorResults, n int) ([]error, error) {
	if len(r.Results) != n {
		return nil, errNoResult
	}
	out := make([]error, n)
	for i, e := range r.Results {
		out[i] = asError(e.Error)
	}
	return out, nil
}

// oneError is Errors for one item.
func oneError(r wire.ErrorResults, err error) error {
	if err != nil {
		return err
	}
	if len(r.Results) != 1 {
		return errNoResult
	}
	return asError(r.Results[0].Error)
}

// only returns the one result asked for.
func only[O any](rs []O, err error) (O, error) {
	var zero O
	if err != nil {
		return zero, err
	}
	if len(rs) != 1 {
		return zero, errNoResult
	}
	return rs[0], nil
}

// exactly returns rs if there are as many as were asked for.
func exactly[O any](rs []O, n int, err error) ([]O, error) {
	if err != nil {
		return nil, err
	}
	if len(rs) != n {
		return nil, errNoResult
	}
	return rs, nil
}

// entities makes the usual argument.
func entities(tags ...string) wire.Entities {
	e := wire.Entities{Entities: make([]wire.Entity, len(tags))}
	for i, t := range tags {
		e.Entities[i] = wire.Entity{Tag: t}
	}
	return e
}
