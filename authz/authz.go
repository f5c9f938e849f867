// Package authz decides. It knows who is asking, what the rule of a method
// demands and which grants exist; it knows nothing about how a request came or
// what will be done. It stores nothing: grants are asked for through [Grants],
// which is bound to one revision of the state, so a grant that was withdrawn is
// gone with the next question.
//
// It refuses whatever was not written down: the zero [Level], the zero [Kinds],
// the zero [Scope] and the zero [Rule] admit nobody, and the zero [Class] hides
// arguments from every log.
package authz

import (
	"github.com/scarab-ops/scarab/names"
)

// ErrDenied is the only thing a caller without permission learns.
const ErrDenied = constError("permission denied")

type constError string

// Error is the only sentence a caller without permission learns.
func (e constError) Error() string { return string(e) }

// Code is the wire code.
func (e constError) Code() string { return "unauthorized access" }

// A Level is a degree of access. Higher includes lower. The zero Level is
// Nobody, so a rule someone forgot to write denies.
type Level int

// The levels. Which of them an object knows depends on the object: a model has
// read, write and admin; a controller login and superuser; a cloud add-model
// and admin; an offer read, consume and admin.
const (
	Nobody Level = iota
	Login
	Read
	Write
	Admin
	Superuser

	AddModel = Write // on a cloud
	Consume  = Write // on an offer
)

// String returns the level's name on a model or controller.
func (l Level) String() string {
	if l < Nobody || l > Superuser {
		return "invalid"
	}
	return [...]string{"nobody", "login", "read", "write", "admin", "superuser"}[l]
}

// A Target is what access is wanted to. The zero Target is nothing, and access
// to nothing is denied.
type Target string

// Controller is the controller as a whole.
const Controller Target = "controller"

// Model is the target of a model; no UUID makes no target.
func Model(m names.Model) Target {
	if m == "" {
		return ""
	}
	return Target("model:" + string(m))
}

// Cloud is the target of a cloud.
func Cloud(c names.Cloud) Target {
	if c == "" {
		return ""
	}
	return Target("cloud:" + string(c))
}

// Offer is the target of an offer in a model.
func Offer(m names.Model, name string) Target {
	if m == "" || name == "" {
		return ""
	}
	return Target("offer:" + string(m) + ":" + name)
}

// Kinds is a set of kinds of caller. The empty set is nobody.
type Kinds uint8

// The kinds of caller.
const (
	// User is a person or a program that logged in as a user.
	User Kinds = 1 << iota
	// Machine is a machine agent that proved certificate and password.
	Machine
	// Unit is a unit agent that proved certificate and password.
	Unit
	// ControllerAgent is another controller of the same cluster.
	ControllerAgent
	// Enrolling is an agent that showed a one-time token, or an expired
	// certificate with its password. It may do nothing but enrol or renew.
	Enrolling
	// Anonymous carries its proof in each call.
	Anonymous

	// Agents are the kinds that act for one machine or unit.
	Agents = Machine | Unit
	// Everyone is every kind that has fully logged in.
	Everyone = User | Machine | Unit | ControllerAgent
)

// String lists the kinds in k.
func (k Kinds) String() string {
	names := [...]string{"user", "machine", "unit", "controller", "enrolling", "anonymous"}
	s := ""
	for i, n := range names {
		if k&(1<<i) != 0 {
			if s != "" {
				s += "|"
			}
			s += n
		}
	}
	if s == "" {
		return "nobody"
	}
	return s
}

// A Caller is an authenticated connection. It says who, never what they may
// do: that is asked of [Grants] at each call.
type Caller struct {
	// Kind is exactly one kind.
	Kind Kinds
	// User is set for users, Machine for machine agents, Unit for unit agents.
	// An enrolling caller has the name of the machine or unit that it will be.
	User    names.User
	Machine names.Machine
	Unit    names.Unit
	// Controller is the node id of a controller agent.
	Controller string
	// Model is the model that the connection is for, empty for a controller
	// connection.
	Model names.Model
	// Renewing is set when the caller's certificate ran out.
	Renewing bool
}

// Tag names the caller as clients and logs read it.
func (c *Caller) Tag() names.Tag {
	switch {
	case c == nil:
	case c.Unit != "":
		return c.Unit.Tag()
	case c.Machine != "":
		return c.Machine.Tag()
	case c.User != "":
		return c.User.Tag()
	case c.Controller != "":
		return names.Tag{Kind: names.KindController, ID: c.Controller}
	}
	return names.Tag{}
}

// Grants answers from one revision of the state.
type Grants interface {
	// Level returns what u holds on t itself. Unknown, disabled and removed
	// users hold Nobody. Being superuser is not for Level to weigh.
	Level(u names.User, t Target) Level
	// Present tells whether the identity that c proved still stands: a user
	// that is enabled, an agent whose machine or unit is not gone.
	Present(c *Caller) bool
}

// Check reports whether c is a user who holds level need on t.
func (c *Caller) Check(g Grants, need Level, t Target) error {
	if c == nil || g == nil || need <= Nobody || t == "" || c.Kind != User || c.User == "" {
		return ErrDenied
	}
	if !g.Present(c) {
		return ErrDenied
	}
	if g.Level(c.User, Controller) >= Superuser || g.Level(c.User, t) >= need {
		return nil
	}
	return ErrDenied
}
