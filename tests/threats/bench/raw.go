package bench

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"net"
	"net/http"
	"testing"

	"github.com/coder/websocket"

	"github.com/scarab-ops/scarab/client"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/pki"
	"github.com/scarab-ops/scarab/rpc"
	"github.com/scarab-ops/scarab/tests/cluster"
	"github.com/scarab-ops/scarab/tlspolicy"
)

// A Raw is an attacker's own connection: it says whatever it wants.
type Raw struct {
	ws *websocket.Conn
	id uint64
}

// TLS is an honest client's configuration; cert may be nil.
func (w *World) TLS(t testing.TB, cert *tls.Certificate) *tls.Config {
	t.Helper()
	pool, err := pki.Pin([]byte(w.CACert))
	if err != nil {
		t.Fatal(err)
	}
	d := tlspolicy.DialConfig{Roots: pool, ServerName: "juju-apiserver"}
	if cert != nil {
		d.Certificate = func() (*tls.Certificate, error) { return cert, nil }
	}
	return tlspolicy.Dial(d)
}

// HTTP is a plain HTTP client over the pinned TLS.
func (w *World) HTTP(t testing.TB, cert *tls.Certificate) *http.Client {
	t.Helper()
	tr := &http.Transport{TLSClientConfig: w.TLS(t, cert)}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// Path is the API path of a model, or of the controller.
func Path(m names.Model) string {
	if m == "" {
		return "/api"
	}
	return "/model/" + string(m) + "/api"
}

// Raw connects without logging in.
func (w *World) Raw(t testing.TB, m names.Model, cert *tls.Certificate) *Raw {
	t.Helper()
	r, err := w.RawFrom(cluster.Context(t), t, "", m, cert)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// RawFrom connects from an address of this host, 127.x.y.z, without logging in.
func (w *World) RawFrom(ctx context.Context, t testing.TB, from string, m names.Model, cert *tls.Certificate) (*Raw, error) {
	t.Helper()
	d := &net.Dialer{}
	if from != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	tr := &http.Transport{TLSClientConfig: w.TLS(t, cert), DialContext: d.DialContext}
	t.Cleanup(tr.CloseIdleConnections)
	ws, _, err := websocket.Dial(ctx, "wss://"+w.Addr+Path(m), &websocket.DialOptions{HTTPClient: &http.Client{Transport: tr}})
	if err != nil {
		return nil, err
	}
	ws.SetReadLimit(64 << 20)
	t.Cleanup(func() { _ = ws.CloseNow() })
	return &Raw{ws: ws}, nil
}

// abroad gives connections from 127.0.2.N the address 192.0.2.N, and those from
// 127.18.M.N 198.18.M.N.
type abroad struct{ net.Listener }

// Accept returns the next connection.
func (a abroad) Accept() (net.Conn, error) {
	c, err := a.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &foreigner{c}, nil
}

type foreigner struct{ net.Conn }

// RemoteAddr is where the connection seems to come from.
func (f *foreigner) RemoteAddr() net.Addr {
	a, ok := f.Conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return f.Conn.RemoteAddr()
	}
	switch v4 := a.IP.To4(); {
	case v4 == nil || v4[0] != 127:
	case v4[1] == 18:
		return &net.TCPAddr{IP: net.IPv4(198, 18, v4[2], v4[3]), Port: a.Port}
	case v4[2] == 2:
		return &net.TCPAddr{IP: net.IPv4(192, 0, 2, v4[3]), Port: a.Port}
	}
	return a
}

// Latest is the newest version of a facade.
func (w *World) Latest(facade string) int {
	v := 0
	for _, e := range w.Server.Table().Endpoints() {
		if e.Facade == facade {
			v = max(v, e.Version)
		}
	}
	return v
}

// As connects and logs in.
func (w *World) As(t testing.TB, m names.Model, cert *tls.Certificate, tag names.Tag, pw client.Secret, nonce string) *Raw {
	t.Helper()
	r := w.Raw(t, m, cert)
	if _, err := r.Call(cluster.Context(t), "Admin", 3, "Login", "", LoginArgs(tag, pw, nonce)); err != nil {
		t.Fatalf("%s cannot log in: %v", tag, err)
	}
	return r
}

// LoginArgs are the arguments of a login.
func LoginArgs(tag names.Tag, pw client.Secret, nonce string) map[string]string {
	return map[string]string{"auth-tag": tag.String(), "credentials": pw.Reveal(), "nonce": nonce}
}

// AsUser connects as a person.
func (w *World) AsUser(t testing.TB, u names.User, m names.Model) *Raw {
	t.Helper()
	return w.As(t, m, nil, u.Tag(), Password(u), "")
}

// AsAgent connects as an enrolled agent.
func (w *World) AsAgent(t testing.TB, a *cluster.Agent) *Raw {
	t.Helper()
	return w.As(t, a.Model, a.Certificate(t), a.Tag, a.Password, a.Nonce)
}

// Close cuts the connection.
func (r *Raw) Close() { _ = r.ws.CloseNow() }

// Send writes bytes as one text frame.
func (r *Raw) Send(ctx context.Context, frame []byte) error {
	return r.ws.Write(ctx, websocket.MessageText, frame)
}

// Receive reads one frame.
func (r *Raw) Receive(ctx context.Context) ([]byte, error) {
	_, b, err := r.ws.Read(ctx)
	return b, err
}

// Call makes one call. The answer is the reply's bytes; an error of the server
// is an [rpc.Error].
func (r *Raw) Call(ctx context.Context, facade string, version int, method, object string, args any) ([]byte, error) {
	r.id++
	req := map[string]any{"request-id": r.id, "type": facade, "version": version, "request": method, "params": args}
	if object != "" {
		req["id"] = object
	}
	b, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}
	if err := r.Send(ctx, b); err != nil {
		return nil, err
	}
	for {
		got, err := r.Receive(ctx)
		if err != nil {
			return nil, err
		}
		var reply struct {
			ID   uint64         `json:"request-id"`
			Err  string         `json:"error"`
			Code string         `json:"error-code"`
			Info map[string]any `json:"error-info"`
		}
		if err := json.Unmarshal(got, &reply); err != nil {
			return got, err
		}
		if reply.ID != r.id {
			continue // of a call that was given up
		}
		if reply.Err != "" || reply.Code != "" {
			return got, &rpc.Error{Message: reply.Err, Code: reply.Code, Info: reply.Info}
		}
		return got, nil
	}
}
