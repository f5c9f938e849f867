package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"time"

	"github.com/scarab-ops/scarab/wire"
)

// Conn is one connection to a controller or a model, logged in.
type Conn interface {
	// Call invokes a method on the highest version of the facade that both sides know.
	Call(ctx context.Context, facade, id, method string, params, result any) error
	// Has reports whether the server offers a facade.
	Has(facade string) bool
	Login() Login
	Close() error
}

// Login is what the server said at login.
type Login struct {
	ControllerUUID   string
	User             string
	ControllerAccess string
	ModelAccess      string
	ServerVersion    string
	Addresses        []string
	PublicDNSName    string
}

// CharmUploader is the part of a connection that takes local charms.
type CharmUploader interface {
	UploadCharm(ctx context.Context, name string, revision int, archive io.ReadSeeker) (charmURL string, err error)
}

// LogLine is one line of a model's log.
type LogLine struct {
	Entity    string
	Timestamp time.Time
	Severity  string
	Module    string
	Location  string
	Message   string
	Labels    []string
}

// LogSource is the part of a connection that streams logs. It calls each line until the stream ends.
type LogSource interface {
	DebugLog(ctx context.Context, params url.Values, line func(LogLine) error) error
}

// Target says where to connect and as whom. Secret is a type of its own so that no print shows it.
type Target struct {
	Addresses      []string
	CACert         string
	PublicHostname string
	ControllerUUID string
	ModelUUID      string
	User           string
	Secret         Secret
}

// Secret is a password on its way to a login.
type Secret interface {
	Reveal() string
	Empty() bool
}

// Dialer makes connections.
type Dialer interface {
	Dial(ctx context.Context, t Target) (Conn, error)
	// Authority fetches the CA that a server shows, before anything is trusted: no credential is sent.
	Authority(ctx context.Context, address string) (caPEM string, err error)
}

// Do calls a method and returns its decoded result.
func Do[R any](ctx context.Context, c Conn, facade, method string, params any) (R, error) {
	var r R
	if params == nil {
		params = struct{}{}
	}
	err := c.Call(ctx, facade, "", method, params, &r)
	return r, err
}

// Run calls a method that answers nothing.
func Run(ctx context.Context, c Conn, facade, method string, params any) error {
	_, err := Do[json.RawMessage](ctx, c, facade, method, params)
	return err
}

// Code is the error code that a server sent with an error.
func Code(err error) string {
	var coded interface{ ErrorCode() string }
	if errors.As(err, &coded) {
		return coded.ErrorCode()
	}
	return ""
}

// IsNotFound reports the server's code for a missing thing.
func IsNotFound(err error) bool { return Code(err) == "not found" }

// One takes the only item of a bulk answer.
func One[T any](items []T, itemErr func(T) *wire.Error) (T, error) {
	var zero T
	if len(items) != 1 {
		return zero, fmt.Errorf("cannot read the controller's answer: %d results for one question", len(items))
	}
	if e := itemErr(items[0]); e != nil {
		return zero, e
	}
	return items[0], nil
}

// Errors joins the errors of a bulk answer, with the name that each belongs to.
func Errors(results []wire.ErrorResult, names []string) error {
	var errs []error
	for i, r := range results {
		if r.Error == nil {
			continue
		}
		if i < len(names) && len(results) > 1 {
			errs = append(errs, fmt.Errorf("%s: %w", names[i], r.Error))
		} else {
			errs = append(errs, r.Error)
		}
	}
	return errors.Join(errs...)
}
