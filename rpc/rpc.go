// Package rpc owns the framing of JSON-RPC over WebSocket: one document a
// text frame, requests with an id, replies in any order. It knows no facade,
// no user and no meaning.
//
// It bounds everything before it decodes: the size of a frame, the time it
// takes to arrive, the depth and number of JSON values in it, the requests in
// flight on a connection and the memory that frames of all connections hold.
// A panic in a handler ends one request. Frames that are no JSON, that carry no
// request id or repeat one in flight end the connection; parameters that do
// not decode are the handler's to refuse.
package rpc

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
)

// Request is one call, its parameters still undecoded.
type Request struct {
	ID      uint64
	Facade  string
	Version int
	Object  string // watcher id and the like
	Method  string
	Params  json.RawMessage
}

// Error is an error as it travels. Code and Info may be empty.
type Error struct {
	Message string
	Code    string
	Info    map[string]any
}

func (e *Error) Error() string { return e.Message }

// ErrorCode returns the code that clients decide by.
func (e *Error) ErrorCode() string { return e.Code }

// ErrorInfo returns what comes with the error.
func (e *Error) ErrorInfo() map[string]any { return e.Info }

// Code returns the code of err, or "" if it has none.
func Code(err error) string {
	var c interface{ ErrorCode() string }
	if errors.As(err, &c) {
		return c.ErrorCode()
	}
	return ""
}

// Codes that this package itself replies with.
const (
	CodeTryAgain   = "try again"
	CodeBadRequest = "bad request"
)

// ErrClosed is what calls get on a connection that has ended.
var ErrClosed = errors.New("cannot call: the connection is closed")

// envelope is a request on the wire. Its request id is a pointer to tell
// absence, which marks the obsolete capitalised form, from a number.
type envelope struct {
	ID      *uint64         `json:"request-id,omitempty"`
	Facade  string          `json:"type"`
	Version int             `json:"version"`
	Object  string          `json:"id,omitempty"`
	Method  string          `json:"request"`
	Params  json.RawMessage `json:"params,omitempty"`
}

// reply is what a server sends. Clients test for the presence of "error".
type reply struct {
	ID        uint64          `json:"request-id"`
	Error     string          `json:"error,omitempty"`
	ErrorCode *string         `json:"error-code,omitempty"`
	ErrorInfo map[string]any  `json:"error-info,omitempty"`
	Response  json.RawMessage `json:"response"`
}

const maxName = 256

// parseRequest decodes an envelope. Its errors end the connection.
func parseRequest(b []byte, l scanLimits) (Request, error) {
	if err := scan(b, l); err != nil {
		return Request{}, err
	}
	var e envelope
	if err := json.Unmarshal(b, &e); err != nil {
		return Request{}, fmt.Errorf("cannot decode request: %v", err)
	}
	if e.ID == nil || *e.ID == 0 {
		return Request{}, errors.New("cannot serve request: it has no request-id")
	}
	if len(e.Facade) > maxName || len(e.Method) > maxName || len(e.Object) > maxName {
		return Request{}, errors.New("cannot serve request: a name in it is too long")
	}
	if string(e.Params) == "null" {
		e.Params = nil
	}
	return Request{*e.ID, e.Facade, e.Version, e.Object, e.Method, e.Params}, nil
}

var emptyObject = json.RawMessage("{}")

// marshalReply encodes the outcome of a request. What is encoded already is not
// looked at again: it may be long, and events are many.
func marshalReply(id uint64, result any, err error) ([]byte, error) {
	r := reply{ID: id, Response: emptyObject}
	if err != nil {
		return json.Marshal(failed(r, err))
	}
	switch result.(type) {
	case nil, struct{}:
	default:
		b, merr := json.Marshal(result)
		if merr != nil {
			return json.Marshal(failed(r, fmt.Errorf("cannot encode result: %v", merr)))
		}
		if string(b) != "null" {
			r.Response = b
		}
	}
	const frame = len(`{"request-id":18446744073709551615,"response":}`)
	out := append(make([]byte, 0, frame+len(r.Response)), `{"request-id":`...)
	out = append(strconv.AppendUint(out, id, 10), `,"response":`...)
	return append(append(out, r.Response...), '}'), nil
}

func failed(r reply, err error) reply {
	r.Error = err.Error()
	if r.Error == "" {
		r.Error = "unknown error" // the key must be there
	}
	code := Code(err)
	r.ErrorCode = &code
	var i interface{ ErrorInfo() map[string]any }
	if errors.As(err, &i) {
		r.ErrorInfo = i.ErrorInfo()
	}
	return r
}

// Budget bounds the bytes of frames that all connections sharing it hold.
type Budget struct {
	mu   sync.Mutex
	free int64
}

// NewBudget makes a budget of so many bytes.
func NewBudget(bytes int64) *Budget { return &Budget{free: bytes} }

// take reserves n bytes, or says no. A nil budget has no end.
func (b *Budget) take(n int64) bool {
	if b == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.free < n {
		return false
	}
	b.free -= n
	return true
}

func (b *Budget) give(n int64) {
	if b == nil || n == 0 {
		return
	}
	b.mu.Lock()
	b.free += n
	b.mu.Unlock()
}
