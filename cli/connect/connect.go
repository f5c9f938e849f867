// Package connect is the client's way to real controllers: it fits the typed API client to what commands use. It refuses
// to send a credential to a server that the recorded authority does not vouch for.
package connect

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/scarab-ops/scarab/cli/session"
	"github.com/scarab-ops/scarab/client"
	"github.com/scarab-ops/scarab/names"
)

// Config says what the dialer tells servers.
type Config struct {
	Version string // of the protocol, such as 3.6.12
	Command string // what the person typed, for the audit log; without secrets
	Timeout time.Duration
	Now     func() time.Time // that certificates are judged by; nil is the real clock
}

// Dialer makes connections to controllers.
type Dialer struct{ cfg Config }

// New returns a dialer.
func New(cfg Config) *Dialer {
	if cfg.Timeout <= 0 {
		cfg.Timeout = 15 * time.Second
	}
	return &Dialer{cfg: cfg}
}

// Dial connects and logs in.
func (d *Dialer) Dial(ctx context.Context, t session.Target) (session.Conn, error) {
	c, err := client.Dial(ctx, client.Config{
		Addresses: t.Addresses, CACert: t.CACert, SystemRoots: t.CACert == "", Model: names.Model(t.ModelUUID),
		Version: d.cfg.Version, DialTimeout: d.cfg.Timeout, Now: d.cfg.Now,
	})
	if err != nil {
		return nil, err
	}
	within, cancel := context.WithTimeout(ctx, 2*d.cfg.Timeout)
	defer cancel()
	r, err := c.Login(within, client.Credentials{Tag: names.User(t.User).Tag(), Password: client.NewSecret(t.Secret.Reveal()), Command: d.cfg.Command})
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	id, err := client.ControllerOf(r)
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	l := session.Login{ControllerUUID: string(id), User: t.User, ServerVersion: r.ServerVersion, Addresses: client.ServerAddresses(r), PublicDNSName: r.PublicDNSName}
	if r.UserInfo != nil {
		l.ControllerAccess, l.ModelAccess = r.UserInfo.ControllerAccess, r.UserInfo.ModelAccess
	}
	return alive(c, l), nil
}

// conn is one connection, kept alive until it is closed.
type conn struct {
	c     *client.Conn
	login session.Login
	stop  context.CancelFunc
	once  sync.Once
	done  chan struct{}
}

func alive(c *client.Conn, l session.Login) *conn {
	ctx, stop := context.WithCancel(context.Background())
	x := &conn{c: c, login: l, stop: stop, done: make(chan struct{})}
	go func() {
		defer close(x.done)
		if _, err := c.Version("Pinger"); err == nil {
			_ = c.KeepAlive(ctx, 45*time.Second) // a broken connection shows at the next call
		}
	}()
	return x
}

// Call implements session.Conn.
func (x *conn) Call(ctx context.Context, facade, id, method string, params, result any) error {
	raw, err := client.CallObject[any, json.RawMessage](ctx, x.c, facade, id, method, params)
	if err != nil || result == nil || len(raw) == 0 {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber() // a large whole number stays one when it is shown
	if err := dec.Decode(result); err != nil {
		return fmt.Errorf("cannot read the controller's answer to %s.%s: %w", facade, method, err)
	}
	return nil
}

// Has implements session.Conn.
func (x *conn) Has(facade string) bool {
	_, err := x.c.Version(facade)
	return err == nil
}

// Login implements session.Conn.
func (x *conn) Login() session.Login { return x.login }

// Close implements session.Conn.
func (x *conn) Close() error {
	var err error
	x.once.Do(func() {
		x.stop()
		err = x.c.Close()
		<-x.done
	})
	return err
}

// UploadCharm implements session.CharmUploader.
func (x *conn) UploadCharm(ctx context.Context, name string, revision int, archive io.ReadSeeker) (string, error) {
	return x.c.UploadCharm(ctx, name, revision, archive)
}

// DebugLog implements session.LogSource.
func (x *conn) DebugLog(ctx context.Context, p url.Values, line func(session.LogLine) error) error {
	s, err := x.c.DebugLog(ctx, filter(p))
	if err != nil {
		return err
	}
	defer s.Close() //nolint:errcheck // nothing was left to say
	for {
		l, err := s.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		err = line(session.LogLine{Entity: l.Entity, Timestamp: l.Time, Severity: l.Severity, Module: l.Module, Location: l.Location, Message: l.Message, Labels: l.Labels})
		if err != nil {
			return err
		}
	}
}

func filter(p url.Values) client.LogFilter {
	number := func(key string) int {
		n, err := strconv.Atoi(p.Get(key))
		if err != nil {
			return 0
		}
		return n
	}
	since, err := time.Parse(time.RFC3339Nano, p.Get("startTime"))
	if err != nil {
		since = time.Time{}
	}
	return client.LogFilter{
		IncludeEntity: p["includeEntity"], ExcludeEntity: p["excludeEntity"], IncludeModule: p["includeModule"], ExcludeModule: p["excludeModule"],
		IncludeLabel: p["includeLabel"], ExcludeLabel: p["excludeLabel"], Level: p.Get("level"), Backlog: number("backlog"), MaxLines: number("maxLines"),
		Replay: p.Get("replay") == "true", NoTail: p.Get("noTail") == "true", StartTime: since,
	}
}
