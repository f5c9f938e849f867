package state

import (
	"cmp"
	"slices"
	"strings"
	"sync"
)

// A Change is one row that was put or deleted. [Table.Value] and [Table.Before]
// read what it is and what it was.
type Change struct {
	Key     Key
	Scope   Scope
	Kind    string
	ID      string
	Deleted bool
	Rev     int64

	old, now *entry
}

// delta is a changed row inside the store.
type delta struct {
	key      string
	old, now *entry
}

// index finds the subscriptions that a key wakes: by the key itself, and by each
// of its prefixes that ends in a separator. A commit costs the number of keys
// changed times their depth, whatever the number of subscribers that it does
// not concern.
type index struct {
	exact  map[string]subscribers
	prefix map[string]subscribers // by cut(prefix)
}

// subscribers has, for each, the prefixes it wants; none for exact keys.
type subscribers map[*Subscription][]string

func newIndex() index {
	return index{map[string]subscribers{}, map[string]subscribers{}}
}

func (x *index) add(sub *Subscription, k Key) {
	m, at := x.exact, k.s
	if k.prefix {
		m, at = x.prefix, cut(k.s)
	}
	subs := m[at]
	if subs == nil {
		subs = subscribers{}
		m[at] = subs
	}
	if k.prefix {
		subs[sub] = append(subs[sub], k.s)
	} else {
		subs[sub] = nil
	}
}

func (x *index) remove(sub *Subscription, k Key) {
	m, at := x.exact, k.s
	if k.prefix {
		m, at = x.prefix, cut(k.s)
	}
	subs := m[at]
	left := slices.DeleteFunc(slices.Clone(subs[sub]), func(p string) bool { return p == k.s })
	if len(left) > 0 {
		subs[sub] = left
		return
	}
	delete(subs, sub)
	if len(subs) == 0 {
		delete(m, at)
	}
}

func (x *index) notify(rev int64, ds []delta) {
	if len(x.exact)+len(x.prefix) == 0 {
		return
	}
	for _, d := range ds {
		s, kind, id := splitKey(d.key)
		if kind == fenceKind {
			continue
		}
		c := Change{Key: Key{s: d.key}, Scope: s, Kind: kind, ID: id, Deleted: d.now == nil, Rev: rev, old: d.old, now: d.now}
		for sub := range x.exact[d.key] {
			sub.push(c)
		}
		for i := range len(d.key) {
			if !isSeparator(d.key[i]) {
				continue
			}
			for sub, wants := range x.prefix[d.key[:i+1]] {
				if slices.ContainsFunc(wants, func(p string) bool { return strings.HasPrefix(d.key, p) }) {
					sub.push(c)
				}
			}
		}
	}
}

// A Subscription collects the changes of the keys it was made for. It never
// holds up the store: changes wait in it, one for each row, until they are taken.
type Subscription struct {
	store *Store
	wake  chan struct{}

	mu      sync.Mutex
	pending []Change
	unique  int // rows in pending when it was last compacted
	closed  bool

	keys map[Key]struct{} // guarded by store.mu
}

// Subscribe returns a subscription to keys. Every change that the View taken
// after this call does not show will be delivered. Close it after use.
func (s *Store) Subscribe(keys ...Key) *Subscription {
	sub := &Subscription{store: s, wake: make(chan struct{}, 1), keys: map[Key]struct{}{}}
	sub.Add(keys...)
	return sub
}

// C receives when there is something to take; several changes may make one
// receipt. It is never closed: select on [Store.Done] too.
func (sub *Subscription) C() <-chan struct{} { return sub.wake }

// Add widens the subscription.
func (sub *Subscription) Add(keys ...Key) {
	s := sub.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if sub.keys == nil { // closed
		return
	}
	for _, k := range keys {
		if _, ok := sub.keys[k]; ok {
			continue
		}
		sub.keys[k] = struct{}{}
		s.subs.add(sub, k)
	}
}

// Remove narrows the subscription. Changes that came before may still be taken.
func (sub *Subscription) Remove(keys ...Key) {
	s := sub.store
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range keys {
		if _, ok := sub.keys[k]; ok {
			delete(sub.keys, k)
			s.subs.remove(sub, k)
		}
	}
}

// Close ends the subscription. It may be called again.
func (sub *Subscription) Close() {
	s := sub.store
	s.mu.Lock()
	for k := range sub.keys {
		s.subs.remove(sub, k)
	}
	sub.keys = nil
	s.mu.Unlock()
	sub.mu.Lock()
	defer sub.mu.Unlock()
	sub.pending, sub.closed = nil, true
}

// Take returns what has changed since the last Take, oldest first, each row once
// as it is now.
func (sub *Subscription) Take() []Change {
	sub.mu.Lock()
	defer sub.mu.Unlock()
	sub.compact()
	cs := sub.pending
	sub.pending, sub.unique = nil, 0
	return cs
}

func (sub *Subscription) push(c Change) {
	sub.mu.Lock()
	n := len(sub.pending)
	again := n > 0 && sub.pending[n-1].Rev == c.Rev && sub.pending[n-1].Key == c.Key // matched twice
	if !again && !sub.closed {
		sub.pending = append(sub.pending, c)
		if n >= 64 && n >= 2*sub.unique {
			sub.compact()
		}
	}
	sub.mu.Unlock()
	select {
	case sub.wake <- struct{}{}:
	default:
	}
}

// compact keeps the newest change of each row, with what the row was before the
// oldest one.
func (sub *Subscription) compact() {
	if len(sub.pending) > 1 {
		last := make(map[Key]int, len(sub.pending))
		for i, c := range sub.pending {
			if j, ok := last[c.Key]; ok {
				sub.pending[i].old = sub.pending[j].old
			}
			last[c.Key] = i
		}
		if len(last) < len(sub.pending) {
			kept := make([]Change, 0, len(last))
			for i, c := range sub.pending {
				if last[c.Key] == i {
					kept = append(kept, c)
				}
			}
			sub.pending = kept
		}
	}
	slices.SortStableFunc(sub.pending, func(a, b Change) int {
		return cmp.Or(cmp.Compare(a.Rev, b.Rev), cmp.Compare(a.Key.s, b.Key.s))
	})
	sub.unique = len(sub.pending)
}
