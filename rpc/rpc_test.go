package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// pair serves cfg and returns a raw connection to it. served gets what Serve
// returned.
func pair(t testing.TB, cfg ServerConfig) (ws *websocket.Conn, served <-chan error) {
	t.Helper()
	ch := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			ch <- err
			return
		}
		ch <- Serve(ctx, c, cfg)
	}))
	t.Cleanup(func() { cancel(); srv.Close() })
	ws, _, err := websocket.Dial(ctx, srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ws.CloseNow() })
	return ws, ch
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// exchange sends one frame and returns the next.
func exchange(t *testing.T, ws *websocket.Conn, text string) string {
	t.Helper()
	ctx := testContext(t)
	if err := ws.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
		t.Fatal(err)
	}
	_, b, err := ws.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func echo(_ context.Context, r Request) (any, error) {
	switch r.Method {
	case "Echo":
		return r.Params, nil
	case "Nothing":
		return nil, nil
	case "Fail":
		return nil, &Error{Message: "gone", Code: "not found", Info: map[string]any{"x": 1}}
	case "Plain":
		return nil, errors.New("plain")
	case "Empty":
		return nil, errors.New("")
	case "Panic":
		panic("boom")
	case "Unmarshalable":
		return func() {}, nil
	}
	return map[string]any{"facade": r.Facade, "version": r.Version, "id": r.Object}, nil
}

func TestReplies(t *testing.T) {
	ws, _ := pair(t, ServerConfig{Handle: echo})
	for _, c := range []struct{ in, want string }{
		{`{"request-id":7,"type":"A","version":19,"id":"3","request":"Get"}`, `{"request-id":7,"response":{"facade":"A","id":"3","version":19}}`},
		{`{"request-id":7,"type":"A","request":"Nothing","params":null}`, `{"request-id":7,"response":{}}`},
		{`{"request-id":8,"type":"A","request":"Echo","params":{"a":[1]},"other":1}`, `{"request-id":8,"response":{"a":[1]}}`},
		{`{"request-id":9,"type":"A","request":"Fail"}`, `{"request-id":9,"error":"gone","error-code":"not found","error-info":{"x":1},"response":{}}`},
		{`{"request-id":9,"type":"A","request":"Plain"}`, `{"request-id":9,"error":"plain","error-code":"","response":{}}`},
		{`{"request-id":9,"type":"A","request":"Empty"}`, `{"request-id":9,"error":"unknown error","error-code":"","response":{}}`},
		{`{"request-id":9,"type":"A","request":"Panic"}`, `{"request-id":9,"error":"internal error","error-code":"","response":{}}`},
	} {
		if got := exchange(t, ws, c.in); got != c.want {
			t.Errorf("%s\ngot  %s\nwant %s", c.in, got, c.want)
		}
	}
	if got := exchange(t, ws, `{"request-id":9,"type":"A","request":"Unmarshalable"}`); !strings.Contains(got, "cannot encode result") {
		t.Errorf("got %s", got)
	}
}

// TestRulesEndTheConnection sends what must not be served.
func TestRulesEndTheConnection(t *testing.T) {
	for name, text := range map[string]string{
		"no JSON":         `hello`,
		"cut short":       `{"request-id":1,`,
		"no request id":   `{"type":"A","request":"Get"}`,
		"capitalised":     `{"RequestId":1,"Type":"A","Request":"Get"}`,
		"id nought":       `{"request-id":0,"type":"A","request":"Get"}`,
		"negative id":     `{"request-id":-1,"type":"A","request":"Get"}`,
		"fraction":        `{"request-id":1.5,"type":"A","request":"Get"}`,
		"deep":            `{"request-id":1,"type":"A","request":"Echo","params":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + `}`,
		"many values":     `{"request-id":1,"type":"A","request":"Echo","params":[` + strings.Repeat("{},", 2000) + `{}]}`,
		"too large":       `{"request-id":1,"type":"A","request":"Echo","params":"` + strings.Repeat("x", 1<<16) + `"}`,
		"long name":       `{"request-id":1,"type":"` + strings.Repeat("x", 300) + `","request":"Echo"}`,
		"unclosed string": `{"request-id":1,"type":"A`,
	} {
		t.Run(name, func(t *testing.T) {
			ws, served := pair(t, ServerConfig{Handle: echo, MaxMessage: 1 << 15, MaxValues: 1000})
			ctx := testContext(t)
			// The server may hang up before it has read all of a large frame.
			if err := ws.Write(ctx, websocket.MessageText, []byte(text)); err != nil && name != "too large" {
				t.Fatal(err)
			}
			if _, b, err := ws.Read(ctx); err == nil {
				t.Fatalf("got the answer %s", b)
			}
			if err := <-served; err == nil {
				t.Error("Serve said nothing")
			}
		})
	}
}

func TestBinaryFrameEndsTheConnection(t *testing.T) {
	ws, served := pair(t, ServerConfig{Handle: echo})
	if err := ws.Write(testContext(t), websocket.MessageBinary, []byte(`{"request-id":1}`)); err != nil {
		t.Fatal(err)
	}
	if err := <-served; err == nil || !strings.Contains(err.Error(), "not text") {
		t.Errorf("error %v", err)
	}
}

func TestConcurrentAnyOrder(t *testing.T) {
	release, started := make(chan struct{}), make(chan struct{}, 3)
	ws, _ := pair(t, ServerConfig{MaxInFlight: 3, Handle: func(ctx context.Context, r Request) (any, error) {
		if r.Method == "Next" {
			started <- struct{}{}
			select {
			case <-release:
			case <-ctx.Done():
			}
		}
		return nil, nil
	}})
	ctx := testContext(t)
	c := NewClient(ws, ClientConfig{})
	defer c.Close()
	var wg sync.WaitGroup
	errs := make(chan error, 3)
	for range 3 {
		wg.Go(func() { errs <- c.Call(ctx, "W", 1, "1", "Next", nil, nil) })
	}
	for range 3 {
		<-started
	}
	// Three block; a fourth is refused without disturbing them.
	if err := c.Call(ctx, "Pinger", 1, "", "Ping", nil, nil); Code(err) != CodeTryAgain {
		t.Errorf("a fourth request got %v", err)
	}
	close(release)
	wg.Wait()
	for range 3 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if err := c.Call(ctx, "Pinger", 1, "", "Ping", nil, nil); err != nil {
		t.Error(err)
	}
}

func TestDuplicateInFlight(t *testing.T) {
	started := make(chan struct{}, 2)
	ws, served := pair(t, ServerConfig{Handle: func(ctx context.Context, _ Request) (any, error) {
		started <- struct{}{}
		<-ctx.Done()
		return nil, nil
	}})
	ctx := testContext(t)
	for range 2 {
		if err := ws.Write(ctx, websocket.MessageText, []byte(`{"request-id":5,"type":"A","request":"B"}`)); err != nil {
			t.Fatal(err)
		}
	}
	<-started
	go func() { _, _, _ = ws.Read(ctx) }() // answers the close
	if err := <-served; err == nil || !strings.Contains(err.Error(), "in flight already") {
		t.Errorf("error %v", err)
	}
}

func TestClientErrors(t *testing.T) {
	ws, _ := pair(t, ServerConfig{Handle: echo})
	c := NewClient(ws, ClientConfig{})
	ctx := testContext(t)
	err := c.Call(ctx, "A", 1, "", "Fail", nil, nil)
	var e *Error
	if !errors.As(err, &e) || e.Code != "not found" || e.Message != "gone" || e.Info["x"] != 1.0 {
		t.Errorf("error %#v", err)
	}
	var got map[string]int
	if err := c.Call(ctx, "A", 1, "", "Echo", map[string]int{"a": 3}, &got); err != nil || got["a"] != 3 {
		t.Errorf("got %v, %v", got, err)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if err := c.Call(gone, "A", 1, "", "Echo", nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	<-c.Done()
	if err := c.Call(ctx, "A", 1, "", "Echo", nil, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("error %v", err)
	}
}

// TestCancelledCallLeavesTheConnection gives up on a call that blocks.
func TestCancelledCallLeavesTheConnection(t *testing.T) {
	ws, _ := pair(t, ServerConfig{Handle: func(ctx context.Context, r Request) (any, error) {
		if r.Method == "Next" {
			<-ctx.Done()
		}
		return nil, nil
	}})
	c := NewClient(ws, ClientConfig{})
	defer c.Close()
	short, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := c.Call(short, "W", 1, "1", "Next", nil, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	if err := c.Call(testContext(t), "A", 1, "", "Ping", nil, nil); err != nil {
		t.Error(err)
	}
}

func TestBudget(t *testing.T) {
	b := NewBudget(2048)
	ws, served := pair(t, ServerConfig{Handle: echo, Budget: b})
	if got := exchange(t, ws, `{"request-id":1,"type":"A","request":"Nothing"}`); !strings.Contains(got, "response") {
		t.Fatal(got)
	}
	ctx := testContext(t)
	if err := ws.Write(ctx, websocket.MessageText, []byte(`{"request-id":1,"type":"A","request":"Echo","params":"`+strings.Repeat("x", 8192)+`"}`)); err != nil {
		t.Log(err) // the server may hang up before it has read it all
	}
	go func() { _, _, _ = ws.Read(ctx) }()
	var busy *busyError
	if err := <-served; !errors.As(err, &busy) {
		t.Errorf("error %v", err)
	}
	if b.free != 2048 {
		t.Errorf("%d bytes are free, want all 2048 back", b.free)
	}
}

// TestSlowFrameIsCut starts a frame and never ends it.
func TestSlowFrameIsCut(t *testing.T) {
	ws, served := pair(t, ServerConfig{Handle: echo, ReadTimeout: 50 * time.Millisecond})
	w, err := ws.Writer(testContext(t), websocket.MessageText)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(strings.Repeat(" ", 64<<10))); err != nil {
		t.Fatal(err)
	}
	select {
	case <-served:
	case <-time.After(5 * time.Second):
		t.Fatal("the connection was not cut")
	}
}

// TestConnectionsAreCheap counts what an idle connection costs the server.
func TestConnectionsAreCheap(t *testing.T) {
	before := runtime.NumGoroutine()
	const n = 50
	for range n {
		ws, _ := pair(t, ServerConfig{Handle: echo})
		exchange(t, ws, `{"request-id":1,"type":"A","request":"Nothing"}`)
	}
	// Each pair also brings its own httptest server, with its accept loop, and
	// the client side of HTTP.
	if per := float64(runtime.NumGoroutine()-before) / n; per > 6 {
		t.Errorf("%.1f goroutines for each connection", per)
	}
}

func TestScan(t *testing.T) {
	l := scanLimits{depth: 3, values: 10}
	for text, ok := range map[string]bool{
		`[[[1]]]`: true, `[[[[1]]]]`: false, `"[[[[[["`: true, `"\"[[[["`: true, `"`: false, `"\`: false,
		`[1,2,3]`: true, `[1,2,3,4,5,6,7,8,9,10,11]`: false, ``: true,
	} {
		if err := scan([]byte(text), l); (err == nil) != ok {
			t.Errorf("scan(%s): %v", text, err)
		}
	}
}

func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"request-id":7,"type":"A","version":19,"id":"","request":"Get","params":{"a":"b"}}`))
	f.Add([]byte(`{"RequestId":7}`))
	f.Add([]byte(`[[[[{"a":"\""}]]]]`))
	f.Add([]byte(`{"request-id":1,"params":null}`))
	l := scanLimits{depth: 8, values: 100}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseRequest(b, l)
		if err != nil {
			return
		}
		if r.ID == 0 || len(r.Method) > maxName {
			t.Fatalf("accepted %+v", r)
		}
		if depthOf(t, b) > l.depth {
			t.Fatalf("accepted depth %d", depthOf(t, b))
		}
		out, err := marshalReply(r.ID, r.Params, nil)
		if err != nil || !json.Valid(out) {
			t.Fatalf("reply %s, %v", out, err)
		}
	})
}

// depthOf asks the decoder of the library, the oracle of scan.
func depthOf(t *testing.T, b []byte) int {
	d := json.NewDecoder(strings.NewReader(string(b)))
	depth, most := 0, 0
	for {
		tok, err := d.Token()
		if err != nil {
			return most
		}
		switch fmt.Sprint(tok) {
		case "{", "[":
			if _, ok := tok.(json.Delim); ok {
				depth++
				most = max(most, depth)
			}
		case "}", "]":
			if _, ok := tok.(json.Delim); ok {
				depth--
			}
		}
	}
}

// TestPeerThatDoesNotReadIsCut asks for more than fits on the way and takes none
// of it.
func TestPeerThatDoesNotReadIsCut(t *testing.T) {
	big := strings.Repeat("x", 1<<20)
	ws, served := pair(t, ServerConfig{
		Handle:       func(context.Context, Request) (any, error) { return big, nil },
		WriteTimeout: 50 * time.Millisecond,
	})
	for i := range 32 {
		if err := ws.Write(testContext(t), websocket.MessageText, fmt.Appendf(nil, `{"request-id":%d,"type":"A","request":"B"}`, i+1)); err != nil {
			break // cut already
		}
	}
	select {
	case <-served:
	case <-time.After(5 * time.Second):
		t.Fatal("the connection was not cut")
	}
}
