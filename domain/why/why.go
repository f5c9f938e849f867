// Package why explains: for anything that is not as it should be, the chain of
// causes from what the operator named down to what has to happen. It owns no
// rows and changes nothing.
//
// A chain ends at something that an operator, a charm or the cloud must do,
// and says what. It is bounded in length, visits each entity once, and draws
// only on what was stored and on who is connected, never on guesses.
package why

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/scarab-ops/scarab/domain/application"
	"github.com/scarab-ops/scarab/domain/charmstore"
	"github.com/scarab-ops/scarab/domain/fullstatus"
	"github.com/scarab-ops/scarab/domain/life"
	"github.com/scarab-ops/scarab/domain/machine"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/relation"
	"github.com/scarab-ops/scarab/domain/removal"
	"github.com/scarab-ops/scarab/domain/status"
	"github.com/scarab-ops/scarab/domain/unit"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
)

// MaxCauses bounds one answer.
const MaxCauses = 64

// A Cause is one link of a chain. The next link, if any, is why.
type Cause struct {
	Entity  string // tag
	State   string // such as "waiting", "lost", "dying"
	Because string // one clause
	Since   time.Time
	Next    string // what will or must happen
}

// A Question is what to explain, in which model, as of now.
type Question struct {
	Model    model.Row
	Presence fullstatus.Presence
	Now      time.Time
}

// A NotFoundError reports a name that nothing in the model has.
type NotFoundError struct{ Name string }

func (e *NotFoundError) Error() string {
	return fmt.Sprintf("cannot explain %.80q: nothing in this model has that name", e.Name)
}

// Code is the wire code of the error.
func (e *NotFoundError) Code() string { return "not found" }

// Explain answers for a tag or a plain name; an empty name is the model.
func Explain(r state.Reader, q Question, name string) ([]Cause, error) {
	e := &explainer{
		r: r, s: model.ScopeOf(q.Model.UUID), q: q, seen: map[string]bool{},
		pic: fullstatus.Load(r, q.Model, q.Presence, q.Now), dying: removal.Reasons(r, q.Model),
	}
	t, ok := e.resolve(name)
	if !ok {
		return nil, &NotFoundError{name}
	}
	e.explain(t)
	return e.out, nil
}

type explainer struct {
	r     state.Reader
	s     state.Scope
	q     Question
	pic   *fullstatus.Picture
	dying map[string]removal.Reason
	seen  map[string]bool
	out   []Cause
}

func (e *explainer) resolve(name string) (names.Tag, bool) {
	if name == "" {
		return e.q.Model.UUID.Tag(), true
	}
	if t, err := names.ParseTag(name); err == nil && e.exists(t) {
		return t, true
	}
	for _, t := range []names.Tag{
		names.Unit(name).Tag(), names.Machine(name).Tag(), names.Application(name).Tag(), names.Relation(name).Tag(),
	} {
		if e.exists(t) {
			return t, true
		}
	}
	if name == e.q.Model.Name {
		return e.q.Model.UUID.Tag(), true
	}
	return names.Tag{}, false
}

func (e *explainer) exists(t names.Tag) bool {
	switch t.Kind {
	case names.KindUnit:
		return unit.Table.Has(e.r, e.s, t.ID)
	case names.KindMachine:
		return machine.Table.Has(e.r, e.s, t.ID)
	case names.KindApplication:
		return application.Table.Has(e.r, e.s, t.ID)
	case names.KindRelation:
		_, err := relation.ByKey(e.r, e.s, names.Relation(t.ID))
		return err == nil
	case names.KindModel:
		return t.ID == string(e.q.Model.UUID)
	default:
	}
	return false
}

// explain adds the causes of t, unless they were told already.
func (e *explainer) explain(t names.Tag) {
	if e.seen[t.String()] || len(e.out) >= MaxCauses {
		return
	}
	e.seen[t.String()] = true
	if why, ok := e.dying[t.String()]; ok {
		e.removal(why)
	}
	switch t.Kind {
	case names.KindUnit:
		if u, err := unit.Get(e.r, e.s, names.Unit(t.ID)); err == nil {
			e.unit(u)
		}
	case names.KindMachine:
		if m, err := machine.Get(e.r, e.s, names.Machine(t.ID)); err == nil {
			e.machine(m)
		}
	case names.KindApplication:
		if a, err := application.Get(e.r, e.s, names.Application(t.ID)); err == nil {
			e.application(a)
		}
	case names.KindRelation:
		if rel, err := relation.ByKey(e.r, e.s, names.Relation(t.ID)); err == nil {
			e.relation(rel)
		}
	case names.KindModel:
		e.model()
	default: // resolve gives no other kind
	}
}

func (e *explainer) add(c Cause) {
	if len(e.out) < MaxCauses {
		e.out = append(e.out, c)
	}
}

func (e *explainer) removal(why removal.Reason) {
	next := "it goes as soon as that is done; with --force, a step that takes longer than a minute is not waited for"
	if !why.NextStep.IsZero() {
		next = "at the latest at " + why.NextStep.UTC().Format(time.RFC3339) + " it goes without waiting, by force"
	}
	e.add(Cause{why.Entity, "dying", "being removed, it waits for " + why.Waiting, why.Since, next})
}

func (e *explainer) unit(u unit.Row) {
	tag, name := u.Name.Tag().String(), string(u.Name)
	agent, work := e.pic.Unit(e.pic.Member(u))
	stored := e.pic.Status(status.OfUnitAgent(name))
	if agent.Status == "lost" {
		e.add(Cause{tag, "lost", fullstatus.Silent, agent.Since, "it is well again once its agent connects"})
		e.explain(u.Machine.Tag())
	}
	switch {
	case work.Status == "error":
		e.add(Cause{tag, "error", work.Message, work.Since, e.retries(u)})
	case stored.Status == "allocating":
		e.add(Cause{tag, "allocating", "its agent has not started yet", stored.Since, "it starts when its machine runs"})
		if u.Machine != "" {
			e.explain(u.Machine.Tag())
		}
	case work.Status == "blocked":
		e.add(Cause{tag, "blocked", "its charm says: " + orNothing(work.Message), work.Since, "an operator must do what the charm asks for"})
	case work.Status == "waiting" || work.Status == "maintenance":
		e.add(Cause{tag, work.Status, "its charm says: " + orNothing(work.Message), work.Since, "the charm goes on by itself when what it waits for is there"})
	}
	if agent.Status == "executing" {
		e.add(Cause{tag, "executing", "its agent is " + agent.Message, agent.Since, "the hook ends by itself, or at its time limit"})
		return // nothing else is asked of anybody before the hook ends
	}
	if u.Life != life.Alive || agent.Status == "lost" || stored.Status == "allocating" {
		return // what it lacks holds up nothing of a unit that goes, or that cannot act
	}
	switch work.Status {
	case "blocked":
		e.unrelated(u.Application)
	case "waiting":
		e.unrelated(u.Application)
		e.peers(u)
	}
}

func (e *explainer) retries(u unit.Row) string {
	again := fmt.Sprintf("scarab resolved %s", u.Name)
	if u.Life != life.Alive {
		again += fmt.Sprintf("; or go on without the hook: scarab resolved %s --no-retry", u.Name)
	}
	advice := fmt.Sprintf("read its log (scarab debug-log --replay --no-tail --include %s), mend the cause, then: %s", u.Name, again)
	if cfg, err := model.EffectiveConfig(e.r, e.q.Model); err == nil && cfg.Bool("automatically-retry-hooks") {
		return "its agent runs the hook again by itself, with growing pauses; to help: " + advice
	}
	return advice
}

// unrelated names endpoints that the charm needs and nobody is related to.
func (e *explainer) unrelated(a names.Application) {
	app, err := application.Get(e.r, e.s, a)
	if err != nil {
		return
	}
	ch, err := charmstore.Get(e.r, e.s, app.CharmURL)
	if err != nil {
		return
	}
	related := map[string]bool{}
	for _, rel := range e.pic.ByApp[a] {
		if local, _, ok := rel.Sides(a); ok {
			related[local.Name] = true
		}
	}
	for _, ep := range ch.Charm.Meta.Relations() {
		if ep.Role != "requirer" || ep.Optional || related[ep.Name] {
			continue
		}
		e.add(Cause{
			a.Tag().String(), "unrelated",
			fmt.Sprintf("its endpoint %q (interface %s) is related to nothing", ep.Name, ep.Interface), app.Created,
			fmt.Sprintf("if the charm needs it: integrate %s:%s with an application that provides %s", a, ep.Name, ep.Interface),
		})
	}
}

// peers goes on to the other sides of relations that do not work yet.
func (e *explainer) peers(u unit.Row) {
	for _, rel := range e.pic.ByApp[u.Application] {
		_, remote, ok := rel.Sides(u.Application)
		if !ok || rel.Peer() {
			continue
		}
		for _, o := range e.pic.Units[remote.Application] {
			if _, w := e.pic.Unit(o); w.Status != "active" && w.Status != "unknown" {
				e.explain(o.Name.Tag())
			}
		}
	}
}

func (e *explainer) machine(m machine.Row) {
	tag, id := m.ID.Tag().String(), string(m.ID)
	agent, inst := e.pic.Machine(e.pic.Host(m.ID)), e.pic.Status(status.OfInstance(id))
	switch {
	case strings.HasSuffix(inst.Status, "error"):
		e.add(Cause{tag, inst.Status, "the cloud says: " + orNothing(inst.Message), inst.Since, "mend the cause, then: scarab retry-provisioning " + id})
	case agent.Status == "down":
		e.add(Cause{tag, "down", fullstatus.Silent, agent.Since, "look at its instance " + orNothing(e.pic.Host(m.ID).Instance.InstanceID) + "; it is well again once its agent connects"})
	case agent.Status == "pending" && e.pic.Host(m.ID).Instance.InstanceID == "":
		e.add(Cause{tag, "pending", "the cloud has not given an instance yet: " + orNothing(inst.Message), inst.Since, "the provisioner keeps trying"})
	case agent.Status == "pending":
		e.add(Cause{tag, "pending", "its instance runs, but its agent has not connected yet", inst.Since, "the agent connects when the machine is ready"})
	}
}

func (e *explainer) application(a application.Row) {
	tag := a.Name.Tag().String()
	units := e.pic.Units[a.Name]
	if len(units) == 0 && a.Life == life.Alive {
		next := "give it one: scarab add-unit " + string(a.Name)
		if a.Subordinate {
			next = "integrate it with an application: it gets a unit beside each of its units"
		}
		e.add(Cause{tag, "unknown", "it has no units", a.Created, next})
		return
	}
	st := e.pic.Application(a)
	if st.Status != "active" && st.Status != "unknown" {
		e.add(Cause{tag, st.Status, "its status is that of its units or what its leader set: " + orNothing(st.Message), st.Since, ""})
	}
	for _, u := range units {
		e.explain(u.Name.Tag())
	}
}

func (e *explainer) relation(rel relation.Row) {
	st := e.pic.Status(status.OfRelation(fmt.Sprint(rel.ID)))
	if st.Status == "joined" && rel.Life == life.Alive {
		return
	}
	in := map[names.Application]bool{}
	for _, m := range relation.InScope(e.r, e.s, rel.ID) {
		in[m.Unit.Application()] = true
	}
	for _, ep := range rel.Endpoints {
		if in[ep.Application] {
			continue
		}
		e.add(Cause{
			rel.Key.Tag().String(), st.Status, fmt.Sprintf("no unit of %s has entered it", ep.Application), st.Since,
			"it is joined when a unit of each side has",
		})
		for _, u := range e.pic.Units[ep.Application] {
			e.explain(u.Name.Tag())
		}
	}
}

// model goes through everything that is not well.
func (e *explainer) model() {
	tag := e.q.Model.UUID.Tag().String()
	if d := e.q.Model.Destroy; d != nil {
		left := fmt.Sprintf("%d applications and %d machines are left", len(e.pic.Applications), len(e.pic.Machines))
		e.add(Cause{tag, "dying", "being destroyed: " + left, d.Started, "it goes when nothing is left"})
	}
	for _, tag := range slices.Sorted(maps.Keys(e.dying)) {
		if t, err := names.ParseTag(tag); err == nil {
			e.explain(t)
		}
	}
	for _, m := range e.pic.Machines {
		e.explain(m.ID.Tag())
	}
	for _, a := range e.pic.Applications {
		e.explain(a.Name.Tag())
	}
}

func orNothing(s string) string {
	if s == "" {
		return "(nothing)"
	}
	return s
}
