package facade

import (
	"encoding/json"
	"fmt"
)

// Bounds of one request's arguments. A frame is already bounded in bytes; these
// bound what decoding makes of it, which may be fifty times as much.
const (
	MaxItems = 10_000  // items of a bulk call
	maxDepth = 32      // nesting
	maxValue = 200_000 // values, counted by their separators
)

// A BadRequest reports arguments that cannot be read.
type BadRequest struct{ Reason string }

// Error says what is wrong with the arguments.
func (e *BadRequest) Error() string { return e.Reason }

// Code is the wire code.
func (e *BadRequest) Code() string { return "bad request" }

func errTooMany(n int) error {
	return &BadRequest{fmt.Sprintf("cannot take %d items at once: send at most %d", n, MaxItems)}
}

// decode reads arguments into A. Absent and null arguments are zero; unknown
// keys are ignored.
func decode[A any](raw json.RawMessage) (A, error) {
	var a A
	if len(raw) == 0 {
		return a, nil
	}
	if err := bounded(raw); err != nil {
		return a, err
	}
	if err := json.Unmarshal(raw, &a); err != nil {
		return a, &BadRequest{fmt.Sprintf("cannot decode arguments: %v", err)}
	}
	return a, nil
}

// bounded counts depth and values without allocating anything.
func bounded(raw []byte) error {
	depth, values := 0, 1
	inString := false
	for i := 0; i < len(raw); i++ {
		switch b := raw[i]; {
		case inString && b == '\\':
			i++
		case b == '"':
			inString = !inString
		case inString:
		case b == '{' || b == '[':
			depth++
			values++
		case b == '}' || b == ']':
			depth--
		case b == ',' || b == ':':
			values++
		}
		if depth > maxDepth {
			return &BadRequest{fmt.Sprintf("cannot take arguments nested deeper than %d", maxDepth)}
		}
		if values > maxValue {
			return &BadRequest{fmt.Sprintf("cannot take more than %d values at once", maxValue)}
		}
	}
	return nil
}
