// Package client calls a controller: connecting, logging in, choosing facade
// versions, typed calls for the command line and for agents, charms up and
// down, logs in both directions.
//
// It refuses servers that the given authority does not vouch for, answers that
// are larger than their bounds, and charms whose digest is not the expected
// one. Errors of the server keep their message and code (see Code). It does
// not print, and leaves text as the server sent it: whoever shows it on a
// terminal must escape it.
package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
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

// DefaultDialTimeout bounds connecting, all addresses together.
const DefaultDialTimeout = 30 * time.Second

// maxAddresses bounds how many addresses are dialled at once.
const maxAddresses = 32

// Secret is a password or token. It does not print.
type Secret struct{ text string }

// NewSecret wraps text.
func NewSecret(text string) Secret { return Secret{text} }

// Reveal returns the text.
func (s Secret) Reveal() string { return s.text }

// Empty tells whether there is none.
func (s Secret) Empty() bool { return s.text == "" }

const redacted = "<secret>"

func (Secret) String() string               { return redacted }
func (Secret) GoString() string             { return redacted }
func (Secret) Format(f fmt.State, _ rune)   { _, _ = f.Write([]byte(redacted)) }
func (Secret) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (Secret) MarshalText() ([]byte, error) { return nil, errors.New("cannot marshal a secret") }

// Config says where to connect and whom to trust.
type Config struct {
	Addresses []string // host:port
	// CACert is the authority in PEM that alone is trusted. If it is empty,
	// SystemRoots must be set, and the server proves ServerName or the name
	// that is dialled.
	CACert      string
	SystemRoots bool
	ServerName  string // default: juju-apiserver if there is a CACert
	// Model to connect to; empty means the controller.
	Model names.Model
	// Certificate gives an agent's certificate; nil for people.
	Certificate func() (*tls.Certificate, error)
	// Version is what we tell the server of ours, such as "3.6.12".
	Version     string
	DialTimeout time.Duration
	// Now is the clock that certificates are judged by; nil is the real one.
	Now func() time.Time
}

// Conn is a connection to a controller or to one of its models.
type Conn struct {
	cfg     Config
	rpc     *rpc.Client
	address string
	http    *http.Client

	// Written by Login before anything else may use the connection.
	tag      string
	nonce    string
	versions map[string]int

	mu       sync.Mutex
	password Secret
}

// Dial connects to all addresses at once and keeps the first that answers.
// The caller logs in next.
func Dial(ctx context.Context, cfg Config) (*Conn, error) {
	if len(cfg.Addresses) == 0 {
		return nil, errors.New("cannot connect: no address of the controller is known")
	}
	if cfg.DialTimeout <= 0 {
		cfg.DialTimeout = DefaultDialTimeout
	}
	var roots *x509.CertPool
	switch {
	case cfg.CACert != "":
		var err error
		if roots, err = pki.Pin([]byte(cfg.CACert)); err != nil {
			return nil, fmt.Errorf("cannot connect: %v", err)
		}
		if cfg.ServerName == "" {
			cfg.ServerName = pki.ServerName
		}
	case !cfg.SystemRoots:
		return nil, errors.New("cannot connect: the controller's CA certificate is needed")
	}
	tlsConfig := tlspolicy.Dial(tlspolicy.DialConfig{Roots: roots, ServerName: cfg.ServerName, Certificate: cfg.Certificate})
	tlsConfig.Time = cfg.Now
	ctx, cancel := context.WithTimeout(ctx, cfg.DialTimeout)
	defer cancel()
	type outcome struct {
		conn *Conn
		err  error
	}
	addresses := cfg.Addresses[:min(len(cfg.Addresses), maxAddresses)]
	results := make(chan outcome, len(addresses))
	for _, a := range addresses {
		go func() {
			c, err := dialOne(ctx, cfg, tlsConfig, a)
			results <- outcome{c, err}
		}()
	}
	var winner *Conn
	var errs []error
	for range addresses { // joins every dial; the losers end with ctx
		switch o := <-results; {
		case o.err != nil:
			errs = append(errs, o.err)
		case winner == nil:
			winner = o.conn
			cancel()
		default:
			_ = o.conn.Close()
		}
	}
	if winner != nil {
		return winner, nil
	}
	return nil, fmt.Errorf("cannot connect to the controller: %w", worst(errs))
}

func dialOne(ctx context.Context, cfg Config, tlsConfig *tls.Config, address string) (*Conn, error) {
	c := &Conn{cfg: cfg, address: address, http: &http.Client{
		Transport: &http.Transport{
			TLSClientConfig: tlsConfig.Clone(), TLSHandshakeTimeout: cfg.DialTimeout, MaxIdleConns: 2,
			IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 64 << 10, ResponseHeaderTimeout: 5 * time.Minute,
		},
		// Credentials go nowhere but where they were meant to.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	path := "/api"
	if cfg.Model != "" {
		path = "/model/" + string(cfg.Model) + "/api"
	}
	//nolint:bodyclose // the library owns the body of the answer
	ws, _, err := websocket.Dial(ctx, c.url("wss", path, nil), &websocket.DialOptions{HTTPClient: c.http})
	if err != nil {
		return nil, cfg.explain(address, err)
	}
	c.rpc = rpc.NewClient(ws, rpc.ClientConfig{})
	return c, nil
}

func (c *Conn) url(scheme, path string, q url.Values) string {
	u := url.URL{Scheme: scheme, Host: c.address, Path: path, RawQuery: q.Encode()}
	return u.String()
}

// Address returns the address that answered.
func (c *Conn) Address() string { return c.address }

// Model returns the model connected to; empty on controller connections.
func (c *Conn) Model() names.Model { return c.cfg.Model }

// Done is closed when the connection has ended.
func (c *Conn) Done() <-chan struct{} { return c.rpc.Done() }

// Close ends the connection.
func (c *Conn) Close() error {
	c.http.CloseIdleConnections()
	return c.rpc.Close()
}

// ErrBroken is a connection that ended while it was used.
var ErrBroken = fmt.Errorf("cannot go on: %w", rpc.ErrClosed)

// Broken tells whether a connection ended while it was used.
func Broken(err error) bool { return errors.Is(err, rpc.ErrClosed) }

// Code returns the code of an error that the server sent, or "".
func Code(err error) string { return rpc.Code(err) }

// Codes that callers decide by.
const (
	CodeNotFound      = "not found"
	CodeModelNotFound = "model not found"
	CodeUnauthorized  = "unauthorized access"
	CodeAlreadyExists = "already exists"
	CodeTryAgain      = "try again"
	CodeNotSupported  = "not supported"
	CodeNotImpl       = "not implemented"
	CodeBlocked       = "operation is blocked"
	CodeStopped       = "stopped"
	CodeDischarge     = "macaroon discharge required"
)

// spoken returns the versions of a facade that this package speaks, best
// first.
func spoken(facade string) []int {
	switch facade {
	case "Application":
		return []int{20, 19}
	case "Client":
		return []int{8, 7, 6}
	case "Controller":
		return []int{12, 11}
	case "ModelManager":
		return []int{10, 9}
	case "MachineManager":
		return []int{10, 9}
	case "Charms", "Cloud", "Action":
		return []int{7}
	case "ModelConfig", "UserManager", "AllWatcher", "Admin", "Resources":
		return []int{3}
	case "Annotations", "Block", "Secrets":
		return []int{2}
	case "SSHClient":
		return []int{5, 4}
	case "KeyManager", "NotifyWatcher", "StringsWatcher", "Pinger", "Enrolment", "MachineAgent", "UnitAgent", "Scarab":
		return []int{1}
	}
	return nil
}

// Version returns the version of a facade that both sides speak.
func (c *Conn) Version(facade string) (int, error) {
	if v, ok := c.versions[facade]; ok {
		return v, nil
	}
	if c.versions == nil {
		return 0, fmt.Errorf("cannot use facade %s: log in first", facade)
	}
	return 0, fmt.Errorf("cannot use facade %s: the server offers no version of it that this client speaks", facade)
}

// Call calls a method of the best version of a facade.
func Call[A, R any](ctx context.Context, c *Conn, facade, method string, args A) (R, error) {
	return CallObject[A, R](ctx, c, facade, "", method, args)
}

// CallObject is Call for an object of the facade, such as a watcher.
func CallObject[A, R any](ctx context.Context, c *Conn, facade, object, method string, args A) (R, error) {
	var r R
	v, err := c.Version(facade)
	if err != nil {
		return r, err
	}
	err = c.rpc.Call(ctx, facade, v, object, method, args, &r)
	return r, err
}

// none is the argument or the result of methods without one.
type none = struct{}

// Ping tells the server that we are here.
func (c *Conn) Ping(ctx context.Context) error {
	_, err := Call[none, none](ctx, c, "Pinger", "Ping", none{})
	return err
}

// KeepAlive pings every so often until ctx ends or the connection fails. The
// server cuts agents that are silent for three minutes.
func (c *Conn) KeepAlive(ctx context.Context, every time.Duration) error {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.Done():
			return rpc.ErrClosed
		case <-t.C:
		}
		pctx, cancel := context.WithTimeout(ctx, 30*time.Second)
		err := c.Ping(pctx)
		cancel()
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("cannot reach the controller: %w", err)
		}
	}
}

// best intersects what the server offers with what we speak.
func best(facade string, offered []int) (int, bool) {
	for _, v := range spoken(facade) {
		if slices.Contains(offered, v) {
			return v, true
		}
	}
	return 0, false
}

// modelPath prefixes path with the model connected to, if any.
func (c *Conn) modelPath(path string) string {
	if c.cfg.Model == "" {
		return path
	}
	return "/model/" + string(c.cfg.Model) + "/" + strings.TrimPrefix(path, "/")
}
