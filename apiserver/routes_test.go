package apiserver_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/scarab-ops/scarab/apiserver"
	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/apiserver/http/charms"
	"github.com/scarab-ops/scarab/apiserver/http/route"
	"github.com/scarab-ops/scarab/audit"
	"github.com/scarab-ops/scarab/authz"
	"github.com/scarab-ops/scarab/blob"
	"github.com/scarab-ops/scarab/charm/charmtest"
	"github.com/scarab-ops/scarab/logstore"
	"github.com/scarab-ops/scarab/pki"
	"github.com/scarab-ops/scarab/state"
)

var update = flag.Bool("update", false, "rewrite golden files")

const m1str = authz.Target(m1)

func newForeign() (*tls.Certificate, error) {
	ca, err := pki.New(pki.Config{Controller: "00000000-0000-4000-8000-0000000000ff", Now: time.Now})
	if err != nil {
		return nil, err
	}
	i, err := ca.IssueServer(pki.ServerRequest{})
	if err != nil {
		return nil, err
	}
	return i.TLS()
}

func TestRouteTableIsGolden(t *testing.T) {
	b := start(t)
	var buf bytes.Buffer
	for _, r := range b.srv.Routes() {
		fmt.Fprintln(&buf, r)
	}
	const file = "testdata/routes.golden"
	if *update {
		if err := os.WriteFile(file, buf.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil || string(want) != buf.String() {
		t.Errorf("route table differs from %s (%v); run with -update and review:\n%s", file, err, buf.String())
	}
}

func TestRoutesNeedPolicies(t *testing.T) {
	serve := func(facade.Call, http.ResponseWriter, *http.Request) error { return nil }
	open := func(http.ResponseWriter, *http.Request) {}
	for name, r := range map[string]route.Route{
		"nothing":        {Method: "GET", Path: "/x", Serve: serve},
		"no rule":        {Method: "GET", Path: "/x", Serve: serve, Policy: route.Policy{Auth: route.Basic}},
		"open and serve": {Method: "GET", Path: "/x", Serve: serve, Open: open, Policy: route.Policy{Auth: route.Basic, Rule: authz.OnModel(authz.Read)}},
		"open with rule": {Method: "GET", Path: "/x", Open: open, Policy: route.Policy{Auth: route.Open, Rule: authz.OnModel(authz.Read)}},
		"method":         {Method: "DELETE", Path: "/x", Open: open, Policy: route.Policy{Auth: route.Open}},
		"socket body":    {Method: "GET", Path: "/x", Open: open, Policy: route.Policy{Auth: route.Open, Socket: true, MaxBody: 1}},
	} {
		if _, err := route.NewTable(r); err == nil {
			t.Errorf("%s: was taken", name)
		}
	}
}

// TestUnauthenticatedSweep tries every route and every method of every facade
// without any proof.
func TestUnauthenticatedSweep(t *testing.T) {
	b := start(t)
	for _, rt := range b.srv.Routes() {
		path := strings.NewReplacer("{model}", string(m1), "{", "", "}", "").Replace(rt.Path)
		for _, creds := range []func(*http.Request){nil, basic("user-eve", "x"), basic("unit-app-0", agentPW+"unit-app-0"), basic("", "x"), basic("user-bob", "")} {
			r := b.do(b.request(rt.Method, path, nil, creds), nil)
			switch {
			case rt.Policy.Auth == route.Basic && (r.status != 401 || !strings.HasPrefix(r.body, "authentication failed:")):
				t.Errorf("%s %s: %d %s", rt.Method, path, r.status, r.body)
			case path == "/health" && r.status != 200, path != "/health" && r.status < 400:
				t.Errorf("%s %s: %d %s", rt.Method, path, r.status, r.body)
			}
		}
	}
	s := b.open("/model/"+string(m1)+"/api", nil)
	for _, e := range b.srv.Table().Endpoints() {
		if _, got := s.call(e.Facade, e.Version, e.Method, nil); !strings.HasSuffix(got, "not implemented") {
			t.Errorf("%s: %s", e, got)
		}
	}
}

func TestPathTricks(t *testing.T) {
	b := start(t)
	for _, p := range []string{
		"/model/x/api", "/model//api", "/model/" + string(m1) + "/../api", "/./api", "//api", "/api/", "/charms/../log", "/%2e%2e/etc/passwd",
		"/model/" + string(m1) + "%2fapi", "/nothing", "/debug/pprof/", "/model-x/charms/y", "/model/" + strings.ToUpper(string(m1)) + "x/log",
	} {
		r := b.get(p, basic("user-root", "pw-root"))
		if r.status != 404 && r.status != 400 {
			t.Errorf("%s: %d %s", p, r.status, r.body)
		}
	}
	if r := b.get("/model/x/api", nil); r.status != 400 || !strings.Contains(r.body, `invalid model UUID \"x\"`) {
		t.Errorf("%d %s", r.status, r.body)
	}
	if r := b.do(b.request("DELETE", "/charms", nil, nil), nil); r.status != 405 || !strings.Contains(r.body, "method not allowed") {
		t.Errorf("%d %s", r.status, r.body)
	}
}

func TestOrigins(t *testing.T) {
	b := start(t, func(c *apiserver.Config) { c.Origins = []string{"https://dash.example.com"} })
	own := "https://" + b.addr
	for origin, ok := range map[string]bool{
		"": true, own: true, "https://dash.example.com": true,
		"null": false, "https://evil.example": false, "https://DASH.example.com": false, "https://dash.example.com.evil.example": false,
		"https://dash.example.com:8443": false, "http://dash.example.com": false, "http://" + b.addr: false, own + "/": false,
		"https://x@" + b.addr: false, "https://" + b.addr + ".evil.example": false, "https://sub.dash.example.com": false, "wss://" + b.addr: false,
		"https://127.0.0.1:1": false, " ": false, "https://": false,
	} {
		h := http.Header{}
		if origin != "" {
			h.Set("Origin", origin)
		}
		for _, path := range []string{"/api", "/model/" + string(m1) + "/log"} {
			ws, res, err := b.dial(path, nil, h)
			if ok != (err == nil) || !ok && (res == nil || res.StatusCode != 403) {
				t.Errorf("%q on %s: %v, %v", origin, path, err, res)
			}
			if err == nil {
				_ = ws.CloseNow()
			}
		}
	}
	h := http.Header{"Origin": {own, "https://evil.example"}}
	if _, res, err := b.dial("/api", nil, h); err == nil || res.StatusCode != 403 {
		t.Error("two origins were accepted")
	}
}

func (b *bench) rawTLS() *tls.Conn {
	b.t.Helper()
	c, err := tls.Dial("tcp", b.addr, &tls.Config{RootCAs: b.ca.Pool(), ServerName: "juju-apiserver", NextProtos: []string{"h2", "http/1.1"}})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestSlowClientsAreCut(t *testing.T) {
	b := start(t, func(c *apiserver.Config) { c.Limits.HeaderTimeout = 300 * time.Millisecond })
	silent, err := net.Dial("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	headers := b.rawTLS()
	if p := headers.ConnectionState().NegotiatedProtocol; p == "h2" {
		t.Error("HTTP/2 was negotiated")
	}
	if _, err := io.WriteString(headers, "GET /api HTTP/1.1\r\nHost: x\r\nX-"); err != nil {
		t.Fatal(err)
	}
	body := b.rawTLS()
	if _, err := io.WriteString(body, "POST /register HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]net.Conn{"no handshake": silent, "half a header": headers, "half a body": body} {
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.Copy(io.Discard, c); isTimeout(err) {
			t.Errorf("%s: still open", name)
		}
	}
	plain, err := net.Dial("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	_, _ = io.WriteString(plain, "GET /api HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	_ = plain.SetReadDeadline(time.Now().Add(10 * time.Second))
	if raw, err := io.ReadAll(plain); isTimeout(err) || bytes.Contains(raw, []byte("101")) {
		t.Errorf("upgrade without TLS: %q, %v", raw, err)
	}
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

func TestFramesAreBounded(t *testing.T) {
	b := start(t, func(c *apiserver.Config) { c.Limits.FrameBefore, c.Limits.Frame = 10_000, 100_000 })
	big := func(n int) map[string]any { return map[string]any{"x": strings.Repeat("y", n)} }
	s := b.open("/model/"+string(m1)+"/api", nil)
	if _, got := s.call("Admin", 3, "Login", big(20_000)); got != "closed" {
		t.Errorf("20 kB before login: %s", got)
	}
	s = b.open("/model/"+string(m1)+"/api", nil)
	if _, got := s.login("user-bob", "pw-bob", ""); got != "ok" {
		t.Fatal(got)
	}
	if _, got := s.call("Client", 8, "Get", big(50_000)); got != "ok" {
		t.Errorf("50 kB after login: %s", got)
	}
	if _, got := s.call("Client", 8, "Get", big(200_000)); got != "closed" {
		t.Errorf("200 kB after login: %s", got)
	}
	for name, frame := range map[string]string{
		"deep": `{"request-id":1,"type":"Client","version":8,"request":"Get","params":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}`,
		"junk": "{{{", "no id": `{"type":"Client"}`, "empty": "", "number": "7", "null": "null",
	} {
		s := b.open("/model/"+string(m1)+"/api", nil)
		if _, got := s.login("user-bob", "pw-bob", ""); got != "ok" {
			t.Fatal(got)
		}
		if err := s.ws.Write(t.Context(), websocket.MessageText, []byte(frame)); err != nil {
			t.Fatal(err)
		}
		if _, got := s.read(); got == "ok" {
			t.Errorf("%s: was answered", name)
		}
	}
	if r := b.get("/health", nil); r.status != 200 {
		t.Errorf("not alive: %d", r.status)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	b := start(t, func(c *apiserver.Config) { c.Limits.PerSource = 3 })
	var open []*websocket.Conn
	for range 6 {
		if ws, _, err := b.dial("/api", nil, nil); err == nil {
			open = append(open, ws)
		}
	}
	if len(open) > 3 {
		t.Errorf("%d connections of one source", len(open))
	}
	for _, ws := range open {
		_ = ws.CloseNow()
	}
	b.waitFor(func() bool {
		ws, _, err := b.dial("/api", nil, nil)
		ok := err == nil
		if ok {
			_ = ws.CloseNow()
		}
		return ok
	})
}

func TestWatchOverTheWire(t *testing.T) {
	b := start(t)
	s := b.open("/model/"+string(m1)+"/api", nil)
	if _, got := s.login("user-bob", "pw-bob", ""); got != "ok" {
		t.Fatal(got)
	}
	if a, got := s.call("Client", 8, "Watch", nil); got != "ok" || !strings.Contains(string(a.Response), `"NotifyWatcherId":"1"`) {
		t.Fatalf("%s %s", got, a.Response)
	}
	s.id++
	if err := s.write(map[string]any{"request-id": s.id, "type": "NotifyWatcher", "version": 1, "request": "Next", "id": "1"}); err != nil {
		t.Fatal(err)
	}
	waiting := s.id
	if a, got := s.call("Pinger", 1, "Ping", nil); got != "ok" || a.ID == waiting {
		t.Fatalf("a blocked Next blocks others: %s", got)
	}
	b.touch()
	if a, got := s.read(); got != "ok" || a.ID != waiting {
		t.Errorf("%s, id %d", got, a.ID)
	}
}

func TestStop(t *testing.T) {
	b := start(t)
	s := b.open("/api", nil)
	if _, got := s.login("user-bob", "pw-bob", ""); got != "ok" {
		t.Fatal(got)
	}
	b.stop()
	if _, got := s.read(); got != "closed" {
		t.Errorf("got %s", got)
	}
}

// frames reads a log stream until n frames have come or it ends.
func (b *bench) frames(path string, creds func(*http.Request), n int, during func()) []string {
	b.t.Helper()
	req := b.request(http.MethodGet, path, nil, creds)
	ws, _, err := b.dial(path, nil, req.Header)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = ws.CloseNow() }()
	ctx, cancel := context.WithTimeout(b.t.Context(), 10*time.Second)
	defer cancel()
	var out []string
	for len(out) < n {
		_, raw, err := ws.Read(ctx)
		if err != nil {
			break
		}
		if out = append(out, string(raw)); len(out) == 1 && during != nil {
			during()
		}
	}
	return out
}

func TestLogStream(t *testing.T) {
	b := start(t)
	when := time.Now().UTC()
	add := func(msg string) {
		if err := b.logs.Append(string(m1), "unit-app-0", logstore.Record{Time: when, Module: "unit.app/0", Location: "a.go:1", Level: logstore.Info, Message: msg}); err != nil {
			t.Error(err)
		}
	}
	add("old")
	path := "/model/" + string(m1) + "/log"
	frame := func(msg string) string {
		return fmt.Sprintf(`{"tag":"unit-app-0","ts":"%s","sev":"INFO","mod":"unit.app/0","loc":"a.go:1","msg":"%s","lab":null}`+"\n", when.Format(time.RFC3339Nano), msg)
	}
	got := b.frames(path+"?backlog=10", basic("user-rd", "pw-rd"), 3, func() { add("new") })
	want := []string{"{}\n", frame("old"), frame("new")}
	if strings.Join(got, "") != strings.Join(want, "") {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := b.frames(path+"?replay=true&noTail=true&level=ERROR", basic("user-rd", "pw-rd"), 9, nil); len(got) != 1 || got[0] != "{}\n" {
		t.Errorf("got %q", got)
	}
	denied := `{"error":{"code":"unauthorized access","message":"permission denied"}}` + "\n"
	unknown := `{"error":{"code":"unauthorized access","message":"invalid entity name or password"}}` + "\n"
	for name, c := range map[string]struct{ path, tag, pw, want string }{
		"other model":      {"/model/" + string(m2) + "/log", "user-rd", "pw-rd", denied},
		"controller's log": {"/log", "user-rd", "pw-rd", denied},
		"wrong password":   {path, "user-rd", "x", unknown},
		"agent":            {path, "unit-app-0", agentPW + "unit-app-0", unknown},
	} {
		if got := b.frames(c.path, basic(c.tag, c.pw), 9, nil); len(got) != 1 || got[0] != c.want {
			t.Errorf("%s: got %q", name, got)
		}
	}
	if got := b.frames(path+"?backlog=x", basic("user-rd", "pw-rd"), 9, nil); len(got) != 2 || !strings.Contains(got[1], "bad request") {
		t.Errorf("bad query: %q", got)
	}
}

func TestAgentsWriteButDoNotReadLogs(t *testing.T) {
	b := start(t)
	cert := b.agentCert("unit-app-0", m1, time.Hour)
	h := b.request(http.MethodGet, "/", nil, basic("unit-app-0", agentPW+"unit-app-0")).Header
	ws, _, err := b.dial("/model/"+string(m1)+"/logsink", cert, h)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ws.CloseNow() }()
	line := `{"t":"2000-01-01T00:00:00Z","m":"a","l":"b:1","v":"ERROR","x":"hello\nworld","e":"machine-0"}`
	if err := ws.Write(t.Context(), websocket.MessageText, []byte(line)); err != nil {
		t.Fatal(err)
	}
	var got logstore.Record
	b.waitFor(func() bool {
		err := b.logs.Tail(t.Context(), string(m1), logstore.Filter{Replay: true, NoTail: true}, func(r logstore.Record) error { got = r; return nil })
		return err == nil && got.Message != ""
	})
	if got.Entity != "unit-app-0" || got.Message != `hello\nworld` || time.Since(got.Time) > time.Hour {
		t.Errorf("got %+v", got)
	}
	for _, path := range []string{"/model/" + string(m1) + "/log", "/log"} {
		ws, _, err := b.dial(path, cert, h)
		if err != nil {
			t.Fatal(err)
		}
		_, raw, err := ws.Read(t.Context())
		if err != nil || !strings.Contains(string(raw), "error") {
			t.Errorf("an agent reads %s: %s, %v", path, raw, err)
		}
		_ = ws.CloseNow()
	}
	if _, res, err := b.dial("/model/"+string(m1)+"/logsink", nil, b.request(http.MethodGet, "/", nil, basic("user-root", "pw-root")).Header); err == nil || res.StatusCode != 403 {
		t.Errorf("a user writes logs: %v", err)
	}
}

// charmRows is the charm service of these tests.
type charmRows struct {
	mu   sync.Mutex
	rows map[string]blob.Digest // by model and URL
}

func (s *charmRows) AddLocalCharm(c facade.Call, l charms.Local) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rows == nil {
		s.rows = map[string]blob.Digest{}
	}
	url := fmt.Sprintf("local:%s-%d", l.Name, len(s.rows))
	s.rows[string(c.Caller.Model)+url] = l.Digest
	return url, nil
}

func (s *charmRows) FindCharm(c facade.Call, url string) (blob.Digest, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, ok := s.rows[string(c.Caller.Model)+url]
	if !ok {
		return "", blob.ErrNotFound
	}
	return d, nil
}

func (s *charmRows) FindObject(c facade.Call, object string) (blob.Digest, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, d := range s.rows {
		i := strings.LastIndexByte(object, '-')
		if strings.HasPrefix(k, string(c.Caller.Model)) && strings.HasPrefix(string(d), object[i+1:]) {
			return d, nil
		}
	}
	return "", blob.ErrNotFound
}

func (s *charmRows) Refers(c facade.Call, d blob.Digest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, have := range s.rows {
		if strings.HasPrefix(k, string(c.Caller.Model)) && have == d {
			return true
		}
	}
	return false
}

func zip(body []byte, tag, pw string) (io.Reader, func(*http.Request)) {
	return bytes.NewReader(body), func(r *http.Request) {
		r.SetBasicAuth(tag, pw)
		r.Header.Set("Content-Type", "application/zip")
		r.Header.Set("Juju-Curl", "local:zoo-0")
	}
}

func TestCharmUploadAndDownload(t *testing.T) {
	b := start(t)
	good := charmtest.Valid()
	sum := fmt.Sprintf("%x", sha256.Sum256(good))
	body, h := zip(good, "user-bob", "pw-bob")
	r := b.do(b.request(http.MethodPut, "/model-"+string(m1)+"/charms/zoo-"+sum[:7], body, h), nil)
	if r.status != 200 || r.header.Get("Juju-Curl") != "local:zoo-0" || r.body != `{"charm-url":"local:zoo-0"}`+"\n" {
		t.Fatalf("put: %d %s", r.status, r.body)
	}
	body, h = zip(good, "user-bob", "pw-bob")
	if r := b.do(b.request(http.MethodPut, "/model-"+string(m1)+"/charms/zoo-0000000", body, h), nil); r.status != 400 || !strings.Contains(r.body, `"error-code":"bad request"`) {
		t.Errorf("wrong digest: %d %s", r.status, r.body)
	}
	body, h = zip(good, "user-bob", "pw-bob")
	if r := b.do(b.request(http.MethodPost, "/model/"+string(m1)+"/charms?series=&schema=local&revision=0", body, h), nil); r.status != 200 || !strings.Contains(r.body, "local:zoo-1") {
		t.Errorf("post: %d %s", r.status, r.body)
	}
	url := "/model/" + string(m1) + "/charms?url=local:zoo-0"
	rd := basic("user-rd", "pw-rd")
	for query, want := range map[string]string{
		"":                    `{"files":["hooks/install","lib/inner.zip","metadata.yaml"]}` + "\n",
		"&file=*":             string(good),
		"&file=metadata.yaml": charmtest.Metadata,
	} {
		if r := b.get(url+query, rd); r.status != 200 || r.body != want {
			t.Errorf("%s: %d %q", query, r.status, r.body)
		}
	}
	if r := b.get(url+"&icon=1", rd); r.status != 200 || r.header.Get("Content-Type") != "image/svg+xml" {
		t.Errorf("icon: %d %v", r.status, r.header)
	}
	for _, file := range []string{"../x", "/etc/passwd", "hooks", "hooks/start", "hooks%2f..%2fmetadata.yaml", "nope", "metadata.yaml%00"} {
		if r := b.get(url+"&file="+file, rd); r.status != 404 {
			t.Errorf("%s: %d %.100s", file, r.status, r.body)
		}
	}
	cert := b.agentCert("unit-app-0", m1, time.Hour)
	agent := basic("unit-app-0", agentPW+"unit-app-0")
	if r := b.do(b.request(http.MethodGet, url+"&file=*", nil, agent), cert); r.status != 200 || r.body != string(good) {
		t.Errorf("agent: %d", r.status)
	}
	other := "/model/" + string(m2) + "/charms?url=local:zoo-0&file=*"
	if r := b.do(b.request(http.MethodGet, other, nil, agent), cert); r.status != 401 {
		t.Errorf("agent of another model: %d", r.status)
	}
	if r := b.get(other, rd); r.status != 403 {
		t.Errorf("user of another model: %d", r.status)
	}
	if r := b.get(other, basic("user-root", "pw-root")); r.status != 404 {
		t.Errorf("the charm of another model: %d", r.status)
	}
	body, h = zip(good, "unit-app-0", agentPW+"unit-app-0")
	if r := b.do(b.request(http.MethodPost, "/model/"+string(m1)+"/charms", body, h), cert); r.status != 403 {
		t.Errorf("an agent uploads: %d", r.status)
	}
	recorded := 0
	for rec := range audit.Table.All(b.store.View(), state.Controller) {
		if rec.Facade == "http" && rec.Actor == "user-bob" && rec.Outcome == audit.OK {
			recorded++
		}
	}
	if recorded == 0 {
		t.Error("uploads are not on record")
	}
}

func TestHostileCharmsLeaveNothing(t *testing.T) {
	b := start(t)
	for _, c := range charmtest.Zoo(t) {
		raw := c.Build()
		if len(raw) > 8<<20 {
			continue // package charm's own tests have these
		}
		body, h := zip(raw, "user-bob", "pw-bob")
		if r := b.do(b.request(http.MethodPost, "/model/"+string(m1)+"/charms?name=zoo", body, h), nil); r.status != 400 {
			t.Errorf("%s: %d %.200s", c.Name, r.status, r.body)
		}
	}
	if n := b.blobs.Usage(string(m1)); n != 0 {
		t.Errorf("%d bytes stay", n)
	}
	req := b.request(http.MethodPost, "/model/"+string(m1)+"/charms", io.LimitReader(zeros{}, 1<<30), basic("user-bob", "pw-bob"))
	req.Header.Set("Content-Type", "application/zip")
	req.ContentLength = 1 << 30
	if r := b.do(req, nil); r.status != 413 && r.status != 0 {
		t.Errorf("a GiB: %d %s", r.status, r.body)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestLowUsersAreRefusedBeforeTheBody(t *testing.T) {
	b := start(t)
	for name, who := range map[string]func(*http.Request){"read": basic("user-rd", "pw-rd"), "other model": basic("user-bob", "pw-bob"), "nobody": nil} {
		path, want := "/model/"+string(m1)+"/charms", 403
		if name == "other model" {
			path = "/model/" + string(m2) + "/charms"
		}
		if name == "nobody" {
			want = 401
		}
		c := b.rawTLS()
		req := b.request(http.MethodPost, path, nil, who)
		fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/zip\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n", path)
		if a := req.Header.Get("Authorization"); a != "" {
			fmt.Fprintf(c, "Authorization: %s\r\n", a)
		}
		_, _ = io.WriteString(c, "\r\n")
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		res, err := http.ReadResponse(bufio.NewReader(c), req)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		_ = res.Body.Close()
		if res.StatusCode != want { // 100 would mean that the body was asked for
			t.Errorf("%s: %d", name, res.StatusCode)
		}
	}
	if b.blobs.Usage(string(m1)) != 0 {
		t.Error("something was stored")
	}
}
