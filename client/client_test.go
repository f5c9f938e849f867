package client_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/scarab-ops/scarab/client"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/pki"
	"github.com/scarab-ops/scarab/rpc"
	"github.com/scarab-ops/scarab/tlspolicy"
	"github.com/scarab-ops/scarab/wire/agentapi"
	wireclient "github.com/scarab-ops/scarab/wire/client"
)

const (
	ctl   = names.ControllerID("6e3b6a57-26c4-4f3b-8f02-0a6c0f4d9b11")
	model = names.Model("4c0b6a57-26c4-4f3b-8f02-0a6c0f4d9b12")
)

// server is a controller that knows just enough; its TLS, certificates and
// framing are the real ones.
type server struct {
	ca      *pki.Authority
	addr    string
	noPut   bool // like an old server
	charm   []byte
	records chan string
	peer    chan string // common names of client certificates
}

func start(t *testing.T) *server {
	t.Helper()
	ca, err := pki.New(pki.Config{Controller: ctl, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	issued, err := ca.IssueServer(pki.ServerRequest{})
	if err != nil {
		t.Fatal(err)
	}
	cert, err := issued.TLS()
	if err != nil {
		t.Fatal(err)
	}
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l, err := tlspolicy.NewListener(tlspolicy.ListenConfig{Inner: inner, TLS: tlspolicy.ClientPort(func() (*tls.Certificate, error) { return cert, nil }, ca.Pool())})
	if err != nil {
		t.Fatal(err)
	}
	s := &server{ca: ca, addr: inner.Addr().String(), records: make(chan string, 8), peer: make(chan string, 8)}
	hs := &http.Server{Handler: s.mux(), ReadHeaderTimeout: 10 * time.Second}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	go func() { _ = hs.Serve(l) }()
	t.Cleanup(func() {
		_ = hs.Close()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return s
}

func (s *server) mux() http.Handler {
	m := http.NewServeMux()
	api := func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) > 0 {
			s.peer <- r.TLS.PeerCertificates[0].Subject.CommonName
		}
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		_ = rpc.Serve(r.Context(), ws, rpc.ServerConfig{Handle: s.handle})
	}
	m.HandleFunc("/api", api)
	m.HandleFunc("/model/{uuid}/api", api)
	m.HandleFunc("PUT /model-"+string(model)+"/charms/{object}", s.putCharm)
	m.HandleFunc("POST /model/{uuid}/charms", func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			panic(err)
		}
		s.charm = b
		fmt.Fprintf(w, `{"charm-url":"local:%s-9"}`, r.URL.Query().Get("name"))
	})
	m.HandleFunc("GET /model/{uuid}/charms", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("url") != "local:mine-3" || r.URL.Query().Get("file") != "*" {
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"error":"charm not found","error-code":"not found"}`)
			return
		}
		_, _ = w.Write(s.charm)
	})
	m.HandleFunc("/model/{uuid}/log", s.log)
	m.HandleFunc("/model/{uuid}/logsink", func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		_, b, err := ws.Read(r.Context())
		if err == nil {
			s.records <- string(b)
		}
		_ = ws.Close(websocket.StatusNormalClosure, "")
	})
	return m
}

func (s *server) putCharm(w http.ResponseWriter, r *http.Request) {
	if user, password, _ := r.BasicAuth(); user != "user-admin" || password != "pw" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if s.noPut {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	b, err := io.ReadAll(r.Body)
	if err != nil {
		panic(err)
	}
	sum := sha256.Sum256(b)
	if want := "mine-" + hex.EncodeToString(sum[:])[:7]; r.PathValue("object") != want {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"error":"named %s, want %s","error-code":"bad request"}`, r.PathValue("object"), want)
		return
	}
	s.charm = b
	fmt.Fprint(w, `{"charm-url":"local:mine-3"}`)
}

func (s *server) log(w http.ResponseWriter, r *http.Request) {
	ws, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer ws.CloseNow()
	frames := []string{"{}\n", `{"tag":"unit-a-0","ts":"2025-01-05T10:11:12Z","sev":"INFO","mod":"m","loc":"l","msg":"` + r.URL.Query().Get("level") + `","lab":null}`}
	if user, _, _ := r.BasicAuth(); user != "user-admin" {
		frames = []string{`{"error":{"message":"permission denied","code":"unauthorized access"}}` + "\n"}
	}
	for _, f := range frames {
		if ws.Write(r.Context(), websocket.MessageText, []byte(f)) != nil {
			return
		}
	}
	_ = ws.Close(websocket.StatusNormalClosure, "")
}

func (s *server) handle(ctx context.Context, r rpc.Request) (any, error) {
	switch r.Facade + "." + r.Method {
	case "Admin.Login":
		var a struct {
			Tag      string `json:"auth-tag"`
			Password string `json:"credentials"`
		}
		if err := json.Unmarshal(r.Params, &a); err != nil {
			return nil, err
		}
		if a.Password != "pw" {
			return nil, &rpc.Error{Message: "invalid entity name or password", Code: "unauthorized access"}
		}
		return json.RawMessage(`{"model-tag":"model-` + string(model) + `","controller-tag":"controller-` + string(ctl) + `","server-version":"3.6.12",
			"servers":[[{"value":"10.0.0.5","type":"ipv4","scope":"local-cloud","port":17070},{"value":"127.0.0.1","type":"ipv4","scope":"local-machine","port":17070}]],
			"facades":[{"name":"Client","versions":[6,7]},{"name":"AllWatcher","versions":[3]},{"name":"UnitAgent","versions":[1]},{"name":"NotifyWatcher","versions":[1]},{"name":"KeyManager","versions":[99]}]}`), nil
	case "Client.FullStatus":
		if r.Version != 7 {
			return nil, fmt.Errorf("version %d", r.Version)
		}
		return json.RawMessage(`{"model":{"name":"dev"},"applications":{"a":{"int":2,"units":{"a/0":{"workload-status":{"status":"active","info":"","data":{},"since":null}}}}}}`), nil
	case "Client.WatchAll":
		return json.RawMessage(`{"watcher-id":"5"}`), nil
	case "AllWatcher.Next":
		return json.RawMessage(`{"deltas":[["unit","change",{"name":"a/` + r.Object + `"}]]}`), nil
	case "UnitAgent.WatchWant":
		return agentapi.WatchResult{NotifyWatcherID: "8"}, nil
	case "NotifyWatcher.Next":
		if r.Object != "8" {
			return nil, &rpc.Error{Message: "unknown watcher id", Code: "not found"}
		}
		return nil, nil
	}
	return nil, &rpc.Error{Message: "no such request", Code: "not implemented"}
}

func (s *server) dial(t *testing.T, change func(*client.Config)) (*client.Conn, error) {
	cfg := client.Config{Addresses: []string{s.addr}, CACert: string(s.ca.CertPEM()), Model: model, Version: "3.6.12"}
	if change != nil {
		change(&cfg)
	}
	c, err := client.Dial(testContext(t), cfg)
	if err == nil {
		t.Cleanup(func() {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	return c, err
}

func (s *server) login(t *testing.T) *client.Conn {
	t.Helper()
	c, err := s.dial(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.Login(testContext(t), client.Credentials{Tag: names.User("admin").Tag(), Password: client.NewSecret("pw")})
	if err != nil {
		t.Fatal(err)
	}
	if got := client.ServerAddresses(r); len(got) != 1 || got[0] != "10.0.0.5:17070" {
		t.Fatalf("addresses %v", got)
	}
	return c
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestDialTakesTheOneThatAnswers(t *testing.T) {
	s := start(t)
	dead, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer dead.Close()
	c, err := s.dial(t, func(cfg *client.Config) { cfg.Addresses = []string{dead.Addr().String(), "127.0.0.1:1", s.addr} })
	if err != nil {
		t.Fatal(err)
	}
	if c.Address() != s.addr {
		t.Errorf("connected to %s", c.Address())
	}
}

func TestDialTrustsOnlyThePinnedAuthority(t *testing.T) {
	s, other := start(t), start(t)
	if _, err := s.dial(t, func(cfg *client.Config) { cfg.CACert = string(other.ca.CertPEM()) }); err == nil {
		t.Fatal("another authority's server was accepted")
	}
	if _, err := s.dial(t, func(cfg *client.Config) { cfg.CACert = "" }); err == nil || !strings.Contains(err.Error(), "CA certificate is needed") {
		t.Fatalf("error %v", err)
	}
	if _, err := s.dial(t, func(cfg *client.Config) { cfg.CACert, cfg.SystemRoots = "", true }); err == nil {
		t.Fatal("the system's roots vouch for a private controller")
	}
	if _, err := s.dial(t, func(cfg *client.Config) { cfg.ServerName = "elsewhere.example.com" }); err == nil {
		t.Fatal("a server without the wanted name was accepted")
	}
}

func TestLoginRefused(t *testing.T) {
	s := start(t)
	c, err := s.dial(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.FullStatus(testContext(t), wireclient.StatusParams{}); err == nil || !strings.Contains(err.Error(), "log in first") {
		t.Errorf("error %v", err)
	}
	_, err = c.Login(testContext(t), client.Credentials{Tag: names.User("admin").Tag(), Password: client.NewSecret("wrong")})
	if client.Code(err) != client.CodeUnauthorized || err.Error() != "invalid entity name or password" {
		t.Errorf("error %v", err)
	}
	elsewhere, err := s.dial(t, func(cfg *client.Config) { cfg.Model = names.Model(ctl) })
	if err != nil {
		t.Fatal(err)
	}
	if _, err = elsewhere.Login(testContext(t), client.Credentials{Tag: names.User("admin").Tag(), Password: client.NewSecret("pw")}); err == nil || !strings.Contains(err.Error(), "another model") {
		t.Errorf("error %v", err)
	}
}

func TestAgentShowsItsCertificate(t *testing.T) {
	s := start(t)
	k, err := pki.NewKey(pki.ECDSAP384)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := pki.NewCSR(k)
	if err != nil {
		t.Fatal(err)
	}
	chain, _, err := s.ca.IssueAgent(csr, pki.Agent{Model: model, Tag: names.Unit("a/0").Tag()}, 0)
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.dial(t, func(cfg *client.Config) {
		cfg.Certificate = func() (*tls.Certificate, error) { return pki.TLSCertificate(chain, k) }
	})
	if err != nil {
		t.Fatal(err)
	}
	if cn := <-s.peer; cn != "unit-a-0" {
		t.Errorf("the server saw %q", cn)
	}
	if _, err := c.Login(testContext(t), client.Credentials{Tag: names.Unit("a/0").Tag(), Password: client.NewSecret("pw")}); err != nil {
		t.Fatal(err)
	}
	w, err := c.Unit().WatchWant(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Next(testContext(t)); err != nil {
		t.Error(err)
	}
}

func TestTypedCalls(t *testing.T) {
	c := start(t).login(t)
	ctx := testContext(t)
	st, err := c.FullStatus(ctx, wireclient.StatusParams{})
	if err != nil {
		t.Fatal(err)
	}
	a := st.Applications["a"]
	if st.Model.Name != "dev" || a.Int == nil || *a.Int != 2 || a.Units["a/0"].WorkloadStatus.Status != "active" {
		t.Errorf("status %+v", st)
	}
	w, err := c.WatchAll(ctx)
	if err != nil {
		t.Fatal(err)
	}
	ds, err := w.Next(ctx)
	if err != nil || len(ds) != 1 || string(ds[0].Entity.(json.RawMessage)) != `{"name":"a/5"}` {
		t.Errorf("deltas %v, %v", ds, err)
	}
	if _, err := c.Keys(ctx, "admin", true); err == nil || !strings.Contains(err.Error(), "offers no version") {
		t.Errorf("error %v", err)
	}
}

func TestCharmUploadAndDownload(t *testing.T) {
	s := start(t)
	c := s.login(t)
	ctx := testContext(t)
	archive := bytes.Repeat([]byte("charm"), 1000)
	curl, err := c.UploadCharm(ctx, "mine", 0, bytes.NewReader(archive))
	if err != nil || curl != "local:mine-3" || !bytes.Equal(s.charm, archive) {
		t.Fatalf("uploaded %q, %v", curl, err)
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "charm"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sum := sha256.Sum256(archive)
	if err := c.DownloadCharm(ctx, curl, hex.EncodeToString(sum[:]), f); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(f.Name()); err != nil || !bytes.Equal(got, archive) {
		t.Errorf("downloaded %d bytes, %v", len(got), err)
	}
	sum[0] ^= 1
	if err := c.DownloadCharm(ctx, curl, hex.EncodeToString(sum[:]), f); err == nil || !strings.Contains(err.Error(), "SHA-256") {
		t.Errorf("a wrong digest gave %v", err)
	}
	if got, err := os.ReadFile(f.Name()); err != nil || len(got) != 0 {
		t.Errorf("%d bytes that were not verified stayed, %v", len(got), err)
	}
	err = c.DownloadCharm(ctx, "local:other-1", hex.EncodeToString(sum[:]), f)
	if client.Code(err) != client.CodeNotFound || !strings.Contains(err.Error(), "charm not found") {
		t.Errorf("error %v", err)
	}
	s.noPut = true
	if curl, err := c.UploadCharm(ctx, "mine", 0, bytes.NewReader(archive)); err != nil || curl != "local:mine-9" {
		t.Errorf("fallback gave %q, %v", curl, err)
	}
}

func TestLogs(t *testing.T) {
	s := start(t)
	c := s.login(t)
	ctx := testContext(t)
	l, err := c.DebugLog(ctx, client.LogFilter{Level: "DEBUG"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	line, err := l.Next(ctx)
	if err != nil || line.Message != "DEBUG" || line.Entity != "unit-a-0" {
		t.Errorf("line %+v, %v", line, err)
	}
	if _, err := l.Next(ctx); !errors.Is(err, io.EOF) {
		t.Errorf("error %v, want the end", err)
	}
	sink, err := c.OpenLogSink(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := sink.Write(ctx, agentapi.LogRecord{Level: "INFO", Message: "hello"}); err != nil {
		t.Fatal(err)
	}
	if got := <-s.records; !strings.Contains(got, `"x":"hello"`) {
		t.Errorf("record %s", got)
	}
	<-sink.Done()
	if err := sink.Write(ctx, agentapi.LogRecord{}); err == nil {
		t.Error("a stream that has ended takes records")
	}
	if err := sink.Close(); err != nil {
		t.Error(err)
	}
}

func TestLogRefused(t *testing.T) {
	s := start(t)
	c, err := s.dial(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.DebugLog(testContext(t), client.LogFilter{}); client.Code(err) != client.CodeUnauthorized {
		t.Errorf("error %v", err)
	}
}

func TestSecretDoesNotPrint(t *testing.T) {
	s := client.NewSecret("hunter2")
	if text := fmt.Sprintf("%v %+v %#v %s %q %x", s, s, s, s, s, s); strings.Contains(text, "hunter2") || strings.Contains(text, hex.EncodeToString([]byte("hunter2"))) {
		t.Error(text)
	}
	if _, err := json.Marshal(s); err == nil {
		t.Error("the secret marshals")
	}
}
