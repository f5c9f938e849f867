package route

import (
	"encoding/json"
	"net/http"

	"github.com/scarab-ops/scarab/apiserver/facade"
)

// An Error is an error with a wire code, for routes.
type Error struct{ Text, Wire string }

// Error is the text.
func (e *Error) Error() string { return e.Text }

// Code is the wire code.
func (e *Error) Code() string { return e.Wire }

// Status maps a wire code to an HTTP status. It is the only such map.
func Status(code string) int {
	switch code {
	case "unauthorized access", "macaroon discharge required", "no credentials provided":
		return http.StatusUnauthorized
	case "not found", "user not found", "model not found", "not supported":
		return http.StatusNotFound
	case "bad request", "operation is blocked", "not valid", "blob-digest":
		return http.StatusBadRequest
	case "method not allowed":
		return http.StatusMethodNotAllowed
	case "forbidden":
		return http.StatusForbidden
	case "redirection required":
		return http.StatusMovedPermanently
	case "not yet available; try again later":
		return http.StatusConflict
	case "quota limit exceeded":
		return http.StatusRequestEntityTooLarge
	case "try again":
		return http.StatusServiceUnavailable
	case "not leader":
		return http.StatusTemporaryRedirect
	}
	return http.StatusInternalServerError
}

// Fail answers with the generic form of an error.
func Fail(w http.ResponseWriter, err error) {
	we := facade.ToWire(err)
	JSON(w, status(w, we.Code), map[string]any{"error": we})
}

// FailCharm answers with the form that charm routes have.
func FailCharm(w http.ResponseWriter, err error) {
	we := facade.ToWire(err)
	body := map[string]any{"error": we.Message, "error-code": we.Code}
	if len(we.Info) > 0 {
		body["error-info"] = we.Info
	}
	JSON(w, status(w, we.Code), body)
}

func status(w http.ResponseWriter, code string) int {
	s := Status(code)
	if s == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Basic realm="juju"`)
	}
	return s
}

// JSON answers with v.
func JSON(w http.ResponseWriter, status int, v any) {
	raw, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(raw, '\n')) // a client that left is no concern of ours
}
