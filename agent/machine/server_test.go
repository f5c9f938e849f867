package machine

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/pki"
	"github.com/scarab-ops/scarab/rpc"
	"github.com/scarab-ops/scarab/tlspolicy"
	"github.com/scarab-ops/scarab/wire/agentapi"
)

const (
	ctl   = names.ControllerID("6e3b6a57-26c4-4f3b-8f02-0a6c0f4d9b11")
	model = names.Model("4c0b6a57-26c4-4f3b-8f02-0a6c0f4d9b12")
)

// server is a controller that knows just enough of one machine and its units.
// Its TLS, certificates and framing are the real ones.
type server struct {
	t    *testing.T
	ca   *pki.Authority
	addr string
	life time.Duration // of certificates

	mu        sync.Mutex
	change    chan struct{}
	tokens    map[string]string // tag -> one-time token
	passwords map[string]string
	machine   agentapi.MachineWant
	unit      agentapi.Want
	charm     []byte
	calls     []string
	hooks     []string
	observed  agentapi.MachineObserved
	records   []agentapi.LogRecord
	finished  []agentapi.FinishTaskArgs
	follower  bool  // claims are refused
	lose      bool  // the answer of the next enrolment
	broken    error // what every call but login answers
}

func startServer(t *testing.T, script string) *server {
	t.Helper()
	ca, err := pki.New(pki.Config{Controller: ctl, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	s := &server{
		t: t, ca: ca, life: time.Hour, change: make(chan struct{}), tokens: map[string]string{"machine-0": "machine-token"},
		passwords: map[string]string{}, machine: agentapi.MachineWant{Life: "alive"},
	}
	s.charm = archive(t, script)
	sum := sha256.Sum256(s.charm)
	s.unit = agentapi.Want{
		Life: "alive", Unit: "app/0", Application: "app", ModelUUID: string(model), MachineID: "0", RetryHooks: true,
		CharmURL: "local:app-0", CharmSHA256: hex.EncodeToString(sum[:]),
	}
	s.listen()
	return s
}

func archive(t *testing.T, script string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, text := range map[string]string{
		"metadata.yaml": "name: app\nsummary: s\ndescription: d\n", "dispatch": "#!/bin/bash\n" + script,
		"manifest.yaml": "bases:\n- name: ubuntu\n  channel: 22.04/stable\n  architectures: [amd64]\n",
	} {
		h := &zip.FileHeader{Name: name, Method: zip.Deflate}
		h.SetMode(0o755)
		w, err := z.CreateHeader(h)
		if err == nil {
			_, err = w.Write([]byte(text))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func (s *server) listen() {
	issued, err := s.ca.IssueServer(pki.ServerRequest{})
	if err != nil {
		s.t.Fatal(err)
	}
	cert, err := issued.TLS()
	if err != nil {
		s.t.Fatal(err)
	}
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	s.addr = inner.Addr().String()
	l, err := tlspolicy.NewListener(tlspolicy.ListenConfig{Inner: inner, TLS: tlspolicy.ClientPort(func() (*tls.Certificate, error) { return cert, nil }, s.ca.Pool())})
	if err != nil {
		s.t.Fatal(err)
	}
	m := http.NewServeMux()
	m.HandleFunc("/model/{uuid}/api", s.api)
	m.HandleFunc("/model/{uuid}/logsink", s.logsink)
	m.HandleFunc("GET /model/{uuid}/charms", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(s.charm) })
	hs := &http.Server{Handler: m, ReadHeaderTimeout: 10 * time.Second}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	go func() { _ = hs.Serve(l) }()
	s.t.Cleanup(func() {
		_ = hs.Close()
		cancel()
		<-ended
	})
}

func (s *server) logsink(w http.ResponseWriter, r *http.Request) {
	ws, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer func() { _ = ws.CloseNow() }()
	for {
		_, b, err := ws.Read(r.Context())
		if err != nil {
			return
		}
		var rec agentapi.LogRecord
		if json.Unmarshal(b, &rec) == nil {
			s.edit(func() { s.records = append(s.records, rec) })
		}
	}
}

func (s *server) api(w http.ResponseWriter, r *http.Request) {
	id := pki.Identity{}
	if len(r.TLS.PeerCertificates) > 0 {
		var err error
		if id, err = s.ca.VerifyAgent(r.TLS.PeerCertificates, time.Now(), 30*24*time.Hour); err != nil {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
	}
	ws, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	tag := ""
	_ = rpc.Serve(r.Context(), ws, rpc.ServerConfig{Handle: func(ctx context.Context, q rpc.Request) (any, error) {
		if q.Method == "Login" {
			res, as, err := s.login(q, id)
			tag = as
			return res, err
		}
		return s.handle(ctx, tag, id, q)
	}})
}

func (s *server) edit(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	close(s.change)
	s.change = make(chan struct{})
}

// until waits for a condition.
func (s *server) until(what string, cond func() bool) {
	s.t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		s.mu.Lock()
		ok, change := cond(), s.change
		s.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-change:
		case <-time.After(20 * time.Millisecond): // quiet calls wake nobody
		case <-deadline:
			s.mu.Lock()
			defer s.mu.Unlock()
			s.t.Fatalf("never: %s; calls %v hooks %v records %v", what, s.calls, s.hooks, s.records)
		}
	}
}

var errUnauthorized = &rpc.Error{Message: "invalid entity name or password", Code: "unauthorized access"}

func (s *server) login(q rpc.Request, id pki.Identity) (any, string, error) {
	var a struct {
		Tag      string `json:"auth-tag"`
		Password string `json:"credentials"`
	}
	if err := json.Unmarshal(q.Params, &a); err != nil {
		return nil, "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, "login "+a.Tag)
	byToken := s.tokens[a.Tag] != "" && a.Password == s.tokens[a.Tag] && id.Tag.Kind == ""
	byBoth := s.passwords[a.Tag] != "" && a.Password == s.passwords[a.Tag] && id.Tag.String() == a.Tag
	// A password without a certificate is good for a renewal alone.
	byPassword := s.passwords[a.Tag] != "" && a.Password == s.passwords[a.Tag] && id.Tag.Kind == ""
	if !byToken && !byBoth && !byPassword {
		return nil, "", errUnauthorized
	}
	return json.RawMessage(`{"model-tag":"model-` + string(model) + `","controller-tag":"controller-` + string(ctl) + `","server-version":"3.6.12","servers":[],
		"facades":[{"name":"Enrolment","versions":[1]},{"name":"MachineAgent","versions":[1]},{"name":"UnitAgent","versions":[1]},{"name":"NotifyWatcher","versions":[1]},{"name":"Pinger","versions":[1]}]}`), a.Tag, nil
}

func decode[A any](q rpc.Request) A {
	var a A
	_ = json.Unmarshal(q.Params, &a)
	return a
}

func (s *server) handle(ctx context.Context, tag string, id pki.Identity, q rpc.Request) (any, error) {
	if q.Facade == "NotifyWatcher" && q.Method == "Next" {
		s.mu.Lock()
		c := s.change
		s.mu.Unlock()
		select {
		case <-c:
			return struct{}{}, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	var res any = struct{}{}
	var err error
	s.mu.Lock()
	quiet := q.Method == "Want" || q.Method == "WatchWant" || q.Method == "Ping"
	s.mu.Unlock()
	change := func() { res, err = s.answer(tag, id, q) }
	if quiet {
		s.mu.Lock()
		defer s.mu.Unlock()
		change()
	} else {
		s.edit(change)
	}
	return res, err
}

func (s *server) answer(tag string, id pki.Identity, q rpc.Request) (any, error) {
	if id.Expired && q.Method != "Renew" {
		return nil, errUnauthorized
	}
	if s.broken != nil && q.Facade != "Enrolment" {
		return nil, s.broken
	}
	s.calls = append(s.calls, q.Facade+"."+q.Method+" "+tag)
	switch q.Facade + "." + q.Method {
	case "Enrolment.Enrol", "Enrolment.Renew":
		return s.certify(tag, q)
	case "MachineAgent.Want":
		return s.machine, nil
	case "MachineAgent.WatchWant", "UnitAgent.WatchWant":
		return agentapi.WatchResult{NotifyWatcherID: "1"}, nil
	case "MachineAgent.SetObserved":
		s.observed = decode[agentapi.MachineObserved](q)
	case "MachineAgent.UnitToken":
		u := names.Unit(decode[agentapi.UnitTokenArgs](q).Unit)
		s.tokens[u.Tag().String()] = "unit-token"
		return agentapi.UnitTokenResult{Token: "unit-token"}, nil
	case "MachineAgent.FinishTask":
		f := decode[agentapi.FinishTaskArgs](q)
		s.finished = append(s.finished, f)
		s.machine.Tasks = slices.DeleteFunc(s.machine.Tasks, func(t agentapi.Task) bool { return t.ID == f.ID })
	case "UnitAgent.Want":
		if tag != "unit-app-0" {
			return nil, errUnauthorized
		}
		return s.unit, nil
	case "UnitAgent.Context":
		return agentapi.HookContext{}, nil
	case "UnitAgent.Commit":
		if h := decode[agentapi.CommitArgs](q).Hook; h != "" {
			s.hooks = append(s.hooks, h)
		}
	case "UnitAgent.ClaimLeadership":
		if s.follower {
			return nil, &rpc.Error{Message: "this unit is not the leader", Code: "lease claim denied"}
		}
		return agentapi.ClaimResult{Leader: true}, nil
	case "UnitAgent.Dead":
		s.unit.Life = "dead"
	}
	return struct{}{}, nil
}

func (s *server) certify(tag string, q rpc.Request) (any, error) {
	a := decode[agentapi.EnrolArgs](q)
	if s.lose && q.Method == "Enrol" { // done, and never answered
		s.lose = false
		delete(s.tokens, tag)
		s.passwords[tag] = a.Password
		return nil, &rpc.Error{Message: "connection lost", Code: "try again"}
	}
	if q.Method == "Enrol" {
		if len(a.Password) < 24 || s.tokens[tag] == "" {
			return nil, errUnauthorized
		}
		delete(s.tokens, tag)
		s.passwords[tag] = a.Password
	}
	if strings.Contains(a.CSR, "PRIVATE") {
		return nil, errors.New("a private key travelled")
	}
	t, err := names.ParseTag(tag)
	if err != nil {
		return nil, err
	}
	chain, notAfter, err := s.ca.IssueAgent([]byte(a.CSR), pki.Agent{Model: model, Tag: t}, s.life)
	if err != nil {
		return nil, fmt.Errorf("issue: %w", err)
	}
	return agentapi.EnrolResult{Certificate: string(chain), NotAfter: notAfter}, nil
}
