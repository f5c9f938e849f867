package bench

import (
	"bytes"
	"net"
	"sync"
	"testing"
)

// A Wire sits in the path of TCP connections: it records them, and can change
// or cut them.
type Wire struct {
	l      net.Listener
	target string
	wg     sync.WaitGroup

	mu       sync.Mutex
	from     string
	up, down bytes.Buffer // everything of all connections
	conns    []net.Conn
	total    int
	taps     Taps
	closed   bool
}

// Taps change a connection. Each may be nil.
type Taps struct {
	// Up and Down see each piece of bytes and what was seen before it on that
	// connection in that direction; what they return is sent on. false cuts
	// the connection after it.
	Up, Down func(before int, piece []byte) ([]byte, bool)
}

// NewWire starts a proxy to target that ends with the test.
func NewWire(t testing.TB, target string) *Wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &Wire{l: l, target: target}
	w.wg.Go(w.serve)
	t.Cleanup(w.close)
	return w
}

// Addr is where to dial.
func (w *Wire) Addr() string { return w.l.Addr().String() }

// Tap changes what happens to connections made from now on.
func (w *Wire) Tap(taps Taps) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.taps = taps
}

// From lets the wire dial the server from an address of this host.
func (w *Wire) From(ip string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.from = ip
}

func (w *Wire) dial() (net.Conn, error) {
	w.mu.Lock()
	from := w.from
	w.mu.Unlock()
	d := &net.Dialer{}
	if from != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	return d.Dial("tcp", w.target)
}

// Recorded returns what went to the server and what came back.
func (w *Wire) Recorded() (up, down []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return bytes.Clone(w.up.Bytes()), bytes.Clone(w.down.Bytes())
}

// Connections counts those accepted.
func (w *Wire) Connections() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.total
}

// Cut ends every connection.
func (w *Wire) Cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		_ = c.Close()
	}
	w.conns = nil
}

func (w *Wire) close() {
	_ = w.l.Close()
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.Cut()
	w.wg.Wait()
}

func (w *Wire) serve() {
	for {
		a, err := w.l.Accept()
		if err != nil {
			return
		}
		b, err := w.dial()
		if err != nil {
			_ = a.Close()
			continue
		}
		w.mu.Lock()
		w.total++
		w.conns = append(w.conns, a, b)
		taps, closed := w.taps, w.closed
		w.mu.Unlock()
		if closed {
			_, _ = a.Close(), b.Close()
			return
		}
		w.wg.Go(func() { w.pump(b, a, &w.up, taps.Up) })
		w.wg.Go(func() { w.pump(a, b, &w.down, taps.Down) })
	}
}

func (w *Wire) pump(to, from net.Conn, record *bytes.Buffer, tap func(int, []byte) ([]byte, bool)) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 32<<10)
	seen := 0
	for {
		n, err := from.Read(buf)
		piece, on := buf[:n], true
		if n > 0 {
			w.mu.Lock()
			if record.Len() < 64<<20 {
				record.Write(piece)
			}
			w.mu.Unlock()
			if tap != nil {
				piece, on = tap(seen, piece)
			}
			seen += n
			if _, werr := to.Write(piece); werr != nil {
				return
			}
		}
		if err != nil || !on {
			return
		}
	}
}
