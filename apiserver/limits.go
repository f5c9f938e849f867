package apiserver

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/password"
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
	AgentBurst   int           // logins of agents at once, and of each source of strangers: 100
	AgentEvery   time.Duration // and then one in so long: 50 ms
	LoginQueue   time.Duration // to wait for a turn at the password: 20 s
	// RecordBurst failed logins of one source at once, and one in each
	// RecordEvery, have a record of their own; others are counted: 200, 50 ms.
	// All sources together have five times the burst, at twice the rate.
	RecordBurst int
	RecordEvery time.Duration
	// After FreeTries failed logins to one account from one source, or ten
	// times as many to any accounts from it, each next one waits twice as long,
	// up to MaxWait. Nobody is locked out.
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
	setInt(&l.LoginQueue, 20*time.Second)
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
	cfg    Limits
	now    func() time.Time
	agents *rate.Limiter   // logins of agents with a certificate of ours
	turns  *password.Turns // at people's passwords

	mu      sync.Mutex
	open    int
	sources map[netip.Prefix]int
	tries   *recent[tries]         // failed logins, by account and by source
	known   *recent[time.Time]     // who came in, and from where
	logins  *recent[*rate.Limiter] // of one agent, or of one source of strangers
	records *recent[*rate.Limiter] // of the failed logins of one source
	record  *rate.Limiter          // of those of all sources
}

type tries struct {
	failed int
	last   time.Time
}

// The tables hold so many entries; the one that was not used for longest goes
// when another comes. forget is for how long failures count, remember for how
// long a source where somebody logged in is theirs.
const (
	maxTries   = 50_000
	maxKnown   = 10_000
	maxSources = 10_000
	forget     = 15 * time.Minute
	remember   = 7 * 24 * time.Hour
)

// An agent that logs in over and over may do so oneAgent times at once, and
// then everyAgent, which leaves most of the budget of all agents to others.
const (
	oneAgent   = 10
	everyAgent = 250 * time.Millisecond
)

func newLimiter(cfg Limits, now func() time.Time) *limiter {
	return &limiter{
		cfg: cfg, now: now, agents: rate.NewLimiter(rate.Every(cfg.AgentEvery), cfg.AgentBurst),
		turns: password.NewTurns(password.MaxConcurrent), sources: map[netip.Prefix]int{},
		tries: newRecent[tries](maxTries), known: newRecent[time.Time](maxKnown),
		logins: newRecent[*rate.Limiter](maxSources), records: newRecent[*rate.Limiter](maxSources),
		record: rate.NewLimiter(rate.Every(cfg.RecordEvery/2), 5*cfg.RecordBurst),
	}
}

// agent tells whether an agent with a certificate of ours may log in now.
func (l *limiter) agent(tag string, m names.Model) bool {
	return l.spend(l.logins, string(m)+" "+tag, everyAgent, oneAgent) && l.agents.AllowN(l.now(), 1)
}

// stranger tells whether somebody at src may try to log in as an agent without
// a certificate. Each source has a budget of its own.
func (l *limiter) stranger(src netip.Prefix) bool {
	return l.spend(l.logins, "stranger "+src.String(), l.cfg.AgentEvery, l.cfg.AgentBurst)
}

// recorded tells whether a failed login from src has a record of its own. A
// source that fails all the time does not use up what others need.
func (l *limiter) recorded(src netip.Prefix) bool {
	return l.spend(l.records, src.String(), l.cfg.RecordEvery, l.cfg.RecordBurst) && l.record.AllowN(l.now(), 1)
}

func (l *limiter) spend(of *recent[*rate.Limiter], key string, every time.Duration, burst int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, ok := of.get(key)
	if !ok {
		b = rate.NewLimiter(rate.Every(every), burst)
		of.put(key, b)
	}
	return b.AllowN(l.now(), 1)
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
