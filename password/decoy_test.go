package password

import "testing"

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
