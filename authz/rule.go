package authz

import "strings"

// A Scope says what a rule is about. The zero Scope is a rule that someone
// forgot.
type Scope string

// The scopes.
const (
	// OnTheController: users with a level on the controller.
	OnTheController Scope = "controller"
	// OnTheModel: users with a level on the connection's model.
	OnTheModel Scope = "model"
	// OnItem: each item names its target, checked item by item.
	OnItem Scope = "item"
	// OnSelf: the caller acts on nothing but itself, or on nothing at all.
	OnSelf Scope = "self"
)

// A Class says what of a call may be written down. The zero Class is secret:
// the call is recorded, its arguments never are.
type Class uint8

// The classes.
const (
	ClassSecret Class = iota // recorded, arguments never
	ClassRead                // changes nothing, not recorded
	ClassChange              // recorded, with arguments
)

// String returns the class's name.
func (c Class) String() string {
	if c > ClassChange {
		return "invalid"
	}
	return [...]string{"secret", "read", "change"}[c]
}

// When is a set of the unusual times at which a method still answers. The zero
// When is normal times only.
type When uint8

// The unusual times.
const (
	Upgrading When = 1 << iota // the controller is being upgraded
	Migrating                  // the model is moving away

	// Normal is no unusual time.
	Normal When = 0
)

// String names the times, always "normal" first.
func (w When) String() string {
	s := "normal"
	if w&Upgrading != 0 {
		s += "+upgrading"
	}
	if w&Migrating != 0 {
		s += "+migrating"
	}
	return s
}

// A Rule says who may call a method. Rules are values so that the whole table
// can be printed, reviewed and compared with the golden copy.
type Rule struct {
	Who Kinds
	// Need is the level a user needs; ignored for other kinds and OnSelf.
	Need  Level
	On    Scope
	Class Class
	When  When
}

// OnController and OnModel are rules that arguments cannot change.
func OnController(l Level) Rule { return Rule{Who: User, Need: l, On: OnTheController} }

// OnModel admits users with l on the connection's model.
func OnModel(l Level) Rule { return Rule{Who: User, Need: l, On: OnTheModel} }

// PerItem is for methods whose arguments name the target, item by item.
func PerItem(l Level) Rule { return Rule{Who: User, Need: l, On: OnItem} }

// Self is for callers who act on themselves only: agents of kinds k, or users
// on their own account.
func Self(k Kinds) Rule { return Rule{Who: k, On: OnSelf} }

// Reads says that the method changes nothing.
func (r Rule) Reads() Rule { r.Class = ClassRead; return r }

// Changes says that the method changes something and that its arguments may be
// recorded.
func (r Rule) Changes() Rule { r.Class = ClassChange; return r }

// AndAgents admits agents of the model too, beside the users that the rule
// admits: a machine or unit of the connection's model, whatever its name.
func (r Rule) AndAgents(k Kinds) Rule { r.Who |= k & Agents; return r }

// During adds unusual times at which the method answers.
func (r Rule) During(w When) Rule { r.When |= w; return r }

// Valid reports whether the rule admits anybody at all.
func (r Rule) Valid() bool {
	if r.Who == 0 || r.Class > ClassChange {
		return false
	}
	switch r.On {
	case OnSelf:
		return r.Need == Nobody
	case OnTheModel:
		return r.Who&User != 0 && r.Who&^(User|Agents) == 0 && r.Need > Nobody && r.Need <= Superuser
	case OnTheController, OnItem:
		return r.Who == User && r.Need > Nobody && r.Need <= Superuser
	}
	return false
}

// String prints one line of the access table.
func (r Rule) String() string {
	parts := []string{"who=" + r.Who.String()}
	if r.On != OnSelf {
		parts = append(parts, "need="+r.Need.String())
	}
	on := string(r.On)
	if on == "" {
		on = "nothing"
	}
	return strings.Join(append(parts, "on="+on, "class="+r.Class.String(), "when="+r.When.String()), " ")
}

// Admit reports whether c may call a method with rule r at all, as far as this
// can be said before its items are read.
func (r Rule) Admit(c *Caller, g Grants) error {
	if !r.Valid() || c == nil || g == nil || c.Kind&r.Who == 0 || c.Kind&(c.Kind-1) != 0 {
		return ErrDenied
	}
	switch r.On {
	case OnTheController:
		return c.Check(g, r.Need, Controller)
	case OnTheModel:
		if c.Kind != User && c.Model != "" && g.Present(c) {
			return nil
		}
		return c.Check(g, r.Need, Model(c.Model))
	case OnItem, OnSelf:
		if !g.Present(c) {
			return ErrDenied
		}
		return nil
	}
	return ErrDenied
}
