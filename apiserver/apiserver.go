// Package apiserver owns the API port: listeners, TLS, HTTP routes, WebSocket
// upgrades, login, dispatch to facades, and the end of connections whose
// identity is gone.
//
// It refuses routes and methods without a declared policy, calls before login
// other than the login itself, browsers from origins nobody allowed, agents
// without both certificate and password, frames, bodies, connections and
// logins past their limits. It decides nothing about rights itself: rules are
// data beside the handlers, and authz answers them from the state.
package apiserver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/apiserver/http/route"
	"github.com/scarab-ops/scarab/authz"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/pki"
	"github.com/scarab-ops/scarab/rpc"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/tlspolicy"
	"github.com/scarab-ops/scarab/wire/admin"
)

// An Authority says whose an agent's certificate is; *pki.Authority is one.
type Authority interface {
	VerifyAgent(chain []*x509.Certificate, now time.Time, allowExpiredFor time.Duration) (pki.Identity, error)
}

// Config says what is served, to whom, and within which limits.
type Config struct {
	// Listeners are plain; TLS is put around them.
	Listeners []net.Listener
	TLS       *tls.Config // tlspolicy.ClientPort
	Now       func() time.Time
	Log       *slog.Logger

	Store  facade.Store
	Grants func(state.Reader) authz.Grants
	// Mode tells of upgrades and migrations; nil means always normal.
	Mode func(*state.View, *authz.Caller) authz.When

	Auth      Authenticator
	Authority Authority
	// Connected is told of each login, and calls what it returns when the
	// connection has ended; nil is not told.
	Connected func(*authz.Caller) (gone func())
	// Endpoints are the facades, bound; Pinger and watchers are added.
	Endpoints [][]facade.Endpoint
	// Routes are the HTTP routes beside those of the sockets. One of them
	// replaces the refusal that the server has for a route it does not offer.
	Routes []route.Route

	Controller      names.ControllerID
	ControllerModel names.Model
	ServerVersion   string // as clients read it
	// Servers lists the addresses that clients should keep.
	Servers       func() [][]admin.HostPort
	PublicDNSName string
	// Origins are the origins of browsers that may connect beside our own
	// host, each exactly as browsers send it: "https://dash.example.com".
	Origins []string
	Limits  Limits
}

// Server serves the API.
type Server struct {
	cfg    Config
	table  *facade.Table
	routes *route.Table
	limits *limiter
	budget *rpc.Budget
	// unrecorded counts the failed logins that have no record of their own.
	unrecorded atomic.Int64

	mu       sync.Mutex
	state    string // starting, running, stopping
	sessions sync.WaitGroup
}

// New checks the configuration: everything that has no policy is found here.
func New(cfg Config) (*Server, error) {
	cfg.Limits.defaults()
	switch {
	case cfg.Now == nil || cfg.Log == nil || cfg.Store == nil || cfg.Grants == nil:
		return nil, errors.New("cannot make API server: clock, log, store and grants are needed")
	case cfg.Auth == nil || cfg.Authority == nil || cfg.Servers == nil || cfg.TLS == nil:
		return nil, errors.New("cannot make API server: authenticator, authority, addresses and TLS are needed")
	case !names.ValidUUID(string(cfg.Controller)) || !names.ValidUUID(string(cfg.ControllerModel)):
		return nil, errors.New("cannot make API server: the UUIDs of controller and controller model are needed")
	}
	s := &Server{cfg: cfg, limits: newLimiter(cfg.Limits, cfg.Now), budget: rpc.NewBudget(cfg.Limits.FrameMemory), state: "starting"}
	own, err := ownEndpoints()
	if err != nil {
		return nil, fmt.Errorf("cannot make API server: %w", err)
	}
	if s.table, err = facade.NewTable(append(cfg.Endpoints, own)...); err != nil {
		return nil, fmt.Errorf("cannot make API server: %w", err)
	}
	if s.routes, err = s.routeTable(); err != nil {
		return nil, fmt.Errorf("cannot make API server: %w", err)
	}
	return s, nil
}

// ownEndpoints are the facades that belong to connections themselves.
func ownEndpoints() ([]facade.Endpoint, error) {
	watchers, err := facade.WatcherEndpoints()
	if err != nil {
		return nil, err
	}
	always := authz.Self(authz.Everyone | authz.Enrolling).Reads().During(authz.Upgrading | authz.Migrating)
	pinger, err := facade.Bind(facade.Facade[struct{}]{Name: "Pinger", Version: 1, Methods: []facade.Method[struct{}]{
		facade.None("Ping", always, func(struct{}, facade.Call) (struct{}, error) { return struct{}{}, nil }),
	}}, struct{}{})
	return append(watchers, pinger...), err
}

// Table returns every endpoint served, for the access table.
func (s *Server) Table() *facade.Table { return s.table }

// Routes returns every route served, for the route table.
func (s *Server) Routes() []route.Route { return s.routes.Routes() }

// Run serves until ctx ends, and returns when the last connection has ended.
func (s *Server) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	hs := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: s.cfg.Limits.HeaderTimeout,
		IdleTimeout:       s.cfg.Limits.IdleTimeout,
		MaxHeaderBytes:    s.cfg.Limits.HeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		TLSNextProto:      map[string]func(*http.Server, *tls.Conn, http.Handler){}, // HTTP/1 only
	}
	var wg sync.WaitGroup
	failed := make(chan error, 2*len(s.cfg.Listeners))
	for _, inner := range s.cfg.Listeners {
		l, err := tlspolicy.NewListener(tlspolicy.ListenConfig{
			Inner: s.limits.listener(inner), TLS: s.cfg.TLS, HandshakeTimeout: s.cfg.Limits.HeaderTimeout,
		})
		if err != nil {
			return fmt.Errorf("cannot serve API: %w", err)
		}
		wg.Go(func() { failed <- l.Run(ctx) })
		wg.Go(func() { failed <- hs.Serve(l) })
	}
	s.setState("running")
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	s.setState("stopping")
	cancel() // sockets see it by their context
	grace, done := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.Limits.Grace)
	defer done()
	_ = hs.Shutdown(grace)
	_ = hs.Close()
	s.sessions.Wait()
	wg.Wait()
	if err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("cannot serve API: %w", err)
	}
	return nil
}

func (s *Server) setState(to string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = to
}

// track counts a request in unless the server is stopping.
func (s *Server) track() (done func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == "stopping" {
		return nil, false
	}
	s.sessions.Add(1)
	return s.sessions.Done, true
}
