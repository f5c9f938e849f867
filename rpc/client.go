package rpc

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// ClientConfig says what a client takes. Zero values are defaults.
type ClientConfig struct {
	MaxMessage   int64         // bytes of a reply, default 64 MiB
	ReadTimeout  time.Duration // for a frame that has begun
	WriteTimeout time.Duration
}

// Client calls over one connection. Calls may run at the same time.
type Client struct {
	cfg    ClientConfig
	ws     *websocket.Conn
	ctx    context.Context //nolint:containedctx // of the connection; ends with it
	cancel context.CancelFunc
	done   chan struct{} // closed when the reader has returned

	mu      sync.Mutex
	next    uint64
	pending map[uint64]chan<- answer
	err     error // why the connection ended
}

type answer struct {
	Response  json.RawMessage `json:"response"`
	Error     string          `json:"error"`
	ErrorCode string          `json:"error-code"`
	ErrorInfo map[string]any  `json:"error-info"`
}

// NewClient takes over ws. Close it when done.
func NewClient(ws *websocket.Conn, cfg ClientConfig) *Client {
	cfg.MaxMessage = or(cfg.MaxMessage, DefaultMaxReply)
	cfg.ReadTimeout = or(cfg.ReadTimeout, DefaultReadTimeout)
	cfg.WriteTimeout = or(cfg.WriteTimeout, DefaultWriteTimeout)
	ws.SetReadLimit(cfg.MaxMessage)
	ctx, cancel := context.WithCancel(context.Background())
	c := &Client{cfg: cfg, ws: ws, ctx: ctx, cancel: cancel, done: make(chan struct{}), pending: map[uint64]chan<- answer{}}
	go c.read()
	return c
}

func (c *Client) read() {
	err := c.readAll()
	_ = c.ws.CloseNow()
	c.mu.Lock()
	c.err = err
	c.mu.Unlock()
	c.cancel()
	close(c.done)
}

func (c *Client) readAll() error {
	for {
		b, err := readFrame(c.ctx, c.ws, c.cfg.ReadTimeout, nil)
		if err != nil {
			return err
		}
		if err := scan(b, scanLimits{depth: 200, values: len(b) + 1}); err != nil {
			return err
		}
		var head struct {
			ID uint64 `json:"request-id"`
			answer
		}
		if err := json.Unmarshal(b, &head); err != nil {
			return fmt.Errorf("cannot decode reply: %v", err)
		}
		c.mu.Lock()
		ch := c.pending[head.ID]
		delete(c.pending, head.ID)
		c.mu.Unlock()
		if ch != nil {
			ch <- head.answer // buffered: the caller may have gone
		}
	}
}

// Call calls a method and decodes its answer into result, which may be nil.
// An error that the server sent is an *Error. object is empty but for
// watchers and the like.
func (c *Client) Call(ctx context.Context, facade string, version int, object, method string, params, result any) error {
	e := envelope{Facade: facade, Version: version, Object: object, Method: method, Params: emptyObject}
	if params != nil {
		b, err := json.Marshal(params)
		if err != nil {
			return fmt.Errorf("cannot encode arguments of %s.%s: %v", facade, method, err)
		}
		e.Params = b
	}
	ch := make(chan answer, 1)
	c.mu.Lock()
	c.next++
	id := c.next
	c.pending[id] = ch
	c.mu.Unlock()
	e.ID = &id
	defer c.forget(id)
	if err := c.send(ctx, e); err != nil {
		return err
	}
	select {
	case a := <-ch:
		return finish(a, facade, method, result)
	case <-ctx.Done():
		return ctx.Err()
	case <-c.done:
	}
	select { // the answer may have come just before the end
	case a := <-ch:
		return finish(a, facade, method, result)
	default:
		return ErrClosed
	}
}

func (c *Client) forget(id uint64) {
	c.mu.Lock()
	delete(c.pending, id)
	c.mu.Unlock()
}

// send writes under the connection's context: a caller that gives up in the
// middle of a frame must not end the connection for the others.
func (c *Client) send(ctx context.Context, e envelope) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("cannot encode request: %v", err)
	}
	wctx, cancel := context.WithTimeout(c.ctx, c.cfg.WriteTimeout)
	defer cancel()
	if err := c.ws.Write(wctx, websocket.MessageText, b); err != nil {
		return ErrClosed
	}
	return nil
}

func finish(a answer, facade, method string, result any) error {
	if a.Error != "" || a.ErrorCode != "" {
		return &Error{Message: a.Error, Code: a.ErrorCode, Info: a.ErrorInfo}
	}
	if result == nil || len(a.Response) == 0 {
		return nil
	}
	if err := json.Unmarshal(a.Response, result); err != nil {
		return fmt.Errorf("cannot decode answer of %s.%s: %v", facade, method, err)
	}
	return nil
}

// Ping sends a WebSocket ping and waits for its answer.
func (c *Client) Ping(ctx context.Context) error { return c.ws.Ping(ctx) }

// Done is closed when the connection has ended.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err says why the connection ended, once Done is closed.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the connection and waits for the reader. Calls in flight get
// ErrClosed.
func (c *Client) Close() error {
	// The peer may have gone already; closing has succeeded then too.
	_ = c.ws.Close(websocket.StatusNormalClosure, "")
	c.cancel()
	<-c.done
	return nil
}
