// Package resources serves the facade Resources. This release keeps none: it
// lists what charms declare, marked as not there, and refuses uploads.
package resources

import (
	"maps"
	"slices"

	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/apiserver/facades/refuse"
	"github.com/scarab-ops/scarab/authz"
	"github.com/scarab-ops/scarab/domain/application"
	"github.com/scarab-ops/scarab/domain/charmstore"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/unit"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/wire"
	wireres "github.com/scarab-ops/scarab/wire/resources"
)

// A Service is what the facade needs: nothing but the call's own state.
type Service struct{}

// Endpoints binds the facade.
func Endpoints(s Service) ([]facade.Endpoint, error) {
	return facade.Bind(facade.Facade[Service]{Name: "Resources", Version: 3, Methods: []facade.Method[Service]{
		facade.Each("ListResources", authz.OnModel(authz.Read).Reads(), wireres.ListResourcesShape, list),
		refuse.Method[Service]("AddPendingResources", authz.OnModel(authz.Write), "cannot add resources: this release keeps none: put the files into the charm"),
	}}, s)
}

// absent is the revision of a resource that is not there.
const absent = -1

func list(_ Service, c facade.Call, e wire.Entity) (wireres.ResourcesResult, error) {
	a, err := names.ParseApplication(e.Tag)
	if err != nil {
		return wireres.ResourcesResult{}, &facade.BadRequest{Reason: err.Error()}
	}
	v, s := c.View(), model.ScopeOf(c.Caller.Model)
	row, err := application.Get(v, s, a)
	if err != nil {
		return wireres.ResourcesResult{}, err
	}
	ch, err := charmstore.Get(v, s, row.CharmURL)
	if err != nil {
		return wireres.ResourcesResult{}, err
	}
	out := wireres.ResourcesResult{
		Resources: []wireres.Resource{}, CharmStoreResources: []wire.CharmResource{}, UnitResources: []wireres.UnitResources{},
	}
	for _, name := range slices.Sorted(maps.Keys(ch.Charm.Meta.Resources)) {
		r := ch.Charm.Meta.Resources[name]
		out.Resources = append(out.Resources, wireres.Resource{
			ID: string(a) + "/" + name, Application: string(a), Name: name, Type: r.Type, Path: r.Filename,
			Description: r.Description, Origin: "upload", Revision: absent, Fingerprint: []byte{},
		})
	}
	for _, u := range unit.Of(v, s, a) {
		out.UnitResources = append(out.UnitResources, wireres.UnitResources{
			Tag: u.Name.Tag().String(), Resources: []wireres.Resource{}, DownloadProgress: map[string]int{},
		})
	}
	return out, nil
}
