package agentcred_test

import (
	"errors"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/domain/agentcred"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/state"
)

const tag = "unit-app-0"

var (
	scope = model.ScopeOf("11111111-1111-4111-8111-111111111111")
	now   = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
)

// One agent's life: each step is refused or not, and tells whether sessions
// that were open before it go on.
func TestLifeOfACredential(t *testing.T) {
	st, err := state.Open(t.Context(), state.NewMem())
	if err != nil {
		t.Fatal(err)
	}
	enrol := func(token, verifier, key string, at time.Time) func(*state.Tx) error {
		return func(tx *state.Tx) error { return agentcred.Enrol(tx, scope, tag, token, verifier, key, at) }
	}
	issue := func(token string) func(*state.Tx) error {
		return func(tx *state.Tx) error { return agentcred.Issue(tx, scope, tag, token, "nonce", now) }
	}
	set := func(verifier string) func(*state.Tx) error {
		return func(tx *state.Tx) error { return agentcred.SetPassword(tx, scope, tag, verifier) }
	}
	for _, c := range []struct {
		name     string
		do       func(*state.Tx) error
		want     error
		verifier string
		cut      bool
	}{
		{"token", issue("t1"), nil, "", true},
		{"another's token", enrol("t2", "v", "k", now), agentcred.ErrUsed, "", false},
		{"no token", enrol("", "v", "k", now), agentcred.ErrUsed, "", false},
		{"late", enrol("t1", "v", "k", now.Add(agentcred.TokenLife+time.Second)), agentcred.ErrExpired, "", false},
		{"enrolment", enrol("t1", "v1", "k", now), nil, "v1", false},
		{"the same key again", enrol("t1", "v2", "k", now), nil, "v2", false},
		{"another key", enrol("t1", "v3", "other", now), agentcred.ErrUsed, "v2", false},
		{"confirmed", func(tx *state.Tx) error { return agentcred.Confirm(tx, scope, tag) }, nil, "v2", false},
		{"confirmed again", func(tx *state.Tx) error { return agentcred.Confirm(tx, scope, tag) }, nil, "v2", false},
		{"a used token", enrol("t1", "v3", "k", now), agentcred.ErrUsed, "v2", false},
		{"another password", set("v4"), nil, "v4", true},
		{"and one more", set("v5"), nil, "v5", true},
		{"enrolled anew", issue("t6"), nil, "", true},
	} {
		before, _ := agentcred.Table.Get(st.View(), scope, tag)
		if err := st.Update(t.Context(), c.do); !errors.Is(err, c.want) {
			t.Fatalf("%s: got %v, want %v", c.name, err, c.want)
		}
		after, err := agentcred.Table.Get(st.View(), scope, tag)
		if err != nil {
			t.Fatal(err)
		}
		if cut := after.Generation > before.Generation; after.Verifier != c.verifier || cut != c.cut {
			t.Errorf("%s: password %q, older sessions cut: %v; want %q, %v", c.name, after.Verifier, cut, c.verifier, c.cut)
		}
	}
	for range 2 { // what is gone may be revoked again
		if err := st.Update(t.Context(), func(tx *state.Tx) error { return agentcred.Revoke(tx, scope, tag) }); err != nil {
			t.Fatal(err)
		}
	}
	if agentcred.Table.Has(st.View(), scope, tag) {
		t.Error("a revoked agent has a credential")
	}
	if err := st.Update(t.Context(), set("v7")); err == nil {
		t.Error("an agent that is gone got a password")
	}
}
