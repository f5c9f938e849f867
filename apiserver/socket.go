package apiserver

import (
	"context"
	"errors"
	"time"

	"github.com/coder/websocket"
)

// writeTimeout cuts a peer that does not read.
const writeTimeout = 30 * time.Second

// socket is a WebSocket as routes see it.
type socket struct{ ws *websocket.Conn }

// Read returns the next text frame.
func (s socket) Read(ctx context.Context) ([]byte, error) {
	kind, p, err := s.ws.Read(ctx)
	if err == nil && kind != websocket.MessageText {
		err = errors.New("cannot read frame: it is not text")
	}
	return p, err
}

// Write sends one text frame.
func (s socket) Write(ctx context.Context, p []byte) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	return s.ws.Write(ctx, websocket.MessageText, p)
}

// Listen returns a context that ends when the peer leaves.
func (s socket) Listen(ctx context.Context) context.Context { return s.ws.CloseRead(ctx) }

// Refuse closes the socket.
func (s socket) Refuse(why string) { _ = s.ws.Close(websocket.StatusPolicyViolation, why) }
