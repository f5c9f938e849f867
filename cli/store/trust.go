package store

import (
	"context"
	"fmt"

	"gopkg.in/yaml.v3"
)

// ChangedAuthorityError says that a controller shows another authority than the one first trusted.
type ChangedAuthorityError struct{ Name, Want, Got string }

func (e *ChangedAuthorityError) Error() string {
	return fmt.Sprintf("cannot trust controller %q: its authority changed since you first logged in (recorded fingerprint %s, now %s)",
		e.Name, e.Want, e.Got)
}

// Advice is the line that says what to do.
func (e *ChangedAuthorityError) Advice() string {
	return "somebody may be posing as the controller; ask its administrator for the fingerprint, and only if it is the new one: scarab login -c " +
		e.Name + " --trust-new-ca"
}

// CheckTrust compares the authority of a controller with the one recorded for its id, and records it at first sight.
func (s *Store) CheckTrust(ctx context.Context, name string, c Controller) error {
	if c.CACert == "" {
		return nil
	}
	got, err := Fingerprint(c.CACert)
	if err != nil {
		return err
	}
	root, err := s.load(trustFile)
	if err != nil {
		return err
	}
	switch want := text(child(child(child(root, "controllers"), c.UUID), "ca-sha256")); want {
	case got:
		return nil
	case "":
		return s.SetTrust(ctx, name, c)
	default:
		return &ChangedAuthorityError{Name: name, Want: want, Got: got}
	}
}

// SetTrust records the authority of a controller as the one to expect.
func (s *Store) SetTrust(ctx context.Context, name string, c Controller) error {
	fp, err := Fingerprint(c.CACert)
	if err != nil {
		return err
	}
	return s.change(ctx, trustFile, func(root *yaml.Node) error {
		v := map[string]string{"name": name, "ca-sha256": fp}
		return merge(childMap(root, "controllers"), c.UUID, v, nil)
	})
}
