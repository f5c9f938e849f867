// Package client serves the facade Client: the status of a model, the history
// of statuses, and the watcher of everything in a model. It derives nothing:
// domain/fullstatus does; it maps. It changes nothing at all.
package client

import (
	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/authz"
	"github.com/scarab-ops/scarab/domain/fullstatus"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/wire"
	wireclient "github.com/scarab-ops/scarab/wire/client"
)

// A Service is what the facade needs.
type Service struct {
	Store    *state.Store
	Presence fullstatus.Presence
	// Controller is the controller's UUID.
	Controller string

	watchers *quota
}

// always are the times at which status answers too.
const always = authz.Upgrading | authz.Migrating

func v8() facade.Facade[Service] {
	read := authz.OnModel(authz.Read).Reads()
	return facade.Facade[Service]{Name: "Client", Version: 8, Methods: []facade.Method[Service]{
		facade.One("FullStatus", read.During(always), fullStatus),
		facade.Each("StatusHistory", read, wireclient.StatusHistoryShape, statusHistory),
		facade.Watch("WatchAll", read, facade.AllWatcher, watchAll, func(id string, _ any) wire.AllWatcherId {
			return wire.AllWatcherId{WatcherID: id}
		}),
	}}
}

// Endpoints binds every version of the facade.
func Endpoints(s Service) ([]facade.Endpoint, error) {
	s.watchers = newQuota()
	findTools := facade.One("FindTools", authz.OnModel(authz.Read).Reads().During(authz.Upgrading), findTools)
	var all []facade.Endpoint
	for _, f := range []facade.Facade[Service]{v8(), v8().At(7).With(findTools), v8().At(6).With(findTools)} {
		es, err := facade.Bind(f, s)
		if err != nil {
			return nil, err
		}
		all = append(all, es...)
	}
	return all, nil
}

func fullStatus(s Service, c facade.Call, a wireclient.StatusParams) (wireclient.FullStatus, error) {
	v := c.View()
	m, err := model.Get(v, c.Caller.Model)
	if err != nil {
		return wireclient.FullStatus{}, err
	}
	p := fullstatus.Load(v, m, s.Presence, c.Now())
	f, err := p.Match(a.Patterns)
	if err != nil {
		return wireclient.FullStatus{}, &facade.BadRequest{Reason: err.Error()}
	}
	return status{p, f}.full(c.Now()), nil
}

// findTools is honest: agents bring their binaries from the controller's own
// release, and no others are kept.
func findTools(Service, facade.Call, wireclient.FindToolsParams) (wireclient.FindToolsResult, error) {
	return wireclient.FindToolsResult{List: []wireclient.Tools{}, Error: &wire.Error{
		Code: "not found", Message: "cannot find other agent binaries: agents run those of their controller",
	}}, nil
}
