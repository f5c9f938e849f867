package facadetest

import (
	"testing"

	"github.com/scarab-ops/scarab/domain/application"
	"github.com/scarab-ops/scarab/domain/lease"
	"github.com/scarab-ops/scarab/domain/machine"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/status"
	"github.com/scarab-ops/scarab/domain/unit"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/wire/agentapi"
)

// Deploy puts an application into dev, of the charm local:CHARM-0.
func (w *World) Deploy(t *testing.T, name, charm string, units int) {
	t.Helper()
	w.Update(t, func(tx *state.Tx) error {
		m, err := model.Get(tx, Dev)
		if err != nil {
			return err
		}
		d := application.Deploy{Units: units}
		d.Row = application.Row{
			Name: names.Application(name), CharmURL: "local:" + charm + "-0",
			Base: machine.Base{Name: "debian", Channel: "12/stable"},
		}
		_, err = application.Add(tx, m, d, w.now)
		return err
	})
}

// Relate makes a relation in dev.
func (w *World) Relate(t *testing.T, a, b string) {
	t.Helper()
	w.Update(t, func(tx *state.Tx) error {
		_, err := application.Relate(tx, model.ScopeOf(Dev), a, b, w.now)
		return err
	})
}

// Start gives a machine an instance, as the cloud and its agent would.
func (w *World) Start(t *testing.T, id names.Machine, address string) {
	t.Helper()
	s := model.ScopeOf(Dev)
	w.Update(t, func(tx *state.Tx) error {
		i := machine.Instance{
			Machine: id, InstanceID: "i-" + string(id), DisplayName: "scarab-" + string(id), Addresses: []string{address},
			Arch: "amd64", Cores: 2, MemMiB: 2048, RootDiskMiB: 8192, Isolation: "container", Started: w.now,
		}
		if err := machine.Instances.Put(tx, s, i); err != nil {
			return err
		}
		seen := machine.Observed{Machine: id}
		seen.Hostname, seen.HostKeys = "m"+string(id), []string{"ssh-ed25519 AAAA m" + string(id)}
		addr := agentapi.Address{Value: address, Type: "ipv4", Scope: "local-cloud"}
		seen.Addresses = []agentapi.Address{addr, {Value: "127.0.0.1", Type: "ipv4", Scope: "local-machine"}}
		seen.Interfaces = []agentapi.Interface{{Name: "eth0", MAC: "52:54:00:00:00:01", Addresses: []agentapi.Address{addr}}}
		if err := machine.Seen.Put(tx, s, seen); err != nil {
			return err
		}
		if err := status.Set(tx, s, status.OfInstance(string(id)), status.Entry{Status: "running", Message: "Running", Since: w.now}); err != nil {
			return err
		}
		return status.Set(tx, s, status.OfMachineAgent(string(id)), status.Entry{Status: "started", Since: w.now})
	})
}

// Report sets what a unit's agent and charm say. The unit counts as installed.
func (w *World) Report(t *testing.T, u names.Unit, agent, workload status.Entry) {
	t.Helper()
	s := model.ScopeOf(Dev)
	w.Update(t, func(tx *state.Tx) error {
		row, err := unit.Get(tx, s, u)
		if err != nil {
			return err
		}
		app, err := application.Get(tx, s, row.Application)
		if err != nil {
			return err
		}
		row.CharmURL = app.CharmURL
		if err := unit.Table.Put(tx, s, row); err != nil {
			return err
		}
		agent.Since, workload.Since = w.now, w.now
		if err := status.Set(tx, s, status.OfUnitAgent(string(u)), agent); err != nil {
			return err
		}
		return status.Set(tx, s, status.OfWorkload(string(u)), workload)
	})
}

// Lead makes a unit the leader of its application.
func (w *World) Lead(t *testing.T, u names.Unit) {
	t.Helper()
	w.Update(t, func(tx *state.Tx) error {
		_, err := lease.Claim(tx, model.ScopeOf(Dev), string(u.Application()), string(u), w.now)
		return err
	})
}
