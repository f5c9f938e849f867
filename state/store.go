package state

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// ErrConflict is returned by a [Backend] when something a commit depends on has
// changed. Only [Store.Update] sees it.
var ErrConflict = errors.New("state changed during transaction")

// ErrContention is returned by [Store.Update] when a transaction lost to others
// too many times in a row. Nothing was written; trying again later is safe.
var ErrContention = errors.New("too many others are changing the same rows, try again")

// A Commit is what a transaction depends on and what it writes.
type Commit struct {
	At     int64               // revision of the View it read
	Keys   map[string]int64    // key → revision it must still have; 0 means absent
	Ranges map[string]struct{} // prefixes in which nothing may be newer than At
	Writes map[string][]byte   // nil means delete; empty means only check
}

// A Row is one key at one revision; a nil Val means deleted.
type Row struct {
	Key string
	Val []byte
	Mod int64
}

// A Batch is what a watch delivers: the rows that changed up to and including
// Rev, since the batch before. With Reset, Rows are all that is stored at Rev.
type Batch struct {
	Rev   int64
	Reset bool
	Rows  []Row
}

// A Backend stores rows. Every Backend must pass statetest.Run.
type Backend interface {
	// Commit applies c atomically at one new revision, exactly one above the
	// last, and returns it; without writes it only checks, linearizably, and
	// returns the current revision. On ErrConflict the revision returned is one
	// at which the conflict is visible. After any other error it is unknown
	// whether c was applied.
	Commit(ctx context.Context, c Commit) (rev int64, err error)
	// Watch calls f, never concurrently, with everything stored (a Reset),
	// then with every later revision, in order and without gaps, until ctx ends
	// or the watch is lost. It returns only when f will not be called again.
	Watch(ctx context.Context, f func(Batch)) error
}

// Store keeps the newest View of a Backend, commits transactions to it and
// wakes subscribers.
type Store struct {
	b    Backend
	view atomic.Pointer[View] // replaced under mu
	done chan struct{}

	mu      sync.Mutex
	ahead   map[int64]map[string][]byte // own commits the view has not reached
	waiters []waiter
	subs    index
	used    usage
	err     error
}

type waiter struct {
	rev  int64
	done chan struct{}
}

// Open returns a store that follows b until ctx ends. It returns once the first
// View is complete.
func Open(ctx context.Context, b Backend) (*Store, error) { return OpenQuota(ctx, b, Quota{}) }

// OpenQuota is Open with a quota.
func OpenQuota(ctx context.Context, b Backend, q Quota) (*Store, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("cannot open the store: %w", context.Cause(ctx))
	}
	s := &Store{b: b, done: make(chan struct{}), ahead: map[int64]map[string][]byte{}, subs: newIndex(), used: newUsage(q)}
	s.view.Store(&View{rev: -1, tree: newTree()})
	go s.follow(ctx)
	if err := s.Wait(ctx, 0); err != nil {
		<-s.done
		return nil, fmt.Errorf("cannot open the store: %w", err)
	}
	return s, nil
}

func (s *Store) follow(ctx context.Context) {
	err := s.b.Watch(ctx, s.apply)
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case err == nil:
		err = errors.New("cannot follow the store: the watch ended")
	}
	s.mu.Lock()
	s.err = err
	s.mu.Unlock()
	close(s.done)
}

// Done is closed when the store no longer follows its backend: its context
// ended, or the watch was lost and the process should stop. See [Store.Err].
func (s *Store) Done() <-chan struct{} { return s.done }

// Err returns why the store stopped, nil while it follows its backend.
func (s *Store) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// View returns the newest view. It never blocks.
func (s *Store) View() *View { return s.view.Load() }

// apply takes a batch from the watch. Revisions that own commits brought
// forward already are passed over.
func (s *Store) apply(b Batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.View()
	switch {
	case b.Reset && b.Rev > old.rev:
		s.reset(old, b)
	case b.Rev > old.rev:
		s.advance(old, b.Rev, b.Rows)
	}
	s.drain()
}

// own takes what this store has just committed at rev. A revision is one
// commit, so if the view stands just before rev these rows lead to the view at
// rev, and there is no need to wait for the watch to say the same. Commits that
// come back out of order wait in ahead until the gap below them is filled, by
// another commit of ours or by the watch.
func (s *Store) own(rev int64, writes map[string][]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if rev <= s.View().rev {
		return
	}
	s.ahead[rev] = writes
	s.drain()
}

func (s *Store) drain() {
	for len(s.ahead) > 0 {
		old := s.View()
		writes, ok := s.ahead[old.rev+1]
		if !ok {
			break
		}
		delete(s.ahead, old.rev+1)
		rows := make([]Row, 0, len(writes))
		for k, v := range writes {
			rows = append(rows, Row{k, v, old.rev + 1})
		}
		s.advance(old, old.rev+1, rows)
	}
	rev := s.View().rev
	for r := range s.ahead {
		if r <= rev {
			delete(s.ahead, r)
		}
	}
	keep := s.waiters[:0]
	for _, w := range s.waiters {
		if w.rev <= rev {
			close(w.done)
		} else {
			keep = append(keep, w)
		}
	}
	clear(s.waiters[len(keep):])
	s.waiters = keep
}

// advance makes the view at rev from the one before it. It needs mu.
func (s *Store) advance(old *View, rev int64, rows []Row) {
	t := old.tree.Clone() // copy on write: old views stay as they were
	changes := make([]delta, 0, len(rows))
	for _, r := range rows {
		var d delta
		if r.Val == nil {
			d.key = r.Key
			d.old, _ = t.Delete(&entry{key: r.Key})
			if d.old == nil {
				continue
			}
		} else {
			d.key, d.now = r.Key, &entry{key: r.Key, val: r.Val, mod: r.Mod}
			d.old, _ = t.ReplaceOrInsert(d.now)
		}
		changes = append(changes, d)
	}
	s.view.Store(&View{rev: rev, tree: t})
	s.used.change(changes)
	s.subs.notify(rev, changes)
}

// reset makes the view from everything stored at a revision, and tells
// subscribers the difference. It needs mu.
func (s *Store) reset(old *View, b Batch) {
	t := newTree()
	var changes []delta
	for _, r := range b.Rows {
		was := old.get(r.Key)
		if was != nil && was.mod == r.Mod {
			t.ReplaceOrInsert(was)
			continue
		}
		e := &entry{key: r.Key, val: r.Val, mod: r.Mod}
		t.ReplaceOrInsert(e)
		changes = append(changes, delta{r.Key, was, e})
	}
	old.tree.Ascend(func(e *entry) bool {
		if !t.Has(e) {
			changes = append(changes, delta{e.key, e, nil})
		}
		return true
	})
	s.view.Store(&View{rev: b.Rev, tree: t})
	s.used.change(changes)
	s.subs.notify(b.Rev, changes)
}

// Wait returns once View shows rev or a later revision.
func (s *Store) Wait(ctx context.Context, rev int64) error {
	if s.View().rev >= rev {
		return nil
	}
	s.mu.Lock()
	if s.View().rev >= rev {
		s.mu.Unlock()
		return nil
	}
	w := waiter{rev, make(chan struct{})}
	s.waiters = append(s.waiters, w)
	s.mu.Unlock()
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
		s.forget(w)
		return fmt.Errorf("cannot reach revision %d: %w", rev, context.Cause(ctx))
	case <-s.done:
		return fmt.Errorf("cannot reach revision %d: %w", rev, s.Err())
	}
}

func (s *Store) forget(w waiter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.waiters {
		if s.waiters[i].done == w.done {
			last := len(s.waiters) - 1
			s.waiters[i] = s.waiters[last]
			s.waiters[last] = waiter{}
			s.waiters = s.waiters[:last]
			return
		}
	}
}

// Fresh makes one linearizable read and waits for it: View is then at least as
// new as anything acknowledged anywhere before the call.
func (s *Store) Fresh(ctx context.Context) error {
	rev, err := s.b.Commit(ctx, Commit{})
	if err != nil {
		return fmt.Errorf("cannot read the newest revision: %w", err)
	}
	return s.Wait(ctx, rev)
}

// Update runs f until it commits or fails, and returns f's error unchanged.
// When Update returns nil, View shows the change.
//
// The View may be a little behind another controller, so f's verdict counts
// only once the backend has confirmed what f read: even an error, and even a
// change that turns out to be none, is checked before it is returned.
//
// When the backend itself fails, or ctx ends, the change may or may not have
// been applied.
func (s *Store) Update(ctx context.Context, f func(*Tx) error) error {
	_, err := s.UpdateRev(ctx, f)
	return err
}

// UpdateRev is Update and returns the revision of the commit, or the one at
// which f's verdict was confirmed.
func (s *Store) UpdateRev(ctx context.Context, f func(*Tx) error) (int64, error) {
	for attempt := 1; ; attempt++ {
		tx := newTx(s.View())
		verdict := f(tx)
		if verdict == nil {
			verdict = s.room(tx)
		}
		c, err := tx.commit()
		if err != nil {
			return 0, errors.Join(verdict, err)
		}
		if verdict != nil {
			c.Writes = nil
		}
		if len(c.Keys)+len(c.Ranges)+len(c.Writes) == 0 {
			return c.At, verdict // depends on nothing stored
		}
		rev, err := s.b.Commit(ctx, c)
		switch {
		case err == nil:
			if len(c.Writes) == 0 {
				return rev, verdict
			}
			s.own(rev, c.Writes)
			return rev, s.Wait(ctx, rev)
		case !errors.Is(err, ErrConflict):
			return 0, fmt.Errorf("cannot commit: %w", err)
		case attempt == maxAttempts:
			return 0, fmt.Errorf("cannot commit after %d attempts: %w", attempt, ErrContention)
		}
		if err := s.Wait(ctx, rev); err != nil {
			return 0, err
		}
		if err := pause(ctx, attempt); err != nil {
			return 0, err
		}
	}
}

const maxAttempts = 100

// pause waits a random time that grows with the attempts, so that those who
// lost together do not meet again. The first retries are at once.
func pause(ctx context.Context, attempt int) error {
	const free, step, most = 3, 200 * time.Microsecond, 25 * time.Millisecond
	if attempt <= free {
		return nil
	}
	limit := min(step<<min(attempt-free, 10), most)
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return fmt.Errorf("cannot get random bytes: %w", err)
	}
	t := time.NewTimer(time.Duration(binary.LittleEndian.Uint64(b[:]) % uint64(limit)))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("cannot retry: %w", context.Cause(ctx))
	}
}
