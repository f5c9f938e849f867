// Package facade turns a table of methods into an API facade, and is the only
// way from a request to a change.
//
// A facade package declares a [Facade] value: a name, a version and its
// methods, each with the access it needs. [Bind] refuses a method without a
// rule. Nothing is found by reflection, so what is not in the table cannot be
// called.
//
// A handler changes state only through [Call.Update], which asks for access
// again inside the transaction, refuses to commit what was never checked, and
// writes the audit record with the change. Errors become wire errors in one
// place, [ToWire]; watchers live in one bounded [Registry] for each connection.
package facade

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/scarab-ops/scarab/authz"
)

// A Method is one callable method of a facade served by an S.
type Method[S any] struct {
	Name string
	Rule authz.Rule
	call func(S, Call, json.RawMessage) (any, error)
}

// A Facade is one version of one facade.
type Facade[S any] struct {
	Name    string
	Version int
	Methods []Method[S]
}

// At returns a copy of f under another version, to be changed with With and
// Without: V20 = V19.At(20).With(...).Without("Old").
func (f Facade[S]) At(version int) Facade[S] {
	return Facade[S]{f.Name, version, slices.Clone(f.Methods)}
}

// With returns f with methods added; one of the same name is replaced.
func (f Facade[S]) With(ms ...Method[S]) Facade[S] {
	names := make([]string, 0, len(ms))
	for _, m := range ms {
		names = append(names, m.Name)
	}
	f = f.Without(names...)
	f.Methods = append(f.Methods, ms...)
	return f
}

// Without returns f without the methods named.
func (f Facade[S]) Without(names ...string) Facade[S] {
	kept := make([]Method[S], 0, len(f.Methods))
	for _, m := range f.Methods {
		if !slices.Contains(names, m.Name) {
			kept = append(kept, m)
		}
	}
	f.Methods = kept
	return f
}

// An Endpoint is a method bound to its service, ready to be served.
type Endpoint struct {
	Facade  string
	Version int
	Method  string
	Rule    authz.Rule
	call    func(Call, json.RawMessage) (any, error)
}

// String prints the endpoint's line of the access table.
func (e Endpoint) String() string {
	return fmt.Sprintf("%s.%d.%s %s", e.Facade, e.Version, e.Method, e.Rule)
}

// Bind ties f to the service s. It refuses a method without a rule and one
// declared twice.
func Bind[S any](f Facade[S], s S) ([]Endpoint, error) {
	if f.Name == "" || f.Version < 1 {
		return nil, fmt.Errorf("cannot bind facade %q version %d: it needs a name and a version from 1", f.Name, f.Version)
	}
	seen := map[string]bool{}
	es := make([]Endpoint, 0, len(f.Methods))
	for _, m := range f.Methods {
		switch {
		case m.Name == "" || m.call == nil:
			return nil, fmt.Errorf("cannot bind %s: a method has no name or no handler", f.Name)
		case !m.Rule.Valid():
			return nil, fmt.Errorf("cannot bind %s.%s: it has no access rule", f.Name, m.Name)
		case seen[m.Name]:
			return nil, fmt.Errorf("cannot bind %s.%s: it is declared twice", f.Name, m.Name)
		}
		seen[m.Name] = true
		es = append(es, Endpoint{f.Name, f.Version, m.Name, m.Rule, func(c Call, raw json.RawMessage) (any, error) {
			return m.call(s, c, raw)
		}})
	}
	return es, nil
}

// A Table is every endpoint a server has.
type Table struct {
	methods  map[string]Endpoint // by "facade.version.method"
	versions map[string][]int    // by facade, ascending
}

// NewTable refuses two endpoints of one name.
func NewTable(es ...[]Endpoint) (*Table, error) {
	t := &Table{methods: map[string]Endpoint{}, versions: map[string][]int{}}
	for _, e := range slices.Concat(es...) {
		k := key(e.Facade, e.Version, e.Method)
		if _, ok := t.methods[k]; ok {
			return nil, fmt.Errorf("cannot serve %s: it is bound twice", k)
		}
		if !e.Rule.Valid() || e.call == nil {
			return nil, fmt.Errorf("cannot serve %s: it has no access rule or no handler", k)
		}
		t.methods[k] = e
		if vs := t.versions[e.Facade]; !slices.Contains(vs, e.Version) {
			vs = append(vs, e.Version)
			slices.Sort(vs)
			t.versions[e.Facade] = vs
		}
	}
	return t, nil
}

func key(facade string, version int, method string) string {
	return fmt.Sprintf("%s.%d.%s", facade, version, method)
}

// Facades returns the versions of each facade, ascending.
func (t *Table) Facades() map[string][]int { return t.versions }

// Has reports whether the table knows the facade in that version.
func (t *Table) Has(facade string, version int) bool {
	return slices.Contains(t.versions[facade], version)
}

// Lookup finds an endpoint.
func (t *Table) Lookup(facade string, version int, method string) (Endpoint, bool) {
	e, ok := t.methods[key(facade, version, method)]
	return e, ok
}

// Endpoints returns every endpoint in order of facade, version and method.
func (t *Table) Endpoints() []Endpoint {
	es := make([]Endpoint, 0, len(t.methods))
	for _, e := range t.methods {
		es = append(es, e)
	}
	slices.SortFunc(es, func(a, b Endpoint) int {
		return cmp.Or(cmp.Compare(a.Facade, b.Facade), a.Version-b.Version, cmp.Compare(a.Method, b.Method))
	})
	return es
}

// String prints the access table: every endpoint on a line, with who, level, on
// what, class and when.
func (t *Table) String() string {
	var b strings.Builder
	for _, e := range t.Endpoints() {
		b.WriteString(e.String())
		b.WriteByte('\n')
	}
	return b.String()
}

// Serve checks the rule and then calls. There is no other way to call. A panic
// in a handler is an error of that call and nothing more.
func (e Endpoint) Serve(ctx context.Context, s *Session, id string, raw json.RawMessage) (res any, err error) {
	c := Call{Context: ctx, Caller: s.Caller, ID: id, s: s, op: &operation{endpoint: e, args: raw}, item: &item{}}
	defer func() {
		if p := recover(); p != nil {
			s.panicked(e, p)
			res, err = nil, c.concluded(errPanic)
		}
	}()
	if err := s.during(e.Rule); err != nil {
		return nil, err
	}
	if err := e.Rule.Admit(s.Caller, s.grants(s.cfg.Store.View())); err != nil {
		return nil, c.concluded(err)
	}
	res, err = e.call(c, raw)
	if err := c.concluded(err); err != nil {
		return nil, err
	}
	return res, nil
}
