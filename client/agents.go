package client

import (
	"context"

	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/wire/agentapi"
)

// Enrol trades a one-time token, with which the agent has logged in, for a
// certificate and a password of its own.
func (c *Conn) Enrol(ctx context.Context, csrPEM []byte, password Secret) (agentapi.EnrolResult, error) {
	return Call[agentapi.EnrolArgs, agentapi.EnrolResult](ctx, c, "Enrolment", "Enrol",
		agentapi.EnrolArgs{CSR: string(csrPEM), Password: password.Reveal()})
}

// Renew asks for a fresh certificate for the same key.
func (c *Conn) Renew(ctx context.Context, csrPEM []byte) (agentapi.EnrolResult, error) {
	return Call[agentapi.RenewArgs, agentapi.EnrolResult](ctx, c, "Enrolment", "Renew", agentapi.RenewArgs{CSR: string(csrPEM)})
}

// MachineAgent is what a machine's agent may call.
type MachineAgent struct{ c *Conn }

// Machine returns the calls of a machine's agent.
func (c *Conn) Machine() MachineAgent { return MachineAgent{c} }

// UnitAgent is what a unit's agent may call.
type UnitAgent struct{ c *Conn }

// Unit returns the calls of a unit's agent.
func (c *Conn) Unit() UnitAgent { return UnitAgent{c} }

const (
	machineFacade = "MachineAgent"
	unitFacade    = "UnitAgent"
)

// do calls a method that answers nothing.
func do[A any](ctx context.Context, c *Conn, facade, method string, args A) error {
	_, err := Call[A, none](ctx, c, facade, method, args)
	return err
}

func watchWant(ctx context.Context, c *Conn, facade string) (*NotifyWatcher, error) {
	r, err := Call[none, agentapi.WatchResult](ctx, c, facade, "WatchWant", none{})
	if err != nil {
		return nil, err
	}
	return &NotifyWatcher{c, r.NotifyWatcherID}, nil
}

// Want returns what should be on the machine.
func (m MachineAgent) Want(ctx context.Context) (agentapi.MachineWant, error) {
	return Call[none, agentapi.MachineWant](ctx, m.c, machineFacade, "Want", none{})
}

// WatchWant fires when Want changed.
func (m MachineAgent) WatchWant(ctx context.Context) (*NotifyWatcher, error) {
	return watchWant(ctx, m.c, machineFacade)
}

// SetStatus sets the machine's status.
func (m MachineAgent) SetStatus(ctx context.Context, a agentapi.SetStatusArgs) error {
	return do(ctx, m.c, machineFacade, "SetStatus", a)
}

// SetObserved reports what the agent sees of its machine.
func (m MachineAgent) SetObserved(ctx context.Context, o agentapi.MachineObserved) error {
	return do(ctx, m.c, machineFacade, "SetObserved", o)
}

// UnitToken asks for the one-time token of a unit assigned to the machine.
func (m MachineAgent) UnitToken(ctx context.Context, u names.Unit) (Secret, error) {
	r, err := Call[agentapi.UnitTokenArgs, agentapi.UnitTokenResult](ctx, m.c, machineFacade, "UnitToken", agentapi.UnitTokenArgs{Unit: string(u)})
	return Secret{r.Token}, err
}

// RemoveUnit reports that a dead unit is gone from the machine.
func (m MachineAgent) RemoveUnit(ctx context.Context, u names.Unit) error {
	return do(ctx, m.c, machineFacade, "RemoveUnit", agentapi.UnitArgs{Unit: string(u)})
}

// StartTask reports that a task begins.
func (m MachineAgent) StartTask(ctx context.Context, id string) error {
	return do(ctx, m.c, machineFacade, "StartTask", agentapi.TaskArgs{ID: id})
}

// FinishTask reports how a task ended.
func (m MachineAgent) FinishTask(ctx context.Context, a agentapi.FinishTaskArgs) error {
	return do(ctx, m.c, machineFacade, "FinishTask", a)
}

// SetPassword replaces the agent's password, here and for later requests.
func (m MachineAgent) SetPassword(ctx context.Context, p Secret) error {
	return setPassword(ctx, m.c, machineFacade, p)
}

func setPassword(ctx context.Context, c *Conn, facade string, p Secret) error {
	err := do(ctx, c, facade, "SetPassword", agentapi.SetPasswordArgs{Password: p.Reveal()})
	if err == nil {
		c.SetPassword(p)
	}
	return err
}

// Want returns all that decides which hook runs next.
func (u UnitAgent) Want(ctx context.Context) (agentapi.Want, error) {
	return Call[none, agentapi.Want](ctx, u.c, unitFacade, "Want", none{})
}

// WatchWant fires when Want changed.
func (u UnitAgent) WatchWant(ctx context.Context) (*NotifyWatcher, error) {
	return watchWant(ctx, u.c, unitFacade)
}

// Context returns everything that a hook may read; relation is the hook's, or
// -1.
func (u UnitAgent) Context(ctx context.Context, relation int) (agentapi.HookContext, error) {
	return Call[agentapi.ContextArgs, agentapi.HookContext](ctx, u.c, unitFacade, "Context", agentapi.ContextArgs{RelationID: relation})
}

// Commit records everything that a hook changed, once for each OpID.
func (u UnitAgent) Commit(ctx context.Context, a agentapi.CommitArgs) (agentapi.CommitResult, error) {
	return Call[agentapi.CommitArgs, agentapi.CommitResult](ctx, u.c, unitFacade, "Commit", a)
}

// SetStatus sets a status at once.
func (u UnitAgent) SetStatus(ctx context.Context, a agentapi.SetStatusArgs) error {
	return do(ctx, u.c, unitFacade, "SetStatus", a)
}

// SetWorkloadVersion sets the workload's version at once.
func (u UnitAgent) SetWorkloadVersion(ctx context.Context, version string) error {
	return do(ctx, u.c, unitFacade, "SetWorkloadVersion", agentapi.VersionArgs{Version: version})
}

// LeaderSet changes the leader's settings at once.
func (u UnitAgent) LeaderSet(ctx context.Context, settings map[string]string) error {
	return do(ctx, u.c, unitFacade, "LeaderSet", agentapi.LeaderSetArgs{Settings: settings})
}

// ClaimLeadership claims or renews leadership.
func (u UnitAgent) ClaimLeadership(ctx context.Context) (agentapi.ClaimResult, error) {
	return Call[none, agentapi.ClaimResult](ctx, u.c, unitFacade, "ClaimLeadership", none{})
}

// EnterScope joins a relation.
func (u UnitAgent) EnterScope(ctx context.Context, relation int) error {
	return do(ctx, u.c, unitFacade, "EnterScope", agentapi.ScopeArgs{RelationID: relation})
}

// LeaveScope leaves a relation.
func (u UnitAgent) LeaveScope(ctx context.Context, relation int) error {
	return do(ctx, u.c, unitFacade, "LeaveScope", agentapi.ScopeArgs{RelationID: relation})
}

// GoalState returns where the unit's peers and relations are heading.
func (u UnitAgent) GoalState(ctx context.Context) (agentapi.GoalState, error) {
	return Call[none, agentapi.GoalState](ctx, u.c, unitFacade, "GoalState", none{})
}

// StartTask reports that a task begins.
func (u UnitAgent) StartTask(ctx context.Context, id string) error {
	return do(ctx, u.c, unitFacade, "StartTask", agentapi.TaskArgs{ID: id})
}

// FinishTask reports how a task ended.
func (u UnitAgent) FinishTask(ctx context.Context, a agentapi.FinishTaskArgs) error {
	return do(ctx, u.c, unitFacade, "FinishTask", a)
}

// TaskLog reports progress of a task.
func (u UnitAgent) TaskLog(ctx context.Context, id, message string) error {
	return do(ctx, u.c, unitFacade, "TaskLog", agentapi.TaskLogArgs{ID: id, Message: message})
}

// SetPassword replaces the agent's password, here and for later requests.
func (u UnitAgent) SetPassword(ctx context.Context, p Secret) error {
	return setPassword(ctx, u.c, unitFacade, p)
}

// Dead reports that the remove hook is done.
func (u UnitAgent) Dead(ctx context.Context) error {
	return do(ctx, u.c, unitFacade, "Dead", none{})
}
