package machine

import (
	"context"
	"sync"
)

// locks serialise the hooks of a machine, and the tasks of each group.
type locks struct {
	mu    sync.Mutex
	byKey map[string]chan struct{}
}

// take waits for the lock of that name; the empty name is the machine's.
func (l *locks) take(ctx context.Context, name string) (func(), error) {
	l.mu.Lock()
	if l.byKey == nil {
		l.byKey = map[string]chan struct{}{}
	}
	c := l.byKey[name]
	if c == nil {
		c = make(chan struct{}, 1)
		l.byKey[name] = c
	}
	l.mu.Unlock()
	select {
	case c <- struct{}{}:
		return sync.OnceFunc(func() { <-c }), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
