package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/scarab-ops/scarab/apiserver"
	"github.com/scarab-ops/scarab/app/controller"
	"github.com/scarab-ops/scarab/client"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/tests/cluster"
	"github.com/scarab-ops/scarab/wire"
	wireapp "github.com/scarab-ops/scarab/wire/application"
)

// watching is how many agents wait for a change.
const watching = 1000

// notify compares the time from an operator's change until the last of 1,000
// waiting agents has its event with writing the same bytes to 1,000 sockets.
// The agents' side is read past the WebSocket library on both sides.
func notify(b *bench) ([]line, error) {
	c := cluster.Start(b, cluster.Options{Memory: true, Change: func(cfg *controller.Config) {
		cfg.Limits = apiserver.Limits{AgentBurst: 1 << 20}
	}})
	admin := c.Login(b, cluster.Admin, cluster.AdminPassword, cluster.AdminModel)
	if err := deployWeb(b, admin, "web", nil); err != nil {
		return nil, err
	}
	agent := c.EnrolUnit(b, c.EnrolMachine(b, cluster.AdminModel, "0"), "web/0")
	agents := make([]*watcher, watching)
	for i := range agents {
		w, err := openWatcher(b, c, agent)
		if err != nil {
			return nil, fmt.Errorf("agent %d: %w", i, err)
		}
		agents[i] = w
	}
	sockets, err := plainSockets(b)
	if err != nil {
		return nil, err
	}
	n := 0
	ours := func() (time.Duration, error) {
		for _, w := range agents {
			if err := w.wait(b.ctx); err != nil {
				return 0, err
			}
		}
		n++
		readers := readAll(len(agents), func(i int) (net.Conn, int) { return agents[i].raw, agents[i].want })
		begun := time.Now()
		if err := admin.SetConfig(b.ctx, "web", map[string]string{"title": fmt.Sprint(n)}, ""); err != nil {
			return 0, err
		}
		err := readers()
		return time.Since(begun), err
	}
	l, err := b.pair("change told to 1000 watching agents over 1000 TLS writes", 2, 2, max(b.runs, 15), ours, sockets.write)
	return []line{l}, err
}

// readAll reads the wanted bytes from each connection; the function it gives
// waits for the last.
func readAll(n int, conn func(int) (net.Conn, int)) func() error {
	var wg sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		c, want := conn(i)
		wg.Go(func() {
			if errs[i] = c.SetReadDeadline(time.Now().Add(time.Minute)); errs[i] == nil {
				_, errs[i] = io.ReadFull(c, make([]byte, want))
			}
		})
	}
	return func() error {
		wg.Wait()
		return errors.Join(errs...)
	}
}

// A watcher is one connection of an agent that watches what it should do.
type watcher struct {
	ws   *websocket.Conn
	raw  net.Conn
	id   string
	last int
	want int // bytes of the event to come
}

func openWatcher(b *bench, c *cluster.Cluster, a *cluster.Agent) (*watcher, error) {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(c.CACert))
	w := &watcher{}
	tr := &http.Transport{DialTLSContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := (&tls.Dialer{Config: &tls.Config{
			RootCAs: roots, ServerName: "juju-apiserver", Certificates: []tls.Certificate{*a.Certificate(b)}, MinVersion: tls.VersionTLS13,
		}}).DialContext(ctx, network, addr)
		w.raw = conn
		return conn, err
	}}
	ws, _, err := websocket.Dial(b.ctx, "wss://"+c.Addr+"/model/"+string(a.Model)+"/api", &websocket.DialOptions{HTTPClient: &http.Client{Transport: tr}})
	if err != nil {
		return nil, err
	}
	w.ws = ws
	b.Cleanup(func() { _ = ws.CloseNow() })
	login := map[string]any{"auth-tag": a.Tag.String(), "credentials": a.Password.Reveal(), "nonce": a.Nonce, "client-version": "3.6.12"}
	if err := w.call(b.ctx, "Admin", 3, "Login", login, nil); err != nil {
		return nil, err
	}
	var made struct {
		ID string `json:"NotifyWatcherId"`
	}
	err = w.call(b.ctx, "UnitAgent", 1, "WatchWant", struct{}{}, &made)
	w.id = made.ID
	return w, err
}

func (w *watcher) send(ctx context.Context, facade string, version int, id, method string, params any) error {
	w.last++
	text, err := json.Marshal(map[string]any{
		"request-id": w.last, "type": facade, "version": version, "id": id, "request": method, "params": params,
	})
	if err != nil {
		return err
	}
	return w.ws.Write(ctx, websocket.MessageText, text)
}

func (w *watcher) call(ctx context.Context, facade string, version int, method string, params, result any) error {
	if err := w.send(ctx, facade, version, "", method, params); err != nil {
		return err
	}
	_, text, err := w.ws.Read(ctx)
	if err != nil {
		return err
	}
	var reply struct {
		Error    string
		Response json.RawMessage
	}
	if err := json.Unmarshal(text, &reply); err != nil {
		return err
	}
	if reply.Error != "" {
		return fmt.Errorf("%s.%s: %s", facade, method, reply.Error)
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(reply.Response, result)
}

// wait asks for the next event; the answer to a ping after it tells that the
// server has taken it.
func (w *watcher) wait(ctx context.Context) error {
	if err := w.send(ctx, "NotifyWatcher", 1, w.id, "Next", struct{}{}); err != nil {
		return err
	}
	w.want = 2 + len(fmt.Sprintf(`{"request-id":%d,"response":{}}`, w.last)) // a short frame's header has two bytes
	return w.call(ctx, "Pinger", 1, "Ping", struct{}{}, nil)
}

// sockets are both ends of plain TLS connections.
type sockets struct{ servers, clients []net.Conn }

func plainSockets(b *bench) (*sockets, error) {
	cert, roots, err := selfSigned()
	if err != nil {
		return nil, err
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13})
	if err != nil {
		return nil, err
	}
	defer func() { _ = l.Close() }()
	s := &sockets{}
	for range watching {
		accepted := make(chan error, 1)
		go func() {
			conn, err := l.Accept()
			if err == nil {
				s.servers = append(s.servers, conn)
				err = conn.(*tls.Conn).HandshakeContext(b.ctx)
			}
			accepted <- err
		}()
		conn, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{RootCAs: roots, ServerName: "bench", MinVersion: tls.VersionTLS13})
		if err := errors.Join(err, <-accepted); err != nil {
			return nil, err
		}
		s.clients = append(s.clients, conn)
	}
	b.Cleanup(func() {
		for _, c := range append(s.servers, s.clients...) {
			_ = c.Close()
		}
	})
	return s, nil
}

func (s *sockets) write() (time.Duration, error) {
	event := []byte(`..{"request-id":1234,"response":{}}`)
	readers := readAll(len(s.clients), func(i int) (net.Conn, int) { return s.clients[i], len(event) })
	begun := time.Now()
	for _, c := range s.servers {
		if _, err := c.Write(event); err != nil {
			return 0, err
		}
	}
	err := readers()
	return time.Since(begun), err
}

// deployWeb deploys one unit of a charm that has one option and these hooks.
func deployWeb(b *bench, c *client.Conn, app names.Application, hooks map[string]string) error {
	archive, err := webCharm(b, hooks)
	if err != nil {
		return err
	}
	url, err := c.UploadCharm(b.ctx, "web", 0, bytes.NewReader(archive))
	if err != nil {
		return err
	}
	return c.Deploy(b.ctx, wireapp.ApplicationDeploy{
		Application: string(app), CharmURL: url, NumUnits: 1,
		CharmOrigin: &wire.CharmOrigin{Source: "local", Type: "charm", Architecture: "amd64", Base: &wire.Base{Name: "debian", Channel: "12"}},
	})
}
