package apiserver

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Limits bounds what peers may take. Zero fields mean the defaults.
type Limits struct {
	Connections   int // open at once: 20,000
	PerSource     int // of one IPv4 address or IPv6 /64: 4,096
	HeaderTimeout time.Duration
	IdleTimeout   time.Duration
	HeaderBytes   int
	BodyTimeout   time.Duration // whole body of a request without a socket
	Grace         time.Duration // for requests when stopping

	FrameBefore int64 // bytes of a frame before login: 256 KiB
	Frame       int64 // bytes of a user's frame: 4 MiB
	AgentFrame  int64 // bytes of an agent's frame: 16 MiB
	FrameMemory int64 // bytes of frames of all connections: 512 MiB
	InFlight    int   // calls at once on a connection: 512, watchers included
	Watchers    int   // of a connection: 400

	LoginTimeout time.Duration // for a socket to log in: 1 minute
	AgentSilence time.Duration // an agent without a Ping is cut: 3 minutes
	AgentBurst   int           // logins of agents at once: 100
	AgentEvery   time.Duration // and then one in so long: 50 ms
	// RecordBurst failed logins at once, and one in each RecordEvery, have a
	// record of their own; others are counted: 200, 50 ms.
	RecordBurst int
	RecordEvery time.Duration
	// After FreeTries failed logins to one account from one source, each next
	// one waits twice as long, up to MaxWait. Nobody is locked out.
	FreeTries int
	FirstWait time.Duration
	MaxWait   time.Duration
}

func (l *Limits) defaults() {
	setInt(&l.Connections, 20_000)
	setInt(&l.PerSource, 4096)
	setInt(&l.HeaderTimeout, 10*time.Second)
	setInt(&l.IdleTimeout, 2*time.Minute)
	setInt(&l.HeaderBytes, 32<<10)
	setInt(&l.BodyTimeout, 10*time.Minute)
	setInt(&l.Grace, 5*time.Second)
	setInt(&l.FrameBefore, 256<<10)
	setInt(&l.Frame, 4<<20)
	setInt(&l.AgentFrame, 16<<20)
	setInt(&l.FrameMemory, 512<<20)
	setInt(&l.InFlight, 512)
	setInt(&l.Watchers, 400)
	setInt(&l.LoginTimeout, time.Minute)
	setInt(&l.AgentSilence, 3*time.Minute)
	setInt(&l.AgentBurst, 100)
	setInt(&l.AgentEvery, 50*time.Millisecond)
	setInt(&l.RecordBurst, 200)
	setInt(&l.RecordEvery, 50*time.Millisecond)
	setInt(&l.FreeTries, 5)
	setInt(&l.FirstWait, 250*time.Millisecond)
	setInt(&l.MaxWait, 8*time.Second)
}

func setInt[T int | int64 | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// limiter counts connections and logins.
type limiter struct {
	cfg       Limits
	now       func() time.Time
	agents    *rate.Limiter // logins of agents with a certificate of ours
	strangers *rate.Limiter // and of those without

	mu      sync.Mutex
	open    int
	sources map[netip.Prefix]int
	tries   map[string]*tries
}

type tries struct {
	failed int
	last   time.Time
}

// maxTries bounds the accounts whose failures are remembered, forget is for
// how long.
const (
	maxTries = 50_000
	forget   = 15 * time.Minute
)

func newLimiter(cfg Limits, now func() time.Time) *limiter {
	return &limiter{
		cfg: cfg, now: now, agents: rate.NewLimiter(rate.Every(cfg.AgentEvery), cfg.AgentBurst),
		strangers: rate.NewLimiter(rate.Every(cfg.AgentEvery), cfg.AgentBurst),
		sources:   map[netip.Prefix]int{}, tries: map[string]*tries{},
	}
}

// source groups the addresses that one host can choose among.
func source(addr string) netip.Prefix {
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		return netip.Prefix{}
	}
	a := ap.Addr().Unmap()
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

func (l *limiter) enter(p netip.Prefix) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open >= l.cfg.Connections || l.sources[p] >= l.cfg.PerSource {
		return false
	}
	l.open++
	l.sources[p]++
	return true
}

func (l *limiter) leave(p netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	if l.sources[p]--; l.sources[p] <= 0 {
		delete(l.sources, p)
	}
}

// listener closes connections past the limits before their handshake.
func (l *limiter) listener(inner net.Listener) net.Listener { return &counted{inner, l} }

type counted struct {
	net.Listener
	l *limiter
}

func (c *counted) Accept() (net.Conn, error) {
	for {
		conn, err := c.Listener.Accept()
		if err != nil {
			return nil, err
		}
		p := source(conn.RemoteAddr().String())
		if !c.l.enter(p) {
			_ = conn.Close()
			continue
		}
		return &countedConn{Conn: conn, leave: sync.OnceFunc(func() { c.l.leave(p) })}, nil
	}
}

type countedConn struct {
	net.Conn
	leave func()
}

func (c *countedConn) Close() error {
	c.leave()
	return c.Conn.Close()
}

// account names a person's account from one source; spellings that differ in
// case or domain share it.
func account(src, user string) string {
	return source(src).String() + " " + strings.TrimSuffix(strings.ToLower(user), "@local")
}

// wait holds a login back whose account has failed often from that source.
func (l *limiter) wait(ctx context.Context, account string) error {
	d := l.delay(account)
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

func (l *limiter) delay(account string) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	t, ok := l.tries[account]
	switch {
	case !ok:
		return 0
	case l.now().Sub(t.last) > forget:
		delete(l.tries, account)
		return 0
	case t.failed < l.cfg.FreeTries:
		return 0
	}
	return min(l.cfg.FirstWait<<min(t.failed-l.cfg.FreeTries, 20), l.cfg.MaxWait)
}

// ended remembers how a login went.
func (l *limiter) ended(account string, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ok {
		delete(l.tries, account)
		return
	}
	t, known := l.tries[account]
	if !known {
		if len(l.tries) >= maxTries {
			for old := range l.tries { // any: the table is full of guesses
				delete(l.tries, old)
				break
			}
		}
		t = &tries{}
		l.tries[account] = t
	}
	t.failed++
	t.last = l.now()
}
