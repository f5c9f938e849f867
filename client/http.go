package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/scarab-ops/scarab/rpc"
)

// maxSmallBody bounds the JSON bodies of HTTP answers.
const maxSmallBody = 1 << 20

// request makes an HTTP request with our credentials.
func (c *Conn) request(ctx context.Context, method, path string, q url.Values, body io.Reader) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, method, c.url("https", path, q), body)
	if err != nil {
		return nil, fmt.Errorf("cannot make request: %v", err)
	}
	c.authorize(r.Header, r)
	return r, nil
}

// authorize puts the credentials of the login into h. r may be nil.
func (c *Conn) authorize(h http.Header, r *http.Request) {
	c.mu.Lock()
	password := c.password.Reveal()
	c.mu.Unlock()
	if r == nil {
		r = &http.Request{Header: h}
	}
	r.SetBasicAuth(c.tag, password)
	if c.nonce != "" {
		h.Set("X-Juju-Nonce", c.nonce)
	}
	if c.cfg.Version != "" {
		h.Set("X-Juju-ClientVersion", c.cfg.Version)
	}
}

// readSmall reads a JSON answer and closes it.
func readSmall(resp *http.Response, v any) error {
	defer resp.Body.Close() //nolint:errcheck // read to its end or given up
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxSmallBody+1))
	if err != nil {
		return fmt.Errorf("cannot read answer: %v", err)
	}
	if len(b) > maxSmallBody {
		return errors.New("cannot read answer: it is too large")
	}
	if resp.StatusCode != http.StatusOK {
		return httpError(resp.StatusCode, b)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("cannot read answer: %v", err)
	}
	return nil
}

// failure reads the error of an answer that is not 200, and closes it.
func failure(resp *http.Response) error {
	defer resp.Body.Close() //nolint:errcheck // read to its end or given up
	b, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return fmt.Errorf("cannot read answer: %v", err)
	}
	return httpError(resp.StatusCode, b)
}

// httpError reads the three shapes that errors have over HTTP: an object in
// "error", a text in "error" (charms), a bare object (backups). Other bodies
// are not repeated.
func httpError(status int, body []byte) error {
	var outer struct {
		Error   json.RawMessage `json:"error"`
		Code    string          `json:"error-code"`
		Message string          `json:"message"`
		Bare    string          `json:"code"`
	}
	if json.Unmarshal(body, &outer) == nil {
		var text string
		var object struct {
			Message string         `json:"message"`
			Code    string         `json:"code"`
			Info    map[string]any `json:"info"`
		}
		switch {
		case outer.Message != "":
			return &rpc.Error{Message: outer.Message, Code: outer.Bare}
		case json.Unmarshal(outer.Error, &text) == nil && text != "":
			return &rpc.Error{Message: text, Code: outer.Code}
		case json.Unmarshal(outer.Error, &object) == nil && object.Message != "":
			return &rpc.Error{Message: object.Message, Code: object.Code, Info: object.Info}
		}
	}
	return &rpc.Error{Message: fmt.Sprintf("the server answered %d %s", status, http.StatusText(status)), Code: codeOf(status)}
}

func codeOf(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return CodeUnauthorized
	case http.StatusNotFound:
		return CodeNotFound
	case http.StatusForbidden:
		return "forbidden"
	case http.StatusMethodNotAllowed:
		return "method not allowed"
	case http.StatusBadRequest:
		return "bad request"
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		return CodeTryAgain
	}
	return ""
}
