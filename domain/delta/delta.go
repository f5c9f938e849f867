// Package delta owns the question which entities, as watchers know them, a
// change of rows concerns. It owns no rows and makes no wire objects: those
// belong to the facade that sends them.
//
// Every row that an entity's picture is made of leads to that entity, so a
// watcher that rebuilds the entities of a change has missed nothing.
package delta

import (
	"cmp"
	"slices"
	"strings"

	"github.com/scarab-ops/scarab/domain/annotation"
	"github.com/scarab-ops/scarab/domain/application"
	"github.com/scarab-ops/scarab/domain/block"
	"github.com/scarab-ops/scarab/domain/charmstore"
	"github.com/scarab-ops/scarab/domain/machine"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/relation"
	"github.com/scarab-ops/scarab/domain/status"
	"github.com/scarab-ops/scarab/domain/task"
	"github.com/scarab-ops/scarab/domain/unit"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
)

// A Kind is a kind of entity.
type Kind int

// The kinds, in the order in which they are sent.
const (
	Model Kind = iota
	Machine
	Application
	Unit
	Relation
	Charm
	Annotation
	Task
	Block
)

// An Entity is one entity of a model. ID is the id of its main row; for
// Model it is empty.
type Entity struct {
	Kind Kind
	ID   string
}

// MaxTasks bounds the tasks in a first picture: the newest ones.
const MaxTasks = 1000

// Keys is what a watcher of a model subscribes to.
func Keys(m names.Model) []state.Key {
	return []state.Key{model.Table.Key(state.Controller, string(m)), state.ModelKeys(string(m))}
}

// All lists every entity of a model in order.
func All(r state.Reader, m names.Model) []Entity {
	s := model.ScopeOf(m)
	var out []Entity
	if model.Table.Has(r, state.Controller, string(m)) {
		out = append(out, Entity{Model, ""})
	}
	out = list(out, r, s, Machine, machine.Table)
	out = list(out, r, s, Application, application.Table)
	out = list(out, r, s, Unit, unit.Table)
	out = list(out, r, s, Relation, relation.Table)
	out = list(out, r, s, Charm, charmstore.Table)
	out = list(out, r, s, Annotation, annotation.Table)
	tasks := list(nil, r, s, Task, task.Table)
	if len(tasks) > MaxTasks {
		slices.SortFunc(tasks, func(a, b Entity) int {
			return cmp.Or(cmp.Compare(len(a.ID), len(b.ID)), strings.Compare(a.ID, b.ID))
		})
		tasks = tasks[len(tasks)-MaxTasks:]
	}
	return list(append(out, tasks...), r, s, Block, block.Table)
}

func list[V any](out []Entity, r state.Reader, s state.Scope, k Kind, t state.Table[V]) []Entity {
	for v, err := range t.All(r, s) {
		if err == nil {
			out = append(out, Entity{k, t.ID(v)})
		}
	}
	return out
}

// Touched lists the entities that changes concern, each once, in order.
func Touched(r state.Reader, m names.Model, changes []state.Change) []Entity {
	s := model.ScopeOf(m)
	seen := map[Entity]bool{}
	var out []Entity
	add := func(e Entity) {
		if !seen[e] {
			seen[e] = true
			out = append(out, e)
		}
	}
	moved := map[names.Machine]bool{} // their addresses may have changed
	for _, c := range changes {
		e, ok := of(c)
		if ok {
			add(e)
		}
		if c.Kind == machine.Instances.Kind || c.Kind == machine.Seen.Kind {
			moved[names.Machine(c.ID)] = true
		}
	}
	if len(moved) > 0 {
		for u, err := range unit.Table.All(r, s) {
			if err == nil && moved[u.Machine] {
				add(Entity{Unit, string(u.Name)})
			}
		}
	}
	slices.SortFunc(out, func(a, b Entity) int { return cmp.Or(int(a.Kind-b.Kind), strings.Compare(a.ID, b.ID)) })
	return out
}

// of maps a row to its entity.
func of(c state.Change) (Entity, bool) {
	switch c.Kind {
	case model.Table.Kind, model.ConfigTable.Kind, model.Constraints.Kind:
		return Entity{Model, ""}, true
	case machine.Table.Kind, machine.Instances.Kind, machine.Seen.Kind:
		return Entity{Machine, c.ID}, true
	case application.Table.Kind:
		return Entity{Application, c.ID}, true
	case unit.Table.Kind, unit.PortsTable.Kind:
		return Entity{Unit, c.ID}, true
	case relation.Table.Kind:
		return Entity{Relation, c.ID}, true
	case charmstore.Table.Kind:
		return Entity{Charm, c.ID}, true
	case annotation.Table.Kind:
		return Entity{Annotation, c.ID}, true
	case task.Table.Kind:
		return Entity{Task, c.ID}, true
	case block.Table.Kind:
		return Entity{Block, c.ID}, true
	case status.Table.Kind:
		return ofStatus(c.ID)
	}
	return Entity{}, false
}

func ofStatus(id string) (Entity, bool) {
	side, name, _ := strings.Cut(id, "/")
	switch side {
	case status.OfModel:
		return Entity{Model, ""}, true
	case "agent", "workload":
		return Entity{Unit, name}, true
	case "machine", "instance":
		return Entity{Machine, name}, true
	case "application":
		return Entity{Application, name}, true
	}
	return Entity{}, false
}
