// Package application owns applications: rows of kind "application" (what
// users want) and "leader-settings" (a bag for all units, written by the
// leader). In model scope.
//
// Invariants: an application's name is unique; its stored configuration is
// valid for its charm; peer relations are made with it; it has a unit on a
// machine for each unit asked for, in the same transaction.
package application

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/scarab-ops/scarab/charm"
	"github.com/scarab-ops/scarab/constraint"
	"github.com/scarab-ops/scarab/domain/charmstore"
	"github.com/scarab-ops/scarab/domain/life"
	"github.com/scarab-ops/scarab/domain/machine"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/relation"
	"github.com/scarab-ops/scarab/domain/unit"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
)

// Exposure limits who may reach an exposed endpoint.
type Exposure struct {
	Spaces []string `json:"spaces,omitempty"`
	CIDRs  []string `json:"cidrs,omitempty"`
}

// A Row is one application.
type Row struct {
	Name          names.Application `json:"name"`
	CharmURL      string            `json:"charm-url"`
	CharmModified int               `json:"charm-modified"` // rises with each change of charm or resources
	ForceUnits    bool              `json:"force-units,omitempty"`
	Channel       string            `json:"channel,omitempty"`
	Base          machine.Base      `json:"base"`
	Life          life.Life         `json:"life"`
	Created       time.Time         `json:"created"`
	Subordinate   bool              `json:"subordinate,omitempty"`
	Constraints   constraint.Value  `json:"constraints"`
	// Config is what the operator set, typed by the charm's options.
	Config map[string]any `json:"config,omitempty"`
	Trust  bool           `json:"trust,omitempty"`
	// Exposed maps an endpoint, "" for all, to who may reach it; nil is not
	// exposed.
	Exposed  map[string]Exposure `json:"exposed,omitempty"`
	Bindings map[string]string   `json:"bindings,omitempty"`
	// Force and its deadline apply to a dying application.
	Force      bool      `json:"force,omitempty"`
	Deadline   time.Time `json:"deadline,omitzero"`
	DyingSince time.Time `json:"dying-since,omitzero"`
}

// Leader settings of an application.
type LeaderSettings struct {
	Application names.Application `json:"application"`
	Settings    map[string]string `json:"settings"`
	Version     int64             `json:"version"`
}

// Tables, in model scope.
var (
	Table   = state.Table[Row]{Kind: "application", ID: func(r Row) string { return string(r.Name) }}
	Leaders = state.Table[LeaderSettings]{
		Kind: "leader-settings", ID: func(l LeaderSettings) string { return string(l.Application) },
	}
)

// MaxUnits bounds one request to add units.
const MaxUnits = 1000

// Get returns an application.
func Get(r state.Reader, s state.Scope, a names.Application) (Row, error) {
	row, err := Table.Get(r, s, string(a))
	if err != nil {
		return Row{}, &NotFoundError{a}
	}
	return row, nil
}

// NotFoundError reports an application that is not there.
type NotFoundError struct{ Name names.Application }

func (e *NotFoundError) Error() string {
	return fmt.Sprintf("application %q not found", string(e.Name))
}

// Code is the wire code of the error.
func (e *NotFoundError) Code() string { return "not found" }

// ExistsError reports a name that is taken.
type ExistsError struct{ Name names.Application }

func (e *ExistsError) Error() string {
	return fmt.Sprintf("cannot add application %q: application already exists", string(e.Name))
}

// Code is the wire code of the error.
func (e *ExistsError) Code() string { return "already exists" }

// DyingError reports a change to something that is going away.
type DyingError struct{ What string }

func (e *DyingError) Error() string {
	return fmt.Sprintf("cannot change %s: it is being removed", e.What)
}

// A Placement says where one unit goes.
type Placement struct {
	Machine   names.Machine // an existing machine, or ""
	Directive string        // for the cloud, with a new machine
}

// A Deploy asks for an application.
type Deploy struct {
	Row
	Units     int
	Placement []Placement
	// SettingsText are options given as text, applied over Config.
	SettingsText map[string]string
}

// Add makes an application with its peer relations and its units.
func Add(tx *state.Tx, m model.Row, d Deploy, now time.Time) (Row, error) {
	s := model.ScopeOf(m.UUID)
	ch, err := checkDeploy(tx, s, &d)
	if err != nil {
		return Row{}, err
	}
	d.Life, d.Created, d.Subordinate = life.Alive, now, ch.Charm.Meta.Subordinate
	d.Config, err = Configure(ch.Charm.Config, d.Config, d.SettingsText)
	if err != nil {
		return Row{}, err
	}
	if err := Table.Put(tx, s, d.Row); err != nil {
		return Row{}, err
	}
	for _, p := range ch.Charm.Meta.Endpoints(string(d.Name)) {
		if p.Role != charm.RolePeer {
			continue
		}
		if _, err := relation.Add(tx, s, []relation.Endpoint{endpointOf(p, false)}, now); err != nil {
			return Row{}, err
		}
	}
	if d.Subordinate || d.Units == 0 {
		return d.Row, nil
	}
	_, err = AddUnits(tx, m, d.Name, d.Units, d.Placement, now)
	return d.Row, err
}

func checkDeploy(tx *state.Tx, s state.Scope, d *Deploy) (charmstore.Row, error) {
	if !names.ValidApplication(string(d.Name)) {
		return charmstore.Row{}, fmt.Errorf("cannot deploy: %q is not a valid application name", d.Name)
	}
	if Table.Has(tx, s, string(d.Name)) {
		return charmstore.Row{}, &ExistsError{d.Name}
	}
	ch, err := charmstore.Get(tx, s, d.CharmURL)
	if err != nil {
		return charmstore.Row{}, err
	}
	if ch.Charm.Meta.Subordinate {
		if d.Units > 0 || len(d.Placement) > 0 {
			return ch, fmt.Errorf("cannot deploy %q: subordinate application must be deployed without units", d.Name)
		}
		if d.Constraints.String() != "" {
			return ch, fmt.Errorf("cannot deploy %q: subordinate application must be deployed without constraints", d.Name)
		}
	}
	if ch.Charm.IsKubernetes() {
		return ch, fmt.Errorf("cannot deploy %q: charm must be deployed on a Kubernetes cloud", d.Name)
	}
	for ep, space := range d.Bindings {
		if _, ok := ch.Charm.Meta.Relation(ep); ep != "" && !ok && !slices.Contains(ch.Charm.Meta.ExtraBindings, ep) {
			return ch, fmt.Errorf("cannot bind endpoint %q: unknown endpoint", ep)
		}
		if space != "alpha" && space != "" {
			return ch, fmt.Errorf("cannot bind endpoint %q: space %q not found", ep, space)
		}
	}
	return ch, nil
}

func endpointOf(e charm.Endpoint, subordinate bool) relation.Endpoint {
	return relation.Endpoint{
		Application: names.Application(e.Application), Name: e.Name, Role: string(e.Role),
		Interface: e.Interface, Scope: string(e.Scope), Limit: e.Limit, Optional: e.Optional,
		Implicit: e.Implicit(), Subordinate: subordinate,
	}
}

// AddUnits adds n units, each on the machine that its placement names or on a
// new one.
func AddUnits(
	tx *state.Tx, m model.Row, a names.Application, n int, places []Placement, now time.Time,
) ([]names.Unit, error) {
	s := model.ScopeOf(m.UUID)
	app, err := Get(tx, s, a)
	switch {
	case err != nil:
		return nil, err
	case app.Life != life.Alive:
		return nil, &DyingError{fmt.Sprintf("application %q", string(a))}
	case app.Subordinate:
		return nil, fmt.Errorf("cannot add unit to subordinate application %q", string(a))
	case n < 1 || n > MaxUnits:
		return nil, fmt.Errorf("cannot add %d units: between 1 and %d at once", n, MaxUnits)
	case len(places) > n:
		return nil, fmt.Errorf("cannot add units: %d placements for %d units", len(places), n)
	}
	var out []names.Unit
	for i := range n {
		var p Placement
		if i < len(places) {
			p = places[i]
		}
		host, err := place(tx, s, app, p, now)
		if err != nil {
			return nil, err
		}
		u, err := unit.Add(tx, s, unit.Row{Application: a, Machine: host, Created: now})
		if err != nil {
			return nil, err
		}
		out = append(out, u.Name)
	}
	return out, nil
}

func place(tx *state.Tx, s state.Scope, app Row, p Placement, now time.Time) (names.Machine, error) {
	if p.Machine != "" {
		m, err := machine.Get(tx, s, p.Machine)
		if err != nil {
			return "", fmt.Errorf("cannot place unit: %w", err)
		}
		if m.Life != life.Alive {
			return "", &DyingError{fmt.Sprintf("machine %s", string(p.Machine))}
		}
		return m.ID, machine.Take(tx, s, m)
	}
	mc, err := model.Constraints.Get(tx, s, "constraints")
	if err != nil {
		return "", err
	}
	merged, err := constraint.Merge(app.Constraints, mc.Value, constraint.DefaultConflicts())
	if err != nil {
		return "", err
	}
	if p.Directive == "" {
		if id, ok, err := reuse(tx, s, app.Base, merged); err != nil || ok {
			return id, err
		}
	}
	m, err := machine.Add(tx, s, machine.Row{
		Base: app.Base, Constraints: merged, Placement: p.Directive, Created: now,
	})
	return m.ID, err
}

// reuse takes a clean machine that was added by hand and fits.
func reuse(tx *state.Tx, s state.Scope, base machine.Base, want constraint.Value) (names.Machine, bool, error) {
	for spare, err := range machine.Spares.All(tx, s) {
		if err != nil {
			continue
		}
		m, err := machine.Get(tx, s, spare.Machine)
		if err != nil || m.Life != life.Alive || m.Base != base {
			continue
		}
		if want.String() != "" && want.String() != m.Constraints.String() {
			continue
		}
		return m.ID, true, machine.Take(tx, s, m)
	}
	return "", false, nil
}

// Configure applies text settings over typed ones and validates the whole.
func Configure(c charm.Config, typed map[string]any, text map[string]string) (map[string]any, error) {
	out := map[string]any{}
	for k, v := range typed {
		cv, err := c.Coerce(k, v)
		if err != nil {
			return nil, err
		}
		out[k] = cv
	}
	for _, k := range slices.Sorted(maps.Keys(text)) {
		v, err := c.ParseString(k, text[k])
		if err != nil {
			return nil, err
		}
		out[k] = v
	}
	return out, nil
}

// Effective returns every option that has a value: what was set over the
// charm's defaults.
func Effective(c charm.Config, set map[string]any) map[string]any {
	out := map[string]any{}
	for name, o := range c.Options {
		if v, ok := set[name]; ok {
			out[name] = v
		} else if o.Default != nil {
			out[name] = o.Default
		}
	}
	return out
}

// SetConfig changes and resets options, and "trust".
func SetConfig(
	tx *state.Tx, s state.Scope, a names.Application, typed map[string]any, text map[string]string, reset []string,
) error {
	app, err := Get(tx, s, a)
	if err != nil {
		return err
	}
	ch, err := charmstore.Get(tx, s, app.CharmURL)
	if err != nil {
		return err
	}
	if app.Config == nil {
		app.Config = map[string]any{}
	}
	typed, text = maps.Clone(typed), maps.Clone(text)
	if err := app.takeTrust(typed, text); err != nil {
		return err
	}
	for _, k := range reset {
		if k == "trust" {
			app.Trust = false
			continue
		}
		if _, ok := ch.Charm.Config.Options[k]; !ok {
			return fmt.Errorf("unknown option %q", k)
		}
		delete(app.Config, k)
	}
	changed, err := Configure(ch.Charm.Config, typed, text)
	if err != nil {
		return err
	}
	maps.Copy(app.Config, changed)
	return Table.Put(tx, s, app)
}

func (app *Row) takeTrust(typed map[string]any, text map[string]string) error {
	if v, ok := text["trust"]; ok {
		switch v {
		case "true", "True", "1":
			app.Trust = true
		case "false", "False", "0", "":
			app.Trust = false
		default:
			return fmt.Errorf("option %q expected boolean, got %q", "trust", v)
		}
		delete(text, "trust")
	}
	if v, ok := typed["trust"]; ok {
		b, isBool := v.(bool)
		if !isBool {
			return fmt.Errorf("option %q expected boolean, got %v", "trust", v)
		}
		app.Trust = b
		delete(typed, "trust")
	}
	return nil
}

// SetLeader changes leader settings; an empty value deletes. The caller
// checked leadership in this transaction.
func SetLeader(tx *state.Tx, s state.Scope, a names.Application, set map[string]string) error {
	l, err := Leaders.Get(tx, s, string(a))
	if err != nil {
		l = LeaderSettings{Application: a}
	}
	if l.Settings == nil {
		l.Settings = map[string]string{}
	}
	changed := false
	for k, v := range set {
		old, had := l.Settings[k]
		switch {
		case v == "" && had:
			delete(l.Settings, k)
			changed = true
		case v != "" && old != v:
			l.Settings[k], changed = v, true
		}
	}
	if !changed {
		return nil
	}
	total := 0
	for k, v := range l.Settings {
		total += len(k) + len(v)
	}
	if total > relation.MaxBag {
		return fmt.Errorf("cannot write leadership settings: %d bytes in all, at most %d", total, relation.MaxBag)
	}
	l.Version++
	return Leaders.Put(tx, s, l)
}
