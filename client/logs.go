package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/scarab-ops/scarab/rpc"
	"github.com/scarab-ops/scarab/wire/agentapi"
)

// LogFilter selects lines of a model's log.
type LogFilter struct {
	IncludeEntity, ExcludeEntity []string // tags, or tags with a trailing *
	IncludeModule, ExcludeModule []string
	IncludeLabel, ExcludeLabel   []string
	Level                        string // minimum
	Backlog                      int    // lines of the past to begin with
	MaxLines                     int    // end after so many; 0 means never
	Replay                       bool   // from the beginning
	NoTail                       bool   // end after the past
	StartTime                    time.Time
}

func (f LogFilter) query() url.Values {
	q := url.Values{}
	for key, vs := range map[string][]string{
		"includeEntity": f.IncludeEntity, "excludeEntity": f.ExcludeEntity, "includeModule": f.IncludeModule,
		"excludeModule": f.ExcludeModule, "includeLabel": f.IncludeLabel, "excludeLabel": f.ExcludeLabel,
	} {
		if len(vs) > 0 {
			q[key] = vs
		}
	}
	if f.Level != "" {
		q.Set("level", f.Level)
	}
	if f.Backlog > 0 {
		q.Set("backlog", strconv.Itoa(f.Backlog))
	}
	if f.MaxLines > 0 {
		q.Set("maxLines", strconv.Itoa(f.MaxLines))
	}
	if f.Replay {
		q.Set("replay", "true")
	}
	if f.NoTail {
		q.Set("noTail", "true")
	}
	if !f.StartTime.IsZero() {
		q.Set("startTime", f.StartTime.UTC().Format(time.RFC3339Nano))
	}
	return q
}

// LogLine is one line of a model's log.
type LogLine struct {
	Entity   string    `json:"tag"`
	Time     time.Time `json:"ts"`
	Severity string    `json:"sev"`
	Module   string    `json:"mod"`
	Location string    `json:"loc"`
	Message  string    `json:"msg"`
	Labels   []string  `json:"lab"`
}

// maxLogFrame bounds a frame of logs in both directions.
const maxLogFrame = 1 << 20

// LogStream is a model's log as it comes.
type LogStream struct{ ws *websocket.Conn }

// DebugLog opens the log of the model, or of the controller.
func (c *Conn) DebugLog(ctx context.Context, f LogFilter) (*LogStream, error) {
	ws, err := c.stream(ctx, "/log", f.query())
	if err != nil {
		return nil, err
	}
	_, b, err := ws.Read(ctx)
	if err != nil {
		_ = ws.CloseNow()
		return nil, fmt.Errorf("cannot open log: %v", err)
	}
	if err := firstFrame(b); err != nil {
		_ = ws.CloseNow()
		return nil, fmt.Errorf("cannot open log: %w", err)
	}
	return &LogStream{ws}, nil
}

// firstFrame reads the frame that says whether a stream is open.
func firstFrame(b []byte) error {
	var head struct {
		Error *struct {
			Message string `json:"message"`
			Code    string `json:"code"`
		} `json:"error"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return fmt.Errorf("cannot read answer: %v", err)
	}
	if head.Error != nil {
		return &rpc.Error{Message: head.Error.Message, Code: head.Error.Code}
	}
	return nil
}

// stream opens a WebSocket beside the API, with the login's credentials.
func (c *Conn) stream(ctx context.Context, path string, q url.Values) (*websocket.Conn, error) {
	h := http.Header{}
	c.authorize(h, nil)
	ws, resp, err := websocket.Dial(ctx, c.url("wss", c.modelPath(path), q), &websocket.DialOptions{HTTPClient: c.http, HTTPHeader: h})
	if err != nil {
		if resp != nil && resp.StatusCode != http.StatusSwitchingProtocols && resp.Body != nil {
			return nil, fmt.Errorf("cannot open %s: %w", path, failure(resp))
		}
		return nil, fmt.Errorf("cannot open %s: %v", path, err)
	}
	ws.SetReadLimit(maxLogFrame)
	return ws, nil
}

// Next blocks until the next line. It returns io.EOF when the server has
// ended the stream in good order.
func (s *LogStream) Next(ctx context.Context) (LogLine, error) {
	var l LogLine
	_, b, err := s.ws.Read(ctx)
	switch {
	case err == nil:
	case websocket.CloseStatus(err) == websocket.StatusNormalClosure:
		return l, io.EOF
	case ctx.Err() != nil:
		return l, ctx.Err()
	default:
		return l, fmt.Errorf("cannot read log: %w (%v)", rpc.ErrClosed, err)
	}
	if err := json.Unmarshal(b, &l); err != nil {
		return l, fmt.Errorf("cannot read log: %v", err)
	}
	return l, nil
}

// Close ends the stream.
func (s *LogStream) Close() error {
	_ = s.ws.CloseNow() // it may have ended by itself
	return nil
}

// LogSink takes an agent's lines to the controller.
type LogSink struct {
	ws   *websocket.Conn
	done chan struct{}
	stop context.CancelFunc

	mu  sync.Mutex
	err error
}

// OpenLogSink opens the way for an agent's log.
func (c *Conn) OpenLogSink(ctx context.Context) (*LogSink, error) {
	ws, err := c.stream(ctx, "/logsink", nil)
	if err != nil {
		return nil, err
	}
	rctx, stop := context.WithCancel(context.Background())
	s := &LogSink{ws: ws, done: make(chan struct{}), stop: stop}
	go s.read(rctx)
	return s, nil
}

// read answers pings, and notices the end and an error frame.
func (s *LogSink) read(ctx context.Context) {
	defer close(s.done)
	for {
		_, b, err := s.ws.Read(ctx)
		if err == nil {
			err = firstFrame(b)
		}
		if err != nil {
			s.mu.Lock()
			s.err = err
			s.mu.Unlock()
			return
		}
	}
}

// Write sends one record.
func (s *LogSink) Write(ctx context.Context, r agentapi.LogRecord) error {
	select {
	case <-s.done:
		s.mu.Lock()
		defer s.mu.Unlock()
		return fmt.Errorf("cannot send log: the stream has ended: %w", s.err)
	default:
	}
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("cannot send log: %v", err)
	}
	if len(b) > maxLogFrame {
		return errors.New("cannot send log: the record is too large")
	}
	if err := s.ws.Write(ctx, websocket.MessageText, b); err != nil {
		return fmt.Errorf("cannot send log: %v", err)
	}
	return nil
}

// Done is closed when the stream has ended.
func (s *LogSink) Done() <-chan struct{} { return s.done }

// Close ends the stream.
func (s *LogSink) Close() error {
	_ = s.ws.Close(websocket.StatusNormalClosure, "") // it may have ended by itself
	s.stop()
	<-s.done
	return nil
}
