package apiserver

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/apiserver/http/route"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/password"
)

// routeTable puts together the sockets, the routes that were given, and a
// refusal for each route that clients may try and that is not offered.
func (s *Server) routeTable() (*route.Table, error) {
	inBand := route.Policy{Auth: route.InBand, Socket: true}
	api := func(w http.ResponseWriter, r *http.Request) { s.serveAPI(w, r, names.Model(r.PathValue("model"))) }
	routes := []route.Route{
		{Method: http.MethodGet, Path: "/api", Policy: inBand, Open: api},
		{Method: http.MethodGet, Path: "/", Policy: inBand, Open: api},
		{Method: http.MethodGet, Path: "/model/{model}/api", Policy: inBand, Open: api},
		{Method: http.MethodGet, Path: "/health", Policy: route.Policy{Auth: route.Open}, Open: s.health},
	}
	routes = append(routes, s.cfg.Routes...)
	for _, u := range unserved {
		method, path, _ := strings.Cut(u, " ")
		if !slices.ContainsFunc(routes, func(r route.Route) bool { return r.Method == method && r.Path == path }) {
			routes = append(routes, route.Route{Method: method, Path: path, Policy: route.Policy{Auth: route.Open}, Open: refuse})
		}
	}
	return route.NewTable(routes...)
}

// unserved are routes that clients know. Those that are not offered answer with
// an error that clients understand.
var unserved = []string{
	"GET /commands", "GET /model/{model}/commands", "GET /log", "GET /model/{model}/log", "GET /model/{model}/logstream",
	"GET /model/{model}/logsink", "GET /model/{model}/pubsub",
	"GET /charms", "POST /charms", "GET /model/{model}/charms", "POST /model/{model}/charms",
	"GET /model-{model}/charms/{object}", "PUT /model-{model}/charms/{object}",
	"POST /tools", "POST /model/{model}/tools", "GET /tools/{version}", "GET /model/{model}/tools/{version}",
	"GET /model/{model}/applications/{app}/resources/{name}", "PUT /model/{model}/applications/{app}/resources/{name}",
	"GET /model/{model}/units/{unit}/resources/{name}", "GET /model/{model}/backups",
	"GET /model/{model}/rest/1.0/{entity}/{name}/{attribute}", "POST /register",
	"POST /auth/discharge", "GET /auth/publickey", "POST /auth/form", "POST /offeraccess/discharge", "GET /offeraccess/publickey",
}

func refuse(w http.ResponseWriter, _ *http.Request) {
	route.Fail(w, &route.Error{Text: "this controller does not offer that", Wire: "not supported"})
}

// health tells whether the server is up, and nothing else.
func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	state := s.state
	s.mu.Unlock()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if state != "running" {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_, _ = io.WriteString(w, state+"\n") // a client that left is no concern of ours
}

// ServeHTTP finds the route, holds it to its policy, and serves it.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Strict-Transport-Security", "max-age=31536000")
	rt, model, err := s.routes.Find(r)
	s.deadline(w, rt)
	if err != nil {
		failFind(w, err)
		return
	}
	if r.URL.Path == "/health" {
		rt.Open(w, r)
		return
	}
	done, ok := s.track()
	if !ok {
		http.Error(w, "stopping", http.StatusServiceUnavailable)
		return
	}
	defer done()
	defer s.contain(rt)
	if !s.sameOrigin(r) {
		http.Error(w, "authorization failed: requests from that origin are not allowed", http.StatusForbidden)
		return
	}
	if r.ContentLength > rt.Policy.MaxBody {
		w.Header().Set("Connection", "close")
		failWith(rt)(w, &route.Error{Text: "request is too large", Wire: "quota limit exceeded"})
		return
	}
	if rt.Policy.Auth != route.Basic {
		r.Body = http.MaxBytesReader(w, r.Body, rt.Policy.MaxBody)
		rt.Open(w, r)
		return
	}
	s.serveBasic(w, r, rt, model)
}

// deadline bounds the whole of a request that is no socket, also one that sends
// its body, or takes its answer, a byte at a time. Sockets bound each frame.
func (s *Server) deadline(w http.ResponseWriter, rt route.Route) {
	var at time.Time
	switch {
	case rt.Policy.Socket:
	case rt.Policy.Auth == route.Basic:
		at = time.Now().Add(s.cfg.Limits.BodyTimeout) //nolint:forbidigo // deadlines of sockets are the kernel's time
	default:
		at = time.Now().Add(s.cfg.Limits.HeaderTimeout) //nolint:forbidigo // deadlines of sockets are the kernel's time
	}
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(at) // a writer without deadlines has no network below it
	_ = rc.SetWriteDeadline(at)
}

func failFind(w http.ResponseWriter, err error) {
	var bad *route.BadModelError
	switch {
	case errors.As(err, &bad):
		route.Fail(w, &route.Error{Text: bad.Error(), Wire: "bad request"})
	case errors.Is(err, route.ErrMethod):
		route.Fail(w, &route.Error{Text: "method not allowed", Wire: "method not allowed"})
	default:
		route.Fail(w, &route.Error{Text: "no such page", Wire: "not found"})
	}
}

func failWith(rt route.Route) func(http.ResponseWriter, error) {
	if rt.Fail != nil {
		return rt.Fail
	}
	return route.Fail
}

func (s *Server) contain(rt route.Route) {
	p := recover()
	if p == http.ErrAbortHandler { //nolint:errorlint // it is compared as net/http does
		panic(p) // how net/http is told to cut a connection in mid-answer
	}
	if p != nil {
		s.cfg.Log.Error("panic in a route", "route", rt.Method+" "+rt.Path, "type", typeName(p))
	}
}

// serveBasic authenticates by HTTP header, opens a session for the one request
// and calls the route as if it were a method: the same rule, the same record.
func (s *Server) serveBasic(w http.ResponseWriter, r *http.Request, rt route.Route, model names.Model) {
	if model == "" {
		model = s.cfg.ControllerModel
	}
	if rt.Policy.Late && isUpgrade(r) {
		s.serveLate(w, r, rt, model)
		return
	}
	id, err := s.header(r, model)
	if err != nil {
		s.refuseBasic(w, rt, err)
		return
	}
	ctx, cancel := s.while(r.Context(), &id)
	defer cancel()
	r.Body = http.MaxBytesReader(w, r.Body, rt.Policy.MaxBody)
	tracked := &answer{ResponseWriter: w}
	err = s.call(ctx, r, rt, &id, func(c facade.Call) error {
		if rt.Policy.Socket {
			return s.stream(c, tracked, r, rt)
		}
		return rt.Serve(c, tracked, r.WithContext(c))
	})
	if err != nil && tracked.begun && !rt.Policy.Socket {
		panic(http.ErrAbortHandler) // the client must not take a part for the whole
	}
	if err != nil && !tracked.begun {
		w.Header().Set("Connection", "close") // the body may not have been read
		if isDenied(err) {
			http.Error(w, "authorization failed: "+err.Error(), http.StatusForbidden)
			return
		}
		failWith(rt)(w, err)
	}
}

// call runs f as a method of the route's rule: access, panics and the audit
// record are those of every method.
func (s *Server) call(ctx context.Context, r *http.Request, rt route.Route, id *Identity, f func(facade.Call) error) error {
	session := s.newSession(&id.Caller, newID(), r.RemoteAddr)
	defer session.Close()
	e, err := facade.Bind(facade.Facade[struct{}]{Name: "http", Version: 1, Methods: []facade.Method[struct{}]{
		facade.Raw(rt.Method+" "+rt.Path, rt.Policy.Rule, func(_ struct{}, c facade.Call, _ json.RawMessage) (any, error) {
			return nil, f(c)
		}),
	}}, struct{}{})
	if err != nil {
		return err
	}
	_, err = e[0].Serve(ctx, session, "", nil)
	return err
}

// stream upgrades and hands the socket to the route.
func (s *Server) stream(c facade.Call, w *answer, r *http.Request, rt route.Route) error {
	w.begun = true
	ws, err := s.upgrade(w, r)
	if err != nil {
		return err
	}
	defer func() { _ = ws.CloseNow() }()
	ws.SetReadLimit(s.cfg.Limits.FrameBefore)
	return rt.Stream(c, socket{ws}, r)
}

// serveLate accepts the socket first and says in its first frame whether the
// caller may stay, as clients of streams want it.
func (s *Server) serveLate(w http.ResponseWriter, r *http.Request, rt route.Route, model names.Model) {
	ws, err := s.upgrade(w, r)
	if err != nil {
		return // answered
	}
	defer func() { _ = ws.CloseNow() }()
	ws.SetReadLimit(s.cfg.Limits.FrameBefore)
	first := func(v any) error {
		raw, err := json.Marshal(v)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(r.Context(), s.cfg.Limits.HeaderTimeout)
		defer cancel()
		return ws.Write(ctx, websocket.MessageText, append(raw, '\n'))
	}
	id, err := s.header(r, model)
	begun := false
	if err == nil {
		ctx, cancel := s.while(r.Context(), &id)
		defer cancel()
		err = s.call(ctx, r, rt, &id, func(c facade.Call) error {
			begun = true
			if err := first(struct{}{}); err != nil {
				return err
			}
			return rt.Stream(c, socket{ws}, r)
		})
	}
	if err != nil && !begun {
		_ = first(map[string]any{"error": facade.ToWire(err)})
	}
	_ = ws.Close(websocket.StatusNormalClosure, "")
}

// while bounds a context by the identity's life.
func (s *Server) while(ctx context.Context, id *Identity) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	if id.Gone != nil {
		gone := id.Gone
		s.sessions.Go(func() {
			select {
			case <-gone:
				cancel()
			case <-ctx.Done():
			}
		})
	}
	return ctx, cancel
}

// header authenticates by the Authorization header.
func (s *Server) header(r *http.Request, model names.Model) (Identity, error) {
	user, pw, ok := r.BasicAuth()
	if !ok || user == "" {
		return Identity{}, ErrNoCredentials
	}
	tag, err := names.ParseTag(user)
	if err != nil {
		return Identity{}, ErrCredentials
	}
	id, err := s.authenticate(r.Context(), credentials{
		tag: tag, pw: password.NewSecret(pw), nonce: r.Header.Get("X-Juju-Nonce"), model: model, peer: r, basics: true,
	})
	if err != nil {
		if nerr := s.noteLogin(r.Context(), loginNote{tag: tag.String(), source: r.RemoteAddr, model: model, err: err}); nerr != nil {
			s.cfg.Log.Error("cannot record a failed login", "why", nerr.Error())
		}
		return Identity{}, err
	}
	if err := s.cfg.Auth.CheckModel(r.Context(), model); err != nil {
		return Identity{}, err
	}
	return id, nil
}

func (s *Server) refuseBasic(w http.ResponseWriter, rt route.Route, err error) {
	w.Header().Set("Connection", "close")
	switch {
	case errors.Is(err, ErrCredentials), errors.Is(err, ErrNoCredentials):
		w.Header().Set("WWW-Authenticate", `Basic realm="juju"`)
		http.Error(w, "authentication failed: "+err.Error(), http.StatusUnauthorized)
	case isDenied(err):
		http.Error(w, "authorization failed: "+err.Error(), http.StatusForbidden)
	default:
		failWith(rt)(w, err)
	}
}

// answer remembers whether anything was written.
type answer struct {
	http.ResponseWriter
	begun bool
}

func (a *answer) WriteHeader(status int) {
	a.begun = true
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(p []byte) (int, error) {
	a.begun = true
	return a.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController and the WebSocket upgrade through.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func isUpgrade(r *http.Request) bool {
	return strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
}

// sameOrigin is the policy for browsers: they always send an Origin with an
// upgrade and with whatever changes something. Ours is our own host; others must be listed
// letter by letter.
func (s *Server) sameOrigin(r *http.Request) bool {
	origins := r.Header.Values("Origin")
	switch {
	case len(origins) == 0:
		return true
	case len(origins) > 1:
		return false
	case slices.Contains(s.cfg.Origins, origins[0]):
		return true
	}
	u, err := url.Parse(origins[0])
	if err != nil || u.Scheme != "https" || u.User != nil || u.Host == "" || origins[0] != "https://"+u.Host {
		return false
	}
	return u.Host == r.Host
}

// upgrade makes a WebSocket of the request. The origin has been checked.
func (s *Server) upgrade(w http.ResponseWriter, r *http.Request) (*websocket.Conn, error) {
	if !isUpgrade(r) {
		err := &route.Error{Text: "this is a WebSocket: send an upgrade", Wire: "bad request"}
		route.Fail(w, err)
		return nil, err
	}
	return websocket.Accept(w, r, &websocket.AcceptOptions{
		OriginPatterns: []string{"*"}, CompressionMode: websocket.CompressionDisabled,
	})
}
