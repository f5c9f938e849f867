package tlspolicy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Limits of handshakes.
const (
	DefaultHandshakeTimeout = 10 * time.Second
	DefaultPending          = 1024
	DefaultPendingPerSource = 128
)

// ListenConfig says how a Listener treats those who have not shaken hands.
type ListenConfig struct {
	Inner net.Listener
	TLS   *tls.Config
	// HandshakeTimeout cuts clients that stay silent; 0 means the default.
	HandshakeTimeout time.Duration
	// Pending bounds the unfinished handshakes in all, PendingPerSource those
	// of one source: an IPv4 address or an IPv6 /64. 0 means the default.
	Pending, PendingPerSource int
	// Refused is told of connections closed before they were served; may be nil.
	Refused func(source netip.Prefix, why error)
}

// Listener accepts only connections whose handshake is complete. Its Run does
// the work; Accept hands out the result.
type Listener struct {
	cfg      ListenConfig
	accepted chan net.Conn
	done     chan struct{} // closed when Run has returned
	once     sync.Once

	mu      sync.Mutex
	total   int
	sources map[netip.Prefix]int
}

// NewListener wraps cfg.Inner. Nothing is accepted before Run.
func NewListener(cfg ListenConfig) (*Listener, error) {
	if cfg.Inner == nil || cfg.TLS == nil {
		return nil, errors.New("cannot listen: a listener and a TLS configuration are needed")
	}
	if cfg.HandshakeTimeout <= 0 {
		cfg.HandshakeTimeout = DefaultHandshakeTimeout
	}
	if cfg.Pending <= 0 {
		cfg.Pending = DefaultPending
	}
	if cfg.PendingPerSource <= 0 {
		cfg.PendingPerSource = DefaultPendingPerSource
	}
	return &Listener{cfg: cfg, accepted: make(chan net.Conn), done: make(chan struct{}), sources: map[netip.Prefix]int{}}, nil
}

var (
	errTooMany          = errors.New("cannot accept connection: too many unfinished handshakes")
	errTooManyOfASource = errors.New("cannot accept connection: too many unfinished handshakes of one source")
)

// Run accepts and shakes hands until ctx ends or the inner listener fails. It
// returns when the last handshake has ended.
func (l *Listener) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { _ = l.cfg.Inner.Close() })
	var wg sync.WaitGroup
	defer func() {
		cancel()
		stop()
		wg.Wait()
		close(l.done)
	}()
	backoff := time.Millisecond
	for {
		conn, err := l.cfg.Inner.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			// Out of file descriptors, for one: what passes must not end the server.
			if !wait(ctx, backoff) {
				return nil
			}
			backoff = min(2*backoff, time.Second)
			continue
		}
		backoff = time.Millisecond
		source := sourceOf(conn.RemoteAddr())
		if err := l.enter(source); err != nil {
			_ = conn.Close()
			l.refused(source, err)
			continue
		}
		wg.Go(func() { l.serve(ctx, conn, source) })
	}
}

func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// serve shakes hands and passes the connection on. The slot is held until
// someone has taken the connection.
func (l *Listener) serve(ctx context.Context, conn net.Conn, source netip.Prefix) {
	defer l.leave(source)
	t := tls.Server(conn, l.cfg.TLS)
	hctx, cancel := context.WithTimeout(ctx, l.cfg.HandshakeTimeout)
	err := t.HandshakeContext(hctx)
	cancel()
	if err != nil {
		_ = conn.Close()
		l.refused(source, fmt.Errorf("cannot shake hands: %v", err))
		return
	}
	select {
	case l.accepted <- t:
	case <-ctx.Done():
		_ = conn.Close()
	}
}

func (l *Listener) refused(source netip.Prefix, why error) {
	if l.cfg.Refused != nil {
		l.cfg.Refused(source, why)
	}
}

func (l *Listener) enter(source netip.Prefix) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.total >= l.cfg.Pending {
		return errTooMany
	}
	if l.sources[source] >= l.cfg.PendingPerSource {
		return errTooManyOfASource
	}
	l.total++
	l.sources[source]++
	return nil
}

func (l *Listener) leave(source netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total--
	if l.sources[source]--; l.sources[source] <= 0 {
		delete(l.sources, source)
	}
}

// sourceOf groups addresses that one host can choose among.
func sourceOf(a net.Addr) netip.Prefix {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Prefix{}
	}
	addr := ap.Addr().Unmap().WithZone("")
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	p, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// Accept returns the next connection that has shaken hands, a *tls.Conn.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.accepted:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close stops accepting; Run returns after it.
func (l *Listener) Close() error {
	var err error
	l.once.Do(func() { err = l.cfg.Inner.Close() })
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Addr returns the inner listener's address.
func (l *Listener) Addr() net.Addr { return l.cfg.Inner.Addr() }
