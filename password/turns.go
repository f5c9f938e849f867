package password

import (
	"container/list"
	"sync"
)

// MaxWaiting bounds who waits for a turn: with more, nobody at the end would be
// served before losing patience.
const MaxWaiting = 1024

// Turns gives a few turns at a time, fairly over a tree: whoever waits says
// under which branches (a network, an address in it, an account), and each
// branch gets as much as its neighbour, however many wait in it. So who asks
// often competes with itself.
type Turns struct {
	mu      sync.Mutex
	free    int
	waiting int
	root    *branch
}

// NewTurns gives n turns at a time.
func NewTurns(n int) *Turns { return &Turns{free: n, root: newBranch("", nil)} }

// A branch holds branches, in the order of their next turn, or at the end of a
// path the tickets themselves.
type branch struct {
	name     string
	up       *branch
	children map[string]*list.Element // of *branch, in ring
	ring     *list.List
	tickets  *list.List // of *Ticket, oldest first
	waiting  int        // tickets at or below here
}

func newBranch(name string, up *branch) *branch {
	return &branch{name: name, up: up, children: map[string]*list.Element{}, ring: list.New(), tickets: list.New()}
}

// A Ticket waits for a turn, or has it, until Leave.
type Ticket struct {
	t     *Turns
	turn  chan struct{} // closed when it has its turn
	leaf  *branch       // where it waits; nil when it does not
	place *list.Element
	had   bool // it has its turn
	left  bool
}

// Join queues under the branches of path; all paths are of one length. It never fails: where too many wait,
// the newest of the fullest branch loses its place and is never served; it
// learns so as others do, by losing patience.
func (t *Turns) Join(path ...string) *Ticket {
	t.mu.Lock()
	defer t.mu.Unlock()
	k := &Ticket{t: t, turn: make(chan struct{})}
	if t.free > 0 && t.waiting == 0 {
		t.free--
		k.give()
		return k
	}
	b := t.root
	for _, name := range path {
		e, ok := b.children[name]
		if !ok {
			e = b.ring.PushBack(newBranch(name, b))
			b.children[name] = e
		}
		b = e.Value.(*branch)
	}
	k.leaf, k.place = b, b.tickets.PushBack(k)
	for up := b; up != nil; up = up.up {
		up.waiting++
	}
	if t.waiting++; t.waiting > MaxWaiting {
		t.root.fullest().remove()
	}
	return k
}

// Waiting tells how many wait.
func (t *Turns) Waiting() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.waiting
}

// Turn is closed once it is the ticket's turn.
func (k *Ticket) Turn() <-chan struct{} { return k.turn }

// Has tells whether the ticket has its turn now.
func (k *Ticket) Has() bool {
	select {
	case <-k.turn:
		return true
	default:
		return false
	}
}

// Leave ends the turn, or the wait for it. It may be called again.
func (k *Ticket) Leave() {
	k.t.mu.Lock()
	defer k.t.mu.Unlock()
	switch {
	case k.left:
	case k.had:
		if next := k.t.root.next(); next != nil {
			next.remove()
			next.give()
		} else {
			k.t.free++
		}
	default:
		k.remove()
	}
	k.left = true
}

func (k *Ticket) give() {
	k.had = true
	close(k.turn)
}

// next finds whose turn it is, and sends the branches on the way to the end of
// their rings.
func (b *branch) next() *Ticket {
	for b.ring.Len() > 0 {
		e := b.ring.Front()
		b.ring.MoveToBack(e)
		b = e.Value.(*branch)
	}
	if e := b.tickets.Front(); e != nil {
		return e.Value.(*Ticket)
	}
	return nil
}

// fullest finds the newest ticket where most wait.
func (b *branch) fullest() *Ticket {
	for b.ring.Len() > 0 {
		var most *branch
		for e := b.ring.Back(); e != nil; e = e.Prev() {
			if c := e.Value.(*branch); most == nil || c.waiting > most.waiting {
				most = c
			}
		}
		b = most
	}
	return b.tickets.Back().Value.(*Ticket)
}

// remove takes the ticket out of the queue, with the branches that end with it.
func (k *Ticket) remove() {
	if k.leaf == nil {
		return // it lost its place before
	}
	b := k.leaf
	b.tickets.Remove(k.place)
	k.leaf, k.place = nil, nil
	k.t.waiting--
	for up := b; up != nil; up = up.up {
		if up.waiting--; up.waiting == 0 && up.up != nil {
			up.up.ring.Remove(up.up.children[up.name])
			delete(up.up.children, up.name)
		}
	}
}
