package application

import (
	"fmt"

	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/apiserver/facades/wiremap"
	"github.com/scarab-ops/scarab/charm"
	"github.com/scarab-ops/scarab/domain/application"
	"github.com/scarab-ops/scarab/domain/lease"
	"github.com/scarab-ops/scarab/domain/machine"
	"github.com/scarab-ops/scarab/domain/relation"
	"github.com/scarab-ops/scarab/domain/unit"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/wire"
	wireapp "github.com/scarab-ops/scarab/wire/application"
)

// bindings are the endpoints of a charm, all bound to the one space there is.
func bindings(ch charm.Charm) map[string]string {
	out := map[string]string{"": "alpha"}
	for _, ep := range ch.Meta.Bindings() {
		out[ep] = "alpha"
	}
	return out
}

func applicationInfo(_ Service, c facade.Call, e wire.Entity) (wireapp.ApplicationInfoResult, error) {
	a, err := names.ParseApplication(e.Tag)
	if err != nil {
		return wireapp.ApplicationInfoResult{}, bad(err)
	}
	row, ch, err := load(c.View(), scope(c), a)
	if err != nil {
		return wireapp.ApplicationInfoResult{}, err
	}
	cons, base := wiremap.FromConstraints(row.Constraints), wiremap.FromBase(row.Base)
	return wireapp.ApplicationInfoResult{Result: &wireapp.ApplicationResult{
		Tag: a.Tag().String(), Charm: ch.Meta.Name, Base: &base, Channel: row.Channel, Constraints: &cons,
		Principal: !row.Subordinate, Exposed: row.Exposed != nil, ExposedEndpoints: wiremap.Exposure(row.Exposed),
		EndpointBindings: bindings(ch), Life: string(row.Life),
	}}, nil
}

// unitsInfo has its own loop, for an application stands for all its units.
func unitsInfo(_ Service, c facade.Call, a wire.Entities) (wireapp.UnitInfoResults, error) {
	out := wireapp.UnitInfoResults{Results: []wireapp.UnitInfoResult{}}
	if len(a.Entities) > facade.MaxItems {
		return out, bad(fmt.Errorf("cannot show %d units at once: at most %d", len(a.Entities), facade.MaxItems))
	}
	v, s := c.View(), scope(c)
	b := bags{}
	for _, e := range a.Entities {
		t, err := names.ParseTag(e.Tag)
		var units []unit.Row
		switch {
		case err == nil && t.Kind == names.KindApplication:
			if _, err = application.Get(v, s, names.Application(t.ID)); err == nil {
				units = unit.Of(v, s, names.Application(t.ID))
			}
		case err == nil && t.Kind == names.KindUnit:
			var u unit.Row
			if u, err = unit.Get(v, s, names.Unit(t.ID)); err == nil {
				units = []unit.Row{u}
			}
		default:
			err = &facade.BadRequest{Reason: (&names.InvalidTagError{Text: e.Tag, Kind: names.KindUnit}).Error()}
		}
		if err != nil {
			out.Results = append(out.Results, wireapp.UnitInfoResult{Error: facade.ToWire(err)})
		}
		for _, u := range units {
			if len(out.Results) >= facade.MaxItems {
				return out, bad(fmt.Errorf("cannot show more than %d units at once: name fewer", facade.MaxItems))
			}
			out.Results = append(out.Results, wireapp.UnitInfoResult{Result: unitResult(v, s, u, c, b)})
		}
	}
	return out, nil
}

// bags keeps the bags of a relation's side once read, so that a thousand
// units of one application share them.
type bags map[string]map[string]wireapp.RelationData

func unitResult(v state.Reader, s state.Scope, u unit.Row, c facade.Call, b bags) *wireapp.UnitResult {
	out := &wireapp.UnitResult{
		Tag: u.Name.Tag().String(), WorkloadVersion: u.WorkloadVersion, Machine: string(u.Machine), Life: string(u.Life),
		Charm: u.CharmURL, OpenedPorts: []string{}, Leader: lease.Check(v, s, string(u.Application), string(u.Name), c.Now()) == nil,
	}
	if u.Machine != "" {
		out.Address = machine.Address(v, s, u.Machine)
		out.PublicAddress = out.Address
	}
	if app, err := application.Get(v, s, u.Application); err == nil && out.Charm == "" {
		out.Charm = app.CharmURL
	}
	for _, r := range unit.PortsOf(v, s, u.Name) {
		out.OpenedPorts = append(out.OpenedPorts, unit.FormatRange(r))
	}
	for _, r := range relation.Of(v, s, u.Application) {
		out.RelationData = append(out.RelationData, relationData(v, s, r, u, b))
	}
	return out
}

func relationData(v state.Reader, s state.Scope, r relation.Row, u unit.Row, b bags) wireapp.EndpointRelationData {
	local, remote, _ := r.Sides(u.Application)
	out := wireapp.EndpointRelationData{
		RelationID: r.ID, Endpoint: local.Name, RelatedEndpoint: remote.Name,
		ApplicationData:  anys(relation.BagOf(v, s, r.ID, remote.Application).Settings),
		UnitRelationData: map[string]wireapp.RelationData{},
	}
	key := fmt.Sprintf("%d/%s", r.ID, remote.Application)
	if b[key] == nil {
		b[key] = map[string]wireapp.RelationData{}
		for m, err := range relation.Members.Under(v, s, key+"/") {
			if err == nil {
				b[key][string(m.Unit)] = wireapp.RelationData{InScope: !m.Departed, UnitData: anys(m.Settings)}
			}
		}
	}
	if r.Peer() || r.Scope != "container" {
		out.UnitRelationData = b[key]
		return out
	}
	for name, d := range b[key] { // of a container, only who shares it
		if o, err := unit.Get(v, s, names.Unit(name)); err == nil && (o.Principal == u.Name || u.Principal == o.Name) {
			out.UnitRelationData[name] = d
		}
	}
	return out
}

func anys(m map[string]string) map[string]any {
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

func charmRelations(_ Service, c facade.Call, a wireapp.ApplicationCharmRelations) (wireapp.ApplicationCharmRelationsResults, error) {
	_, ch, err := load(c.View(), scope(c), names.Application(a.Application))
	if err != nil {
		return wireapp.ApplicationCharmRelationsResults{}, err
	}
	out := wireapp.ApplicationCharmRelationsResults{CharmRelations: []string{}}
	for _, e := range ch.Meta.Endpoints(a.Application) {
		out.CharmRelations = append(out.CharmRelations, e.Name)
	}
	return out, nil
}

type noLeaderError struct{ app string }

func (e *noLeaderError) Error() string { return fmt.Sprintf("application %q has no leader now", e.app) }
func (e *noLeaderError) Code() string  { return "not found" }

func leader(_ Service, c facade.Call, e wire.Entity) (wire.StringResult, error) {
	a, err := names.ParseApplication(e.Tag)
	if err != nil {
		return wire.StringResult{}, bad(err)
	}
	if _, err := application.Get(c.View(), scope(c), a); err != nil {
		return wire.StringResult{}, err
	}
	holder := lease.Holder(c.View(), scope(c), string(a))
	if holder == "" || lease.Check(c.View(), scope(c), string(a), holder, c.Now()) != nil {
		return wire.StringResult{Error: facade.ToWire(&noLeaderError{string(a)})}, nil //nolint:nilerr // the result says it
	}
	return wire.StringResult{Result: holder}, nil
}

func charmURLOrigin(_ Service, c facade.Call, a wireapp.ApplicationGet) (wireapp.CharmURLOriginResult, error) {
	row, ch, err := load(c.View(), scope(c), names.Application(a.Application))
	if err != nil {
		return wireapp.CharmURLOriginResult{}, err
	}
	base := wiremap.FromBase(row.Base)
	rev := ch.Revision
	return wireapp.CharmURLOriginResult{URL: row.CharmURL, CharmOrigin: wire.CharmOrigin{
		Source: "local", Type: "charm", Revision: &rev, Architecture: row.Constraints.ArchOr("amd64"), Base: &base,
	}}, nil
}
