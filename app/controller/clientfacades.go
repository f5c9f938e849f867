package controller

import (
	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/apiserver/facades/application"
	"github.com/scarab-ops/scarab/apiserver/facades/client"
)

// clientFacades lists the facades of people's clients.
func (p *parts) clientFacades(add func([]facade.Endpoint, error)) {
	add(application.Endpoints(application.Service{}))
	add(client.Endpoints(client.Service{Store: p.store, Presence: p.presence, Controller: string(p.row.UUID)}))
}
