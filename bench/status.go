package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/scarab-ops/scarab/apiserver/facade"
	facadeclient "github.com/scarab-ops/scarab/apiserver/facades/client"
	"github.com/scarab-ops/scarab/authz"
	"github.com/scarab-ops/scarab/charm"
	"github.com/scarab-ops/scarab/domain/application"
	"github.com/scarab-ops/scarab/domain/charmstore"
	"github.com/scarab-ops/scarab/domain/machine"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/status"
	"github.com/scarab-ops/scarab/domain/unit"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/wire/agentapi"
)

// simModel is the model of simulated units.
const simModel = names.Model("51515151-0000-4000-8000-000000000001")

// perApplication is how many simulated units an application has.
const perApplication = 100

// simulate fills a store with n units on machines of their own, as they look
// when they are up.
func simulate(ctx context.Context, st *state.Store, n int) error {
	m := model.Row{
		UUID: simModel, Name: "sim", Owner: "admin", Cloud: "localhost", Region: "localhost",
		Created: time.Now(), AgentVersion: "3.6.12",
	}
	scope, url := model.ScopeOf(m.UUID), ""
	err := st.Update(ctx, func(tx *state.Tx) error {
		if err := model.Add(tx, m, nil); err != nil {
			return err
		}
		row, err := charmstore.AddLocal(tx, scope, charmstore.Row{
			SHA256: strings.Repeat("0", 64), Size: 1, Added: m.Created, AddedBy: "user-admin",
			Charm: charm.Charm{
				Manifest: charm.Manifest{Bases: []charm.Base{{Name: "debian", Channel: "12/stable"}}},
				Meta:     charm.Meta{Name: "sim", Summary: "simulated", Description: "simulated"},
			},
		})
		url = row.URL
		return err
	})
	for done := 0; done < n && err == nil; done += perApplication {
		app := names.Application(fmt.Sprintf("app%d", done/perApplication))
		err = st.Update(ctx, func(tx *state.Tx) error {
			return simulateApplication(tx, m, application.Deploy{
				Units: min(perApplication, n-done),
				Row:   application.Row{Name: app, CharmURL: url, Base: machine.Base{Name: "debian", Channel: "12/stable"}},
			})
		})
	}
	return err
}

func simulateApplication(tx *state.Tx, m model.Row, d application.Deploy) error {
	s, now := model.ScopeOf(m.UUID), time.Now()
	for range d.Units {
		host, err := machine.Add(tx, s, machine.Row{Base: d.Base, Created: now})
		if err != nil {
			return err
		}
		d.Placement = append(d.Placement, application.Placement{Machine: host.ID})
	}
	if _, err := application.Add(tx, m, d, now); err != nil {
		return err
	}
	for i := range d.Units {
		u, err := unit.Get(tx, s, names.Unit(fmt.Sprintf("%s/%d", d.Name, i)))
		if err != nil {
			return err
		}
		if err := simulateUnit(tx, s, u, now); err != nil {
			return err
		}
	}
	return nil
}

func simulateUnit(tx *state.Tx, s state.Scope, u unit.Row, now time.Time) error {
	host := string(u.Machine)
	address := "10.66." + host
	err := machine.Instances.Put(tx, s, machine.Instance{
		Machine: u.Machine, InstanceID: "sc" + host, Nonce: "nonce", Addresses: []string{address}, Arch: "amd64", Cores: 1,
		MemMiB: 512, RootDiskMiB: 8192, Isolation: "container", Base: machine.Base{Name: "debian", Channel: "12/stable"}, Started: now,
	})
	if err != nil {
		return err
	}
	err = machine.Seen.Put(tx, s, machine.Observed{Machine: u.Machine, MachineObserved: agentapi.MachineObserved{
		Hostname: "m" + host, Cores: 1, MemMiB: 512, Arch: "amd64", State: "booted", Isolation: "container",
		Addresses: []agentapi.Address{{Value: address, Type: "ipv4", Scope: "local-cloud"}},
	}})
	if err != nil {
		return err
	}
	if err := unit.PortsTable.Put(tx, s, unit.Ports{Unit: u.Name, Ranges: []agentapi.PortRange{{From: 80, To: 80, Protocol: "tcp"}}}); err != nil {
		return err
	}
	for of, e := range map[string]status.Entry{
		status.OfInstance(host):              {Status: "running", Message: "Running"},
		status.OfMachineAgent(host):          {Status: "started"},
		status.OfUnitAgent(string(u.Name)):   {Status: "idle"},
		status.OfWorkload(string(u.Name)):    {Status: "active", Message: "ready to serve"},
		status.OfApplication(string(u.Name)): {Status: "active"},
	} {
		e.Since = now
		if err := status.Set(tx, s, of, e); err != nil {
			return err
		}
	}
	return nil
}

// here says that every agent is connected.
type here struct{}

func (here) Connected(names.Model, names.Tag) (bool, time.Time) { return true, time.Time{} }

// reads grants everything.
type reads struct{}

func (reads) Level(names.User, authz.Target) authz.Level { return authz.Admin }
func (reads) Present(*authz.Caller) bool                 { return true }

// fullStatus compares a whole answer to FullStatus, made from the state and
// encoded, with the encoding of that answer alone.
func fullStatus(b *bench) ([]line, error) {
	var lines []line
	for _, n := range []int{1000, 10_000} {
		l, err := statusOf(b, n)
		if err != nil {
			return lines, err
		}
		lines = append(lines, l)
	}
	return lines, nil
}

func statusOf(b *bench, n int) (line, error) {
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	st, err := state.Open(ctx, state.NewMem())
	if err != nil {
		return line{}, err
	}
	if err := simulate(ctx, st, n); err != nil {
		return line{}, fmt.Errorf("cannot simulate %d units: %w", n, err)
	}
	es, err := facadeclient.Endpoints(facadeclient.Service{Store: st, Presence: here{}, Controller: "c0c0c0c0-0000-4000-8000-000000000001"})
	if err != nil {
		return line{}, err
	}
	call, err := endpoint(es, "Client", 8, "FullStatus")
	if err != nil {
		return line{}, err
	}
	session := facade.NewSession(facade.SessionConfig{
		Store: st, Grants: func(state.Reader) authz.Grants { return reads{} }, Now: time.Now,
		Caller: &authz.Caller{Kind: authz.User, User: "admin", Model: simModel}, Connection: "bench", Source: "127.0.0.1:1",
	})
	defer session.Close()
	var result any
	size := 0
	ours := func() error {
		var err error
		if result, err = call.Serve(ctx, session, "", json.RawMessage(`{"patterns":[]}`)); err != nil {
			return err
		}
		text, err := json.Marshal(result)
		size = len(text)
		return err
	}
	if err := ours(); err != nil {
		return line{}, err
	}
	floor := func() error {
		_, err := json.Marshal(result)
		return err
	}
	l, err := b.pair(fmt.Sprintf("full status of %d units over encoding it", n), 2, 2, max(b.runs, 40_000/n), timed(ours), timed(floor))
	l.detail += fmt.Sprintf(", %d KiB", size>>10)
	return l, err
}

func endpoint(es []facade.Endpoint, name string, version int, method string) (facade.Endpoint, error) {
	for _, e := range es {
		if e.Facade == name && e.Version == version && e.Method == method {
			return e, nil
		}
	}
	return facade.Endpoint{}, fmt.Errorf("there is no %s %d %s", name, version, method)
}
