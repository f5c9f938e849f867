// Package removal owns how things go: the one state machine that takes
// applications, units, relations, machines and models from alive over dying
// and dead to gone. It owns no rows of its own; each dying row carries when it
// began and, if forced, when the next step is due.
//
// The order for a unit: dying (its agent runs departed, broken, stop and
// remove hooks), dead (its agent reported so), gone (the machine's agent took
// it off the machine). A relation goes when the last unit left its scope, an
// application when its last unit and relation went, a machine when its last
// unit went and the cloud stopped it, a model when nothing is left in it.
// Force changes nothing of the order; it sets a deadline after which a step
// is taken without waiting for the agent.
package removal

import (
	"fmt"
	"time"

	"github.com/scarab-ops/scarab/domain/agentcred"
	"github.com/scarab-ops/scarab/domain/annotation"
	"github.com/scarab-ops/scarab/domain/application"
	"github.com/scarab-ops/scarab/domain/lease"
	"github.com/scarab-ops/scarab/domain/life"
	"github.com/scarab-ops/scarab/domain/machine"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/relation"
	"github.com/scarab-ops/scarab/domain/status"
	"github.com/scarab-ops/scarab/domain/task"
	"github.com/scarab-ops/scarab/domain/unit"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
)

// Options of a removal.
type Options struct {
	Force bool
	// MaxWait is how long a forced step waits; nil means DefaultWait.
	MaxWait *time.Duration
	// DryRun reports and changes nothing.
	DryRun bool
	// Keep leaves a machine's instance in the cloud.
	Keep bool
}

// DefaultWait is how long a forced step waits for agents.
const DefaultWait = time.Minute

func (o Options) deadline(now time.Time) time.Time {
	if !o.Force {
		return time.Time{}
	}
	if o.MaxWait != nil {
		return now.Add(*o.MaxWait)
	}
	return now.Add(DefaultWait)
}

// A Report lists what a removal takes along.
type Report struct {
	Units    []names.Unit
	Machines []names.Machine
}

// sooner keeps the earlier of two deadlines; zero is none.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}

// DestroyApplication begins the removal of an application with its units and
// relations.
func DestroyApplication(
	tx *state.Tx, m model.Row, a names.Application, o Options, now time.Time,
) (Report, error) {
	s := model.ScopeOf(m.UUID)
	app, err := application.Get(tx, s, a)
	if err != nil {
		return Report{}, err
	}
	var rep Report
	units := unit.Of(tx, s, a)
	for _, u := range units {
		rep.Units = append(rep.Units, u.Name)
	}
	if o.DryRun {
		return rep, nil
	}
	if app.Life == life.Alive {
		app.Life, app.DyingSince = life.Dying, now
	}
	app.Force, app.Deadline = app.Force || o.Force, sooner(app.Deadline, o.deadline(now))
	if err := application.Table.Put(tx, s, app); err != nil {
		return rep, err
	}
	for _, r := range relation.Of(tx, s, a) {
		if r.Peer() {
			continue
		}
		if err := DestroyRelation(tx, m, r.ID, o, now); err != nil {
			return rep, err
		}
	}
	for _, u := range units {
		if u.Principal != "" && !o.Force {
			continue // goes when its principal has left the relation
		}
		if err := destroyUnit(tx, m, u, o, now); err != nil {
			return rep, err
		}
	}
	return rep, advanceApplication(tx, m, a, now)
}

// DestroyUnit begins the removal of one unit.
func DestroyUnit(tx *state.Tx, m model.Row, name names.Unit, o Options, now time.Time) (Report, error) {
	u, err := unit.Get(tx, model.ScopeOf(m.UUID), name)
	if err != nil {
		return Report{}, err
	}
	if u.Principal != "" && !o.Force {
		return Report{}, fmt.Errorf("cannot remove unit %q: it is a subordinate of %q; remove the relation or the principal",
			string(name), string(u.Principal))
	}
	rep := Report{Units: []names.Unit{name}}
	if o.DryRun {
		return rep, nil
	}
	return rep, destroyUnit(tx, m, u, o, now)
}

func destroyUnit(tx *state.Tx, m model.Row, u unit.Row, o Options, now time.Time) error {
	s := model.ScopeOf(m.UUID)
	for _, sub := range subordinatesOf(tx, s, u.Name) {
		if err := destroyUnit(tx, m, sub, o, now); err != nil {
			return err
		}
	}
	u, err := unit.Get(tx, s, u.Name)
	if err != nil {
		return nil //nolint:nilerr // gone already, with its subordinates
	}
	if u.Life == life.Alive {
		if neverStarted(tx, s, u) {
			return gone(tx, m, u, now)
		}
		u.Life, u.DyingSince = life.Dying, now
		if err := lease.Release(tx, s, string(u.Application), string(u.Name)); err != nil {
			return err
		}
	}
	u.Force, u.Deadline = u.Force || o.Force, sooner(u.Deadline, o.deadline(now))
	return unit.Table.Put(tx, s, u)
}

// neverStarted tells whether no agent of the unit has begun to work.
func neverStarted(tx *state.Tx, s state.Scope, u unit.Row) bool {
	return u.CharmURL == "" && status.Get(tx, s, status.OfUnitAgent(string(u.Name))).Status == "allocating"
}

func subordinatesOf(r state.Reader, s state.Scope, principal names.Unit) []unit.Row {
	var out []unit.Row
	for u, err := range unit.Table.All(r, s) {
		if err == nil && u.Principal == principal {
			out = append(out, u)
		}
	}
	return out
}

// UnitDead records that a dying unit has run its last hook.
func UnitDead(tx *state.Tx, m model.Row, name names.Unit, now time.Time) error {
	s := model.ScopeOf(m.UUID)
	u, err := unit.Get(tx, s, name)
	if err != nil {
		return err
	}
	if u.Life == life.Alive {
		return fmt.Errorf("cannot declare unit %q dead: it is alive", string(name))
	}
	if u.Life == life.Dead {
		return nil
	}
	u.Life = life.Dead
	if err := leaveAll(tx, m, u, now); err != nil {
		return err
	}
	return unit.Table.Put(tx, s, u)
}

// UnitGone forgets a dead unit that is off its machine.
func UnitGone(tx *state.Tx, m model.Row, name names.Unit, now time.Time) error {
	u, err := unit.Get(tx, model.ScopeOf(m.UUID), name)
	if err != nil {
		return nil //nolint:nilerr // gone is what was asked for
	}
	if u.Life != life.Dead {
		return fmt.Errorf("cannot forget unit %q: it is %s", string(name), u.Life)
	}
	return gone(tx, m, u, now)
}

func leaveAll(tx *state.Tx, m model.Row, u unit.Row, now time.Time) error {
	s := model.ScopeOf(m.UUID)
	for _, r := range relation.Of(tx, s, u.Application) {
		if err := relation.Leave(tx, s, r.ID, u.Name); err != nil {
			return err
		}
		if err := advanceRelation(tx, m, r.ID, now); err != nil {
			return err
		}
	}
	return nil
}

func gone(tx *state.Tx, m model.Row, u unit.Row, now time.Time) error {
	s := model.ScopeOf(m.UUID)
	if err := leaveAll(tx, m, u, now); err != nil {
		return err
	}
	if err := lease.Release(tx, s, string(u.Application), string(u.Name)); err != nil {
		return err
	}
	if err := agentcred.Revoke(tx, s, u.Name.Tag().String()); err != nil {
		return err
	}
	if err := task.Abandon(tx, s, string(u.Name), now); err != nil {
		return err
	}
	if err := annotation.Forget(tx, s, u.Name.Tag()); err != nil {
		return err
	}
	if err := unit.Forget(tx, s, u.Name); err != nil {
		return err
	}
	if u.Machine != "" && u.Principal == "" {
		if err := emptied(tx, m, u.Machine, now); err != nil {
			return err
		}
	}
	return advanceApplication(tx, m, u.Application, now)
}

// emptied removes a machine whose only principal unit went.
func emptied(tx *state.Tx, m model.Row, id names.Machine, now time.Time) error {
	s := model.ScopeOf(m.UUID)
	row, err := machine.Get(tx, s, id)
	if err != nil {
		return nil //nolint:nilerr // the machine went first
	}
	for _, u := range unit.On(tx, s, id) {
		if u.Principal == "" {
			return nil
		}
	}
	if row.Life == life.Alive {
		row.Life = life.Dying
		if err := machine.Table.Put(tx, s, row); err != nil {
			return err
		}
	}
	return advanceMachine(tx, m, id, now)
}

// DestroyRelation begins the removal of a relation.
func DestroyRelation(tx *state.Tx, m model.Row, id int, o Options, now time.Time) error {
	s := model.ScopeOf(m.UUID)
	r, err := relation.Get(tx, s, id)
	if err != nil {
		return err
	}
	if r.Peer() {
		return fmt.Errorf("cannot remove relation %q: it is a peer relation", string(r.Key))
	}
	if o.DryRun {
		return nil
	}
	r.Life, r.Force, r.Deadline = life.Dying, r.Force || o.Force, sooner(r.Deadline, o.deadline(now))
	if err := relation.Table.Put(tx, s, r); err != nil {
		return err
	}
	return advanceRelation(tx, m, id, now)
}

// LeaveScope records that a unit has run its last hook of a relation.
func LeaveScope(tx *state.Tx, m model.Row, id int, u names.Unit, now time.Time) error {
	s := model.ScopeOf(m.UUID)
	if err := relation.Leave(tx, s, id, u); err != nil {
		return err
	}
	if err := endSubordinate(tx, m, id, u, now); err != nil {
		return err
	}
	return advanceRelation(tx, m, id, now)
}

// endSubordinate begins the removal of a subordinate unit when its principal
// has left the last container-scoped relation between the two.
func endSubordinate(tx *state.Tx, m model.Row, id int, name names.Unit, now time.Time) error {
	s := model.ScopeOf(m.UUID)
	r, err := relation.Get(tx, s, id)
	if err != nil || r.Scope != "container" {
		return nil //nolint:nilerr // nothing hangs on it
	}
	u, err := unit.Get(tx, s, name)
	if err != nil {
		return nil //nolint:nilerr // the unit is gone
	}
	principal := u.Name
	if u.Principal != "" {
		principal = u.Principal
	}
	for _, sub := range subordinatesOf(tx, s, principal) {
		if !r.Involves(sub.Application) || stillRelated(tx, s, r, sub) {
			continue
		}
		if err := destroyUnit(tx, m, sub, Options{Force: r.Force}, now); err != nil {
			return err
		}
	}
	return nil
}

func stillRelated(tx *state.Tx, s state.Scope, leaving relation.Row, sub unit.Row) bool {
	for _, r := range relation.Of(tx, s, sub.Application) {
		if r.ID != leaving.ID && r.Scope == "container" && r.Life == life.Alive && !r.Peer() {
			return true
		}
	}
	return false
}

// DestroyMachine begins the removal of a machine; one with units goes only by
// force.
func DestroyMachine(tx *state.Tx, m model.Row, id names.Machine, o Options, now time.Time) (Report, error) {
	s := model.ScopeOf(m.UUID)
	row, err := machine.Get(tx, s, id)
	if err != nil {
		return Report{}, err
	}
	rep := Report{Machines: []names.Machine{id}}
	units := unit.On(tx, s, id)
	for _, u := range units {
		rep.Units = append(rep.Units, u.Name)
	}
	if len(units) > 0 && !o.Force {
		return rep, &machine.HasUnitsError{ID: id, Units: rep.Units}
	}
	if o.DryRun {
		return rep, nil
	}
	if row.Life == life.Alive {
		row.Life = life.Dying
	}
	row.Keep = row.Keep || o.Keep
	if err := machine.Table.Put(tx, s, row); err != nil {
		return rep, err
	}
	for _, u := range units {
		if err := destroyUnit(tx, m, u, o, now); err != nil {
			return rep, err
		}
	}
	return rep, advanceMachine(tx, m, id, now)
}

// MachineGone forgets a dead machine whose instance has been stopped.
func MachineGone(tx *state.Tx, m model.Row, id names.Machine, now time.Time) error {
	s := model.ScopeOf(m.UUID)
	row, err := machine.Get(tx, s, id)
	if err != nil {
		return nil //nolint:nilerr // gone is what was asked for
	}
	if row.Life != life.Dead {
		return fmt.Errorf("cannot forget machine %s: it is %s", string(id), row.Life)
	}
	if err := agentcred.Revoke(tx, s, id.Tag().String()); err != nil {
		return err
	}
	if err := task.Abandon(tx, s, string(id), now); err != nil {
		return err
	}
	if err := annotation.Forget(tx, s, id.Tag()); err != nil {
		return err
	}
	if err := machine.Forget(tx, s, id); err != nil {
		return err
	}
	return AdvanceModel(tx, m.UUID)
}

// DestroyModel begins the removal of a model; a worker removes what is in it.
func DestroyModel(tx *state.Tx, id names.Model, o Options, now time.Time) error {
	m, err := model.Get(tx, id)
	if err != nil {
		return err
	}
	if m.IsController {
		return fmt.Errorf("cannot destroy model %q: it is the controller's own; use destroy-controller", m.Name)
	}
	if o.DryRun {
		return nil
	}
	if m.Life == life.Alive {
		m.Life, m.Destroy = life.Dying, &model.Destroy{Started: now}
		s := model.ScopeOf(id)
		err := status.Set(tx, s, status.OfModel, status.Entry{Status: "destroying", Since: now})
		if err != nil {
			return err
		}
	}
	if o.Force && m.Destroy != nil {
		m.Destroy.Force = true
		if m.Destroy.MaxWait = DefaultWait; o.MaxWait != nil {
			m.Destroy.MaxWait = *o.MaxWait
		}
	}
	return model.Table.Put(tx, state.Controller, m)
}
