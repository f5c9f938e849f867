// Package refuse declares methods that clients know and this release does not
// have. They answer with the code "not supported" and say what to do instead;
// an answer of "not implemented" would make clients call the whole controller
// incompatible. Such a method still has an access rule and tells nobody
// without access that it is missing.
package refuse

import (
	"encoding/json"

	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/authz"
)

// An Error is the answer of a refused method.
type Error struct{ Text string }

func (e *Error) Error() string { return e.Text }

// Code is the wire code of the error.
func (e *Error) Code() string { return "not supported" }

// Method declares a method that always answers with text, which begins with
// "cannot" and says what to do instead.
func Method[S any](name string, rule authz.Rule, text string) facade.Method[S] {
	return facade.Raw(name, rule.Reads(), func(S, facade.Call, json.RawMessage) (any, error) {
		return nil, &Error{text}
	})
}
