package application

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/scarab-ops/scarab/charm"
	"github.com/scarab-ops/scarab/domain/charmstore"
	"github.com/scarab-ops/scarab/domain/life"
	"github.com/scarab-ops/scarab/domain/relation"
	"github.com/scarab-ops/scarab/domain/unit"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
)

// Relate makes the relation that two "application[:endpoint]" texts mean.
func Relate(tx *state.Tx, s state.Scope, a, b string, now time.Time) (relation.Row, error) {
	x, err := endpointsFor(tx, s, a)
	if err != nil {
		return relation.Row{}, err
	}
	y, err := endpointsFor(tx, s, b)
	if err != nil {
		return relation.Row{}, err
	}
	pair, err := charm.InferRelation(x.eps, y.eps)
	if err != nil {
		return relation.Row{}, err
	}
	apps := map[string]Row{string(x.app.Name): x.app, string(y.app.Name): y.app}
	var eps []relation.Endpoint
	container := false
	for _, e := range pair {
		app := apps[e.Application]
		if app.Life != life.Alive {
			return relation.Row{}, &DyingError{fmt.Sprintf("application %q", e.Application)}
		}
		container = container || e.Scope == charm.ScopeContainer
		eps = append(eps, endpointOf(e, app.Subordinate))
	}
	if err := relation.Free(tx, s, eps); err != nil {
		return relation.Row{}, err
	}
	for _, e := range pair {
		if err := checkLimit(tx, s, e); err != nil {
			return relation.Row{}, err
		}
	}
	if container {
		if !x.app.Subordinate && !y.app.Subordinate {
			return relation.Row{}, fmt.Errorf("container scoped relation requires at least one subordinate application")
		}
		for i := range eps {
			eps[i].Scope = string(charm.ScopeContainer)
		}
	}
	return relation.Add(tx, s, eps, now)
}

type side struct {
	app Row
	eps []charm.Endpoint
}

func endpointsFor(tx *state.Tx, s state.Scope, text string) (side, error) {
	app, ep, _ := strings.Cut(text, ":")
	row, err := Get(tx, s, names.Application(app))
	if err != nil {
		return side{}, err
	}
	ch, err := charmstore.Get(tx, s, row.CharmURL)
	if err != nil {
		return side{}, err
	}
	eps, err := charm.FilterEndpoints(ch.Charm.Meta.Endpoints(app), ep)
	return side{row, eps}, err
}

// LimitError reports an endpoint that has all the relations it may have.
type LimitError struct {
	Endpoint string
	Limit    int
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("establishing a new relation for %s would exceed its maximum relation limit of %d", e.Endpoint, e.Limit)
}

// Code is the wire code of the error.
func (e *LimitError) Code() string { return "quota limit exceeded" }

func checkLimit(tx *state.Tx, s state.Scope, e charm.Endpoint) error {
	if e.Limit <= 0 {
		return nil
	}
	n := 0
	for _, r := range relation.Of(tx, s, names.Application(e.Application)) {
		if local, _, _ := r.Sides(names.Application(e.Application)); local.Name == e.Name {
			n++
		}
	}
	if n >= e.Limit {
		return &LimitError{e.String(), e.Limit}
	}
	return nil
}

// EnsureSubordinate makes the subordinate unit that a principal's entry into a
// container-scoped relation calls for.
func EnsureSubordinate(tx *state.Tx, s state.Scope, r relation.Row, principal unit.Row, now time.Time) error {
	local, remote, ok := r.Sides(principal.Application)
	if !ok || r.Scope != string(charm.ScopeContainer) || local.Subordinate || !remote.Subordinate {
		return nil
	}
	for _, u := range unit.Of(tx, s, remote.Application) {
		if u.Principal == principal.Name {
			return nil
		}
	}
	_, err := unit.Add(tx, s, unit.Row{
		Application: remote.Application, Machine: principal.Machine, Principal: principal.Name, Created: now,
	})
	return err
}

// maxExposures bounds the endpoints of one request, and the networks of one
// endpoint.
const maxExposures = 64

// Expose opens endpoints ("" for all) to networks; later calls replace the
// entries of the endpoints they name.
func Expose(tx *state.Tx, s state.Scope, a names.Application, eps map[string]Exposure) error {
	app, err := Get(tx, s, a)
	if err != nil {
		return err
	}
	ch, err := charmstore.Get(tx, s, app.CharmURL)
	if err != nil {
		return err
	}
	if app.Exposed == nil {
		app.Exposed = map[string]Exposure{}
	}
	if len(eps) == 0 {
		eps = map[string]Exposure{"": {}}
	}
	if len(eps) > maxExposures {
		return fmt.Errorf("cannot expose %q: %d endpoints at once, at most %d", string(a), len(eps), maxExposures)
	}
	for ep, e := range eps {
		if len(e.CIDRs) > maxExposures {
			return fmt.Errorf("cannot expose %q: %d networks for one endpoint, at most %d", string(a), len(e.CIDRs), maxExposures)
		}
		if _, ok := ch.Charm.Meta.Relation(ep); ep != "" && !ok {
			return fmt.Errorf("cannot expose %q: application %q has no endpoint of that name", ep, string(a))
		}
		for _, c := range e.CIDRs {
			if _, err := netip.ParsePrefix(c); err != nil {
				return fmt.Errorf("cannot expose %q: %q is not a CIDR such as 10.0.0.0/8", string(a), c)
			}
		}
		if len(e.CIDRs) == 0 && len(e.Spaces) == 0 {
			e.CIDRs = []string{"0.0.0.0/0", "::/0"}
		}
		app.Exposed[ep] = e
	}
	return Table.Put(tx, s, app)
}

// Unexpose closes endpoints; none named closes all.
func Unexpose(tx *state.Tx, s state.Scope, a names.Application, eps []string) error {
	app, err := Get(tx, s, a)
	if err != nil {
		return err
	}
	if len(eps) == 0 {
		app.Exposed = nil
	}
	for _, ep := range eps {
		if _, ok := app.Exposed[ep]; !ok {
			return fmt.Errorf("cannot unexpose %q: endpoint %q is not exposed", string(a), ep)
		}
		delete(app.Exposed, ep)
	}
	return Table.Put(tx, s, app)
}
