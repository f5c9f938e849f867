package state

import (
	"context"
	"strings"
	"sync"
)

// Mem is a Backend in memory, for tests and the dev controller.
type Mem struct {
	mu   sync.Mutex
	rev  int64
	rows *tree
	subs map[*func(Batch)]struct{}
}

// NewMem returns an empty Mem.
func NewMem() *Mem { return &Mem{rows: newTree(), subs: map[*func(Batch)]struct{}{}} }

// Commit implements Backend.
func (m *Mem) Commit(ctx context.Context, c Commit) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, context.Cause(ctx)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.conflicts(c) {
		return m.rev, ErrConflict
	}
	if len(c.Writes) == 0 {
		return m.rev, nil
	}
	m.rev++
	rows := make([]Row, 0, len(c.Writes))
	for k, v := range c.Writes {
		if v == nil {
			m.rows.Delete(&entry{key: k})
		} else {
			m.rows.ReplaceOrInsert(&entry{key: k, val: v, mod: m.rev})
		}
		rows = append(rows, Row{k, v, m.rev})
	}
	for f := range m.subs {
		(*f)(Batch{Rev: m.rev, Rows: rows})
	}
	return m.rev, nil
}

func (m *Mem) conflicts(c Commit) bool {
	for k, mod := range c.Keys {
		var now int64
		if e, ok := m.rows.Get(&entry{key: k}); ok {
			now = e.mod
		}
		if now != mod {
			return true
		}
	}
	for p := range c.Ranges {
		newer := false
		m.rows.AscendGreaterOrEqual(&entry{key: p}, func(e *entry) bool {
			newer = strings.HasPrefix(e.key, p) && e.mod > c.At
			return !newer && strings.HasPrefix(e.key, p)
		})
		if newer {
			return true
		}
	}
	return false
}

// Watch implements Backend.
func (m *Mem) Watch(ctx context.Context, f func(Batch)) error {
	m.mu.Lock()
	all := Batch{Rev: m.rev, Reset: true}
	m.rows.Ascend(func(e *entry) bool {
		all.Rows = append(all.Rows, Row{e.key, e.val, e.mod})
		return true
	})
	f(all)
	m.subs[&f] = struct{}{}
	m.mu.Unlock()
	<-ctx.Done()
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.subs, &f)
	return context.Cause(ctx)
}
