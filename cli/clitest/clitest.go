// Package clitest is a controller for tests of the client: real TLS, real certificates, real framing, and canned answers.
// It records every call. It owns no state and is linked into no program.
package clitest

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/pki"
	"github.com/scarab-ops/scarab/rpc"
	"github.com/scarab-ops/scarab/tlspolicy"
)

// What the fake controller is called.
const (
	ControllerUUID = "6e3b6a57-26c4-4f3b-8f02-0a6c0f4d9b11"
	ModelUUID      = "4c0b6a57-26c4-4f3b-8f02-0a6c0f4d9b12"
	AdminModelUUID = "0c5f6a57-26c4-4f3b-8f02-0a6c0f4d9b13"
	Password       = "correct-horse"
)

// Server is the fake controller.
type Server struct {
	Address string
	CA      string

	stop func() error

	mu      sync.Mutex
	answers map[string][]json.RawMessage // by Facade.Method; the last one stays
	calls   []string
	charm   []byte
	sent    map[string]int // deltas handed out, by watcher
	next    int
}

// Start begins to serve on a free local port.
func Start(answers map[string]json.RawMessage) (*Server, error) {
	ca, err := pki.New(pki.Config{Controller: ControllerUUID, Now: time.Now})
	if err != nil {
		return nil, err
	}
	issued, err := ca.IssueServer(pki.ServerRequest{})
	if err != nil {
		return nil, err
	}
	cert, err := issued.TLS()
	if err != nil {
		return nil, err
	}
	//nolint:noctx // it binds, or fails at once
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &Server{Address: inner.Addr().String(), CA: string(ca.CertPEM()), answers: map[string][]json.RawMessage{}, sent: map[string]int{}}
	for k, v := range defaults() {
		s.answers[k] = []json.RawMessage{json.RawMessage(v)}
	}
	s.Answer(answers)
	l, err := tlspolicy.NewListener(tlspolicy.ListenConfig{Inner: inner, TLS: tlspolicy.ClientPort(func() (*tls.Certificate, error) { return cert, nil }, ca.Pool())})
	if err != nil {
		return nil, err
	}
	hs := &http.Server{Handler: s.mux(), ReadHeaderTimeout: 10 * time.Second}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- l.Run(ctx) }()
	go func() { _ = hs.Serve(l); ended <- nil }()
	s.stop = func() error {
		_ = hs.Close()
		cancel()
		err := <-ended
		if second := <-ended; err == nil {
			err = second
		}
		return err
	}
	return s, nil
}

// Close ends it.
func (s *Server) Close() error { return s.stop() }

// Answer sets answers by Facade.Method. A JSON object with the one key "sequence" is a list of answers given in turn.
func (s *Server) Answer(answers map[string]json.RawMessage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, v := range answers {
		var seq struct {
			Sequence []json.RawMessage `json:"sequence"`
		}
		if json.Unmarshal(v, &seq) == nil && len(seq.Sequence) > 0 {
			s.answers[k] = seq.Sequence
		} else {
			s.answers[k] = []json.RawMessage{v}
		}
	}
}

// Calls returns what was called so far, one line for each call, logins aside.
func (s *Server) Calls() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

func (s *Server) mux() http.Handler {
	m := http.NewServeMux()
	api := func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		model := r.PathValue("uuid")
		_ = rpc.Serve(r.Context(), ws, rpc.ServerConfig{Handle: func(ctx context.Context, q rpc.Request) (any, error) { return s.handle(ctx, model, q) }})
	}
	m.HandleFunc("/api", api)
	m.HandleFunc("/model/{uuid}/api", api)
	m.HandleFunc("/model/{uuid}/log", s.log)
	m.HandleFunc("PUT /model-"+ModelUUID+"/charms/{object}", s.takeCharm)
	m.HandleFunc("POST /model/{uuid}/charms", s.takeCharm)
	return m
}

func (s *Server) takeCharm(w http.ResponseWriter, r *http.Request) {
	data, err := io.ReadAll(io.LimitReader(r.Body, 64<<20))
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	name := r.URL.Query().Get("name")
	if o := r.PathValue("object"); o != "" {
		name = o[:strings.LastIndex(o, "-")]
	}
	s.mu.Lock()
	s.charm = data
	s.calls = append(s.calls, fmt.Sprintf("charm %s", name))
	s.mu.Unlock()
	//nolint:gosec // JSON to a program
	fmt.Fprintf(w, `{"charm-url":"local:%s-0"}`, name)
}

func (s *Server) log(w http.ResponseWriter, r *http.Request) {
	ws, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer ws.CloseNow()
	s.mu.Lock()
	s.calls = append(s.calls, "log "+r.URL.Query().Encode())
	lines := s.answers["log"]
	s.mu.Unlock()
	frames := []json.RawMessage{json.RawMessage("{}\n")}
	for _, f := range append(frames, lines...) {
		if ws.Write(r.Context(), websocket.MessageText, f) != nil {
			return
		}
	}
	_ = ws.Close(websocket.StatusNormalClosure, "")
}

func (s *Server) handle(ctx context.Context, model string, q rpc.Request) (any, error) {
	name := q.Facade + "." + q.Method
	switch name {
	case "Admin.Login":
		return login(model, q.Params)
	case "Pinger.Ping", "AllWatcher.Stop":
		return nil, nil
	case "Client.WatchAll":
		s.mu.Lock()
		s.next++
		id := fmt.Sprint(s.next)
		s.mu.Unlock()
		return map[string]string{"watcher-id": id}, nil
	case "AllWatcher.Next":
		return s.deltas(ctx, q.Object)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, name+" "+string(q.Params))
	list, ok := s.answers[name]
	if !ok {
		return nil, &rpc.Error{Message: fmt.Sprintf("no such request - method %s is not here", name), Code: "not implemented"}
	}
	if len(list) > 1 {
		s.answers[name] = list[1:]
	}
	return answer(list[0])
}

// answer takes {"fail":{"message","code"}} as an error.
func answer(raw json.RawMessage) (any, error) {
	var f struct {
		Fail *rpc.Error `json:"fail"`
	}
	if json.Unmarshal(raw, &f) == nil && f.Fail != nil {
		return nil, f.Fail
	}
	return raw, nil
}

func (s *Server) deltas(ctx context.Context, id string) (any, error) {
	s.mu.Lock()
	list := s.answers["AllWatcher.Next"]
	n := s.sent[id]
	s.sent[id]++
	s.mu.Unlock()
	if n < len(list) {
		return answer(list[n])
	}
	<-ctx.Done()
	return nil, ctx.Err()
}

func login(model string, params json.RawMessage) (any, error) {
	var a struct {
		Tag      string `json:"auth-tag"`
		Password string `json:"credentials"`
	}
	if err := json.Unmarshal(params, &a); err != nil {
		return nil, err
	}
	if a.Password != Password {
		return nil, &rpc.Error{Message: "invalid entity name or password", Code: "unauthorized access"}
	}
	if model != "" && model != ModelUUID && model != AdminModelUUID {
		return nil, &rpc.Error{Message: "unknown model", Code: "model not found"}
	}
	r := map[string]any{
		"controller-tag": names.ControllerID(ControllerUUID).Tag().String(), "server-version": "3.6.12", "facades": facades(),
		"user-info": map[string]any{"identity": a.Tag, "controller-access": "superuser", "model-access": "admin", "display-name": ""},
	}
	if model != "" {
		r["model-tag"] = names.Model(model).Tag().String()
	}
	return r, nil
}

func facades() []map[string]any {
	all := map[string][]int{
		"Action": {7}, "AllWatcher": {3}, "Annotations": {2}, "Application": {19, 20}, "Block": {2}, "Charms": {7}, "Client": {8}, "Cloud": {7},
		"Controller": {12}, "KeyManager": {1}, "MachineManager": {10}, "ModelConfig": {3}, "ModelManager": {10}, "Pinger": {1}, "SSHClient": {4}, "UserManager": {3},
		"Scarab": {1},
	}
	var out []map[string]any
	for _, n := range slices.Sorted(maps.Keys(all)) {
		out = append(out, map[string]any{"name": n, "versions": all[n]})
	}
	return out
}

// defaults answer what most commands ask.
func defaults() map[string]string {
	ok := `{"results":[{}]}`
	return map[string]string{
		"Block.List":                          `{"results":[]}`,
		"ModelConfig.ModelGet":                `{"config":{"name":{"value":"dev","source":"model"},"type":{"value":"lxd","source":"model"},"mode":{"value":"requires-prompts","source":"default"},"logging-config":{"value":"<root>=INFO","source":"default"}}}`,
		"ModelConfig.ModelSet":                `{}`,
		"ModelConfig.ModelUnset":              `{}`,
		"ModelConfig.GetModelConstraints":     `{"constraints":{"mem":2048}}`,
		"ModelConfig.SetModelConstraints":     `{}`,
		"Application.Deploy":                  ok,
		"Application.SetConfigs":              ok,
		"Application.UnsetApplicationsConfig": ok,
		"Application.ResolveUnitErrors":       ok,
		"Application.Expose":                  `{}`,
		"Application.Unexpose":                `{}`,
		"Application.SetConstraints":          `{}`,
		"Application.DestroyRelation":         `{}`,
		"KeyManager.AddKeys":                  ok,
		"KeyManager.DeleteKeys":               ok,
		"KeyManager.ListKeys":                 `{"results":[{"result":["ssh-ed25519 AAAA bob"]}]}`,
		"UserManager.SetPassword":             ok,
		"UserManager.DisableUser":             ok,
		"UserManager.EnableUser":              ok,
		"UserManager.RemoveUser":              ok,
		"ModelManager.ModifyModelAccess":      ok,
		"Controller.ModifyControllerAccess":   ok,
		"ModelManager.DestroyModels":          ok,
		"Controller.DestroyController":        `{}`,
		"Controller.ConfigSet":                `{}`,
		"Controller.ControllerConfig":         `{"config":{"api-port":17070,"auditing-enabled":true}}`,
		"Controller.ControllerVersion":        `{"version":"3.6.12","git-commit":""}`,
		"ModelManager.ListModels":             `{"user-models":[{"model":{"name":"dev","uuid":"` + ModelUUID + `","type":"iaas","owner-tag":"user-admin"},"last-connection":null},{"model":{"name":"controller","uuid":"` + AdminModelUUID + `","type":"iaas","owner-tag":"user-admin"},"last-connection":null}]}`,
		"Controller.AllModels":                `{"user-models":[{"model":{"name":"controller","uuid":"` + AdminModelUUID + `","type":"iaas","owner-tag":"user-admin"},"last-connection":null}]}`,
		"Controller.ModelStatus":              `{"models":[{"model-tag":"model-` + AdminModelUUID + `","life":"alive","type":"iaas","hosted-machine-count":1,"application-count":0,"unit-count":0,"owner-tag":"user-admin"}]}`,
		"Cloud.Clouds":                        `{"clouds":{"cloud-localhost":{"type":"lxd","auth-types":["empty"],"regions":[{"name":"localhost"}]}}}`,
	}
}
