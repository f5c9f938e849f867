// Package hostapi owns the words between the host's supervisor and those who
// may ask it, the controller and root: paths, bodies, error classes, and the
// client. The supervisor itself is package hostd. Nothing here has rights of
// its own: the supervisor asks the kernel who called.
package hostapi

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/scarab-ops/scarab/image"
	"github.com/scarab-ops/scarab/provider"
)

// Socket is where the supervisor of an ordinary host listens.
const Socket = "/run/scarab/host/host.sock"

// Bounds of what is sent.
const (
	MaxRequest = 64 << 20
	MaxAnswer  = 16 << 20
	MaxLine    = 64 << 10
)

// StopRequest names machines to remove.
type StopRequest struct {
	Controller string                `json:"controller"`
	IDs        []provider.InstanceID `json:"ids"`
}

// RulesRequest replaces the rules of one machine.
type RulesRequest struct {
	Controller string              `json:"controller"`
	ID         provider.InstanceID `json:"id"`
	Rules      []provider.Rule     `json:"rules"`
}

// Line is one line of a stream.
type Line struct {
	Step    string `json:"step,omitempty"`
	Changed bool   `json:"changed,omitempty"`
	Alive   bool   `json:"alive,omitempty"`
	Done    bool   `json:"done,omitempty"`
	Error   *Error `json:"error,omitempty"`
}

// Status is how the supervisor and its host are.
type Status struct {
	Version   string   `json:"version"`
	Isolation string   `json:"isolation"`
	Why       []string `json:"why,omitempty"` // why no stronger isolation
	// Relayed tells that the host hands on to its loopback what machines send
	// to the gateway: the controller cannot listen there, and need not.
	Relayed       bool   `json:"relayed,omitempty"`
	Subnet        string `json:"subnet,omitempty"`
	Gateway       string `json:"gateway,omitempty"`
	Machines      int    `json:"machines"`
	ControllerPid int    `json:"controller-pid,omitempty"`
	ControllerUID int    `json:"controller-uid,omitempty"`
	Restarts      int    `json:"controller-restarts,omitempty"`
}

// Error is an error with its class.
type Error struct {
	Class   string `json:"class,omitempty"`
	Message string `json:"message"`
}

// classes are the names of the providers' error classes on the wire.
func classes() map[string]error {
	return map[string]error{
		"not-found": provider.ErrNotFound, "try-again": provider.ErrTryAgain, "quota": provider.ErrQuota,
		"credential": provider.ErrCredential, "bad-spec": provider.ErrBadSpec,
	}
}

// NewError finds the class of an error.
func NewError(err error) *Error {
	e := &Error{Message: err.Error()}
	for name, class := range classes() {
		if errors.Is(err, class) {
			e.Class = name
		}
	}
	return e
}

// Err gives the error back with its class.
func (e *Error) Err() error {
	class, ok := classes()[e.Class]
	if !ok {
		return errors.New(e.Message)
	}
	return classed{e.Message, class}
}

type classed struct {
	text  string
	class error
}

func (c classed) Error() string { return c.text }
func (c classed) Unwrap() error { return c.class }

// Client asks a supervisor.
type Client struct {
	http http.Client
}

// NewClient makes a client of the supervisor at a socket; nothing is sent yet.
func NewClient(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	return &Client{http.Client{Transport: &http.Transport{DialContext: dial, MaxIdleConns: 4, MaxConnsPerHost: 64, DisableCompression: true}}}
}

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func (c *Client) send(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://host"+path, body)
	if err != nil {
		return nil, fmt.Errorf("cannot ask the host: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("cannot ask the host: %w", ctx.Err())
		}
		return nil, classed{"cannot reach the host's supervisor: " + err.Error(), provider.ErrTryAgain}
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	var e Error
	data, _ := io.ReadAll(io.LimitReader(resp.Body, MaxLine))
	if json.Unmarshal(data, &e) != nil || e.Message == "" {
		e.Message = "cannot ask the host: " + resp.Status
	}
	return nil, e.Err()
}

// call sends one request and reads one answer.
func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("cannot ask the host: %w", err)
		}
		body = bytes.NewReader(data)
	}
	resp, err := c.send(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, MaxAnswer))
	if err == nil && out != nil {
		err = json.Unmarshal(data, out)
	}
	if err != nil {
		return fmt.Errorf("cannot read the host's answer: %w", err)
	}
	return nil
}

// stream reads lines until the host is done, the context ends or f says stop.
func (c *Client) stream(ctx context.Context, method, path string, body io.Reader, f func(Line)) error {
	resp, err := c.send(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	sc := bufio.NewScanner(resp.Body)
	sc.Buffer(nil, MaxLine)
	for sc.Scan() {
		var l Line
		if err := json.Unmarshal(sc.Bytes(), &l); err != nil {
			return fmt.Errorf("cannot read the host's answer: %w", err)
		}
		if l.Error != nil {
			return l.Error.Err()
		}
		if l.Done {
			return nil
		}
		f(l)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("cannot wait for the host: %w", ctx.Err())
	}
	return classed{"cannot read on: the host's supervisor went away", provider.ErrTryAgain}
}

// Start makes a machine.
func (c *Client) Start(ctx context.Context, s provider.StartSpec) (provider.Instance, error) {
	var inst provider.Instance
	err := c.call(ctx, http.MethodPost, "/v1/machines", &s, &inst)
	return inst, err
}

// Stop removes machines.
func (c *Client) Stop(ctx context.Context, controller string, ids []provider.InstanceID) error {
	return c.call(ctx, http.MethodPost, "/v1/machines/stop", StopRequest{controller, ids}, nil)
}

// List gives the machines of a controller.
func (c *Client) List(ctx context.Context, controller string) ([]provider.Instance, error) {
	var out []provider.Instance
	err := c.call(ctx, http.MethodGet, "/v1/machines?controller="+url.QueryEscape(controller), nil, &out)
	return out, err
}

// SetRules replaces the rules of a machine.
func (c *Client) SetRules(ctx context.Context, controller string, id provider.InstanceID, rules []provider.Rule) error {
	return c.call(ctx, http.MethodPost, "/v1/machines/rules", RulesRequest{controller, id, rules}, nil)
}

// Watch calls f at once and after changes, until the context ends.
func (c *Client) Watch(ctx context.Context, controller string, f func()) error {
	return c.stream(ctx, http.MethodGet, "/v1/watch?controller="+url.QueryEscape(controller), nil, func(l Line) {
		if l.Changed {
			f()
		}
	})
}

// Prepare makes the default image.
func (c *Client) Prepare(ctx context.Context, report func(string)) error {
	return c.stream(ctx, http.MethodPost, "/v1/prepare", nil, func(l Line) { report(l.Step) })
}

// Status asks how the supervisor is.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	err := c.call(ctx, http.MethodGet, "/v1/status", nil, &s)
	return s, err
}

// Images lists the kept images.
func (c *Client) Images(ctx context.Context) ([]image.Image, error) {
	var out []image.Image
	err := c.call(ctx, http.MethodGet, "/v1/images", nil, &out)
	return out, err
}

// BuildImage builds an image from a distribution's packages.
func (c *Client) BuildImage(ctx context.Context, name string, report func(string)) error {
	return c.stream(ctx, http.MethodPost, "/v1/images/build?name="+url.QueryEscape(name), nil, func(l Line) { report(l.Step) })
}

// AddImage takes in a tarball.
func (c *Client) AddImage(ctx context.Context, name string, tarball io.Reader) error {
	return c.stream(ctx, http.MethodPost, "/v1/images?name="+url.QueryEscape(name), tarball, func(Line) {})
}

// RemoveImage deletes an image that no machine runs on.
func (c *Client) RemoveImage(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodDelete, "/v1/images?name="+url.QueryEscape(name), nil, nil)
}

// Shutdown removes all machines, the network and the controller's process,
// and ends the supervisor. Only root may ask.
func (c *Client) Shutdown(ctx context.Context, report func(string)) error {
	return c.stream(ctx, http.MethodPost, "/v1/shutdown", nil, func(l Line) { report(l.Step) })
}

// Exec runs a command in a machine and gives its combined output. Only root
// may ask.
func (c *Client) Exec(ctx context.Context, id provider.InstanceID, argv []string) (string, int, error) {
	var out ExecAnswer
	err := c.call(ctx, http.MethodPost, "/v1/exec", ExecRequest{id, argv}, &out)
	return out.Output, out.Code, err
}

// ExecRequest is a command for a machine.
type ExecRequest struct {
	ID   provider.InstanceID `json:"id"`
	Argv []string            `json:"argv"`
}

// ExecAnswer is how it ended.
type ExecAnswer struct {
	Output string `json:"output"`
	Code   int    `json:"code"`
}

// ImageOf is the image's name for a base: "debian@12" for debian, 12/stable.
func ImageOf(b provider.Base) string {
	channel, _, _ := strings.Cut(b.Channel, "/")
	return b.Name + "@" + channel
}
