package controller

import (
	"context"
	"log/slog"
	"net"
	"sync"

	"github.com/scarab-ops/scarab/domain/controller"
	"github.com/scarab-ops/scarab/state"
)

// networks keeps the API port to those who come from the allowed networks.
// Others are cut before the first byte, and open connections when the setting
// shuts them out.
type networks struct {
	log *slog.Logger

	mu   sync.Mutex
	list controller.Networks
	open map[net.Conn]struct{}
}

func newNetworks(log *slog.Logger) *networks {
	return &networks{log: log, open: map[net.Conn]struct{}{}}
}

// set takes a new list, and cuts who is not on it any more. A list that cannot
// be read leaves the last one in force.
func (n *networks) set(row controller.Row) {
	list, err := controller.ParseNetworks(row.Config[controller.AllowedNetworks])
	if err != nil {
		n.log.Error("cannot read the allowed networks, the last ones stay", "error", err)
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.list = list
	for c := range n.open {
		if !n.admits(c) {
			_ = c.Close()
		}
	}
}

func (n *networks) admits(c net.Conn) bool {
	a, err := controller.Source(c.RemoteAddr().String())
	if err != nil {
		return len(n.list) == 0
	}
	return n.list.Allow(a)
}

// enter tells whether a connection is let in, and remembers it.
func (n *networks) enter(c net.Conn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.admits(c) {
		return false
	}
	n.open[c] = struct{}{}
	return true
}

func (n *networks) leave(c net.Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.open, c)
}

// run follows the setting until ctx ends.
func (n *networks) run(ctx context.Context, st *state.Store) error {
	sub := st.Subscribe(controller.Table.Keys(state.Controller))
	defer sub.Close()
	for {
		if row, err := controller.Get(st.View()); err == nil {
			n.set(row)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-st.Done():
			return st.Err()
		case <-sub.C():
			sub.Take()
		}
	}
}

// guard puts the networks before the listeners.
func (n *networks) guard(ls []net.Listener) []net.Listener {
	out := make([]net.Listener, len(ls))
	for i, l := range ls {
		out[i] = &guarded{l, n}
	}
	return out
}

type guarded struct {
	net.Listener
	n *networks
}

// Accept returns the next connection that is let in.
func (g *guarded) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if g.n.enter(c) {
			return &guardedConn{c, g.n}, nil
		}
		_ = c.Close()
	}
}

type guardedConn struct {
	net.Conn
	n *networks
}

// Close ends the connection.
func (c *guardedConn) Close() error {
	c.n.leave(c.Conn)
	return c.Conn.Close()
}
