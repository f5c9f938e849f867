// Package pinger serves the facade Pinger, by which every kind of client shows
// that it is still there. That a request came is all that counts.
package pinger

import (
	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/authz"
)

// A Service is what the facade needs: nothing.
type Service struct{}

// Endpoints binds the facade.
func Endpoints(s Service) ([]facade.Endpoint, error) {
	rule := authz.Self(authz.Everyone).Reads().During(authz.Upgrading | authz.Migrating)
	nothing := func(Service, facade.Call) (struct{}, error) { return struct{}{}, nil }
	return facade.Bind(facade.Facade[Service]{Name: "Pinger", Version: 1, Methods: []facade.Method[Service]{
		facade.None("Ping", rule, nothing),
		facade.None("Stop", rule, nothing),
	}}, s)
}
