package apiserver

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/names"
)

// gated is a check of passwords that does one at a time, when it is told to.
type gated struct {
	t    *testing.T
	l    *limiter
	step chan struct{}
	wg   sync.WaitGroup

	done int // checks that were told to end

	mu   sync.Mutex
	seen []string
}

func newGated(t *testing.T, change func(*Limits)) *gated {
	cfg := Limits{FreeTries: 1000, LoginQueue: time.Minute}
	if change != nil {
		change(&cfg)
	}
	cfg.defaults()
	g := &gated{t: t, l: newLimiter(cfg, time.Now), step: make(chan struct{})}
	t.Cleanup(func() { close(g.step); g.wg.Wait() })
	return g
}

// try begins a login and returns where its end will be told.
func (g *gated) try(src, user string, good bool) <-chan error {
	end := make(chan error, 1)
	g.wg.Go(func() {
		_, err := g.l.inTurn(g.t.Context(), source(src), user, func() (Identity, error) {
			g.mu.Lock()
			g.seen = append(g.seen, user)
			g.mu.Unlock()
			<-g.step
			if !good {
				return Identity{}, ErrCredentials
			}
			return Identity{}, nil
		})
		end <- err
	})
	return end
}

// until lets checks end until f holds, at most n of them, and tells how many.
func (g *gated) until(n int, f func() bool) int {
	g.t.Helper()
	limit := time.After(20 * time.Second)
	done := 0
	for !f() {
		if done >= n {
			for last := time.Now().Add(2 * time.Second); !f(); time.Sleep(time.Millisecond) {
				if time.Now().After(last) {
					g.t.Fatalf("%d checks of passwords were not enough", done)
				}
			}
			return done
		}
		g.settle()
		select {
		case g.step <- struct{}{}:
			done++
			g.done++
		case <-time.After(time.Millisecond): // look again
		case <-limit:
			g.t.Fatal("it never came")
		}
	}
	return done
}

// settle waits until every turn that ended is another's, so that who has a turn
// and was not given a processor yet is not overtaken by those who have one. It
// gives up soon, for there may be nobody left to take a turn.
func (g *gated) settle() {
	for limit := time.Now().Add(100 * time.Millisecond); g.checking() < g.done+4 && time.Now().Before(limit); {
		time.Sleep(100 * time.Microsecond)
	}
}

func (g *gated) waiting(n int) {
	g.t.Helper()
	limit := time.Now().Add(20 * time.Second)
	for g.l.turns.Waiting() < n {
		if time.Now().After(limit) {
			g.t.Fatalf("%d wait for a turn, want %d", g.l.turns.Waiting(), n)
		}
		time.Sleep(time.Millisecond)
	}
}

// checking tells how many checks began.
func (g *gated) checking() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.seen)
}

func ended(c <-chan error, want error, t *testing.T) func() bool {
	return func() bool {
		select {
		case err := <-c:
			if !errors.Is(err, want) {
				t.Errorf("got %v, want %v", err, want)
			}
			return true
		default:
			return false
		}
	}
}

// Invented names from one place cost that place, and nobody elsewhere.
func TestInventedNamesCostTheirOwnSource(t *testing.T) {
	g := newGated(t, nil)
	for i := range 300 {
		g.try(fmt.Sprintf("203.0.113.%d:1", i%3), fmt.Sprintf("invented%d", i), false)
	}
	g.waiting(296)
	for _, src := range []string{"198.51.100.1:1", "[2001:db8::1]:1", "203.0.113.77:1"} {
		limit := time.Now().Add(20 * time.Second)
		for g.checking() < g.done+4 { // until every turn that ended is another's
			if time.Now().After(limit) {
				t.Fatal("the turns that ended were given to nobody")
			}
			time.Sleep(time.Millisecond)
		}
		before := g.l.turns.Waiting()
		bob := g.try(src, "bob", true)
		g.waiting(before + 1)
		g.until(24, ended(bob, nil, t))
	}
}

// Who logged in here before comes in past a flood from the same address; with a
// wrong password they wait as everybody else.
func TestKnownPeopleComeInPastAFlood(t *testing.T) {
	g := newGated(t, nil)
	const src = "203.0.113.1:1"
	first := g.try(src, "bob", true)
	g.until(1, ended(first, nil, t))
	for i := range 200 {
		g.try(src, fmt.Sprintf("invented%d", i), false)
	}
	g.waiting(196)
	bob := g.try(src, "bob", true)
	g.waiting(198) // in both ways
	g.until(12, ended(bob, nil, t))
	wrong := g.try(src, "bob", false)
	before := g.until(150, func() bool { return g.l.turns.Waiting() < 60 })
	select {
	case err := <-wrong:
		t.Errorf("a wrong password was answered with %v after %d checks, before those that came first", err, before)
	default:
	}
	g.until(100, ended(wrong, ErrCredentials, t))
}

// A name that there is and one that there is not are asked for in the same way.
func TestNobodyIsAskedForAsSomebody(t *testing.T) {
	g := newGated(t, func(l *Limits) { l.LoginQueue = 300 * time.Millisecond })
	var all []<-chan error
	for i := range 2 * 4 {
		all = append(all, g.try("203.0.113.1:1", fmt.Sprintf("user%d", i), false))
	}
	busy := 0
	limit := time.After(20 * time.Second)
	for busy < 4 {
		for _, c := range all {
			select {
			case err := <-c:
				if !errors.Is(err, errBusy) {
					t.Fatalf("got %v without a turn", err)
				}
				busy++
			default:
			}
		}
		select {
		case <-limit:
			t.Fatalf("%d lost patience, want 4", busy)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// The failures of a source slow it whatever names it invents, and its success
// with another account does not forgive them.
func TestASourceIsSlowedWhateverTheName(t *testing.T) {
	l := newLimiter(Limits{FreeTries: 1, FirstWait: time.Second, MaxWait: 8 * time.Second, AgentBurst: 1, RecordBurst: 1}, time.Now)
	src := source("203.0.113.1:1")
	for i := range 12 {
		l.tried(src, account(src, fmt.Sprint("invented", i)), ErrCredentials)
	}
	l.tried(src, account(src, "mallory"), nil)
	if d := l.delay(src.String(), 10*l.cfg.FreeTries); d != 4*time.Second {
		t.Errorf("the source waits %v, want 4s", d)
	}
	if d := l.delay(source("203.0.113.2:1").String(), 10*l.cfg.FreeTries); d != 0 {
		t.Errorf("its neighbour waits %v", d)
	}
	if d := l.delay(account(src, "bob"), l.cfg.FreeTries); d != 0 {
		t.Errorf("an account that failed nothing waits %v", d)
	}
}

// No table of the limiter grows without end, whoever invents names, agents and
// addresses.
func TestTablesOfTheLimiterAreBounded(t *testing.T) {
	cfg := Limits{}
	cfg.defaults()
	l := newLimiter(cfg, time.Now)
	var a [16]byte
	for i := range maxTries + 1000 {
		a[0], a[5], a[6], a[7] = 0x20, byte(i>>16), byte(i>>8), byte(i)
		src := source(netip.AddrPortFrom(netip.AddrFrom16(a), 1).String())
		l.tried(src, account(src, "bob"), ErrCredentials)
		l.tried(src, account(src, "bob"), nil)
		l.stranger(src)
		l.recorded(src)
		l.agent(fmt.Sprint("unit-a-", i), names.Model("m"))
	}
	for name, n := range map[string][2]int{
		"tries": {len(l.tries.at), maxTries}, "known": {len(l.known.at), maxKnown},
		"logins": {len(l.logins.at), maxSources}, "records": {len(l.records.at), maxSources},
	} {
		if n[0] > n[1] || n[0] < n[1]-1 {
			t.Errorf("%s holds %d, want %d", name, n[0], n[1])
		}
	}
	if len(l.tries.at) != l.tries.order.Len() || len(l.known.at) != l.known.order.Len() {
		t.Error("table and order differ")
	}
}

// One agent that logs in over and over leaves the others their share.
func TestOneAgentDoesNotSpendAllLogins(t *testing.T) {
	at := time.Now()
	cfg := Limits{}
	cfg.defaults()
	l := newLimiter(cfg, func() time.Time { return at })
	mad := 0
	for range 1000 {
		if l.agent("unit-mad-0", "m") {
			mad++
		}
	}
	if mad != oneAgent {
		t.Errorf("one agent had %d logins at once, want %d", mad, oneAgent)
	}
	for i := range cfg.AgentBurst - oneAgent {
		if !l.agent(fmt.Sprint("unit-good-", i), "m") {
			t.Fatalf("agent %d found the budget spent", i)
		}
	}
	for range 5000 {
		l.stranger(source("203.0.113.1:1"))
		l.recorded(source("203.0.113.1:1"))
	}
	if !l.stranger(source("198.51.100.1:1")) || !l.recorded(source("198.51.100.1:1")) {
		t.Error("one source spent what is another's")
	}
}

// Nothing waits once its connection is gone.
func TestLoginsEndWithTheirConnection(t *testing.T) {
	g := newGated(t, nil)
	for i := range 4 {
		g.try("203.0.113.1:1", fmt.Sprint("busy", i), false)
	}
	limit := time.Now().Add(20 * time.Second)
	for g.checking() < 4 {
		if time.Now().After(limit) {
			t.Fatal("no login was checked")
		}
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithCancel(t.Context())
	end := make(chan error, 1)
	g.wg.Go(func() {
		_, err := g.l.inTurn(ctx, source("203.0.113.2:1"), "bob", func() (Identity, error) { return Identity{}, nil })
		end <- err
	})
	g.waiting(1)
	cancel()
	if err := <-end; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if n := g.l.turns.Waiting(); n != 0 {
		t.Errorf("%d wait", n)
	}
}
