package password_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/scarab-ops/scarab/password"
)

func TestPeople(t *testing.T) {
	s := password.NewSecret("correct horse")
	h, err := password.Of(s)
	if err != nil {
		t.Fatal(err)
	}
	h2, err := password.Of(s)
	if err != nil {
		t.Fatal(err)
	}
	if string(h) == string(h2) {
		t.Error("two hashes of one password are equal: no salt")
	}
	if !h.Matches(s) || h.Matches(password.NewSecret("correct horsf")) || h.Matches(password.NewSecret("")) {
		t.Error("comparison is wrong")
	}
	if h.Old() {
		t.Error("a fresh hash is old")
	}
	if old := password.Hash(strings.Replace(string(h), "t=3", "t=1", 1)); !old.Old() || old.Matches(s) {
		t.Error("a hash with other parameters must be old and must not match")
	}
	if _, err := password.Of(password.NewSecret("")); err == nil {
		t.Error("empty password was hashed")
	}
	if _, err := password.Of(password.NewSecret(strings.Repeat("x", 2000))); err == nil {
		t.Error("endless password was hashed")
	}
}

func TestAgents(t *testing.T) {
	s := password.NewAgent()
	if len(s.Reveal()) < password.MinAgent || s.Reveal() == password.NewAgent().Reveal() {
		t.Fatal("agent passwords are short or not random")
	}
	h, err := password.OfAgent(s)
	if err != nil {
		t.Fatal(err)
	}
	if !h.Matches(s) || h.Matches(password.NewAgent()) || h.Old() {
		t.Error("comparison is wrong")
	}
	if _, err := password.OfAgent(password.NewSecret("short")); err == nil {
		t.Error("short agent password was hashed")
	}
}

func TestHostileHashes(t *testing.T) {
	s := password.NewSecret("x")
	salt, key := strings.Repeat("A", 22), strings.Repeat("A", 43)
	for _, h := range []string{
		"", "$", "$$$$", "plain", "$argon2id$t=3,m=65536,p=2$" + salt, "$md5$1$" + salt + "$" + key,
		"$argon2id$t=3,m=999999999,p=2$" + salt + "$" + key, "$argon2id$t=0,m=64,p=0$" + salt + "$" + key,
		"$pbkdf2-sha512$999999999$" + salt + "$" + key, "$pbkdf2-sha512$-1$" + salt + "$" + key,
		"$hmac-sha512$1$" + salt + "$", strings.Repeat("$", 10000),
	} {
		if password.Hash(h).Matches(s) {
			t.Errorf("%.40q matches", h)
		}
	}
}

func TestNothingPrints(t *testing.T) {
	s := password.NewSecret("hunter2")
	type row struct{ S password.Secret }
	out := fmt.Sprintf("%v %+v %#v %s %q %x %v %#v", s, s, s, s, s, s, row{s}, row{s})
	if strings.Contains(out, "hunter2") || strings.Contains(out, "68756e746572") {
		t.Errorf("the password prints: %s", out)
	}
	if raw, err := json.Marshal(row{s}); err == nil {
		t.Errorf("the password marshals: %s", raw)
	}
	h, err := password.OfAgent(password.NewAgent())
	if err != nil {
		t.Fatal(err)
	}
	if out := fmt.Sprintf("%v %s %#v", h, h, h); strings.Contains(out, "hmac") {
		t.Errorf("the hash prints: %s", out)
	}
}

func TestCheckerUnknownUser(t *testing.T) {
	c, err := password.NewChecker()
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := c.Check(context.Background(), "", password.NewSecret("any")); ok || err != nil {
		t.Errorf("got %v, %v for an unknown user", ok, err)
	}
	h, err := password.Of(password.NewSecret("right"))
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := c.Check(context.Background(), h, password.NewSecret("right")); !ok || err != nil {
		t.Errorf("got %v, %v for a right password", ok, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for range 4 { // a cancelled caller may still get a free turn
		_, _ = c.Check(ctx, "", password.NewSecret("x"))
	}
}
