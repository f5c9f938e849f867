package apiserver

import (
	"container/list"
	"context"
	"errors"
	"net/netip"
	"strings"
	"time"

	"github.com/scarab-ops/scarab/password"
)

// recent is a table of bounded size; what was not used for longest goes first.
// Its owner locks.
type recent[V any] struct {
	max   int
	at    map[string]*list.Element
	order *list.List // of *entry, newest first
}

type entry[V any] struct {
	key   string
	value V
}

func newRecent[V any](most int) *recent[V] {
	return &recent[V]{max: most, at: map[string]*list.Element{}, order: list.New()}
}

func (r *recent[V]) get(key string) (v V, ok bool) {
	e, ok := r.at[key]
	if !ok {
		return v, false
	}
	r.order.MoveToFront(e)
	return e.Value.(*entry[V]).value, true
}

func (r *recent[V]) put(key string, v V) {
	r.remove(key)
	r.at[key] = r.order.PushFront(&entry[V]{key, v})
	if len(r.at) > r.max {
		r.remove(r.order.Back().Value.(*entry[V]).key)
	}
}

func (r *recent[V]) remove(key string) {
	if e, ok := r.at[key]; ok {
		r.order.Remove(e)
		delete(r.at, key)
	}
}

// account names a person's account from one source; spellings that differ in
// case or domain share it.
func account(src netip.Prefix, user string) string {
	return src.String() + " " + strings.TrimSuffix(strings.ToLower(user), "@local")
}

// network groups the sources that one customer of a provider can choose among.
func network(src netip.Prefix) string {
	bits := 24
	if src.Addr().Is6() {
		bits = 48
	}
	p, err := src.Addr().Prefix(bits)
	if err != nil {
		return ""
	}
	return p.String()
}

// errBusy is the answer to who had no turn in time.
var errBusy = error(&loginError{password.ErrBusy.Error(), "try again"})

// inTurn lets check look at a password when it is the turn of its network, its
// source and its account. A name that there is and one that there is not wait
// the same.
//
// Who came in from this source lately has another way, which strangers cannot
// fill, but only to come in: with a wrong password they wait as if it were not
// there, so that nobody who shares the source learns from it who logs in there.
func (l *limiter) inTurn(ctx context.Context, src netip.Prefix, user string, check func() (Identity, error)) (Identity, error) {
	acc, net := account(src, user), network(src)
	if err := l.wait(ctx, acc, l.cfg.FreeTries); err != nil {
		return Identity{}, err
	}
	held := l.delay(src.String(), 10*l.cfg.FreeTries)
	late := time.NewTimer(held + l.cfg.LoginQueue)
	defer late.Stop()
	var slow, fast waiter
	defer func() { slow.leave(); fast.leave() }()
	var join <-chan time.Time
	if held > 0 {
		t := time.NewTimer(held)
		defer t.Stop()
		join = t.C
	} else {
		slow.join(l.turns, "anybody", net, src.String(), acc)
	}
	if l.came(acc) && !slow.has() {
		fast.join(l.turns, "known", net, src.String(), acc)
	}
	for {
		select {
		case <-ctx.Done():
			return Identity{}, ctx.Err()
		case <-late.C:
			return Identity{}, errBusy
		case <-join:
			join = nil
			slow.join(l.turns, "anybody", net, src.String(), acc)
		case <-slow.turn:
			fast.leave()
			id, err := check()
			l.tried(src, acc, err)
			return id, err
		case <-fast.turn:
			id, err := check()
			fast.leave()
			if !errors.Is(err, ErrCredentials) {
				l.tried(src, acc, err)
				return id, err
			}
		}
	}
}

// waiter is a ticket, or none yet.
type waiter struct {
	ticket *password.Ticket
	turn   <-chan struct{} // nil when there is nothing to wait for
}

func (w *waiter) join(t *password.Turns, path ...string) {
	w.ticket = t.Join(path...)
	w.turn = w.ticket.Turn()
}

func (w *waiter) has() bool { return w.ticket != nil && w.ticket.Has() }

func (w *waiter) leave() {
	if w.ticket != nil {
		w.ticket.Leave()
	}
	w.ticket, w.turn = nil, nil
}

// wait holds a login back whose account, or source, has failed often.
func (l *limiter) wait(ctx context.Context, key string, free int) error {
	d := l.delay(key, free)
	if d == 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *limiter) delay(key string, free int) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	t, ok := l.tries.get(key)
	switch {
	case !ok:
		return 0
	case l.now().Sub(t.last) > forget:
		l.tries.remove(key)
		return 0
	case t.failed < free:
		return 0
	}
	return min(l.cfg.FirstWait<<min(t.failed-free, 20), l.cfg.MaxWait)
}

// tried remembers how a person's login went. What a source has failed is not
// forgiven for one that succeeds: who guesses may have an account too.
func (l *limiter) tried(src netip.Prefix, acc string, err error) {
	switch {
	case err == nil:
		l.ended(acc, true)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.known.put(acc, l.now())
	case errors.Is(err, ErrCredentials):
		l.ended(acc, false)
		l.ended(src.String(), false)
	}
}

// came tells whether the account came in lately from where it is now.
func (l *limiter) came(acc string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	at, ok := l.known.get(acc)
	return ok && l.now().Sub(at) < remember
}

// ended remembers how a login went.
func (l *limiter) ended(key string, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ok {
		l.tries.remove(key)
		return
	}
	t, _ := l.tries.get(key)
	l.tries.put(key, tries{t.failed + 1, l.now()})
}
