// Package user owns people: rows of kind "user" and "grant" in the controller
// scope. It stores verifiers, never passwords.
package user

import (
	"fmt"
	"time"

	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
)

// A Row is one person.
type Row struct {
	Name        names.User `json:"name"`
	DisplayName string     `json:"display-name,omitempty"`
	// Verifier is the encoded salted hash of the password (package password);
	// empty means that no password works.
	Verifier  string     `json:"verifier,omitempty"`
	Disabled  bool       `json:"disabled,omitempty"`
	Created   time.Time  `json:"created"`
	CreatedBy names.User `json:"created-by,omitempty"`
	// Generation rises with each change of password or of Disabled; live
	// sessions of an older generation are cut.
	Generation int `json:"generation"`
	// PasswordSet is when the password was last changed; zero while it is the
	// one made at bootstrap.
	PasswordSet time.Time `json:"password-set,omitzero"`
}

// A Grant is one right of one person. On is "controller" or a model's UUID.
type Grant struct {
	User  names.User `json:"user"`
	On    string     `json:"on"`
	Level string     `json:"level"` // login, superuser; read, write, admin
}

// OnController is the target of controller-wide grants.
const OnController = "controller"

// Tables, both in state.Controller.
var (
	Table  = state.Table[Row]{Kind: "user", ID: func(r Row) string { return string(r.Name) }}
	Grants = state.Table[Grant]{Kind: "grant", ID: func(g Grant) string { return string(g.User) + "/" + g.On }}
)

// Session is when a person was last seen on a target; kept apart so that a
// login does not touch the person's row.
type Session struct {
	User names.User `json:"user"`
	On   string     `json:"on"`
	Last time.Time  `json:"last"`
}

// Sessions holds last connections, in state.Controller.
var Sessions = state.Table[Session]{
	Kind: "last-connection", ID: func(s Session) string { return string(s.User) + "/" + s.On },
}

// Level returns the person's right on a target, "" if none.
func Level(r state.Reader, u names.User, on string) string {
	g, err := Grants.Get(r, state.Controller, string(u.Local())+"/"+on)
	if err != nil {
		return ""
	}
	return g.Level
}

// Add makes a person who may log in.
func Add(tx *state.Tx, u Row) error {
	if !names.ValidUser(string(u.Name)) {
		return fmt.Errorf("cannot add user: %q is not a valid user name", u.Name)
	}
	if Table.Has(tx, state.Controller, string(u.Name)) {
		return &ExistsError{u.Name}
	}
	if err := Table.Put(tx, state.Controller, u); err != nil {
		return err
	}
	return Grants.Put(tx, state.Controller, Grant{User: u.Name, On: OnController, Level: "login"})
}

// ExistsError reports a name that is taken.
type ExistsError struct{ Name names.User }

func (e *ExistsError) Error() string { return fmt.Sprintf("user %q already exists", e.Name) }

// Code is the wire code of the error.
func (e *ExistsError) Code() string { return "already exists" }

// SetVerifier replaces the password's verifier and ends older sessions.
func SetVerifier(tx *state.Tx, u names.User, verifier string, now time.Time) error {
	row, err := Table.Get(tx, state.Controller, string(u.Local()))
	if err != nil {
		return err
	}
	row.Verifier, row.PasswordSet = verifier, now
	row.Generation++
	return Table.Put(tx, state.Controller, row)
}
