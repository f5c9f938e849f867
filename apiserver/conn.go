package apiserver

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/authz"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/rpc"
	"github.com/scarab-ops/scarab/wire/admin"
)

// connection is one API socket, from upgrade to its end.
type connection struct {
	s      *Server
	ws     *websocket.Conn
	peer   *http.Request
	model  names.Model
	id     string
	end    context.CancelFunc
	timer  *time.Timer // ends the connection unless it is stopped or reset
	failed error       // of the model; answers every call

	mu      sync.Mutex
	logging bool            // a login is being checked
	session *facade.Session // once logged in
	gone    func()          // once logged in, if anybody is told
}

// serveAPI is the handler of the API sockets.
func (s *Server) serveAPI(w http.ResponseWriter, r *http.Request, model names.Model) {
	ws, err := s.upgrade(w, r)
	if err != nil {
		return // answered
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	c := &connection{s: s, ws: ws, peer: r, model: model, id: newID(), end: cancel}
	c.timer = time.AfterFunc(s.cfg.Limits.LoginTimeout, cancel)
	defer c.timer.Stop()
	if model != "" {
		c.failed = s.cfg.Auth.CheckModel(ctx, model)
	}
	err = rpc.Serve(ctx, ws, rpc.ServerConfig{
		Handle: c.handle, MaxMessage: s.cfg.Limits.FrameBefore, MaxInFlight: s.cfg.Limits.InFlight, Budget: s.budget,
		MaxReply: 64 << 20,
		Panicked: func(q rpc.Request, v any, stack []byte) {
			s.cfg.Log.Error("panic in a request", "facade", q.Facade, "method", q.Method, "type", typeName(v), "stack", string(stack))
		},
	})
	if err != nil {
		s.cfg.Log.Debug("connection ended", "connection", c.id, "source", r.RemoteAddr, "why", err.Error())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session != nil {
		c.session.Close()
	}
	if c.gone != nil {
		c.gone()
	}
}

// handle answers one call.
func (c *connection) handle(ctx context.Context, q rpc.Request) (any, error) {
	res, err := c.dispatch(ctx, q)
	if err == nil {
		return res, nil
	}
	we := facade.ToWire(err)
	return nil, &rpc.Error{Message: we.Message, Code: we.Code, Info: we.Info}
}

func (c *connection) dispatch(ctx context.Context, q rpc.Request) (any, error) {
	c.mu.Lock()
	session := c.session
	c.mu.Unlock()
	if session == nil {
		return c.before(ctx, q)
	}
	return c.after(ctx, session, q)
}

// dispatchError is a call that leads nowhere.
func dispatchError(code, format string, a ...any) error {
	return &loginError{fmt.Sprintf(format, a...), code}
}

func unknownFacade(q rpc.Request) error {
	if q.Version == 0 {
		return dispatchError("not implemented", "unknown object type %q", q.Facade)
	}
	return dispatchError("not implemented", "unknown version (%d) of interface %q", q.Version, q.Facade)
}

func unknownMethod(q rpc.Request) error {
	return dispatchError("not implemented", "no such request - method %s(%d).%s is not implemented", q.Facade, q.Version, q.Method)
}

// before serves those who have not logged in: facade Admin, and nothing else.
func (c *connection) before(ctx context.Context, q rpc.Request) (any, error) {
	switch {
	case q.Facade != "Admin":
		return nil, unknownFacade(q)
	case q.Version != 3:
		return nil, dispatchError("not supported", "version %d of facade \"Admin\" is not supported: use 3", q.Version)
	case c.failed != nil && q.Method != "RedirectInfo":
		return nil, c.failed
	}
	switch q.Method {
	case "Login":
		return c.login(ctx, q.Params)
	case "RedirectInfo":
		if to := (*RedirectError)(nil); errors.As(c.failed, &to) {
			return admin.RedirectInfoResult{CACert: to.CACert, Servers: to.Servers}, nil
		}
		return nil, dispatchError("", "not redirected")
	}
	return nil, unknownMethod(q)
}

func (c *connection) login(ctx context.Context, raw json.RawMessage) (any, error) {
	if !c.begin() {
		return nil, dispatchError("", "already logged in")
	}
	id, tag, err := c.identify(ctx, raw)
	note := loginNote{tag: tag, source: c.peer.RemoteAddr, connection: c.id, model: c.model, err: err}
	if err == nil {
		note.caller = &id.Caller
	}
	if nerr := c.s.noteLogin(ctx, note); err == nil {
		err = nerr // a login that cannot be recorded is none
	}
	if err != nil {
		c.mu.Lock()
		c.logging = false
		c.mu.Unlock()
		return nil, err
	}
	res := c.s.loginResult(&id)
	c.enter(ctx, &id)
	return res, nil
}

// begin lets one login be checked at a time, and one succeed.
func (c *connection) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.logging || c.session != nil {
		return false
	}
	c.logging = true
	return true
}

func (c *connection) identify(ctx context.Context, raw json.RawMessage) (id Identity, who string, err error) {
	var args loginArgs
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &args); err != nil {
			return Identity{}, "", dispatchError("bad request", "cannot decode login request")
		}
	}
	tag, pw, err := args.credentials()
	if err != nil {
		return Identity{}, "", err
	}
	id, err = c.s.authenticate(ctx, credentials{tag: tag, pw: pw, nonce: args.Nonce, model: c.model, peer: c.peer})
	if err != nil {
		return Identity{}, tag.String(), err
	}
	return id, tag.String(), c.s.admit(&id.Caller)
}

// enter opens the session: limits of the kind of caller, the end of the
// identity, and silence of agents count from here.
func (c *connection) enter(ctx context.Context, id *Identity) {
	caller := id.Caller
	l := c.s.cfg.Limits
	if caller.Kind == authz.User {
		c.timer.Stop()
		c.ws.SetReadLimit(l.Frame)
	} else {
		c.timer.Reset(l.AgentSilence)
		c.ws.SetReadLimit(l.AgentFrame)
	}
	if id.Gone != nil {
		gone := id.Gone
		c.s.sessions.Go(func() {
			select {
			case <-gone:
				c.end()
			case <-ctx.Done(): // the connection's
			}
		})
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.logging = false
	c.session = c.s.newSession(&caller, c.id, c.peer.RemoteAddr)
	if c.s.cfg.Connected != nil {
		c.gone = c.s.cfg.Connected(&caller)
	}
}

// after serves those who have logged in.
func (c *connection) after(ctx context.Context, session *facade.Session, q rpc.Request) (any, error) {
	if !c.s.table.Has(q.Facade, q.Version) {
		return nil, unknownFacade(q)
	}
	if !onConnection(q.Facade, session.Caller) {
		kind := "controller"
		if session.Caller.Model != "" {
			kind = "model"
		}
		return nil, dispatchError("not supported", "facade %q not supported for %s API connection", q.Facade, kind)
	}
	e, ok := c.s.table.Lookup(q.Facade, q.Version, q.Method)
	if !ok {
		return nil, unknownMethod(q)
	}
	if q.Facade == "Pinger" && session.Caller.Kind != authz.User {
		c.timer.Reset(c.s.cfg.Limits.AgentSilence)
	}
	return e.Serve(ctx, session, q.Object, q.Params)
}

func newID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func typeName(v any) string { return fmt.Sprintf("%T", v) }
