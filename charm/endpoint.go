package charm

import (
	"fmt"
	"sort"
	"strings"
)

// An Endpoint is a relation as one application has it.
type Endpoint struct {
	Application string `json:"application"`
	Relation
}

// String is "application:endpoint".
func (e Endpoint) String() string { return e.Application + ":" + e.Name }

// Implicit says that the endpoint is the one nobody declared.
func (e Endpoint) Implicit() bool {
	return e.Name == implicitInfo && e.Interface == implicitInfo && e.Role == RoleProvider
}

// CanRelate says whether a relation between the two endpoints is possible.
func (e Endpoint) CanRelate(o Endpoint) bool {
	if e.Application == o.Application || e.Interface != o.Interface {
		return false
	}
	return e.Role == RoleProvider && o.Role == RoleRequirer || e.Role == RoleRequirer && o.Role == RoleProvider
}

// RelationScope is the scope of a relation between endpoints: container if
// any of them says so.
func RelationScope(eps ...Endpoint) Scope {
	for _, e := range eps {
		if e.Scope == ScopeContainer {
			return ScopeContainer
		}
	}
	return ScopeGlobal
}

// RelationKey is the key of a relation: its endpoints, the requirer first.
func RelationKey(eps ...Endpoint) string {
	sorted := append([]Endpoint(nil), eps...)
	order := map[Role]int{RoleRequirer: 0, RoleProvider: 1, RolePeer: 2}
	sort.SliceStable(sorted, func(i, j int) bool { return order[sorted[i].Role] < order[sorted[j].Role] })
	parts := make([]string, len(sorted))
	for i, e := range sorted {
		parts[i] = e.String()
	}
	return strings.Join(parts, " ")
}

// FilterEndpoints keeps the endpoints of the given name; an empty name keeps
// all but peers, which nobody can relate by hand.
func FilterEndpoints(eps []Endpoint, name string) ([]Endpoint, error) {
	var out []Endpoint
	for _, e := range eps {
		if name == "" && e.Role != RolePeer || name != "" && e.Name == name {
			out = append(out, e)
		}
	}
	if len(out) == 0 && name != "" {
		app := ""
		if len(eps) > 0 {
			app = eps[0].Application
		}
		return nil, fmt.Errorf("application %q has no %q relation", app, name)
	}
	return out, nil
}

// NoRelationError says that no two endpoints fit together.
type NoRelationError struct{}

func (*NoRelationError) Error() string { return "no relations found" }

// AmbiguousRelationError says that more than one pair fits.
type AmbiguousRelationError struct {
	Asked      string
	Candidates []string // relation keys, sorted
}

func (e *AmbiguousRelationError) Error() string {
	quoted := make([]string, len(e.Candidates))
	for i, c := range e.Candidates {
		quoted[i] = fmt.Sprintf("%q", c)
	}
	return fmt.Sprintf("ambiguous relation: %q could refer to %s", e.Asked, strings.Join(quoted, "; "))
}

// InferRelation finds the one pair of endpoints, requirer first, that a
// relation between two applications can mean. Pairs with the implicit
// endpoint count only if there is no other.
func InferRelation(a, b []Endpoint) ([2]Endpoint, error) {
	var explicit, implicit [][2]Endpoint
	for _, x := range a {
		for _, y := range b {
			if !x.CanRelate(y) {
				continue
			}
			pair := [2]Endpoint{x, y}
			if x.Role == RoleProvider {
				pair = [2]Endpoint{y, x}
			}
			if x.Implicit() || y.Implicit() {
				implicit = append(implicit, pair)
			} else {
				explicit = append(explicit, pair)
			}
		}
	}
	found := explicit
	if len(found) == 0 {
		found = implicit
	}
	switch len(found) {
	case 0:
		return [2]Endpoint{}, &NoRelationError{}
	case 1:
		return found[0], nil
	}
	err := &AmbiguousRelationError{Asked: asked(a) + " " + asked(b)}
	for _, p := range found {
		err.Candidates = append(err.Candidates, RelationKey(p[0], p[1]))
	}
	sort.Strings(err.Candidates)
	return [2]Endpoint{}, err
}

// asked names what the user named: one endpoint, or an application.
func asked(eps []Endpoint) string {
	if len(eps) == 1 {
		return eps[0].String()
	}
	return eps[0].Application
}
