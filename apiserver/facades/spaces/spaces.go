// Package spaces serves the facade Spaces. Every model of this release has the
// one space "alpha" and nothing else, which is what it tells; it refuses to
// make others.
package spaces

import (
	"fmt"

	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/apiserver/facades/refuse"
	"github.com/scarab-ops/scarab/authz"
	"github.com/scarab-ops/scarab/domain/application"
	"github.com/scarab-ops/scarab/domain/machine"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/wire"
	wirespaces "github.com/scarab-ops/scarab/wire/spaces"
)

// A Service is what the facade needs: nothing but the call's own state.
type Service struct{}

// Endpoints binds the facade.
func Endpoints(s Service) ([]facade.Endpoint, error) {
	read, write := authz.OnModel(authz.Read).Reads(), authz.OnModel(authz.Write)
	no := refuse.Method[Service]
	fixed := "cannot change spaces: a model of this release has the one space alpha"
	return facade.Bind(facade.Facade[Service]{Name: "Spaces", Version: 6, Methods: []facade.Method[Service]{
		facade.None("ListSpaces", read, list),
		facade.Each("ShowSpace", read, wirespaces.ShowSpaceShape, show),
		no("CreateSpaces", write, fixed), no("MoveSubnets", write, fixed), no("ReloadSpaces", write, fixed),
		no("RemoveSpace", write, fixed), no("RenameSpace", write, fixed),
	}}, s)
}

func alpha() wirespaces.Space {
	return wirespaces.Space{ID: "0", Name: "alpha", Subnets: []wire.Subnet{}}
}

func list(Service, facade.Call) (wirespaces.ListSpacesResults, error) {
	return wirespaces.ListSpacesResults{Results: []wirespaces.Space{alpha()}}, nil
}

type missingError struct{ name string }

func (e *missingError) Error() string { return fmt.Sprintf("space %q not found", e.name) }
func (e *missingError) Code() string  { return "not found" }

func show(_ Service, c facade.Call, e wire.Entity) (wirespaces.ShowSpaceResult, error) {
	name, err := names.Parse(e.Tag, names.KindSpace)
	if err != nil {
		return wirespaces.ShowSpaceResult{}, &facade.BadRequest{Reason: err.Error()}
	}
	if name != "alpha" {
		return wirespaces.ShowSpaceResult{}, &missingError{name}
	}
	out := wirespaces.ShowSpaceResult{Space: alpha(), Applications: []string{}}
	s := model.ScopeOf(c.Caller.Model)
	for a, err := range application.Table.All(c.View(), s) {
		if err == nil {
			out.Applications = append(out.Applications, string(a.Name))
		}
	}
	for _, err := range machine.Table.All(c.View(), s) {
		if err == nil {
			out.MachineCount++
		}
	}
	return out, nil
}
