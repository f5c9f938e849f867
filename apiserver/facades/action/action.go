// Package action serves the facade Action: running the actions of charms and
// commands on units and machines, and telling how that went. Parameters are
// checked against the charm's schema before anything is stored. Commands are
// for admins of the model only, whatever way they come in.
package action

import (
	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/authz"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/state"
	wireaction "github.com/scarab-ops/scarab/wire/action"
)

// A Service is what the facade needs.
type Service struct {
	Store *state.Store
}

func v7() facade.Facade[Service] {
	read := authz.OnModel(authz.Read).Reads()
	// Parameters and commands may hold passwords: recorded without arguments.
	write, admin := authz.OnModel(authz.Write), authz.OnModel(authz.Admin)
	return facade.Facade[Service]{Name: "Action", Version: 7, Methods: []facade.Method[Service]{
		facade.One("EnqueueOperation", write, enqueue),
		facade.One("Run", admin, run),
		facade.One("RunOnAllMachines", admin, runOnAll),
		facade.Each("Actions", read, wireaction.ActionsShape, show),
		facade.Each("Cancel", write.Changes(), wireaction.CancelShape, cancel),
		facade.Each("ApplicationsCharmsActions", read, wireaction.ApplicationsCharmsActionsShape, charmActions),
		facade.One("ListOperations", read, listOperations),
		facade.Each("Operations", read, wireaction.OperationsShape, operation),
		facade.Each("WatchActionsProgress", read, wireaction.WatchActionsProgressShape, watchProgress),
	}}
}

// Endpoints binds the facade.
func Endpoints(s Service) ([]facade.Endpoint, error) { return facade.Bind(v7(), s) }

func scope(c facade.Call) state.Scope { return model.ScopeOf(c.Caller.Model) }

func bad(err error) error { return &facade.BadRequest{Reason: err.Error()} }
