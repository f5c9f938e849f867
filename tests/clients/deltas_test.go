package clients

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/scarab-ops/scarab/tests/cluster"
)

// idKeys tells by which key a client finds the entity of each kind; a kind
// that is not here makes clients fail.
var idKeys = map[string]string{
	"model": "model-uuid", "machine": "id", "application": "name", "unit": "name", "relation": "key", "charm": "charm-url",
	"annotation": "tag", "action": "id", "remoteApplication": "name", "applicationOffer": "offer-name", "block": "id", "branch": "id",
}

// seen is what the deltas of a watcher have told so far, the way clients keep it.
type seen struct {
	t    *testing.T
	c    *conn
	id   string
	done chan struct{}

	mu   sync.Mutex
	all  map[string]map[string]any // by kind and id
	gone map[string]bool
	err  error // what ended the watch
}

// watch opens a watcher of everything and follows it.
func (w *world) watch(t *testing.T) *seen {
	t.Helper()
	var watcher struct {
		ID string `json:"watcher-id"`
	}
	w.modelRPC.call("client", "watchAll", nil, &watcher)
	s := &seen{t: t, c: w.modelRPC, id: watcher.ID, done: make(chan struct{}), all: map[string]map[string]any{}, gone: map[string]bool{}}
	go s.follow()
	t.Cleanup(func() {
		_, _ = s.c.try("allWatcher", "stop", map[string]any{"id": s.id}) // it may have been stopped
		<-s.done
	})
	return s
}

func (s *seen) follow() {
	defer close(s.done)
	for {
		raw, err := s.c.try("allWatcher", "next", map[string]any{"id": s.id})
		if err == nil {
			err = s.take(raw)
		}
		if err != nil {
			s.mu.Lock()
			s.err = err
			s.mu.Unlock()
			return
		}
	}
}

func (s *seen) take(raw json.RawMessage) error {
	var next struct {
		Deltas [][3]json.RawMessage `json:"deltas"`
	}
	if err := json.Unmarshal(raw, &next); err != nil {
		return err
	}
	if len(next.Deltas) == 0 {
		return fmt.Errorf("Next answered no deltas: %s", raw) //nolint:staticcheck // the method's name
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range next.Deltas {
		var kind, change string
		var entity map[string]any
		for i, to := range []any{&kind, &change, &entity} {
			if err := json.Unmarshal(d[i], to); err != nil {
				return fmt.Errorf("delta %s: %w", d, err)
			}
		}
		id, ok := entity[idKeys[kind]].(string)
		if !ok || entity["model-uuid"] == nil {
			return fmt.Errorf("delta of kind %q without a name or model: %s", kind, d[2])
		}
		switch key := kind + " " + id; change {
		case "change":
			s.all[key] = entity
			delete(s.gone, key)
		case "remove":
			if s.all[key] == nil {
				return fmt.Errorf("%s was removed before it was told of", key)
			}
			delete(s.all, key)
			s.gone[key] = true
		default:
			return fmt.Errorf("delta that is %q", change)
		}
	}
	return nil
}

// get returns a value of an entity, at a path of keys.
func (s *seen) get(kind, id string, path ...string) any {
	s.mu.Lock()
	defer s.mu.Unlock()
	var v any = s.all[kind+" "+id]
	for _, key := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[key]
	}
	return v
}

func (s *seen) removed(kind, id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gone[kind+" "+id]
}

// until waits until the deltas have told something.
func (s *seen) until(what string, f func() bool) {
	s.t.Helper()
	defer func() {
		if s.t.Failed() {
			s.mu.Lock()
			defer s.mu.Unlock()
			all, err := json.MarshalIndent(s.all, "", " ")
			s.t.Logf("waiting for %s; the watch ended with %v; told so far: %s (%v)", what, s.err, all, err)
		}
	}()
	cluster.Eventually(s.t, "told of "+what, func() bool {
		select {
		case <-s.done:
			s.t.Fatalf("the watch ended: %v", s.err)
		default:
		}
		return f()
	})
}

// stop stops the watcher: the call that waits must end with the text that
// clients know.
func (s *seen) stop(t *testing.T) {
	t.Helper()
	s.c.call("allWatcher", "stop", map[string]any{"id": s.id}, nil)
	<-s.done
	if s.err == nil || !strings.Contains(s.err.Error(), "watcher was stopped") {
		t.Errorf("the stopped watch ended with %v", s.err)
	}
	if _, err := s.c.try("allWatcher", "next", map[string]any{"id": s.id}); err == nil {
		t.Error("a stopped watcher still answers")
	}
}
