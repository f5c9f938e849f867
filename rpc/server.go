package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// Defaults of a server connection.
const (
	DefaultMaxMessage   = 4 << 20
	DefaultMaxReply     = 64 << 20
	DefaultMaxInFlight  = 256
	DefaultMaxDepth     = 64
	DefaultMaxValues    = 200_000
	DefaultReadTimeout  = 30 * time.Second
	DefaultWriteTimeout = 30 * time.Second
)

// ServerConfig says how a connection is served. Zero limits are defaults.
type ServerConfig struct {
	// Handle answers one request. It runs in a goroutine of its own; its
	// context ends with the connection. An error with ErrorCode or ErrorInfo
	// (see Error) travels with them.
	Handle func(ctx context.Context, r Request) (any, error)

	MaxMessage  int64 // bytes of a request
	MaxReply    int   // bytes of a reply
	MaxInFlight int   // unanswered requests, blocking watchers included
	MaxDepth    int   // nesting of a request's JSON
	MaxValues   int   // values in a request's JSON
	// ReadTimeout bounds how long a frame that has begun may take; an idle
	// connection costs nothing and is not cut.
	ReadTimeout  time.Duration
	WriteTimeout time.Duration
	// PingEvery sends WebSocket pings; a peer that does not answer one within
	// WriteTimeout is cut. 0 means none.
	PingEvery time.Duration
	// Budget is shared by connections; nil means no bound in common.
	Budget *Budget
	// Panicked is told of a panic in Handle; may be nil.
	Panicked func(r Request, value any, stack []byte)
}

func (c *ServerConfig) defaults() {
	c.MaxMessage = or(c.MaxMessage, DefaultMaxMessage)
	c.MaxReply = or(c.MaxReply, DefaultMaxReply)
	c.MaxInFlight = or(c.MaxInFlight, DefaultMaxInFlight)
	c.MaxDepth = or(c.MaxDepth, DefaultMaxDepth)
	c.MaxValues = or(c.MaxValues, DefaultMaxValues)
	c.ReadTimeout = or(c.ReadTimeout, DefaultReadTimeout)
	c.WriteTimeout = or(c.WriteTimeout, DefaultWriteTimeout)
}

func or[T int | int64 | time.Duration](v, otherwise T) T {
	if v <= 0 {
		return otherwise
	}
	return v
}

// server is one connection being served: one goroutine that reads, and one
// for each request in flight.
type server struct {
	cfg    ServerConfig
	ws     *websocket.Conn
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex
	inFlight map[uint64]struct{}
}

// Serve answers requests on ws until the peer goes, ctx ends or the peer
// breaks the rules, and returns when the last handler has. The error is nil
// if the peer closed in good order.
func Serve(ctx context.Context, ws *websocket.Conn, cfg ServerConfig) error {
	if cfg.Handle == nil {
		return errors.New("cannot serve: there is no handler")
	}
	cfg.defaults()
	ctx, cancel := context.WithCancel(ctx)
	s := &server{cfg: cfg, ws: ws, cancel: cancel, inFlight: map[uint64]struct{}{}}
	ws.SetReadLimit(cfg.MaxMessage)
	defer context.AfterFunc(ctx, func() { _ = ws.CloseNow() })() // ends writes, which take no context
	if cfg.PingEvery > 0 {
		s.wg.Go(func() { s.ping(ctx) })
	}
	err := s.read(ctx)
	cancel()
	_ = ws.CloseNow()
	s.wg.Wait()
	return err
}

// read takes frames until something ends the connection.
func (s *server) read(ctx context.Context) error {
	for {
		b, err := readFrame(ctx, s.ws, s.cfg.ReadTimeout, s.cfg.Budget)
		if err != nil {
			var busy *busyError
			if errors.As(err, &busy) {
				_ = s.ws.Close(websocket.StatusTryAgainLater, "busy")
				return err
			}
			switch websocket.CloseStatus(err) {
			case websocket.StatusNormalClosure, websocket.StatusGoingAway, websocket.StatusNoStatusRcvd:
				return nil //nolint:nilerr // the peer said goodbye
			}
			if ctx.Err() != nil || errors.Is(err, io.EOF) {
				return nil //nolint:nilerr // it ended, or we do
			}
			return fmt.Errorf("cannot read request: %v", err)
		}
		r, err := parseRequest(b, scanLimits{s.cfg.MaxDepth, s.cfg.MaxValues})
		if err != nil {
			s.cfg.Budget.give(int64(cap(b)))
			_ = s.ws.Close(websocket.StatusPolicyViolation, "bad request")
			return err
		}
		if err := s.start(ctx, r, int64(cap(b))); err != nil {
			s.cfg.Budget.give(int64(cap(b)))
			_ = s.ws.Close(websocket.StatusPolicyViolation, "bad request")
			return err
		}
	}
}

// start handles r in a goroutine, or refuses it if too many are in flight.
func (s *server) start(ctx context.Context, r Request, held int64) error {
	s.mu.Lock()
	_, twice := s.inFlight[r.ID]
	full := len(s.inFlight) >= s.cfg.MaxInFlight
	if !twice && !full {
		s.inFlight[r.ID] = struct{}{}
	}
	s.mu.Unlock()
	switch {
	case twice:
		return fmt.Errorf("cannot serve request: request-id %d is in flight already", r.ID)
	case full:
		s.cfg.Budget.give(held)
		// Answered here, not in a goroutine: a flood waits for its own replies.
		s.write(r.ID, nil, &Error{Message: fmt.Sprintf("more than %d requests in flight on one connection", s.cfg.MaxInFlight), Code: CodeTryAgain})
		return nil
	}
	s.wg.Go(func() {
		result, err := s.handle(ctx, r)
		s.cfg.Budget.give(held)
		s.mu.Lock()
		delete(s.inFlight, r.ID) // before the reply: the id is free once it is answered
		s.mu.Unlock()
		s.write(r.ID, result, err)
	})
	return nil
}

// handle contains panics.
func (s *server) handle(ctx context.Context, r Request) (result any, err error) {
	defer func() {
		if v := recover(); v != nil {
			if s.cfg.Panicked != nil {
				s.cfg.Panicked(r, v, debug.Stack())
			}
			result, err = nil, &Error{Message: "internal error"}
		}
	}()
	return s.cfg.Handle(ctx, r)
}

// write sends one reply. A peer that does not take it is cut. A timer costs less
// than a context with a deadline, and events come by the thousand.
func (s *server) write(id uint64, result any, err error) {
	b, merr := s.encode(id, result, err)
	if merr != nil {
		s.cancel()
		return
	}
	late := time.AfterFunc(s.cfg.WriteTimeout, s.cancel)
	defer late.Stop()
	if s.ws.Write(context.Background(), websocket.MessageText, b) != nil {
		s.cancel()
	}
}

// encode contains panics of the result's own marshalling.
func (s *server) encode(id uint64, result any, err error) (b []byte, rerr error) {
	defer func() {
		if v := recover(); v != nil {
			if s.cfg.Panicked != nil {
				s.cfg.Panicked(Request{ID: id}, v, debug.Stack())
			}
			b, rerr = marshalReply(id, nil, &Error{Message: "internal error"})
		}
	}()
	b, rerr = marshalReply(id, result, err)
	if rerr != nil || len(b) > s.cfg.MaxReply {
		return marshalReply(id, nil, &Error{Message: "cannot send reply: it is too large; ask for less"})
	}
	return b, nil
}

func (s *server) ping(ctx context.Context) {
	t := time.NewTicker(s.cfg.PingEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		pctx, cancel := context.WithTimeout(ctx, s.cfg.WriteTimeout)
		err := s.ws.Ping(pctx)
		cancel()
		if err != nil {
			s.cancel()
			return
		}
	}
}
