package rpc

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/coder/websocket"
)

// busyError says that the common budget has run out.
type busyError struct{}

func (*busyError) Error() string { return "cannot read request: too much is being read at once" }

// readFrame reads one text frame. It waits for its first byte as long as it
// takes, and for the rest no longer than timeout. Memory is taken from budget
// as the frame arrives, never by what its header announces; the caller gives
// back the slice's capacity.
func readFrame(ctx context.Context, ws *websocket.Conn, timeout time.Duration, budget *Budget) ([]byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	kind, r, err := ws.Reader(ctx)
	if err != nil {
		return nil, err
	}
	if kind != websocket.MessageText {
		return nil, errors.New("the frame is not text")
	}
	t := time.AfterFunc(timeout, cancel)
	defer t.Stop()
	const first = 512
	if !budget.take(first) {
		return nil, &busyError{}
	}
	b := make([]byte, 0, first)
	for {
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if errors.Is(err, io.EOF) {
			return b, nil
		}
		if err != nil {
			budget.give(int64(cap(b)))
			return nil, err
		}
		if len(b) < cap(b) {
			continue
		}
		size := 2 * cap(b)
		if !budget.take(int64(size - cap(b))) {
			budget.give(int64(cap(b)))
			return nil, &busyError{}
		}
		grown := make([]byte, len(b), size)
		copy(grown, b)
		b = grown
	}
}
