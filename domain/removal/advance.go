package removal

import (
	"fmt"
	"time"

	"github.com/scarab-ops/scarab/domain/annotation"
	"github.com/scarab-ops/scarab/domain/application"
	"github.com/scarab-ops/scarab/domain/lease"
	"github.com/scarab-ops/scarab/domain/life"
	"github.com/scarab-ops/scarab/domain/machine"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/relation"
	"github.com/scarab-ops/scarab/domain/status"
	"github.com/scarab-ops/scarab/domain/unit"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
)

func advanceRelation(tx *state.Tx, m model.Row, id int, now time.Time) error {
	s := model.ScopeOf(m.UUID)
	r, err := relation.Get(tx, s, id)
	if err != nil || r.Life != life.Dying || len(relation.InScope(tx, s, id)) > 0 {
		return nil //nolint:nilerr // nothing to do yet, or any more
	}
	if err := relation.Forget(tx, s, id); err != nil {
		return err
	}
	for _, e := range r.Endpoints {
		if err := advanceApplication(tx, m, e.Application, now); err != nil {
			return err
		}
	}
	return nil
}

func advanceApplication(tx *state.Tx, m model.Row, a names.Application, _ time.Time) error {
	s := model.ScopeOf(m.UUID)
	app, err := application.Get(tx, s, a)
	if err != nil || app.Life != life.Dying || len(unit.Of(tx, s, a)) > 0 {
		return nil //nolint:nilerr // nothing to do yet, or any more
	}
	rels := relation.Of(tx, s, a)
	for _, r := range rels {
		if !r.Peer() {
			return nil
		}
	}
	for _, r := range rels {
		if err := relation.Forget(tx, s, r.ID); err != nil {
			return err
		}
	}
	if application.Leaders.Has(tx, s, string(a)) {
		if err := application.Leaders.Delete(tx, s, string(a)); err != nil {
			return err
		}
	}
	if lease.Table.Has(tx, s, string(a)) {
		if err := lease.Table.Delete(tx, s, string(a)); err != nil {
			return err
		}
	}
	if err := status.Remove(tx, s, status.OfApplication(string(a))); err != nil {
		return err
	}
	if err := annotation.Forget(tx, s, a.Tag()); err != nil {
		return err
	}
	if err := application.Table.Delete(tx, s, string(a)); err != nil {
		return err
	}
	return AdvanceModel(tx, m.UUID)
}

func advanceMachine(tx *state.Tx, m model.Row, id names.Machine, _ time.Time) error {
	s := model.ScopeOf(m.UUID)
	row, err := machine.Get(tx, s, id)
	if err != nil || row.Life != life.Dying || len(unit.On(tx, s, id)) > 0 {
		return nil //nolint:nilerr // nothing to do yet, or any more
	}
	row.Life = life.Dead
	return machine.Table.Put(tx, s, row)
}

// AdvanceModel marks a dying model dead once nothing is left in it.
func AdvanceModel(tx *state.Tx, id names.Model) error {
	m, err := model.Get(tx, id)
	if err != nil || m.Life != life.Dying {
		return nil //nolint:nilerr // nothing to do yet, or any more
	}
	s := model.ScopeOf(id)
	for range application.Table.All(tx, s) {
		return nil
	}
	for range machine.Table.All(tx, s) {
		return nil
	}
	m.Life = life.Dead
	return model.Table.Put(tx, state.Controller, m)
}

// Overdue takes every forced step whose deadline has passed, and returns when
// the next one is due (zero for never).
func Overdue(tx *state.Tx, m model.Row, now time.Time) (time.Time, error) {
	s := model.ScopeOf(m.UUID)
	var next time.Time
	for r, err := range relation.Table.All(tx, s) {
		if err != nil || r.Life != life.Dying || r.Deadline.IsZero() {
			continue
		}
		if r.Deadline.After(now) {
			next = sooner(next, r.Deadline)
			continue
		}
		for _, mem := range relation.InScope(tx, s, r.ID) {
			if err := relation.Leave(tx, s, r.ID, mem.Unit); err != nil {
				return next, err
			}
		}
		if err := advanceRelation(tx, m, r.ID, now); err != nil {
			return next, err
		}
	}
	var due []unit.Row
	for u, err := range unit.Table.All(tx, s) {
		switch {
		case err != nil || u.Life == life.Alive || u.Deadline.IsZero():
		case u.Deadline.After(now):
			next = sooner(next, u.Deadline)
		default:
			due = append(due, u)
		}
	}
	for _, u := range due {
		if err := gone(tx, m, u, now); err != nil {
			return next, err
		}
	}
	return next, nil
}

// Empty begins the removal of what is in a dying model, a bounded part at a
// time, and reports whether there may be more to begin.
func Empty(tx *state.Tx, id names.Model, now time.Time) (more bool, err error) {
	m, err := model.Get(tx, id)
	if err != nil || m.Life != life.Dying {
		return false, nil //nolint:nilerr // gone or not ours to empty
	}
	o := Options{}
	if m.Destroy != nil && m.Destroy.Force {
		o = Options{Force: true, MaxWait: &m.Destroy.MaxWait}
	}
	s := model.ScopeOf(id)
	for app, err := range application.Table.All(tx, s) {
		if err != nil || (app.Life != life.Alive && app.Force == o.Force) {
			continue
		}
		_, err := DestroyApplication(tx, m, app.Name, o, now)
		return true, err
	}
	for mc, err := range machine.Table.All(tx, s) {
		if err != nil || mc.Life != life.Alive || len(unit.On(tx, s, mc.ID)) > 0 {
			continue
		}
		_, err := DestroyMachine(tx, m, mc.ID, o, now)
		return true, err
	}
	return false, AdvanceModel(tx, id)
}

// A Reason says what a dying thing waits for.
type Reason struct {
	Entity  string    // tag
	Waiting string    // a clause, such as "unit db/0 to run its stop hook"
	Since   time.Time // when removal began
	// NextStep is when force takes the next step without waiting; zero: never.
	NextStep time.Time
}

// Reasons tells for every dying thing of a model, by tag, what it waits for.
func Reasons(r state.Reader, m model.Row) map[string]Reason {
	s := model.ScopeOf(m.UUID)
	out := map[string]Reason{}
	for u, err := range unit.Table.All(r, s) {
		if err == nil && u.Life != life.Alive {
			tag := u.Name.Tag().String()
			out[tag] = Reason{tag, unitReason(r, s, u), u.DyingSince, u.Deadline}
		}
	}
	for rel, err := range relation.Table.All(r, s) {
		if err == nil && rel.Life != life.Alive {
			tag := rel.Key.Tag().String()
			out[tag] = Reason{tag, relationReason(r, s, rel), time.Time{}, rel.Deadline}
		}
	}
	for a, err := range application.Table.All(r, s) {
		if err == nil && a.Life != life.Alive {
			tag := a.Name.Tag().String()
			out[tag] = Reason{tag, applicationReason(r, s, a), a.DyingSince, a.Deadline}
		}
	}
	for mc, err := range machine.Table.All(r, s) {
		if err != nil || mc.Life == life.Alive {
			continue
		}
		tag, waiting := mc.ID.Tag().String(), "the cloud to stop its instance"
		if units := unit.On(r, s, mc.ID); len(units) > 0 {
			waiting = fmt.Sprintf("unit %s to be removed", units[0].Name)
		}
		out[tag] = Reason{tag, waiting, time.Time{}, time.Time{}}
	}
	return out
}

func unitReason(r state.Reader, s state.Scope, u unit.Row) string {
	if u.Life == life.Dead {
		return fmt.Sprintf("the agent of machine %s to take it off the machine", u.Machine)
	}
	if subs := subordinatesOf(r, s, u.Name); len(subs) > 0 {
		return fmt.Sprintf("subordinate unit %s to be removed", subs[0].Name)
	}
	agent := status.Get(r, s, status.OfUnitAgent(string(u.Name)))
	switch agent.Status {
	case "error":
		return "its hooks: " + agent.Message + ", which has to succeed or be resolved"
	case "executing":
		return "its agent: " + agent.Message
	}
	return "its agent to run the hooks that end it"
}

func relationReason(r state.Reader, s state.Scope, rel relation.Row) string {
	if in := relation.InScope(r, s, rel.ID); len(in) > 0 {
		return fmt.Sprintf("unit %s to leave (%d still in it)", in[0].Unit, len(in))
	}
	return "the next step"
}

func applicationReason(r state.Reader, s state.Scope, a application.Row) string {
	if units := unit.Of(r, s, a.Name); len(units) > 0 {
		return fmt.Sprintf("unit %s to be removed (%d left)", units[0].Name, len(units))
	}
	for _, rel := range relation.Of(r, s, a.Name) {
		if !rel.Peer() {
			return fmt.Sprintf("relation %q to be removed", string(rel.Key))
		}
	}
	return "the next step"
}
