package facade

import (
	"context"
	"errors"

	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/wire"
)

// Sentences for faults of our own.
var (
	errUnchecked = errors.New("internal error: handler did not check access")
	errReadOnly  = errors.New("internal error: method is declared to change nothing")
	errPanic     = errors.New("internal error: the call failed; see the controller's log")
)

// Coded is an error that knows its wire code.
type Coded interface {
	error
	Code() string
}

// Informed is an error that carries more than its text.
type Informed interface {
	error
	Info() map[string]any
}

// ToWire maps an error to what clients read. It is the only such map.
func ToWire(err error) *wire.Error {
	if err == nil {
		return nil
	}
	var already *wire.Error
	if errors.As(err, &already) && already != nil {
		return already
	}
	w := &wire.Error{Message: err.Error(), Code: code(err)}
	var inf Informed
	if errors.As(err, &inf) {
		w.Info = inf.Info()
	}
	return w
}

func code(err error) string {
	var (
		coded    Coded
		notFound *state.NotFoundError
	)
	switch {
	case errors.As(err, &coded):
		return coded.Code()
	case errors.As(err, &notFound):
		return "not found"
	case errors.Is(err, state.ErrConflict):
		return "excessive contention"
	case errors.Is(err, context.DeadlineExceeded):
		return "deadline exceeded"
	}
	return ""
}
