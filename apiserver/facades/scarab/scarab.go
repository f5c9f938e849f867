// Package scarab serves our own facade: what our clients ask and others do
// not know. It only reads.
package scarab

import (
	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/apiserver/facades/wiremap"
	"github.com/scarab-ops/scarab/authz"
	"github.com/scarab-ops/scarab/domain/fullstatus"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/why"
	wirescarab "github.com/scarab-ops/scarab/wire/scarab"
)

// A Service is what the facade needs.
type Service struct {
	Presence fullstatus.Presence
	// Version is our own version, Commit what it was built from.
	Version, Commit string
}

const always = authz.Upgrading | authz.Migrating

func v1() facade.Facade[Service] {
	return facade.Facade[Service]{Name: "Scarab", Version: 1, Methods: []facade.Method[Service]{
		facade.One("Why", authz.OnModel(authz.Read).Reads().During(always), explain),
		facade.None("Version", authz.Self(authz.User).Reads().During(always), version),
	}}
}

// Endpoints binds the facade.
func Endpoints(s Service) ([]facade.Endpoint, error) { return facade.Bind(v1(), s) }

func explain(s Service, c facade.Call, a wirescarab.WhyArgs) (wirescarab.WhyResult, error) {
	v := c.View()
	m, err := model.Get(v, c.Caller.Model)
	if err != nil {
		return wirescarab.WhyResult{}, err
	}
	name := a.Tag
	if name == "" {
		name = a.Name
	}
	causes, err := why.Explain(v, why.Question{Model: m, Presence: s.Presence, Now: c.Now()}, name)
	if err != nil {
		return wirescarab.WhyResult{}, err
	}
	out := wirescarab.WhyResult{Causes: make([]wirescarab.Cause, len(causes))}
	for i, x := range causes {
		out.Causes[i] = wirescarab.Cause{
			Entity: x.Entity, State: x.State, Because: x.Because, Since: wiremap.Time(x.Since), Next: x.Next,
		}
	}
	return out, nil
}

func version(s Service, _ facade.Call) (wirescarab.VersionResult, error) {
	return wirescarab.VersionResult{Version: s.Version, Commit: s.Commit}, nil
}
