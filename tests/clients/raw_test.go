package clients

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/tests/cluster"
)

// A raw connection sends and reads frames as they are.
type raw struct {
	t    *testing.T
	ws   *websocket.Conn
	last int
}

// reply is a frame from the server, by key, so that absent and null differ.
type reply map[string]json.RawMessage

func (r reply) text(key string) string {
	var s string
	_ = json.Unmarshal(r[key], &s) // absent is empty
	return s
}

// roots trusts the controller's CA only.
func roots(t *testing.T, c *cluster.Cluster) *x509.CertPool {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(c.CACert)) {
		t.Fatal("the CA certificate cannot be read")
	}
	return pool
}

// openRaw connects as the command-line client does: whatever the address, the
// name in the certificate is juju-apiserver.
func openRaw(t *testing.T, c *cluster.Cluster, path string, header http.Header) (*websocket.Conn, error) {
	t.Helper()
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots(t, c), ServerName: "juju-apiserver", MinVersion: tls.VersionTLS12}}
	t.Cleanup(tr.CloseIdleConnections)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, "wss://"+c.Addr+path, &websocket.DialOptions{HTTPClient: &http.Client{Transport: tr}, HTTPHeader: header})
	return ws, err
}

// dialRaw is openRaw for connections that have to be made.
func dialRaw(t *testing.T, c *cluster.Cluster, path string, header http.Header) *raw {
	t.Helper()
	ws, err := openRaw(t, c, path, header)
	if err != nil {
		t.Fatalf("cannot open %s: %v", path, err)
	}
	ws.SetReadLimit(4 << 20) // the Python client refuses more
	t.Cleanup(func() { _ = ws.CloseNow() })
	return &raw{t: t, ws: ws}
}

// send sends a frame and reads the answer, which may hold no null error: the
// clients test for the key.
func (r *raw) send(frame string) reply {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 20*time.Second)
	defer cancel()
	if err := r.ws.Write(ctx, websocket.MessageText, []byte(frame)); err != nil {
		r.t.Fatalf("%s: %v", frame, err)
	}
	_, b, err := r.ws.Read(ctx)
	if err != nil {
		r.t.Fatalf("%s: %v", frame, err)
	}
	var got reply
	if err := json.Unmarshal(b, &got); err != nil {
		r.t.Fatalf("%s was answered with %s: %v", frame, b, err)
	}
	var all any
	if err := json.Unmarshal(b, &all); err != nil {
		r.t.Fatal(err)
	}
	if at := nullError(all, ""); at != "" {
		r.t.Errorf("%s was answered with a null error at %s: %s", frame, at, b)
	}
	_, failed := got["error"]
	_, answered := got["response"]
	if !failed && !answered || len(got["request-id"]) == 0 {
		r.t.Errorf("%s was answered with %s, which clients drop", frame, b)
	}
	return got
}

func nullError(v any, path string) string {
	switch v := v.(type) {
	case map[string]any:
		if e, there := v["error"]; there && e == nil {
			return path + ".error"
		}
		for k, x := range v {
			if at := nullError(x, path+"."+k); at != "" {
				return at
			}
		}
	case []any:
		for i, x := range v {
			if at := nullError(x, fmt.Sprintf("%s[%d]", path, i)); at != "" {
				return at
			}
		}
	}
	return ""
}

// call sends a request with the next id; params is JSON, or empty for none.
func (r *raw) call(facade string, version int, method, params string) reply {
	r.t.Helper()
	r.last++
	head := fmt.Sprintf(`{"request-id":%d,"type":%q,"version":%d,"request":%q`, r.last, facade, version, method)
	if params != "" {
		head += `,"params":` + params
	}
	got := r.send(head + "}")
	if id := fmt.Sprint(r.last); string(got["request-id"]) != id {
		r.t.Errorf("%s.%s: the answer to %s names %s", facade, method, id, got["request-id"])
	}
	return got
}

// ok is call for requests that have to succeed; into may be nil.
func (r *raw) ok(into any, facade string, version int, method, params string) {
	r.t.Helper()
	got := r.call(facade, version, method, params)
	if _, failed := got["error"]; failed {
		r.t.Fatalf("%s %d %s: %s (%s)", facade, version, method, got.text("error"), got.text("error-code"))
	}
	if into == nil {
		return
	}
	if err := json.NewDecoder(bytes.NewReader(got["response"])).Decode(into); err != nil {
		r.t.Fatalf("%s %d %s answered %s: %v", facade, version, method, got["response"], err)
	}
}

// login is the answer to a login, as far as clients look at it.
type login struct {
	ServerVersion string `json:"server-version"`
	ModelTag      string `json:"model-tag"`
	Facades       []struct {
		Name     string
		Versions []int
	}
}

func (r *raw) login() login {
	r.t.Helper()
	var l login
	r.ok(&l, "Admin", 3, "Login", credentials("admin", cluster.AdminPassword.Reveal()))
	return l
}

func credentials(user, password string) string {
	b, err := json.Marshal(map[string]any{"auth-tag": names.User(user).Tag().String(), "credentials": password, "client-version": "3.6.1", "macaroons": nil})
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func controllerConn(t *testing.T, c *cluster.Cluster) (*raw, login) {
	t.Helper()
	r := dialRaw(t, c, "/api", nil)
	return r, r.login()
}

func modelConn(t *testing.T, c *cluster.Cluster, m names.Model) (*raw, login) {
	t.Helper()
	r := dialRaw(t, c, "/model/"+string(m)+"/api", nil)
	return r, r.login()
}
