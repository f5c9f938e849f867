package user

import (
	"fmt"
	"slices"

	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
)

// An AccessError refuses a change of access that changes nothing.
type AccessError struct{ Text, What string }

func (e *AccessError) Error() string { return e.Text }

// Code is the wire code of the error.
func (e *AccessError) Code() string { return e.What }

// Modify grants or revokes one of levels, lowest first, on a target. To revoke
// a level leaves the next lower one; to revoke the lowest leaves nothing.
func Modify(tx *state.Tx, u names.User, on string, levels []string, action, level string) error {
	want := slices.Index(levels, level)
	if want < 0 {
		return &AccessError{fmt.Sprintf("cannot change access: %.80q is none of %v", level, levels), "bad request"}
	}
	if !Table.Has(tx, state.Controller, string(u)) {
		return &AccessError{fmt.Sprintf("cannot change access: user %q not found", string(u)), "user not found"}
	}
	have := slices.Index(levels, Level(tx, u, on))
	switch action {
	case "grant":
		if have >= want {
			return &AccessError{fmt.Sprintf("user already has %q access or greater", level), "already exists"}
		}
		return Grants.Put(tx, state.Controller, Grant{User: u, On: on, Level: level})
	case "revoke":
		if have < want {
			return &AccessError{fmt.Sprintf("user %q does not have %q access", string(u), level), "not found"}
		}
		if want == 0 {
			return Grants.Delete(tx, state.Controller, string(u)+"/"+on)
		}
		return Grants.Put(tx, state.Controller, Grant{User: u, On: on, Level: levels[want-1]})
	}
	return &AccessError{fmt.Sprintf("cannot change access: unknown action %.80q, use grant or revoke", action), "bad request"}
}

// SomebodyRules fails if nobody who can log in is left to rule the controller:
// the change that would lock everybody out is refused.
func SomebodyRules(r state.Reader) error {
	for g, err := range Grants.All(r, state.Controller) {
		if err != nil || g.On != OnController || g.Level != "superuser" {
			continue
		}
		if u, err := Table.Get(r, state.Controller, string(g.User)); err == nil && !u.Disabled {
			return nil
		}
	}
	return &AccessError{"cannot do that: nobody would be left who may administer the controller", "bad request"}
}
