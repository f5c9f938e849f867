// Package relation owns relations and what travels through them: rows of kind
// "relation", "relation-unit" (one for each unit that entered scope, with its
// bag) and "relation-app" (each application's bag). In model scope.
//
// Invariants: relation ids are never used twice; a bag is written only by its
// owner; every effective write bumps the bag's version, an identical one does
// not; an empty value deletes its key.
package relation

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/scarab-ops/scarab/domain/life"
	"github.com/scarab-ops/scarab/domain/sequence"
	"github.com/scarab-ops/scarab/domain/status"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
)

// An Endpoint is one side of a relation.
type Endpoint struct {
	Application names.Application `json:"application"`
	Name        string            `json:"name"`
	Role        string            `json:"role"` // provider, requirer, peer
	Interface   string            `json:"interface"`
	Scope       string            `json:"scope"` // global, container
	Limit       int               `json:"limit,omitempty"`
	Optional    bool              `json:"optional,omitempty"`
	Implicit    bool              `json:"implicit,omitempty"` // juju-info
	Subordinate bool              `json:"subordinate,omitempty"`
}

// String returns "application:name".
func (e Endpoint) String() string { return string(e.Application) + ":" + e.Name }

// A Row is one relation. Endpoints are ordered requirer, provider; a peer
// relation has one.
type Row struct {
	ID        int            `json:"id"`
	Key       names.Relation `json:"key"`
	Endpoints []Endpoint     `json:"endpoints"`
	Scope     string         `json:"scope"`
	Life      life.Life      `json:"life"`
	Suspended bool           `json:"suspended,omitempty"`
	Created   time.Time      `json:"created"`
	// Force and its deadline apply to a dying relation.
	Force    bool      `json:"force,omitempty"`
	Deadline time.Time `json:"deadline,omitzero"`
}

// A Member is one unit that entered scope. Departed members keep their bag
// until the relation is gone.
type Member struct {
	Relation int               `json:"relation"`
	Unit     names.Unit        `json:"unit"`
	Settings map[string]string `json:"settings"`
	Version  int64             `json:"version"`
	Departed bool              `json:"departed,omitempty"`
}

// An AppBag is one application's bag.
type AppBag struct {
	Relation    int               `json:"relation"`
	Application names.Application `json:"application"`
	Settings    map[string]string `json:"settings"`
	Version     int64             `json:"version"`
}

func memberID(id int, u names.Unit) string     { return strconv.Itoa(id) + "/" + string(u) }
func bagID(id int, a names.Application) string { return strconv.Itoa(id) + "/" + string(a) }

// Tables, in model scope.
var (
	Table   = state.Table[Row]{Kind: "relation", ID: func(r Row) string { return strconv.Itoa(r.ID) }}
	Members = state.Table[Member]{
		Kind: "relation-unit", ID: func(m Member) string { return memberID(m.Relation, m.Unit) },
	}
	AppBags = state.Table[AppBag]{
		Kind: "relation-app", ID: func(b AppBag) string { return bagID(b.Relation, b.Application) },
	}
)

// Sizes of what a charm may put into bags (design decisions 27).
const (
	MaxValue = 512 << 10
	MaxBag   = 1 << 20
)

// Get returns a relation by id.
func Get(r state.Reader, s state.Scope, id int) (Row, error) {
	row, err := Table.Get(r, s, strconv.Itoa(id))
	if err != nil {
		return Row{}, &NotFoundError{strconv.Itoa(id)}
	}
	return row, nil
}

// NotFoundError reports a relation that is not there.
type NotFoundError struct{ What string }

func (e *NotFoundError) Error() string { return fmt.Sprintf("relation %q not found", e.What) }

// Code is the wire code of the error.
func (e *NotFoundError) Code() string { return "not found" }

// ExistsError reports a relation that is there already.
type ExistsError struct{ Key names.Relation }

func (e *ExistsError) Error() string { return fmt.Sprintf("relation %s already exists", string(e.Key)) }

// Code is the wire code of the error.
func (e *ExistsError) Code() string { return "already exists" }

// ByKey finds a relation.
func ByKey(r state.Reader, s state.Scope, key names.Relation) (Row, error) {
	for row, err := range Table.All(r, s) {
		if err == nil && row.Key == key {
			return row, nil
		}
	}
	return Row{}, &NotFoundError{string(key)}
}

// Of yields the relations of an application in id order.
func Of(r state.Reader, s state.Scope, a names.Application) []Row {
	var out []Row
	for row, err := range Table.All(r, s) {
		if err == nil && row.Involves(a) {
			out = append(out, row)
		}
	}
	slices.SortFunc(out, func(x, y Row) int { return x.ID - y.ID })
	return out
}

// Involves tells whether an application has a side.
func (r Row) Involves(a names.Application) bool {
	return slices.ContainsFunc(r.Endpoints, func(e Endpoint) bool { return e.Application == a })
}

// Peer tells whether the relation is among one application's units.
func (r Row) Peer() bool { return len(r.Endpoints) == 1 }

// Sides returns an application's own endpoint and the remote one; for a peer
// relation both are the same.
func (r Row) Sides(a names.Application) (local, remote Endpoint, ok bool) {
	i := slices.IndexFunc(r.Endpoints, func(e Endpoint) bool { return e.Application == a })
	if i < 0 {
		return Endpoint{}, Endpoint{}, false
	}
	if r.Peer() {
		return r.Endpoints[0], r.Endpoints[0], true
	}
	return r.Endpoints[i], r.Endpoints[1-i], true
}

// Add makes a relation. Endpoints come in any order.
func Add(tx *state.Tx, s state.Scope, eps []Endpoint, now time.Time) (Row, error) {
	r := Row{Key: KeyOf(eps), Endpoints: eps, Scope: "global", Life: life.Alive, Created: now}
	for _, e := range eps {
		if e.Scope == "container" {
			r.Scope = "container"
		}
	}
	if err := Free(tx, s, eps); err != nil {
		return Row{}, err
	}
	id, err := sequence.Next(tx, s, "relation", 0)
	if err != nil {
		return Row{}, err
	}
	r.ID = id
	for _, e := range eps {
		if err := AppBags.Put(tx, s, AppBag{Relation: id, Application: e.Application}); err != nil {
			return Row{}, err
		}
	}
	if err := Table.Put(tx, s, r); err != nil {
		return Row{}, err
	}
	return r, status.Set(tx, s, status.OfRelation(strconv.Itoa(id)), status.Entry{Status: "joining", Since: now})
}

// KeyOf puts the endpoints of a relation in order and returns its key.
func KeyOf(eps []Endpoint) names.Relation {
	slices.SortFunc(eps, func(a, b Endpoint) int { return rank(a.Role) - rank(b.Role) })
	var key names.Relation
	for i, e := range eps {
		if i > 0 {
			key += " "
		}
		key += names.Relation(e.String())
	}
	return key
}

// Free fails if these endpoints are related already.
func Free(r state.Reader, s state.Scope, eps []Endpoint) error {
	key := KeyOf(eps)
	if _, err := ByKey(r, s, key); err == nil {
		return &ExistsError{key}
	}
	return nil
}

func rank(role string) int {
	if role == "requirer" {
		return 0
	}
	return 1
}

// Enter puts a unit into scope with its address keys. Entering twice is no
// change but for the keys given.
func Enter(tx *state.Tx, s state.Scope, id int, u names.Unit, seed map[string]string) error {
	m, err := Members.Get(tx, s, memberID(id, u))
	if err != nil {
		m = Member{Relation: id, Unit: u, Settings: map[string]string{}}
	}
	was := m.Departed
	m.Departed = false
	changed := merge(&m.Settings, seed)
	if err == nil && !changed && !was {
		return nil
	}
	if err := checkSize(m.Settings); err != nil {
		return err
	}
	m.Version++
	return Members.Put(tx, s, m)
}

// Leave takes a unit out of scope; its bag stays readable.
func Leave(tx *state.Tx, s state.Scope, id int, u names.Unit) error {
	m, err := Members.Get(tx, s, memberID(id, u))
	if err != nil || m.Departed {
		return nil //nolint:nilerr // not in scope is what was asked for
	}
	m.Departed = true
	return Members.Put(tx, s, m)
}

// InScope returns the members that have not departed, by unit name.
func InScope(r state.Reader, s state.Scope, id int) []Member {
	var out []Member
	for m, err := range Members.Under(r, s, strconv.Itoa(id)+"/") {
		if err == nil && !m.Departed {
			out = append(out, m)
		}
	}
	return out
}

// MemberOf returns one unit's membership, departed or not.
func MemberOf(r state.Reader, s state.Scope, id int, u names.Unit) (Member, bool) {
	m, err := Members.Get(r, s, memberID(id, u))
	return m, err == nil
}

// BagOf returns one application's bag.
func BagOf(r state.Reader, s state.Scope, id int, a names.Application) AppBag {
	b, err := AppBags.Get(r, s, bagID(id, a))
	if err != nil {
		return AppBag{Relation: id, Application: a}
	}
	return b
}

// SetUnit changes keys of a unit's own bag.
func SetUnit(tx *state.Tx, s state.Scope, id int, u names.Unit, set map[string]string) error {
	m, err := Members.Get(tx, s, memberID(id, u))
	if err != nil {
		return fmt.Errorf("cannot write relation settings: unit %s has not entered relation %d", string(u), id)
	}
	if m.Departed || !merge(&m.Settings, set) {
		return nil
	}
	if err := checkSize(m.Settings); err != nil {
		return err
	}
	m.Version++
	return Members.Put(tx, s, m)
}

// SetApp changes keys of an application's bag. The caller checked leadership
// in this transaction.
func SetApp(tx *state.Tx, s state.Scope, id int, a names.Application, set map[string]string) error {
	b := BagOf(tx, s, id, a)
	if !merge(&b.Settings, set) {
		return nil
	}
	if err := checkSize(b.Settings); err != nil {
		return err
	}
	b.Version++
	return AppBags.Put(tx, s, b)
}

func merge(bag *map[string]string, set map[string]string) bool {
	changed := false
	if *bag == nil {
		*bag = map[string]string{}
	}
	for k, v := range set {
		old, had := (*bag)[k]
		switch {
		case v == "" && had:
			delete(*bag, k)
			changed = true
		case v != "" && (!had || old != v):
			(*bag)[k] = v
			changed = true
		}
	}
	return changed
}

func checkSize(bag map[string]string) error {
	total := 0
	for k, v := range bag {
		if len(v) > MaxValue {
			return fmt.Errorf("cannot write relation settings: value of %q is %d bytes, at most %d", k, len(v), MaxValue)
		}
		total += len(k) + len(v)
	}
	if total > MaxBag {
		return fmt.Errorf("cannot write relation settings: the bag is %d bytes, at most %d", total, MaxBag)
	}
	return nil
}

// Forget deletes a relation with its bags.
func Forget(tx *state.Tx, s state.Scope, id int) error {
	prefix := strconv.Itoa(id) + "/"
	for m, err := range Members.Under(tx, s, prefix) {
		if err != nil {
			return err
		}
		if err := Members.Delete(tx, s, memberID(id, m.Unit)); err != nil {
			return err
		}
	}
	for b, err := range AppBags.Under(tx, s, prefix) {
		if err != nil {
			return err
		}
		if err := AppBags.Delete(tx, s, bagID(id, b.Application)); err != nil {
			return err
		}
	}
	if err := status.Remove(tx, s, status.OfRelation(strconv.Itoa(id))); err != nil {
		return err
	}
	return Table.Delete(tx, s, strconv.Itoa(id))
}
