package apiserver_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/scarab-ops/scarab/apiserver"
	"github.com/scarab-ops/scarab/tlspolicy"
)

const watchers = 1000

// BenchmarkNotify1000 is the time from a change until the last of 1,000 waiting
// connections has its event. Compare with BenchmarkPlainTLS1000.
func BenchmarkNotify1000(bm *testing.B) {
	b := start(bm, func(c *apiserver.Config) { c.Limits.AgentBurst = 1 << 20 })
	cert := b.agentCert("unit-app-0", m1, time.Hour)
	socks, conns := make([]*sock, watchers), make([]net.Conn, watchers)
	for i := range socks {
		s, conn := b.openRaw("/model/"+string(m1)+"/api", cert)
		if _, got := s.login("unit-app-0", agentPW+"unit-app-0", ""); got != "ok" {
			bm.Fatal(got)
		}
		if _, got := s.call("UnitAgent", 1, "Watch", nil); got != "ok" {
			bm.Fatal(got)
		}
		socks[i], conns[i] = s, conn
	}
	next := func() {
		for _, s := range socks {
			s.id++
			frame := fmt.Sprintf(`{"request-id":%d,"type":"NotifyWatcher","version":1,"id":"1","request":"Next","params":{}}`, s.id)
			if err := s.ws.Write(bm.Context(), websocket.MessageText, []byte(frame)); err != nil {
				bm.Fatal(err)
			}
		}
		for _, s := range socks { // all have been read once a ping after them is answered
			if _, got := s.call("Pinger", 1, "Ping", nil); got != "ok" {
				bm.Fatal(got)
			}
		}
	}
	var wg sync.WaitGroup
	bm.ResetTimer()
	for range bm.N {
		bm.StopTimer()
		next()
		for i, s := range socks {
			// Read past the WebSocket library, as the plain benchmark reads:
			// two bytes of frame header, then the answer.
			n := 2 + len(fmt.Sprintf(`{"request-id":%d,"response":{}}`, s.id-1))
			wg.Go(func() {
				if _, err := io.ReadFull(conns[i], make([]byte, n)); err != nil {
					bm.Error(err)
				}
			})
		}
		bm.StartTimer()
		b.touch()
		wg.Wait()
	}
}

// openRaw opens a connection and gives its TLS connection too.
func (b *bench) openRaw(path string, cert *tls.Certificate) (*sock, net.Conn) {
	b.t.Helper()
	var raw net.Conn
	hc := b.client(cert)
	tr := hc.Transport.(*http.Transport)
	cfg := tr.TLSClientConfig
	tr.DialTLSContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := (&tls.Dialer{Config: cfg}).DialContext(ctx, network, addr)
		raw = c
		return c, err
	}
	ws, _, err := websocket.Dial(b.t.Context(), "wss://"+b.addr+path, &websocket.DialOptions{HTTPClient: hc})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = ws.CloseNow() })
	return &sock{b: b, ws: ws}, raw
}

// BenchmarkPlainTLS1000 writes the bytes of one event to 1,000 TLS sockets.
func BenchmarkPlainTLS1000(bm *testing.B) {
	b := start(bm)
	issued, err := b.ca.IssueServer(serverRequest)
	if err != nil {
		bm.Fatal(err)
	}
	cert, err := issued.TLS()
	if err != nil {
		bm.Fatal(err)
	}
	cfg := tlspolicy.ClientPort(func() (*tls.Certificate, error) { return cert, nil }, b.ca.Pool())
	l, err := tls.Listen("tcp", "127.0.0.1:0", cfg)
	if err != nil {
		bm.Fatal(err)
	}
	defer l.Close()
	var servers, clients []net.Conn
	for range watchers {
		accepted := make(chan net.Conn, 1)
		go func() {
			c, err := l.Accept()
			if err == nil {
				err = c.(*tls.Conn).HandshakeContext(bm.Context())
			}
			if err != nil {
				c = nil
			}
			accepted <- c
		}()
		c, err := tls.Dial("tcp", l.Addr().String(), tlspolicy.Dial(tlspolicy.DialConfig{Roots: b.ca.Pool(), ServerName: "juju-apiserver"}))
		if err != nil {
			bm.Fatal(err)
		}
		servers, clients = append(servers, <-accepted), append(clients, c)
	}
	event := []byte(`{"request-id":1234,"response":{}}`)
	var wg sync.WaitGroup
	bm.ResetTimer()
	for range bm.N {
		bm.StopTimer()
		for _, c := range clients {
			wg.Go(func() {
				if _, err := io.ReadFull(c, make([]byte, len(event))); err != nil {
					bm.Error(err)
				}
			})
		}
		bm.StartTimer()
		for _, c := range servers {
			if _, err := c.Write(event); err != nil {
				bm.Fatal(err)
			}
		}
		wg.Wait()
	}
}
