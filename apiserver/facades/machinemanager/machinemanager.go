// Package machinemanager serves the facade MachineManager: adding machines,
// removing them and trying again to start them. Machines of this release hold
// no containers, and machines made by hand are refused.
package machinemanager

import (
	"errors"
	"fmt"

	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/apiserver/facades/refuse"
	"github.com/scarab-ops/scarab/apiserver/facades/wiremap"
	"github.com/scarab-ops/scarab/authz"
	"github.com/scarab-ops/scarab/charm"
	"github.com/scarab-ops/scarab/constraint"
	"github.com/scarab-ops/scarab/domain/block"
	"github.com/scarab-ops/scarab/domain/machine"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/removal"
	"github.com/scarab-ops/scarab/domain/status"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/wire"
	wiremach "github.com/scarab-ops/scarab/wire/machinemanager"
)

// A Service is what the facade needs: nothing but the call's own state.
type Service struct{}

func v10() facade.Facade[Service] {
	read, write := authz.OnModel(authz.Read), authz.OnModel(authz.Write).Changes()
	f := facade.Facade[Service]{Name: "MachineManager", Version: 10, Methods: []facade.Method[Service]{
		facade.Each("AddMachines", write, wiremach.AddMachinesShape, addMachine),
		facade.One("DestroyMachineWithParams", write, destroyMachines),
		facade.One("RetryProvisioning", write, retry),
	}}
	no := refuse.Method[Service]
	upgrade := "cannot change the base of a machine in this release: add a machine with the new base and move the units"
	return f.With(
		no("ProvisioningScript", write, "cannot make a machine by hand in this release: let the cloud make it"),
		no("InstanceTypes", read, "cannot list instance types: this cloud makes machines of any size"),
		no("UpgradeSeriesValidate", read, upgrade), no("UpgradeSeriesPrepare", write, upgrade),
		no("UpgradeSeriesComplete", write, upgrade), no("GetUpgradeSeriesMessages", read, upgrade),
		no("WatchUpgradeSeriesNotifications", read, upgrade),
	)
}

// Endpoints binds every version of the facade.
func Endpoints(s Service) ([]facade.Endpoint, error) {
	es, err := facade.Bind(v10(), s)
	if err != nil {
		return nil, err
	}
	old, err := facade.Bind(v10().At(9), s)
	return append(es, old...), err
}

func bad(err error) error { return &facade.BadRequest{Reason: err.Error()} }

func unsupported(text string) error { return &refuse.Error{Text: text} }

func refuseParts(a wiremach.AddMachineParams) error {
	switch {
	case a.ContainerType != "" || a.ParentID != "":
		return unsupported("cannot add a container to a machine: machines of this release hold none; add a machine")
	case a.InstanceID != "" || a.Nonce != "" || len(a.Addresses) > 0:
		return unsupported("cannot add a machine by hand in this release: let the cloud make it")
	case len(a.Disks) > 0:
		return unsupported("cannot add disks: this release makes no storage")
	case a.Placement != nil && (a.Placement.Scope == "#" || a.Placement.Scope == "lxd" || a.Placement.Scope == "kvm"):
		return unsupported("cannot add a machine inside another: machines of this release hold no containers")
	}
	for _, j := range a.Jobs {
		if j != "JobHostUnits" {
			return bad(fmt.Errorf("cannot add a machine with job %.80q", j))
		}
	}
	return nil
}

func addMachine(_ Service, c facade.Call, a wiremach.AddMachineParams) (wiremach.AddMachinesResult, error) {
	if err := refuseParts(a); err != nil {
		return wiremach.AddMachinesResult{}, err
	}
	cons, err := wiremap.Constraints(a.Constraints)
	if err != nil {
		return wiremach.AddMachinesResult{}, bad(err)
	}
	row := machine.Row{Created: c.Now(), Clean: true}
	if a.Placement != nil {
		if len(a.Placement.Directive) > 1024 {
			return wiremach.AddMachinesResult{}, bad(errors.New("cannot add machine: the placement is too long"))
		}
		row.Placement = a.Placement.Directive
	}
	if a.Base != nil && a.Base.Name != "" {
		b, err := charm.ParseBase(a.Base.Name, a.Base.Channel)
		if err != nil {
			return wiremach.AddMachinesResult{}, bad(err)
		}
		row.Base = machine.Base{Name: b.Name, Channel: b.Channel}
	}
	var made machine.Row
	err = change(c, block.Change, func(tx *state.Tx, m model.Row) error {
		if _, err := model.Alive(tx, m.UUID); err != nil {
			return err
		}
		mc, err := model.Constraints.Get(tx, model.ScopeOf(m.UUID), "constraints")
		if err != nil {
			return err
		}
		row := row
		if row.Constraints, err = constraint.Merge(cons, mc.Value, constraint.DefaultConflicts()); err != nil {
			return err
		}
		made, err = machine.Add(tx, model.ScopeOf(m.UUID), row)
		return err
	})
	return wiremach.AddMachinesResult{Machine: string(made.ID)}, err
}

func change(c facade.Call, t block.Type, f func(*state.Tx, model.Row) error) error {
	return c.Update(func(tx *state.Tx) error {
		m, err := model.Get(tx, c.Caller.Model)
		if err != nil {
			return err
		}
		if err := block.Check(tx, model.ScopeOf(m.UUID), t); err != nil {
			return err
		}
		return f(tx, m)
	})
}

// destroyMachines has its own loop, for its options are shared by all items.
func destroyMachines(_ Service, c facade.Call, a wiremach.DestroyMachinesParams) (wiremach.DestroyMachineResults, error) {
	if len(a.MachineTags) > facade.MaxItems {
		return wiremach.DestroyMachineResults{}, bad(fmt.Errorf("cannot remove %d machines at once", len(a.MachineTags)))
	}
	o := removal.Options{Force: a.Force, MaxWait: a.MaxWait, DryRun: a.DryRun, Keep: a.Keep}
	out := wiremach.DestroyMachineResults{Results: make([]wiremach.DestroyMachineResult, len(a.MachineTags))}
	for i, tag := range a.MachineTags {
		info, err := destroyMachine(c, tag, o)
		out.Results[i] = wiremach.DestroyMachineResult{Info: info, Error: facade.ToWire(err)}
	}
	return out, nil
}

func destroyMachine(c facade.Call, tag string, o removal.Options) (*wiremach.DestroyMachineInfo, error) {
	id, err := names.ParseMachine(tag)
	if err != nil {
		return nil, bad(err)
	}
	c.Concerns(tag)
	var rep removal.Report
	err = change(c, block.Remove, func(tx *state.Tx, m model.Row) error {
		var err error
		rep, err = removal.DestroyMachine(tx, m, id, o, c.Now())
		return err
	})
	if err != nil {
		return nil, err
	}
	info := &wiremach.DestroyMachineInfo{MachineID: string(id)}
	for _, u := range rep.Units {
		info.DestroyedUnits = append(info.DestroyedUnits, wire.Entity{Tag: u.Tag().String()})
	}
	return info, nil
}

// retry asks the provisioner to try again where it has given up.
func retry(_ Service, c facade.Call, a wiremach.RetryProvisioningArgs) (wire.ErrorResults, error) {
	var ids []names.Machine
	if a.All {
		for m, err := range machine.Table.All(c.View(), model.ScopeOf(c.Caller.Model)) {
			if err == nil && failed(c.View(), model.ScopeOf(c.Caller.Model), m.ID) {
				ids = append(ids, m.ID)
			}
		}
	}
	for _, tag := range a.Machines {
		id, err := names.ParseMachine(tag)
		if err != nil {
			return wire.ErrorResults{}, bad(err)
		}
		ids = append(ids, id)
	}
	if len(ids) > facade.MaxItems {
		return wire.ErrorResults{}, bad(fmt.Errorf("cannot retry %d machines at once", len(ids)))
	}
	out := wire.ErrorResults{Results: make([]wire.ErrorResult, len(ids))}
	for i, id := range ids {
		c.Concerns(id.Tag().String())
		out.Results[i].Error = facade.ToWire(change(c, block.Change, func(tx *state.Tx, m model.Row) error {
			s := model.ScopeOf(m.UUID)
			row, err := machine.Get(tx, s, id)
			if err != nil {
				return err
			}
			if !failed(tx, s, id) {
				return fmt.Errorf("cannot retry machine %s: it is not in an error state", string(id))
			}
			row.Retry++
			return machine.Table.Put(tx, s, row)
		}))
	}
	return out, nil
}

func failed(r state.Reader, s state.Scope, id names.Machine) bool {
	switch status.Get(r, s, status.OfInstance(string(id))).Status {
	case "provisioning error", "error":
		return true
	}
	return false
}
