// Package model owns models, their configuration and their constraints. Rows
// of kind "model" live in the controller scope so that all models can be
// listed; "model-config" and "model-constraints" live in the model's scope.
//
// Invariants: a model's UUID and its owner/name are unique; immutable keys do
// not change after creation.
package model

import (
	"fmt"
	"maps"
	"time"

	"github.com/scarab-ops/scarab/constraint"
	"github.com/scarab-ops/scarab/domain/life"
	"github.com/scarab-ops/scarab/domain/status"
	"github.com/scarab-ops/scarab/domain/user"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
)

// A Row is one model.
type Row struct {
	UUID         names.Model `json:"uuid"`
	Name         string      `json:"name"`
	Owner        names.User  `json:"owner"`
	Cloud        names.Cloud `json:"cloud"`
	Region       string      `json:"region,omitempty"`
	Life         life.Life   `json:"life"`
	IsController bool        `json:"is-controller,omitempty"`
	Created      time.Time   `json:"created"`
	AgentVersion string      `json:"agent-version"` // as clients see it
	// Destroy is set once the model is dying.
	Destroy *Destroy `json:"destroy,omitempty"`
}

// Destroy says how a dying model is to go.
type Destroy struct {
	Started time.Time     `json:"started"`
	Force   bool          `json:"force,omitempty"`
	MaxWait time.Duration `json:"max-wait,omitempty"`
}

// ConfigRow is a model's explicitly set configuration.
type ConfigRow struct {
	Attrs map[string]string `json:"attrs"` // canonical text of each value
}

// ConstraintsRow is a model's constraints.
type ConstraintsRow struct {
	Value constraint.Value `json:"value"`
}

// Tables. Table is in state.Controller, the others in model scope with one row.
var (
	Table       = state.Table[Row]{Kind: "model", ID: func(r Row) string { return string(r.UUID) }}
	ConfigTable = state.Table[ConfigRow]{Kind: "model-config", ID: func(ConfigRow) string { return "config" }}
	Constraints = state.Table[ConstraintsRow]{
		Kind: "model-constraints", ID: func(ConstraintsRow) string { return "constraints" },
	}
)

// ScopeOf is the subtree of a model.
func ScopeOf(m names.Model) state.Scope { return state.Model(string(m)) }

// ExistsError reports an owner/name that is taken.
type ExistsError struct {
	Name  string
	Owner names.User
}

func (e *ExistsError) Error() string {
	return fmt.Sprintf("model %q for %s already exists", e.Name, e.Owner)
}

// Code is the wire code of the error.
func (e *ExistsError) Code() string { return "already exists" }

// Add makes a model, gives its owner admin on it, and stores its settings.
func Add(tx *state.Tx, m Row, config map[string]string) error {
	if !names.ValidModelName(m.Name) {
		return fmt.Errorf("cannot add model: %q is not a valid name: use lower-case letters, digits and dashes", m.Name)
	}
	if !names.ValidUUID(string(m.UUID)) {
		return fmt.Errorf("cannot add model: %q is not a valid UUID", m.UUID)
	}
	if _, err := ByName(tx, m.Owner, m.Name); err == nil {
		return &ExistsError{m.Name, m.Owner}
	}
	if err := ValidateConfig(config); err != nil {
		return err
	}
	m.Life = life.Alive
	config = inherit(tx, config)
	if err := Table.Put(tx, state.Controller, m); err != nil {
		return err
	}
	s := ScopeOf(m.UUID)
	if err := ConfigTable.Put(tx, s, ConfigRow{Attrs: config}); err != nil {
		return err
	}
	if err := Constraints.Put(tx, s, ConstraintsRow{}); err != nil {
		return err
	}
	err := status.Set(tx, s, status.OfModel, status.Entry{Status: "available", Since: m.Created})
	if err != nil {
		return err
	}
	return user.Grants.Put(tx, state.Controller, user.Grant{User: m.Owner, On: string(m.UUID), Level: "admin"})
}

// inherited are the settings that say how machines reach the world. They are
// read from the host at bootstrap and hold for every model made later that
// does not set its own.
var inherited = [...]string{
	"apt-mirror", "apt-security-mirror", "apt-options", "apt-http-proxy", "apt-https-proxy", "resolvers",
}

func inherit(r state.Reader, config map[string]string) map[string]string {
	out := map[string]string{}
	for m, err := range Table.All(r, state.Controller) {
		if err != nil || !m.IsController {
			continue
		}
		if row, err := ConfigTable.Get(r, ScopeOf(m.UUID), "config"); err == nil {
			for _, k := range inherited {
				if v, ok := row.Attrs[k]; ok {
					out[k] = v
				}
			}
		}
	}
	maps.Copy(out, config)
	return out
}

// Get returns a model, or a NotFoundError with the wire code that makes
// clients forget it.
func Get(r state.Reader, m names.Model) (Row, error) {
	row, err := Table.Get(r, state.Controller, string(m))
	if err != nil {
		return Row{}, &NotFoundError{m}
	}
	return row, nil
}

// NotFoundError reports a model that is not there.
type NotFoundError struct{ UUID names.Model }

func (e *NotFoundError) Error() string { return fmt.Sprintf("unknown model: %q", string(e.UUID)) }

// Code is the wire code of the error.
func (e *NotFoundError) Code() string { return "model not found" }

// ByName finds an owner's model.
func ByName(r state.Reader, owner names.User, name string) (Row, error) {
	for m, err := range Table.All(r, state.Controller) {
		if err == nil && m.Owner == owner && m.Name == name {
			return m, nil
		}
	}
	return Row{}, fmt.Errorf("cannot find model %s/%s", owner, name)
}

// ErrDying reports a change to a model that is being destroyed.
type DyingError struct{ Name string }

func (e *DyingError) Error() string {
	return fmt.Sprintf("cannot change model %q: it is being destroyed", e.Name)
}

// Alive fails unless the model is alive.
func Alive(r state.Reader, m names.Model) (Row, error) {
	row, err := Get(r, m)
	if err != nil {
		return Row{}, err
	}
	if row.Life != life.Alive {
		return Row{}, &DyingError{row.Name}
	}
	return row, nil
}
