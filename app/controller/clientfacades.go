package controller

import (
	"github.com/google/uuid"

	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/apiserver/facades/action"
	"github.com/scarab-ops/scarab/apiserver/facades/annotations"
	"github.com/scarab-ops/scarab/apiserver/facades/application"
	"github.com/scarab-ops/scarab/apiserver/facades/block"
	"github.com/scarab-ops/scarab/apiserver/facades/charms"
	"github.com/scarab-ops/scarab/apiserver/facades/client"
	"github.com/scarab-ops/scarab/apiserver/facades/cloud"
	"github.com/scarab-ops/scarab/apiserver/facades/controller"
	"github.com/scarab-ops/scarab/apiserver/facades/keymanager"
	"github.com/scarab-ops/scarab/apiserver/facades/machinemanager"
	"github.com/scarab-ops/scarab/apiserver/facades/modelconfig"
	"github.com/scarab-ops/scarab/apiserver/facades/modelmanager"
	"github.com/scarab-ops/scarab/apiserver/facades/resources"
	"github.com/scarab-ops/scarab/apiserver/facades/scarab"
	"github.com/scarab-ops/scarab/apiserver/facades/spaces"
	"github.com/scarab-ops/scarab/apiserver/facades/sshclient"
	"github.com/scarab-ops/scarab/apiserver/facades/storage"
	"github.com/scarab-ops/scarab/apiserver/facades/usermanager"
	"github.com/scarab-ops/scarab/names"
)

// clientFacades lists the facades of people's clients.
func (p *parts) clientFacades(add func([]facade.Endpoint, error)) {
	add(action.Endpoints(action.Service{Store: p.store}))
	add(annotations.Endpoints(annotations.Service{}))
	add(application.Endpoints(application.Service{}))
	add(block.Endpoints(block.Service{}))
	add(charms.Endpoints(charms.Service{}))
	add(client.Endpoints(client.Service{Store: p.store, Presence: p.presence, Controller: string(p.row.UUID)}))
	add(cloud.Endpoints(cloud.Service{}))
	add(controller.Endpoints(controller.Service{Version: ServerVersion, Commit: p.cfg.Commit}))
	add(keymanager.Endpoints(keymanager.Service{}))
	add(machinemanager.Endpoints(machinemanager.Service{}))
	add(modelconfig.Endpoints(modelconfig.Service{}))
	add(modelmanager.Endpoints(modelmanager.Service{
		Controller: string(p.row.UUID), AgentVersion: ServerVersion,
		NewUUID: func() names.Model { return names.Model(uuid.NewString()) },
	}))
	add(resources.Endpoints(resources.Service{}))
	add(scarab.Endpoints(scarab.Service{Presence: p.presence, Version: Version, Commit: p.cfg.Commit}))
	add(spaces.Endpoints(spaces.Service{}))
	add(sshclient.Endpoints(sshclient.Service{}))
	add(storage.Endpoints(storage.Service{}))
	add(usermanager.Endpoints(usermanager.Service{Passwords: p.auth.checker}))
}
