// Package unitagent serves a unit's own agent: what the unit is to do, what a
// hook may read, and what a hook changed. Every method acts on the caller's
// own unit and on nothing else; there is no parameter that names another.
package unitagent

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/authz"
	"github.com/scarab-ops/scarab/domain/agentcred"
	"github.com/scarab-ops/scarab/domain/application"
	"github.com/scarab-ops/scarab/domain/charmstore"
	"github.com/scarab-ops/scarab/domain/lease"
	"github.com/scarab-ops/scarab/domain/life"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/relation"
	"github.com/scarab-ops/scarab/domain/removal"
	"github.com/scarab-ops/scarab/domain/status"
	"github.com/scarab-ops/scarab/domain/task"
	"github.com/scarab-ops/scarab/domain/unit"
	"github.com/scarab-ops/scarab/domain/want"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/password"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/wire/agentapi"
)

// Service is what the facade needs.
type Service struct {
	Store *state.Store
}

var (
	reads   = authz.Self(authz.Unit).Reads()
	changes = authz.Self(authz.Unit)
)

// V1 is the facade our unit agents speak.
var V1 = facade.Facade[Service]{
	Name: "UnitAgent", Version: 1,
	Methods: []facade.Method[Service]{
		facade.None("Want", reads, wants),
		facade.Watch("WatchWant", reads, facade.NotifyWatcher, watch, watchResult),
		facade.One("Context", reads, hookContext),
		facade.None("GoalState", reads, goalState),
		facade.One("Commit", changes, commit),
		facade.Act("SetStatus", changes, setStatus),
		facade.Act("SetWorkloadVersion", changes, setVersion),
		facade.Act("LeaderSet", changes, leaderSet),
		facade.None("ClaimLeadership", changes, claim),
		facade.Act("EnterScope", changes, enter),
		facade.Act("LeaveScope", changes, leave),
		facade.Act("StartTask", changes, startTask),
		facade.Act("FinishTask", changes, finishTask),
		facade.Act("TaskLog", changes, taskLog),
		facade.Act("SetPassword", changes, setPassword),
		facade.None("Dead", changes, dead),
	},
}

// Endpoints binds the facade.
func Endpoints(s Service) ([]facade.Endpoint, error) { return facade.Bind(V1, s) }

func watchResult(id string, _ any) agentapi.WatchResult {
	return agentapi.WatchResult{NotifyWatcherID: id}
}

func wants(_ Service, c facade.Call) (agentapi.Want, error) {
	v := c.View()
	w, err := want.Unit(v, c.Caller.Model, c.Caller.Unit)
	w.Revision = v.Rev()
	return w, err
}

func watch(s Service, c facade.Call, _ struct{}) (facade.Watcher, error) {
	return want.WatchUnit(s.Store, c.Caller.Model, c.Caller.Unit), nil
}

func hookContext(_ Service, c facade.Call, _ agentapi.ContextArgs) (agentapi.HookContext, error) {
	return want.Context(c.View(), c.Caller.Model, c.Caller.Unit)
}

// self is the caller's unit, in a transaction.
type self struct {
	scope state.Scope
	model model.Row
	unit  unit.Row
}

func me(tx *state.Tx, c facade.Call) (self, error) {
	s := self{scope: model.ScopeOf(c.Caller.Model)}
	var err error
	if s.model, err = model.Get(tx, c.Caller.Model); err != nil {
		return s, err
	}
	s.unit, err = unit.Get(tx, s.scope, c.Caller.Unit)
	return s, err
}

// update runs f on the caller's unit.
func update(c facade.Call, f func(*state.Tx, self) error) error {
	return c.Update(func(tx *state.Tx) error {
		s, err := me(tx, c)
		if err != nil {
			return err
		}
		if err := f(tx, s); err != nil {
			return err
		}
		return within(tx, s)
	})
}

var settable = map[string][]string{
	"agent":       {"allocating", "executing", "idle", "error", "failed", "rebooting"},
	"workload":    {"maintenance", "blocked", "waiting", "active", "unknown", "terminated"},
	"application": {"maintenance", "blocked", "waiting", "active"},
}

// Bounds of one status.
const (
	maxMessage = 8 << 10
	maxData    = 64 << 10
)

func setStatus(_ Service, c facade.Call, a agentapi.SetStatusArgs) error {
	if !slices.Contains(settable[a.Kind], a.Status) {
		return fmt.Errorf("cannot set %s status: invalid status %q, expected one of %v", a.Kind, a.Status, settable[a.Kind])
	}
	if len(a.Message) > maxMessage {
		return fmt.Errorf("cannot set status: message is %d bytes, at most %d", len(a.Message), maxMessage)
	}
	if raw, err := json.Marshal(a.Data); err != nil || len(raw) > maxData {
		return fmt.Errorf("cannot set status: its data is larger than %d bytes", maxData)
	}
	return update(c, func(tx *state.Tx, s self) error {
		e := status.Entry{Status: a.Status, Message: a.Message, Data: a.Data, Since: c.Now()}
		switch a.Kind {
		case "application":
			if err := lease.Check(tx, s.scope, string(s.unit.Application), string(s.unit.Name), c.Now()); err != nil {
				return err
			}
			return status.Set(tx, s.scope, status.OfApplication(string(s.unit.Application)), e)
		case "agent":
			return status.Set(tx, s.scope, status.OfUnitAgent(string(s.unit.Name)), e)
		}
		return status.Set(tx, s.scope, status.OfWorkload(string(s.unit.Name)), e)
	})
}

func setVersion(_ Service, c facade.Call, a agentapi.VersionArgs) error {
	if len(a.Version) > 256 {
		return fmt.Errorf("cannot set workload version: it is longer than 256 bytes")
	}
	return update(c, func(tx *state.Tx, s self) error {
		s.unit.WorkloadVersion = a.Version
		return unit.Table.Put(tx, s.scope, s.unit)
	})
}

func leaderSet(_ Service, c facade.Call, a agentapi.LeaderSetArgs) error {
	return update(c, func(tx *state.Tx, s self) error {
		if err := lease.Check(tx, s.scope, string(s.unit.Application), string(s.unit.Name), c.Now()); err != nil {
			return fmt.Errorf("cannot write leadership settings: cannot write settings: not the leader")
		}
		return application.SetLeader(tx, s.scope, s.unit.Application, a.Settings)
	})
}

func claim(_ Service, c facade.Call) (agentapi.ClaimResult, error) {
	var res agentapi.ClaimResult
	err := update(c, func(tx *state.Tx, s self) error {
		res = agentapi.ClaimResult{}
		if s.unit.Life != life.Alive {
			return nil // it gives leadership up, and takes none
		}
		row, err := lease.Claim(tx, s.scope, string(s.unit.Application), string(s.unit.Name), c.Now())
		var denied *lease.DeniedError
		if errors.As(err, &denied) {
			return nil // somebody else leads
		}
		if err != nil {
			return err
		}
		res = agentapi.ClaimResult{Leader: true, Until: row.Expiry}
		return nil
	})
	return res, err
}

func enter(_ Service, c facade.Call, a agentapi.ScopeArgs) error {
	return update(c, func(tx *state.Tx, s self) error {
		r, err := relation.Get(tx, s.scope, a.RelationID)
		if err != nil || !r.Involves(s.unit.Application) {
			return &relation.NotFoundError{What: strconv.Itoa(a.RelationID)}
		}
		if r.Life != life.Alive || s.unit.Life != life.Alive {
			return fmt.Errorf("cannot enter scope of relation %d: it or the unit is being removed", r.ID)
		}
		seed, err := want.Seed(tx, c.Caller.Model, s.unit.Name)
		if err != nil {
			return err
		}
		if err := relation.Enter(tx, s.scope, r.ID, s.unit.Name, seed); err != nil {
			return err
		}
		if err := application.EnsureSubordinate(tx, s.scope, r, s.unit, c.Now()); err != nil {
			return err
		}
		return joined(tx, c, s, r)
	})
}

// joined marks a relation joined once both sides have a unit in scope.
func joined(tx *state.Tx, c facade.Call, s self, r relation.Row) error {
	id := status.OfRelation(strconv.Itoa(r.ID))
	if status.Get(tx, s.scope, id).Status != "joining" {
		return nil
	}
	present := map[names.Application]bool{}
	for _, m := range relation.InScope(tx, s.scope, r.ID) {
		present[m.Unit.Application()] = true
	}
	for _, e := range r.Endpoints {
		if !present[e.Application] {
			return nil
		}
	}
	return status.Set(tx, s.scope, id, status.Entry{Status: "joined", Since: c.Now()})
}

func leave(_ Service, c facade.Call, a agentapi.ScopeArgs) error {
	return update(c, func(tx *state.Tx, s self) error { return leaveOwn(tx, c, s, a.RelationID) })
}

// leaveOwn takes the unit out of a relation of its own application. One that is
// gone has been left.
func leaveOwn(tx *state.Tx, c facade.Call, s self, id int) error {
	r, err := relation.Get(tx, s.scope, id)
	if err != nil {
		return nil //nolint:nilerr // gone is what was asked for
	}
	if !r.Involves(s.unit.Application) {
		return &relation.NotFoundError{What: strconv.Itoa(id)}
	}
	return removal.LeaveScope(tx, s.model, id, s.unit.Name, c.Now())
}

func commit(_ Service, c facade.Call, a agentapi.CommitArgs) (agentapi.CommitResult, error) {
	if a.OpID == "" || len(a.OpID) > 128 {
		return agentapi.CommitResult{}, fmt.Errorf("cannot commit: the operation has no valid id")
	}
	return agentapi.CommitResult{}, update(c, func(tx *state.Tx, s self) error {
		if seen, err := unit.Seen(tx, s.scope, s.unit.Name, a.OpID); err != nil || seen {
			return err
		}
		for _, set := range a.Relations {
			if err := commitRelation(tx, c, s, set); err != nil {
				return err
			}
		}
		if err := commitUnit(tx, c, s, a); err != nil {
			return err
		}
		if a.RelationID >= 0 && strings.HasSuffix(a.Hook, "-relation-broken") {
			return leaveOwn(tx, c, s, a.RelationID)
		}
		return nil
	})
}

func commitRelation(tx *state.Tx, c facade.Call, s self, set agentapi.RelationSettings) error {
	r, err := relation.Get(tx, s.scope, set.ID)
	if err != nil || !r.Involves(s.unit.Application) {
		return &relation.NotFoundError{What: strconv.Itoa(set.ID)}
	}
	if len(set.App) > 0 {
		if err := lease.Check(tx, s.scope, string(s.unit.Application), string(s.unit.Name), c.Now()); err != nil {
			return fmt.Errorf("cannot write relation settings: %w", err)
		}
		if err := relation.SetApp(tx, s.scope, set.ID, s.unit.Application, set.App); err != nil {
			return err
		}
	}
	if len(set.Unit) == 0 {
		return nil
	}
	return relation.SetUnit(tx, s.scope, set.ID, s.unit.Name, set.Unit)
}

func commitUnit(tx *state.Tx, c facade.Call, s self, a agentapi.CommitArgs) error {
	app, err := application.Get(tx, s.scope, s.unit.Application)
	if err != nil {
		return err
	}
	ch, err := charmstore.Get(tx, s.scope, app.CharmURL)
	if err != nil {
		return err
	}
	var endpoints []string
	for _, e := range ch.Charm.Meta.Endpoints(string(app.Name)) {
		endpoints = append(endpoints, e.Name)
	}
	for _, p := range slices.Concat(a.OpenPorts, a.ClosePorts) {
		if p.Endpoint != "" && !slices.Contains(endpoints, p.Endpoint) {
			return fmt.Errorf("cannot open or close %s: endpoint %q not found", unit.FormatRange(p), p.Endpoint)
		}
	}
	if err := unit.ChangePorts(tx, s.scope, s.unit, endpoints, a.OpenPorts, a.ClosePorts); err != nil {
		return err
	}
	if err := unit.ChangeState(tx, s.scope, s.unit.Name, a.StateSet, a.StateDelete); err != nil {
		return err
	}
	if a.RefreshAddresses {
		if err := refresh(tx, c, s); err != nil {
			return err
		}
	}
	changed := false
	// Only the application's own charm is recorded: what a unit is said to run
	// is what it may download.
	if a.CharmURL == app.CharmURL && a.CharmURL != s.unit.CharmURL {
		s.unit.CharmURL, changed = a.CharmURL, true
	}
	if a.ClearResolved && s.unit.Resolved != "" {
		s.unit.Resolved, changed = "", true
	}
	if !changed {
		return nil
	}
	return unit.Table.Put(tx, s.scope, s.unit)
}

func refresh(tx *state.Tx, c facade.Call, s self) error {
	seed, err := want.Seed(tx, c.Caller.Model, s.unit.Name)
	if err != nil || len(seed) == 0 {
		return err
	}
	for _, r := range relation.Of(tx, s.scope, s.unit.Application) {
		if m, ok := relation.MemberOf(tx, s.scope, r.ID, s.unit.Name); !ok || m.Departed {
			continue
		}
		if err := relation.SetUnit(tx, s.scope, r.ID, s.unit.Name, seed); err != nil {
			return err
		}
	}
	return nil
}

func startTask(_ Service, c facade.Call, a agentapi.TaskArgs) error {
	return update(c, func(tx *state.Tx, s self) error {
		return task.Start(tx, s.scope, string(s.unit.Name), names.Task(a.ID), c.Now())
	})
}

func finishTask(_ Service, c facade.Call, a agentapi.FinishTaskArgs) error {
	return update(c, func(tx *state.Tx, s self) error {
		end := task.Row{Status: a.Status, Message: a.Message, Output: a.Output}
		return task.Finish(tx, s.scope, string(s.unit.Name), names.Task(a.ID), end, c.Now())
	})
}

func taskLog(_ Service, c facade.Call, a agentapi.TaskLogArgs) error {
	return update(c, func(tx *state.Tx, s self) error {
		return task.Log(tx, s.scope, string(s.unit.Name), names.Task(a.ID), a.Message, c.Now())
	})
}

// minPassword is the least length of an agent's random password.
const minPassword = 24

func setPassword(_ Service, c facade.Call, a agentapi.SetPasswordArgs) error {
	if len(a.Password) < minPassword {
		return fmt.Errorf("cannot set password: it is shorter than %d characters", minPassword)
	}
	h, err := password.OfAgent(password.NewSecret(a.Password))
	if err != nil {
		return err
	}
	return update(c, func(tx *state.Tx, s self) error {
		return agentcred.SetPassword(tx, s.scope, s.unit.Name.Tag().String(), string(h))
	})
}

func dead(_ Service, c facade.Call) (struct{}, error) {
	return struct{}{}, update(c, func(tx *state.Tx, s self) error {
		return removal.UnitDead(tx, s.model, s.unit.Name, c.Now())
	})
}

func goalState(_ Service, c facade.Call) (agentapi.GoalState, error) {
	v, scope := c.View(), model.ScopeOf(c.Caller.Model)
	u, err := unit.Get(v, scope, c.Caller.Unit)
	if err != nil {
		return agentapi.GoalState{}, err
	}
	g := agentapi.GoalState{Units: goalUnits(v, scope, u.Application, u.Principal), Relations: map[string]map[string]agentapi.GoalStatus{}}
	for _, r := range relation.Of(v, scope, u.Application) {
		local, remote, _ := r.Sides(u.Application)
		if r.Peer() || local.Implicit {
			continue
		}
		st := status.Get(v, scope, status.OfRelation(strconv.Itoa(r.ID)))
		if g.Relations[local.Name] == nil {
			g.Relations[local.Name] = map[string]agentapi.GoalStatus{}
		}
		ep := g.Relations[local.Name]
		ep[string(remote.Application)] = agentapi.GoalStatus{Status: st.Status, Since: st.Since}
		for name, gs := range goalUnits(v, scope, remote.Application, "") {
			ep[name] = gs
		}
	}
	return g, nil
}

func goalUnits(v *state.View, s state.Scope, a names.Application, principal names.Unit) map[string]agentapi.GoalStatus {
	out := map[string]agentapi.GoalStatus{}
	for _, u := range unit.Of(v, s, a) {
		if u.Life == life.Dead || u.Principal != principal && principal != "" {
			continue
		}
		st := status.Get(v, s, status.OfWorkload(string(u.Name)))
		if u.Life == life.Dying {
			st.Status = "dying"
		}
		out[string(u.Name)] = agentapi.GoalStatus{Status: st.Status, Since: st.Since}
	}
	return out
}
