package apiserver_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/scarab-ops/scarab/apiserver"
	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/apiserver/http/charms"
	"github.com/scarab-ops/scarab/apiserver/http/logs"
	"github.com/scarab-ops/scarab/authz"
	"github.com/scarab-ops/scarab/blob"
	"github.com/scarab-ops/scarab/logstore"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/password"
	"github.com/scarab-ops/scarab/pki"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/tlspolicy"
	"github.com/scarab-ops/scarab/wire/admin"
)

const (
	ctl     = names.ControllerID("00000000-0000-4000-8000-00000000000c")
	ctlM    = names.Model("00000000-0000-4000-8000-00000000000d")
	m1      = names.Model("11111111-1111-4111-8111-111111111111")
	m2      = names.Model("22222222-2222-4222-8222-222222222222")
	movedM  = names.Model("33333333-3333-4333-8333-333333333333")
	agentPW = "0123456789abcdef01234567"
)

// people is an authenticator and the grants, for tests.
type people struct {
	mu     sync.Mutex
	levels map[names.User]map[authz.Target]authz.Level
	gone   map[string]chan struct{}
}

func newPeople() *people {
	return &people{
		levels: map[names.User]map[authz.Target]authz.Level{
			"root":  {authz.Controller: authz.Superuser},
			"bob":   {authz.Controller: authz.Login, authz.Model(m1): authz.Write},
			"rd":    {authz.Controller: authz.Login, authz.Model(m1): authz.Read},
			"alien": {authz.Model(m1): authz.Read}, // no login right
		},
		gone: map[string]chan struct{}{},
	}
}

func (p *people) Level(u names.User, t authz.Target) authz.Level {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.levels[u][t]
}

func (p *people) Present(c *authz.Caller) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return c.Kind != authz.User || p.levels[c.User] != nil
}

func (p *people) channel(tag string) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone[tag] == nil {
		p.gone[tag] = make(chan struct{})
	}
	return p.gone[tag]
}

func (p *people) remove(u names.User) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.levels, u)
	if c := p.gone[u.Tag().String()]; c != nil {
		close(c)
	}
}

func (p *people) AuthenticateUser(_ context.Context, u names.User, pw password.Secret, _ names.Model) (apiserver.Identity, error) {
	p.mu.Lock()
	_, ok := p.levels[u]
	p.mu.Unlock()
	if !ok || pw.Reveal() != "pw-"+string(u) {
		return apiserver.Identity{}, apiserver.ErrCredentials
	}
	return apiserver.Identity{Caller: authz.Caller{Kind: authz.User, User: u}, Gone: p.channel(u.Tag().String())}, nil
}

func (p *people) AuthenticateAgent(_ context.Context, a apiserver.AgentLogin) (apiserver.Identity, error) {
	if a.Proof != apiserver.Certified {
		if a.Password.Reveal() != "one-time-token" {
			return apiserver.Identity{}, apiserver.ErrCredentials
		}
		return apiserver.Identity{Caller: authz.Caller{Kind: authz.Enrolling, Unit: names.Unit(a.Tag.ID)}}, nil
	}
	if a.Password.Reveal() != agentPW+a.Tag.String() {
		return apiserver.Identity{}, apiserver.ErrCredentials
	}
	c := authz.Caller{Kind: authz.Unit, Unit: names.Unit(a.Tag.ID)}
	if a.Tag.Kind == names.KindMachine {
		c = authz.Caller{Kind: authz.Machine, Machine: names.Machine(a.Tag.ID)}
		if a.Nonce != "nonce" {
			return apiserver.Identity{}, apiserver.NotProvisioned(c.Machine)
		}
	}
	return apiserver.Identity{Caller: c, Gone: p.channel(a.Tag.String())}, nil
}

func (p *people) CheckModel(_ context.Context, m names.Model) error {
	switch m {
	case m1, m2, ctlM:
		return nil
	case movedM:
		return &apiserver.RedirectError{CACert: "PEM", Servers: [][]admin.HostPort{{{Value: "203.0.113.9", Type: "ipv4", Scope: "public", Port: 17070}}}}
	}
	return &apiserver.ModelError{Model: m}
}

type bench struct {
	t      testing.TB
	addr   string
	people *people
	ca     *pki.Authority
	store  *state.Store
	srv    *apiserver.Server
	logs   *logstore.Store
	blobs  *blob.Store
	charms *charmRows
	stop   func()
}

func testEndpoints(t testing.TB, store *state.Store) []facade.Endpoint {
	t.Helper()
	rule := authz.OnModel(authz.Read)
	one := func(name string, version int, r authz.Rule) []facade.Endpoint {
		es, err := facade.Bind(facade.Facade[int]{Name: name, Version: version, Methods: []facade.Method[int]{
			facade.None("Get", r.Reads(), func(int, facade.Call) (map[string]int, error) { return map[string]int{"version": version}, nil }),
			facade.Watch("Watch", r, facade.NotifyWatcher, func(int, facade.Call, struct{}) (facade.Watcher, error) {
				return facade.Notify(store.Subscribe(rows.Keys(state.Controller)), nil), nil
			}, func(id string, _ any) map[string]string { return map[string]string{"NotifyWatcherId": id} }),
			facade.None("Panic", r.Reads(), func(int, facade.Call) (int, error) { panic("canary") }),
		}}, 0)
		if err != nil {
			t.Fatal(err)
		}
		return es
	}
	var all []facade.Endpoint
	all = append(all, one("Client", 7, rule)...)
	all = append(all, one("Client", 8, rule)...)
	all = append(all, one("Cloud", 7, authz.OnController(authz.Login))...)
	all = append(all, one("UnitAgent", 1, authz.Self(authz.Unit))...)
	return append(all, one("Enrolment", 1, authz.Self(authz.Enrolling))...)
}

// serverRequest asks for an ordinary server certificate.
var serverRequest = pki.ServerRequest{}

type row struct{ ID string }

var rows = state.Table[row]{Kind: "test-row", ID: func(r row) string { return r.ID }}

func (b *bench) touch() {
	b.t.Helper()
	if err := b.store.Update(b.t.Context(), func(tx *state.Tx) error { return rows.Put(tx, state.Controller, row{"x"}) }); err != nil {
		b.t.Fatal(err)
	}
}

func start(t testing.TB, change ...func(*apiserver.Config)) *bench {
	t.Helper()
	b := &bench{t: t, people: newPeople(), charms: &charmRows{}}
	var err error
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	b.store, err = state.Open(t.Context(), state.NewMem())
	must(err)
	b.ca, err = pki.New(pki.Config{Controller: ctl, Now: time.Now})
	must(err)
	issued, err := b.ca.IssueServer(pki.ServerRequest{})
	must(err)
	cert, err := issued.TLS()
	must(err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	b.logs, err = logstore.Open(logstore.Config{Dir: filepath.Join(t.TempDir(), "logs"), Now: time.Now})
	must(err)
	key, err := blob.NewKey(bytes.Repeat([]byte{1}, 32))
	must(err)
	b.blobs, err = blob.Open(blob.Config{Dir: filepath.Join(t.TempDir(), "blobs"), Key: key})
	must(err)
	cfg := apiserver.Config{
		Listeners: []net.Listener{l}, TLS: tlspolicy.ClientPort(func() (*tls.Certificate, error) { return cert, nil }, b.ca.Pool()),
		Now: time.Now, Log: slog.New(slog.DiscardHandler), Store: b.store,
		Grants: func(state.Reader) authz.Grants { return b.people }, Auth: b.people, Authority: b.ca,
		Endpoints:  [][]facade.Endpoint{testEndpoints(t, b.store)},
		Routes:     append(logs.Routes(logs.Config{Store: b.logs}), charms.Routes(charms.Config{Service: b.charms, Blobs: b.blobs})...),
		Controller: ctl, ControllerModel: ctlM, ServerVersion: "3.6.12",
		Servers: func() [][]admin.HostPort {
			return [][]admin.HostPort{{
				{Value: "127.0.0.1", Type: "ipv4", Scope: "local-machine", Port: 17070},
				{Value: "fe80::1", Type: "ipv6", Scope: "link-local", Port: 17070},
			}}
		},
		Limits: apiserver.Limits{FirstWait: time.Millisecond, MaxWait: 5 * time.Millisecond},
	}
	for _, f := range change {
		f(&cfg)
	}
	b.srv, err = apiserver.New(cfg)
	must(err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.srv.Run(ctx) }()
	b.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("run: %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Error("the server does not stop")
		}
	})
	t.Cleanup(func() { b.stop(); _ = b.logs.Close(); _ = b.blobs.Close() })
	b.addr = l.Addr().String()
	b.waitFor(func() bool { return b.get("/health", nil).body == "running\n" })
	return b
}

func (b *bench) waitFor(f func() bool) {
	b.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if f() {
			return
		}
	}
	b.t.Fatal("what was waited for did not happen")
}

// agentCert issues a certificate for an agent.
func (b *bench) agentCert(tag string, m names.Model, life time.Duration) *tls.Certificate {
	b.t.Helper()
	key, err := pki.NewKey(pki.ECDSAP384)
	if err != nil {
		b.t.Fatal(err)
	}
	csr, err := pki.NewCSR(key)
	if err != nil {
		b.t.Fatal(err)
	}
	parsed, err := names.ParseTag(tag)
	if err != nil {
		b.t.Fatal(err)
	}
	chain, _, err := b.ca.IssueAgent(csr, pki.Agent{Tag: parsed, Model: m}, life)
	if err != nil {
		b.t.Fatal(err)
	}
	cert, err := pki.TLSCertificate(chain, key)
	if err != nil {
		b.t.Fatal(err)
	}
	return cert
}

func (b *bench) client(cert *tls.Certificate) *http.Client {
	d := tlspolicy.DialConfig{Roots: b.ca.Pool(), ServerName: "juju-apiserver"}
	if cert != nil {
		d.Certificate = func() (*tls.Certificate, error) { return cert, nil }
	}
	return &http.Client{
		Transport:     &http.Transport{TLSClientConfig: tlspolicy.Dial(d), DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       20 * time.Second,
	}
}

type reply struct {
	status int
	body   string
	header http.Header
}

func (b *bench) do(req *http.Request, cert *tls.Certificate) reply {
	b.t.Helper()
	res, err := b.client(cert).Do(req)
	if err != nil {
		return reply{body: err.Error()}
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return reply{res.StatusCode, err.Error(), res.Header}
	}
	return reply{res.StatusCode, string(raw), res.Header}
}

func (b *bench) request(method, path string, body io.Reader, change func(*http.Request)) *http.Request {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, "https://"+b.addr+path, body)
	if err != nil {
		b.t.Fatal(err)
	}
	if change != nil {
		change(req)
	}
	return req
}

func (b *bench) get(path string, change func(*http.Request)) reply {
	b.t.Helper()
	return b.do(b.request(http.MethodGet, path, nil, change), nil)
}

func basic(tag, pw string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(tag, pw) }
}

// sock is an API connection.
type sock struct {
	b  *bench
	ws *websocket.Conn
	id int
}

func (b *bench) dial(path string, cert *tls.Certificate, h http.Header) (*websocket.Conn, *http.Response, error) {
	ctx, cancel := context.WithTimeout(b.t.Context(), 10*time.Second)
	defer cancel()
	return websocket.Dial(ctx, "wss://"+b.addr+path, &websocket.DialOptions{HTTPClient: b.client(cert), HTTPHeader: h})
}

func (b *bench) open(path string, cert *tls.Certificate) *sock {
	b.t.Helper()
	ws, _, err := b.dial(path, cert, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	ws.SetReadLimit(1 << 20)
	b.t.Cleanup(func() { _ = ws.CloseNow() })
	return &sock{b: b, ws: ws}
}

func (s *sock) write(v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return s.ws.Write(s.b.t.Context(), websocket.MessageText, raw)
}

type answer struct {
	ID       int             `json:"request-id"`
	Error    string          `json:"error"`
	Code     string          `json:"error-code"`
	Info     map[string]any  `json:"error-info"`
	Response json.RawMessage `json:"response"`
}

// call makes one call and returns "ok", or the error's text and code.
func (s *sock) call(facade string, version int, method string, params any) (answer, string) {
	s.b.t.Helper()
	s.id++
	err := s.write(map[string]any{"request-id": s.id, "type": facade, "version": version, "request": method, "params": params})
	if err != nil {
		return answer{}, "closed"
	}
	return s.read()
}

func (s *sock) read() (answer, string) {
	s.b.t.Helper()
	ctx, cancel := context.WithTimeout(s.b.t.Context(), 10*time.Second)
	defer cancel()
	_, raw, err := s.ws.Read(ctx)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			s.b.t.Fatal("no answer")
		}
		return answer{}, "closed"
	}
	var a answer
	if err := json.Unmarshal(raw, &a); err != nil {
		s.b.t.Fatal(err)
	}
	if strings.Contains(string(raw), `"error"`) {
		return a, a.Error + " | " + a.Code
	}
	return a, "ok"
}

func (s *sock) login(tag, pw, nonce string) (answer, string) {
	s.b.t.Helper()
	return s.call("Admin", 3, "Login", map[string]any{"auth-tag": tag, "credentials": pw, "nonce": nonce, "macaroons": nil, "user-data": ""})
}
