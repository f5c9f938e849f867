package client

import (
	"context"

	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/wire"
	"github.com/scarab-ops/scarab/wire/action"
	"github.com/scarab-ops/scarab/wire/keymanager"
	"github.com/scarab-ops/scarab/wire/machinemanager"
	"github.com/scarab-ops/scarab/wire/sshclient"
)

// AddMachines adds machines.
func (c *Conn) AddMachines(ctx context.Context, as []machinemanager.AddMachineParams) ([]machinemanager.AddMachinesResult, error) {
	r, err := Call[machinemanager.AddMachines, machinemanager.AddMachinesResults](ctx, c, "MachineManager", "AddMachines",
		machinemanager.AddMachines{Params: as})
	return exactly(r.Machines, len(as), err)
}

// DestroyMachines asks for the end of machines.
func (c *Conn) DestroyMachines(ctx context.Context, a machinemanager.DestroyMachinesParams) ([]machinemanager.DestroyMachineResult, error) {
	r, err := Call[machinemanager.DestroyMachinesParams, machinemanager.DestroyMachineResults](ctx, c, "MachineManager", "DestroyMachineWithParams", a)
	return exactly(r.Results, len(a.MachineTags), err)
}

// RetryProvisioning tries again to start machines that could not be.
func (c *Conn) RetryProvisioning(ctx context.Context, a machinemanager.RetryProvisioningArgs) (wire.ErrorResults, error) {
	return Call[machinemanager.RetryProvisioningArgs, wire.ErrorResults](ctx, c, "MachineManager", "RetryProvisioning", a)
}

// RunCommands runs shell commands on units and machines.
func (c *Conn) RunCommands(ctx context.Context, a action.RunParams) (action.EnqueuedActions, error) {
	return Call[action.RunParams, action.EnqueuedActions](ctx, c, "Action", "Run", a)
}

// RunOnAllMachines runs shell commands on every machine.
func (c *Conn) RunOnAllMachines(ctx context.Context, a action.RunParams) (action.EnqueuedActions, error) {
	return Call[action.RunParams, action.EnqueuedActions](ctx, c, "Action", "RunOnAllMachines", a)
}

// EnqueueActions asks for actions of charms.
func (c *Conn) EnqueueActions(ctx context.Context, as []action.Action) (action.EnqueuedActions, error) {
	return Call[action.Actions, action.EnqueuedActions](ctx, c, "Action", "EnqueueOperation", action.Actions{Actions: as})
}

// Tasks describes tasks, with their results once they have ended.
func (c *Conn) Tasks(ctx context.Context, ts ...names.Task) ([]action.ActionResult, error) {
	r, err := Call[wire.Entities, action.ActionResults](ctx, c, "Action", "Actions", entities(tagsOf(ts)...))
	return exactly(r.Results, len(ts), err)
}

// CancelTasks asks for the end of tasks.
func (c *Conn) CancelTasks(ctx context.Context, ts ...names.Task) ([]action.ActionResult, error) {
	r, err := Call[wire.Entities, action.ActionResults](ctx, c, "Action", "Cancel", entities(tagsOf(ts)...))
	return exactly(r.Results, len(ts), err)
}

// Operations describes operations.
func (c *Conn) Operations(ctx context.Context, os ...names.Operation) ([]action.OperationResult, error) {
	r, err := Call[wire.Entities, action.OperationResults](ctx, c, "Action", "Operations", entities(tagsOf(os)...))
	return exactly(r.Results, len(os), err)
}

// ListOperations finds operations.
func (c *Conn) ListOperations(ctx context.Context, a action.OperationQueryArgs) (action.OperationResults, error) {
	return Call[action.OperationQueryArgs, action.OperationResults](ctx, c, "Action", "ListOperations", a)
}

// CharmActions lists the actions of an application's charm.
func (c *Conn) CharmActions(ctx context.Context, a names.Application) (map[string]action.ActionSpec, error) {
	r, err := Call[wire.Entities, action.ApplicationsCharmActionsResults](ctx, c, "Action", "ApplicationsCharmsActions", entities(a.Tag().String()))
	one, err := only(r.Results, err)
	if err != nil {
		return nil, err
	}
	return one.Actions, asError(one.Error)
}

// WatchTaskProgress watches what a task logs, as JSON texts.
func (c *Conn) WatchTaskProgress(ctx context.Context, t names.Task) (*StringsWatcher, error) {
	r, err := Call[wire.Entities, wire.StringsWatchResults](ctx, c, "Action", "WatchActionsProgress", entities(t.Tag().String()))
	one, err := only(r.Results, err)
	if err != nil {
		return nil, err
	}
	if one.Error != nil {
		return nil, one.Error
	}
	return &StringsWatcher{c, one.WatcherID, one.Changes}, nil
}

// PublicAddress returns where a machine or unit is reached from outside.
func (c *Conn) PublicAddress(ctx context.Context, t names.Tag) (string, error) {
	return c.sshAddress(ctx, "PublicAddress", t)
}

// PrivateAddress returns where it is reached from inside.
func (c *Conn) PrivateAddress(ctx context.Context, t names.Tag) (string, error) {
	return c.sshAddress(ctx, "PrivateAddress", t)
}

func (c *Conn) sshAddress(ctx context.Context, method string, t names.Tag) (string, error) {
	r, err := Call[wire.Entities, sshclient.SSHAddressResults](ctx, c, "SSHClient", method, entities(t.String()))
	one, err := only(r.Results, err)
	if err != nil {
		return "", err
	}
	return one.Address, asError(one.Error)
}

// AllAddresses returns every address of a machine or unit.
func (c *Conn) AllAddresses(ctx context.Context, t names.Tag) ([]string, error) {
	r, err := Call[wire.Entities, sshclient.SSHAddressesResults](ctx, c, "SSHClient", "AllAddresses", entities(t.String()))
	one, err := only(r.Results, err)
	if err != nil {
		return nil, err
	}
	return one.Addresses, asError(one.Error)
}

// HostKeys returns the host keys of a machine or unit.
func (c *Conn) HostKeys(ctx context.Context, t names.Tag) ([]string, error) {
	r, err := Call[wire.Entities, sshclient.SSHPublicKeysResults](ctx, c, "SSHClient", "PublicKeys", entities(t.String()))
	one, err := only(r.Results, err)
	if err != nil {
		return nil, err
	}
	return one.PublicKeys, asError(one.Error)
}

// SSHProxy tells whether machines are reached through the controller.
func (c *Conn) SSHProxy(ctx context.Context) (bool, error) {
	r, err := Call[none, sshclient.SSHProxyResult](ctx, c, "SSHClient", "Proxy", none{})
	return r.UseProxy, err
}

// Keys lists the SSH keys that may log in to the model's machines; whole
// keys or fingerprints.
func (c *Conn) Keys(ctx context.Context, u names.User, whole bool) ([]string, error) {
	r, err := Call[keymanager.ListSSHKeys, wire.StringsResults](ctx, c, "KeyManager", "ListKeys",
		keymanager.ListSSHKeys{Entities: entities(string(u)), Mode: whole})
	one, err := only(r.Results, err)
	if err != nil {
		return nil, err
	}
	return one.Result, asError(one.Error)
}

// AddKeys adds SSH keys; one error for each, nil for success.
func (c *Conn) AddKeys(ctx context.Context, u names.User, keys []string) ([]error, error) {
	return c.changeKeys(ctx, "AddKeys", u, keys)
}

// DeleteKeys removes SSH keys by fingerprint or comment.
func (c *Conn) DeleteKeys(ctx context.Context, u names.User, keys []string) ([]error, error) {
	return c.changeKeys(ctx, "DeleteKeys", u, keys)
}

// ImportKeys adds the keys of accounts elsewhere, such as "gh:someone".
func (c *Conn) ImportKeys(ctx context.Context, u names.User, ids []string) ([]error, error) {
	return c.changeKeys(ctx, "ImportKeys", u, ids)
}

func (c *Conn) changeKeys(ctx context.Context, method string, u names.User, keys []string) ([]error, error) {
	r, err := Call[keymanager.ModifyUserSSHKeys, wire.ErrorResults](ctx, c, "KeyManager", method,
		keymanager.ModifyUserSSHKeys{User: string(u), SSHKeys: keys})
	if err != nil {
		return nil, err
	}
	return Errors(r, len(keys))
}
