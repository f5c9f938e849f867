// Package charms serves the facade Charms: what the charms of a model declare.
// It refuses all that needs a charm store, which this release does not reach.
package charms

import (
	"errors"
	"fmt"
	"slices"

	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/apiserver/facades/refuse"
	"github.com/scarab-ops/scarab/authz"
	"github.com/scarab-ops/scarab/domain/application"
	"github.com/scarab-ops/scarab/domain/charmstore"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/names"
	wirecharms "github.com/scarab-ops/scarab/wire/charms"
)

// A Service is what the facade needs: nothing but the call's own state.
type Service struct{}

func v7() facade.Facade[Service] {
	read, write := authz.OnModel(authz.Read).Reads(), authz.OnModel(authz.Write)
	f := facade.Facade[Service]{Name: "Charms", Version: 7, Methods: []facade.Method[Service]{
		facade.One("CharmInfo", read, charmInfo),
		facade.One("List", read, list),
		facade.One("IsMetered", read, isMetered),
		facade.Do("CheckCharmPlacement", read, wirecharms.CheckCharmPlacementShape.Items, checkPlacement),
	}}
	no := refuse.Method[Service]
	return f.With(
		no("ResolveCharms", read, "cannot look up charms in a store in this release: download the charm and deploy the file"),
		no("AddCharm", write, "cannot add charms from a store in this release: download the charm and deploy the file"),
		no("GetDownloadInfos", read, "cannot download from a charm store in this release: fetch the charm yourself"),
		no("ListCharmResources", read, "cannot list resources of a charm store in this release: use Resources.ListResources"),
	)
}

// Endpoints binds every version of the facade.
func Endpoints(s Service) ([]facade.Endpoint, error) {
	f := v7()
	v5 := f.At(5).With(refuse.Method[Service]("AddCharmWithAuthorization", authz.OnModel(authz.Write),
		"cannot add charms from a store in this release: download the charm and deploy the file"))
	var all []facade.Endpoint
	for _, x := range []facade.Facade[Service]{f, f.At(6), v5} {
		es, err := facade.Bind(x, s)
		if err != nil {
			return nil, err
		}
		all = append(all, es...)
	}
	return all, nil
}

func charmInfo(_ Service, c facade.Call, a wirecharms.CharmURL) (wirecharms.Charm, error) {
	row, err := charmstore.Get(c.View(), model.ScopeOf(c.Caller.Model), a.URL)
	if err != nil {
		return wirecharms.Charm{}, err
	}
	return toWire(row), nil
}

func list(_ Service, c facade.Call, a wirecharms.CharmsList) (wirecharms.CharmsListResult, error) {
	out := wirecharms.CharmsListResult{CharmURLs: []string{}}
	if len(a.Names) > facade.MaxItems {
		return out, &facade.BadRequest{Reason: fmt.Sprintf("cannot list charms by %d names", len(a.Names))}
	}
	for row, err := range charmstore.Table.All(c.View(), model.ScopeOf(c.Caller.Model)) {
		if err == nil && (len(a.Names) == 0 || slices.Contains(a.Names, row.Charm.Meta.Name)) {
			out.CharmURLs = append(out.CharmURLs, row.URL)
		}
	}
	return out, nil
}

func isMetered(_ Service, c facade.Call, a wirecharms.CharmURL) (wirecharms.IsMeteredResult, error) {
	_, err := charmstore.Get(c.View(), model.ScopeOf(c.Caller.Model), a.URL)
	return wirecharms.IsMeteredResult{}, err
}

// checkPlacement finds an application that could not take a charm: here only
// one that is not there.
func checkPlacement(_ Service, c facade.Call, a wirecharms.ApplicationCharmPlacement) error {
	if !names.ValidApplication(a.Application) {
		return &facade.BadRequest{Reason: errors.New("not an application").Error()}
	}
	_, err := application.Get(c.View(), model.ScopeOf(c.Caller.Model), names.Application(a.Application))
	return err
}
