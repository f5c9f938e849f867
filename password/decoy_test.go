package password

import (
	"context"
	"errors"
	"testing"
)

// The hash that stands for nobody's is one of the present policy, which is
// what makes it cost as much as anybody's, and is another for each checker.
func TestDecoyIsOfThePolicy(t *testing.T) {
	c, err := NewChecker()
	if err != nil {
		t.Fatal(err)
	}
	real, err := Of(NewSecret("a password"))
	if err != nil {
		t.Fatal(err)
	}
	scheme, params, salt, key, err := c.decoy.split()
	if err != nil {
		t.Fatal(err)
	}
	wantScheme, wantParams, wantSalt, wantKey, err := real.split()
	if err != nil {
		t.Fatal(err)
	}
	if scheme != wantScheme || params != wantParams || len(salt) != len(wantSalt) || len(key) != len(wantKey) {
		t.Errorf("the decoy is %s %s, a password's hash %s %s", scheme, params, wantScheme, wantParams)
	}
	other, err := NewChecker()
	if err != nil {
		t.Fatal(err)
	}
	if other.decoy == c.decoy {
		t.Error("two checkers have the same decoy")
	}
}

// New passwords are hashed one at a time, and who has gone away does not wait;
// logins are not held up by it.
func TestNewPasswordsTakeTurns(t *testing.T) {
	c, err := NewChecker()
	if err != nil {
		t.Fatal(err)
	}
	c.sets <- struct{}{} // somebody's is being hashed
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if h, err := c.Of(gone, NewSecret("a password")); !errors.Is(err, ErrBusy) || h != "" {
		t.Errorf("a second one at once: %v", err)
	}
	if ok, err := c.Check(t.Context(), "", NewSecret("a password")); ok || err != nil {
		t.Errorf("a login meanwhile: %v, %v", ok, err)
	}
	<-c.sets
	for range 2 {
		if h, err := c.Of(t.Context(), NewSecret("a password")); err != nil || !h.Matches(NewSecret("a password")) {
			t.Errorf("a new password: %v", err)
		}
	}
}

// Advice about memory changes nothing of a hash.
func TestLargePages(t *testing.T) {
	LargePages(0)
	LargePages(1)
	s := NewSecret("a password")
	h, err := Of(s)
	if err != nil || !h.Matches(s) || h.Matches(NewSecret("another")) {
		t.Errorf("a hash in large pages does not hold: %v", err)
	}
}
