// Package route owns what a route of the API port is: method, path and the
// policy that must be declared for it. A route without a policy is refused when
// the server is made, so there is no route whose access nobody thought about.
// Matching is exact: no cleaning of paths, no redirects, no prefixes.
package route

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/authz"
	"github.com/scarab-ops/scarab/names"
)

// Auth says how whoever comes by a route proves who they are.
type Auth string

// The ways. The zero Auth is a route that someone forgot.
const (
	// Open asks nothing: the route must give nothing away and change nothing.
	Open Auth = "open"
	// InBand is a socket that begins without rights and logs in by itself.
	InBand Auth = "in-band"
	// Basic is HTTP basic authentication with tag and password, for agents
	// with their certificate too.
	Basic Auth = "basic"
)

// A Socket is an upgraded connection. Frames are text.
type Socket interface {
	Read(ctx context.Context) ([]byte, error)
	// Write sends one frame; a peer that does not take it in time is cut.
	Write(ctx context.Context, p []byte) error
	// Listen is for sockets that are only written to: the context it returns
	// ends when the peer leaves.
	Listen(ctx context.Context) context.Context
	// Refuse closes the socket and says that the peer broke the rules.
	Refuse(why string)
}

// A Policy is what must be declared for each route.
type Policy struct {
	Auth Auth
	// Rule says who may, for Basic; other routes have none.
	Rule authz.Rule
	// MaxBody bounds the request's body in bytes; 0 takes no body.
	MaxBody int64
	// Socket marks routes that upgrade to a WebSocket: browsers' Origin counts.
	Socket bool
	// Late sends refusals as the first frame of the socket, as clients of log
	// streams want them.
	Late bool
}

// A Route is one route.
type Route struct {
	Method string // GET answers HEAD too
	// Path has segments; "{model}" and "model-{model}" take a model's UUID,
	// "{x}" takes one segment.
	Path   string
	Policy Policy
	// Open serves routes of policy Open and InBand.
	Open http.HandlerFunc
	// Serve serves routes of policy Basic. An error that is returned is
	// written as the answer if nothing was written yet.
	Serve func(c facade.Call, w http.ResponseWriter, r *http.Request) error
	// Stream serves sockets of policy Basic. The socket is closed after it.
	Stream func(c facade.Call, ws Socket, r *http.Request) error
	// Fail writes errors; nil means the generic form.
	Fail func(w http.ResponseWriter, err error)
}

// String prints the route's line of the route table.
func (r Route) String() string {
	s := fmt.Sprintf("%-5s %s auth=%s", r.Method, r.Path, r.Policy.Auth)
	if r.Policy.Auth == Basic {
		s += " " + r.Policy.Rule.String()
	}
	s += fmt.Sprintf(" body<=%d", r.Policy.MaxBody)
	if r.Policy.Socket {
		s += " socket"
	}
	return s
}

func (r Route) valid() error {
	p := r.Policy
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodPost && r.Method != http.MethodPut:
		return fmt.Errorf("cannot serve %s: method %q is none of GET, POST, PUT", r.Path, r.Method)
	case !strings.HasPrefix(r.Path, "/"):
		return fmt.Errorf("cannot serve %q: the path does not begin with /", r.Path)
	case p.Auth == Basic && (!p.Rule.Valid() || r.Open != nil || (r.Stream != nil) == (r.Serve != nil) || (r.Stream != nil) != p.Socket):
		return fmt.Errorf("cannot serve %s %s: it needs an access rule, and Serve or for sockets Stream", r.Method, r.Path)
	case (p.Auth == Open || p.Auth == InBand) && (r.Open == nil || r.Serve != nil || r.Stream != nil || p.Rule != authz.Rule{}):
		return fmt.Errorf("cannot serve %s %s: it needs Open alone", r.Method, r.Path)
	case p.Auth != Basic && p.Auth != Open && p.Auth != InBand:
		return fmt.Errorf("cannot serve %s %s: it has no policy", r.Method, r.Path)
	case p.Late && !p.Socket, p.MaxBody < 0 || p.Socket && (r.Method != http.MethodGet || p.MaxBody != 0):
		return fmt.Errorf("cannot serve %s %s: a socket is a GET without a body", r.Method, r.Path)
	}
	return nil
}

// A Table finds routes.
type Table struct {
	routes []compiled
}

type compiled struct {
	Route
	segments []string
}

// NewTable refuses routes without a policy and two for one method and path.
func NewTable(routes ...Route) (*Table, error) {
	t := &Table{}
	for _, r := range routes {
		if err := r.valid(); err != nil {
			return nil, err
		}
		for _, old := range t.routes {
			if old.Method == r.Method && old.Path == r.Path {
				return nil, fmt.Errorf("cannot serve %s %s: it is declared twice", r.Method, r.Path)
			}
		}
		t.routes = append(t.routes, compiled{r, strings.Split(r.Path[1:], "/")})
	}
	return t, nil
}

// Routes returns every route in order of path and method.
func (t *Table) Routes() []Route {
	var rs []Route
	for _, c := range t.routes {
		rs = append(rs, c.Route)
	}
	slices.SortFunc(rs, func(a, b Route) int { return strings.Compare(a.Path+" "+a.Method, b.Path+" "+b.Method) })
	return rs
}

// Errors of Find.
var (
	ErrNotFound = errors.New("no such route")
	ErrMethod   = errors.New("method not allowed")
)

// A BadModelError reports a path whose model is no UUID.
type BadModelError struct{ Text string }

// Error is the sentence of the reference.
func (e *BadModelError) Error() string { return fmt.Sprintf("invalid model UUID %q", e.Text) }

// Find returns the route for a method and path, and sets the path's values in
// the request. Literal segments win over values.
func (t *Table) Find(r *http.Request) (Route, names.Model, error) {
	path := r.URL.Path
	if len(path) > 2048 || !strings.HasPrefix(path, "/") || strings.ContainsAny(path, "\x00\\") {
		return Route{}, "", ErrNotFound
	}
	if r.URL.RawPath != "" { // an escaped separator or the like
		return Route{}, "", ErrNotFound
	}
	segments := strings.Split(path[1:], "/")
	if slices.Contains(segments, "..") || slices.Contains(segments, ".") {
		return Route{}, "", ErrNotFound
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	err := ErrNotFound
	for _, c := range t.routes {
		values, ok := c.match(segments)
		switch {
		case !ok:
		case c.Method != method:
			err = ErrMethod
		default:
			m, bad := model(values)
			if bad != nil {
				return Route{}, "", bad
			}
			for k, v := range values {
				r.SetPathValue(k, v)
			}
			return c.Route, m, nil
		}
	}
	return Route{}, "", err
}

func (c compiled) match(segments []string) (map[string]string, bool) {
	if len(segments) != len(c.segments) {
		return nil, false
	}
	values := map[string]string{}
	for i, want := range c.segments {
		have := segments[i]
		prefix, name, isValue := strings.Cut(want, "{")
		if !isValue {
			if have != want {
				return nil, false
			}
			continue
		}
		v, ok := strings.CutPrefix(have, prefix)
		if !ok || v == "" {
			return nil, false
		}
		values[strings.TrimSuffix(name, "}")] = v
	}
	return values, true
}

func model(values map[string]string) (names.Model, error) {
	v, ok := values["model"]
	if !ok {
		return "", nil
	}
	if !names.ValidUUID(v) {
		return "", &BadModelError{v}
	}
	return names.Model(v), nil
}
