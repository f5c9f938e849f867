package client

import (
	"fmt"
	"sync"

	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/authz"
	"github.com/scarab-ops/scarab/domain/delta"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/wire"
	"github.com/scarab-ops/scarab/wire/multiwatch"
)

// maxPerConnection bounds the watchers of everything on one connection: each
// keeps the names of all that it has sent.
const maxPerConnection = 16

// quota counts watchers by connection.
type quota struct {
	mu   sync.Mutex
	held map[string]int
}

func newQuota() *quota { return &quota{held: map[string]int{}} }

type quotaError struct{}

func (quotaError) Error() string {
	return fmt.Sprintf("cannot watch a model more than %d times on one connection: stop a watcher first", maxPerConnection)
}
func (quotaError) Code() string { return "quota limit exceeded" }

func (q *quota) take(connection string) (release func(), err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.held[connection] >= maxPerConnection {
		return nil, quotaError{}
	}
	q.held[connection]++
	var once sync.Once
	return func() {
		once.Do(func() {
			q.mu.Lock()
			defer q.mu.Unlock()
			if q.held[connection]--; q.held[connection] <= 0 {
				delete(q.held, connection)
			}
		})
	}, nil
}

// watcher turns changes of rows into deltas of entities. It rebuilds what was
// touched from the newest view, so several changes between two calls are one
// delta, and it asks for access again before each event.
type watcher struct {
	facade.Watcher
	release func()
}

// Stop implements facade.Watcher.
func (w *watcher) Stop() {
	w.release()
	w.Watcher.Stop()
}

func watchAll(s Service, c facade.Call, _ struct{}) (facade.Watcher, error) {
	m := c.Caller.Model
	if _, err := model.Get(c.View(), m); err != nil {
		return nil, err
	}
	release, err := s.watchers.take(c.Connection())
	if err != nil {
		return nil, err
	}
	t := &tracker{call: c, model: m, controller: s.Controller, sent: map[delta.Entity]any{}}
	sub := s.Store.Subscribe(delta.Keys(m)...)
	return &watcher{facade.Events(sub, t.first, t.event), release}, nil
}

// tracker remembers what the client knows, so that it is told of the end of
// exactly that.
type tracker struct {
	call       facade.Call
	model      names.Model
	controller string
	sent       map[delta.Entity]any // its removal, as it will be told
}

func (t *tracker) first() (any, error) {
	if !t.call.Holds(authz.Read, authz.Model(t.model)) {
		return nil, authz.ErrDenied
	}
	v := t.call.View()
	return t.deltas(v, delta.All(v, t.model)), nil
}

func (t *tracker) event(changes []state.Change) (any, bool, error) {
	if !t.call.Holds(authz.Read, authz.Model(t.model)) {
		return nil, false, authz.ErrDenied
	}
	v := t.call.View()
	ds := t.deltas(v, delta.Touched(v, t.model, changes))
	return ds, len(ds) > 0, nil
}

func (t *tracker) deltas(v state.Reader, es []delta.Entity) []wire.Delta {
	b := newBuilder(v, t.model, t.controller)
	out := make([]wire.Delta, 0, len(es))
	for _, e := range es {
		kind, obj, there := b.build(e)
		last, known := t.sent[e]
		switch {
		case there:
			t.sent[e] = ids(obj)
		case known:
			delete(t.sent, e)
			obj = last
		default:
			continue
		}
		out = append(out, wire.Delta{Kind: kind, Removed: !there, Entity: obj})
	}
	return out
}

// ids cuts an object down to what names it, for the day it is gone.
func ids(obj any) any {
	switch o := obj.(type) {
	case multiwatch.Relation:
		return multiwatch.Relation{ModelUUID: o.ModelUUID, ID: o.ID, Key: o.Key, Endpoints: o.Endpoints}
	case multiwatch.Machine:
		return multiwatch.Machine{ModelUUID: o.ModelUUID, ID: o.ID, InstanceID: o.InstanceID, Life: "dead", Jobs: o.Jobs}
	case multiwatch.Application:
		return multiwatch.Application{ModelUUID: o.ModelUUID, Name: o.Name, CharmURL: o.CharmURL, OwnerTag: o.OwnerTag, Life: "dead"}
	case multiwatch.Unit:
		return multiwatch.Unit{
			ModelUUID: o.ModelUUID, Name: o.Name, Application: o.Application, CharmURL: o.CharmURL, Life: "dead",
			MachineID: o.MachineID, Principal: o.Principal, Subordinate: o.Subordinate,
		}
	case multiwatch.Charm:
		return multiwatch.Charm{ModelUUID: o.ModelUUID, CharmURL: o.CharmURL, Life: "dead"}
	case multiwatch.Annotation:
		return multiwatch.Annotation{ModelUUID: o.ModelUUID, Tag: o.Tag, Annotations: map[string]string{}}
	}
	return obj
}
