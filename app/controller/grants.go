package controller

import (
	"strings"

	"github.com/scarab-ops/scarab/authz"
	"github.com/scarab-ops/scarab/domain/agentcred"
	"github.com/scarab-ops/scarab/domain/machine"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/unit"
	"github.com/scarab-ops/scarab/domain/user"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
)

// grants answers questions of access from one picture of the state.
type grants struct{ r state.Reader }

func grantsOf(r state.Reader) authz.Grants { return grants{r} }

// levels maps what is stored to what is decided with. What is not listed is
// no level.
func level(text string) authz.Level {
	switch text {
	case "login":
		return authz.Login
	case "read":
		return authz.Read
	case "write":
		return authz.Write
	case "admin":
		return authz.Admin
	case "superuser":
		return authz.Superuser
	}
	return authz.Nobody
}

// Level returns what u holds on t.
func (g grants) Level(u names.User, t authz.Target) authz.Level {
	row, err := user.Table.Get(g.r, state.Controller, string(u.Local()))
	if err != nil || row.Disabled {
		return authz.Nobody
	}
	if t == authz.Controller {
		return level(user.Level(g.r, u, user.OnController))
	}
	if uuid, ok := strings.CutPrefix(string(t), "model:"); ok {
		return level(user.Level(g.r, u, uuid))
	}
	if strings.HasPrefix(string(t), "cloud:") && user.Level(g.r, u, user.OnController) == "superuser" {
		return authz.Admin
	}
	return authz.Nobody
}

// Present tells whether the identity that c proved still stands.
func (g grants) Present(c *authz.Caller) bool {
	scope := model.ScopeOf(c.Model)
	switch c.Kind {
	case authz.User:
		row, err := user.Table.Get(g.r, state.Controller, string(c.User.Local()))
		return err == nil && !row.Disabled
	case authz.Machine:
		return machine.Table.Has(g.r, scope, string(c.Machine)) && g.credential(c)
	case authz.Unit:
		return unit.Table.Has(g.r, scope, string(c.Unit)) && g.credential(c)
	case authz.Enrolling:
		return g.credential(c)
	}
	return false
}

func (g grants) credential(c *authz.Caller) bool {
	return agentcred.Table.Has(g.r, model.ScopeOf(c.Model), c.Tag().String())
}
