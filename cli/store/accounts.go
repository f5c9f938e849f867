package store

import (
	"context"
	"fmt"

	"gopkg.in/yaml.v3"
)

// Password is a password that no print verb shows.
type Password struct{ text string }

// NewPassword wraps a password.
func NewPassword(s string) Password { return Password{text: s} }

// Reveal gives the text, for the login and the accounts file only.
func (p Password) Reveal() string { return p.text }

// Empty reports that there is none.
func (p Password) Empty() bool { return p.text == "" }

// String hides it.
func (p Password) String() string { return "(hidden)" }

// GoString hides it.
func (p Password) GoString() string { return "(hidden)" }

// Account is one entry of accounts.yaml.
type Account struct {
	User     string
	Password Password
	Access   string
	Known    bool // a person typed the password, so that this file does not hold the only copy
}

type accountYAML struct {
	User     string `yaml:"user"`
	Password string `yaml:"password,omitempty"`
	Access   string `yaml:"last-known-access,omitempty"`
	Known    bool   `yaml:"password-known,omitempty"`
}

// Account returns the account on a controller.
func (s *Store) Account(controller string) (Account, error) {
	root, err := s.load(accountsFile)
	if err != nil {
		return Account{}, err
	}
	n := child(child(root, "controllers"), controller)
	if n == nil {
		return Account{}, &NotFoundError{"an account on controller", controller, "log in first: scarab login -c " + controller}
	}
	var a accountYAML
	if err := n.Decode(&a); err != nil {
		return Account{}, s.broken(accountsFile, n.Line, fmt.Sprintf("the account of %q has a value of the wrong kind", controller))
	}
	return Account{User: a.User, Password: NewPassword(a.Password), Access: a.Access, Known: a.Known}, nil
}

// SetAccount records the account on a controller.
func (s *Store) SetAccount(ctx context.Context, controller string, a Account) error {
	return s.change(ctx, accountsFile, func(root *yaml.Node) error {
		v := accountYAML{User: a.User, Password: a.Password.Reveal(), Access: a.Access, Known: a.Known}
		return merge(childMap(root, "controllers"), controller, v, []string{"password", "last-known-access", "password-known"})
	})
}

// RemoveAccount forgets the account on a controller.
func (s *Store) RemoveAccount(ctx context.Context, controller string) error {
	return s.change(ctx, accountsFile, func(root *yaml.Node) error {
		drop(child(root, "controllers"), controller)
		return nil
	})
}
