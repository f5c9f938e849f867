// Package machinemanager serves the facade MachineManager: adding machines,
// removing them and trying again to start them. Machines of this release hold
// no containers, and machines made by hand are refused.
package machinemanager

import (
	"fmt"
	"strings"

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
		facade.Each("DestroyMachineWithParams", write, destroyShape, destroyMachine),
		facade.Do("RetryProvisioning", write, retryItems, retry),
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
	case a.Placement != nil && a.Placement.Directive != "":
		return unsupported(fmt.Sprintf("cannot add a machine at %.80q: this cloud has no zones and no other places; leave the placement out", a.Placement.Directive))
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
		if row.Base.Name == "" {
			row.Base = defaultBase(tx, m)
		}
		if row.Constraints, err = constraint.Merge(cons, mc.Value, constraint.DefaultConflicts()); err != nil {
			return err
		}
		made, err = machine.Add(tx, model.ScopeOf(m.UUID), row)
		return err
	})
	return wiremach.AddMachinesResult{Machine: string(made.ID)}, err
}

// defaultBase is the base of the model; none leaves the choice to the cloud.
func defaultBase(r state.Reader, m model.Row) machine.Base {
	cfg, err := model.EffectiveConfig(r, m)
	if err != nil {
		return machine.Base{}
	}
	name, channel, _ := strings.Cut(cfg.String("default-base"), "@")
	b, err := charm.ParseBase(name, channel)
	if err != nil {
		return machine.Base{}
	}
	return machine.Base{Name: b.Name, Channel: b.Channel}
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

// destroyItem is one machine to remove; its options are shared by the call.
type destroyItem struct {
	tag     string
	options removal.Options
}

// destroyShape spreads a call's options over its items.
var destroyShape = wire.Shape[wiremach.DestroyMachinesParams, destroyItem, wiremach.DestroyMachineResults, wiremach.DestroyMachineResult]{
	Items: func(a wiremach.DestroyMachinesParams) []destroyItem {
		o := removal.Options{Force: a.Force, MaxWait: a.MaxWait, DryRun: a.DryRun, Keep: a.Keep}
		out := make([]destroyItem, len(a.MachineTags))
		for i, t := range a.MachineTags {
			out[i] = destroyItem{t, o}
		}
		return out
	},
	Wrap: func(rs []wiremach.DestroyMachineResult) wiremach.DestroyMachineResults {
		return wiremach.DestroyMachineResults{Results: rs}
	},
	Fail: func(e *wire.Error) wiremach.DestroyMachineResult { return wiremach.DestroyMachineResult{Error: e} },
}

func destroyMachine(_ Service, c facade.Call, d destroyItem) (wiremach.DestroyMachineResult, error) {
	id, err := names.ParseMachine(d.tag)
	if err != nil {
		return wiremach.DestroyMachineResult{}, bad(err)
	}
	c.Concerns(d.tag)
	var rep removal.Report
	err = change(c, block.Remove, func(tx *state.Tx, m model.Row) error {
		var err error
		rep, err = removal.DestroyMachine(tx, m, id, d.options, c.Now())
		return err
	})
	if err != nil {
		return wiremach.DestroyMachineResult{}, err
	}
	info := &wiremach.DestroyMachineInfo{MachineID: string(id)}
	for _, u := range rep.Units {
		info.DestroyedUnits = append(info.DestroyedUnits, wire.Entity{Tag: u.Tag().String()})
	}
	return wiremach.DestroyMachineResult{Info: info}, nil
}

// retryItems are the machines named; no name stands for all that failed.
func retryItems(a wiremach.RetryProvisioningArgs) []string {
	if a.All {
		return []string{""}
	}
	return a.Machines
}

// retry asks the provisioner to try again where it has given up.
func retry(_ Service, c facade.Call, tag string) error {
	if tag == "" {
		return change(c, block.Change, func(tx *state.Tx, m model.Row) error {
			s := model.ScopeOf(m.UUID)
			for row, err := range machine.Table.All(tx, s) {
				if err != nil || !failed(tx, s, row.ID) {
					continue
				}
				row.Retry++
				if err := machine.Table.Put(tx, s, row); err != nil {
					return err
				}
			}
			return nil
		})
	}
	id, err := names.ParseMachine(tag)
	if err != nil {
		return bad(err)
	}
	c.Concerns(tag)
	return change(c, block.Change, func(tx *state.Tx, m model.Row) error {
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
	})
}

func failed(r state.Reader, s state.Scope, id names.Machine) bool {
	switch status.Get(r, s, status.OfInstance(string(id))).Status {
	case "provisioning error", "error":
		return true
	}
	return false
}
