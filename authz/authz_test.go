package authz_test

import (
	"errors"
	"testing"

	"github.com/scarab-ops/scarab/authz"
	"github.com/scarab-ops/scarab/names"
)

const m1, m2 = names.Model("11111111-1111-4111-8111-111111111111"), names.Model("22222222-2222-4222-8222-222222222222")

type grants struct {
	levels map[names.User]map[authz.Target]authz.Level
	gone   bool
}

func (g *grants) Level(u names.User, t authz.Target) authz.Level { return g.levels[u][t] }
func (g *grants) Present(*authz.Caller) bool                     { return !g.gone }

func world() *grants {
	return &grants{levels: map[names.User]map[authz.Target]authz.Level{
		"root": {authz.Controller: authz.Superuser},
		"bob":  {authz.Controller: authz.Login, authz.Model(m1): authz.Write},
	}}
}

func user(u names.User, m names.Model) *authz.Caller {
	return &authz.Caller{Kind: authz.User, User: u, Model: m}
}

func TestCheckDeniesByDefault(t *testing.T) {
	g := world()
	for name, err := range map[string]error{
		"nil caller":      (*authz.Caller)(nil).Check(g, authz.Read, authz.Controller),
		"nil grants":      user("root", "").Check(nil, authz.Read, authz.Controller),
		"zero level":      user("root", "").Check(g, authz.Nobody, authz.Controller),
		"negative level":  user("root", "").Check(g, -1, authz.Controller),
		"zero target":     user("root", "").Check(g, authz.Read, ""),
		"no model":        user("root", "").Check(g, authz.Read, authz.Model("")),
		"other model":     user("bob", m2).Check(g, authz.Read, authz.Model(m2)),
		"too little":      user("bob", m1).Check(g, authz.Admin, authz.Model(m1)),
		"unknown user":    user("eve", m1).Check(g, authz.Read, authz.Model(m1)),
		"machine as user": (&authz.Caller{Kind: authz.Machine, User: "root"}).Check(g, authz.Read, authz.Controller),
		"nameless":        user("", m1).Check(g, authz.Read, authz.Model(m1)),
	} {
		if !errors.Is(err, authz.ErrDenied) {
			t.Errorf("%s: got %v, want denial", name, err)
		}
	}
}

func TestCheckAdmits(t *testing.T) {
	g := world()
	if err := user("bob", m1).Check(g, authz.Write, authz.Model(m1)); err != nil {
		t.Error(err)
	}
	if err := user("root", m2).Check(g, authz.Admin, authz.Model(m2)); err != nil {
		t.Error(err)
	}
	g.gone = true
	if err := user("root", m2).Check(g, authz.Read, authz.Model(m2)); !errors.Is(err, authz.ErrDenied) {
		t.Errorf("a disabled superuser got %v", err)
	}
}

func TestRuleAdmit(t *testing.T) {
	g := world()
	unit := &authz.Caller{Kind: authz.Unit, Unit: "app/0", Model: m1}
	enrolling := &authz.Caller{Kind: authz.Enrolling, Unit: "app/0", Model: m1}
	cases := []struct {
		name string
		rule authz.Rule
		who  *authz.Caller
		ok   bool
	}{
		{"zero rule", authz.Rule{}, user("root", m1), false},
		{"no level", authz.Rule{Who: authz.User, On: authz.OnTheModel}, user("root", m1), false},
		{"model rule", authz.OnModel(authz.Write), user("bob", m1), true},
		{"model rule, controller connection", authz.OnModel(authz.Read), user("root", ""), false},
		{"controller rule", authz.OnController(authz.Superuser), user("bob", m1), false},
		{"agent on user's method", authz.OnModel(authz.Read), unit, false},
		{"user on agent's method", authz.Self(authz.Unit), user("root", m1), false},
		{"unit on its own", authz.Self(authz.Unit), unit, true},
		{"enrolling on unit's", authz.Self(authz.Unit), enrolling, false},
		{"enrolling on ping", authz.Self(authz.Everyone), enrolling, false},
		{"two kinds at once", authz.Self(authz.Agents), &authz.Caller{Kind: authz.Agents, Unit: "app/0"}, false},
		{"unit beside users", authz.OnModel(authz.Read).AndAgents(authz.Unit), unit, true},
		{"unit beside users, no model", authz.OnModel(authz.Read).AndAgents(authz.Unit), &authz.Caller{Kind: authz.Unit, Unit: "app/0"}, false},
		{"machine beside users and units", authz.OnModel(authz.Read).AndAgents(authz.Unit), &authz.Caller{Kind: authz.Machine, Machine: "0", Model: m1}, false},
		{"enrolling cannot be added", authz.OnModel(authz.Read).AndAgents(authz.Enrolling), enrolling, false},
		{"level for agents", authz.Rule{Who: authz.Unit, Need: authz.Read, On: authz.OnTheModel}, unit, false},
	}
	for _, c := range cases {
		if err := c.rule.Admit(c.who, g); (err == nil) != c.ok {
			t.Errorf("%s: got %v, want ok=%v", c.name, err, c.ok)
		}
	}
}

func TestZeroValuesPrintAsDenial(t *testing.T) {
	want := "who=nobody need=nobody on=nothing class=secret when=normal"
	if got := (authz.Rule{}).String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
