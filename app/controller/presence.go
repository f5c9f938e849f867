package controller

import (
	"sync"
	"time"

	"github.com/scarab-ops/scarab/names"
)

// presence knows which agents are connected. It is memory only: after a
// restart nobody is present until they come back, which counts from the start.
type presence struct {
	now     func() time.Time
	started time.Time

	mu   sync.Mutex
	here map[agentKey]int
	last map[agentKey]time.Time // when the last connection ended
}

type agentKey struct {
	model names.Model
	tag   names.Tag
}

func newPresence(now func() time.Time) *presence {
	return &presence{now: now, started: now(), here: map[agentKey]int{}, last: map[agentKey]time.Time{}}
}

// Came records a new connection; the returned function ends it.
func (p *presence) Came(m names.Model, tag names.Tag) (gone func()) {
	k := agentKey{m, tag}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.here[k]++
	return sync.OnceFunc(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.here[k]--; p.here[k] <= 0 {
			delete(p.here, k)
		}
		p.last[k] = p.now()
	})
}

// Connected tells whether an agent has a connection, and since when it has
// none.
func (p *presence) Connected(m names.Model, tag names.Tag) (bool, time.Time) {
	k := agentKey{m, tag}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.here[k] > 0 {
		return true, time.Time{}
	}
	since := p.last[k]
	if since.IsZero() {
		since = p.started
	}
	return false, since
}
