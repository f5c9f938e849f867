// Package wire holds what clients see on the wire: JSON-RPC envelopes aside,
// every type that a facade takes or gives. It has no behaviour beyond
// encoding; only facades and clients import it.
//
// Types used by two facades or more are here, the others in wire/<facade>,
// both generated from wire/schema (see its README). This file and its
// neighbours hold what a schema cannot say.
//
// Absent errors leave their key out; a nil list that is not optional becomes
// null, which clients read as empty.
package wire

//go:generate go run ../tools/wiregen .

import "encoding/json"

// MethodInfo names a method of a facade with the types it takes and gives;
// an empty name means none.
type MethodInfo struct {
	Name, Params, Result string
}

// Shape tells how the items of a bulk method travel: out of its argument,
// back into its result, and how an item's error becomes its result.
type Shape[A, I, R, O any] struct {
	Items func(A) []I
	Wrap  func([]O) R
	Fail  func(*Error) O
}

// Number is a version such as "3.6.12".
type Number = string

// Macaroon is a macaroon's JSON object, in its v1 or v2 encoding, unread.
type Macaroon = json.RawMessage

// ExpressionTree is a charm's "assumes": a list of strings such as
// "juju >= 3.1", or objects with "any-of" or "all-of".
type ExpressionTree = any

// Error makes a wire error an error of Go. Its text is the message alone.
func (e *Error) Error() string {
	if e == nil {
		return "<nil>"
	}
	return e.Message
}

// ErrorCode returns the code that clients decide by.
func (e *Error) ErrorCode() string {
	if e == nil {
		return ""
	}
	return e.Code
}

// ErrorInfo returns what comes with the error.
func (e *Error) ErrorInfo() map[string]any {
	if e == nil {
		return nil
	}
	return e.Info
}
