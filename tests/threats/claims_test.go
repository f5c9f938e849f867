package threats_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/client"
	"github.com/scarab-ops/scarab/domain/lease"
	"github.com/scarab-ops/scarab/domain/machine"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/task"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/tests/cluster"
	"github.com/scarab-ops/scarab/tests/threats/bench"
	"github.com/scarab-ops/scarab/wire/agentapi"
)

func claimParts() []part {
	return []part{
		{"A-UNIT-I", "address", "a machine that claims another's address, or what is none, does not get its traffic: what the cloud says counts", claimedAddress},
		{"F-AG-CHARM-A", "kept", "what agents leave with the controller has bounds: status data, leader settings, results of tasks, observations, state, ports", keptBounds},
		{"P3-31", "bounds", "a thousand networks or endpoints, networks that are none, ports of icmp: refused, and no rule comes of them", exposeBounds},
	}
}

func claimedAddress(t *testing.T, _ *env) {
	w := bench.New(t, bench.Options{})
	s := model.ScopeOf(bench.M1)
	_ = w.Unit(t, bench.M1, "c/0")
	host := w.Host(t, bench.M1, "c/0")
	victim := machine.Address(w.Store.View(), s, host)
	conn := w.Machine(t, bench.M1, "0").Connect(t, w.Cluster)
	ctx := cluster.Context(t)
	own := machine.Address(w.Store.View(), s, "0")
	if victim == "" || own == "" || victim == own {
		t.Fatalf("addresses %q and %q", victim, own)
	}
	for _, scope := range []string{"local-cloud", "public"} {
		seen := agentapi.MachineObserved{State: "ready", Arch: "amd64", Addresses: []agentapi.Address{{Value: victim, Type: "ipv4", Scope: scope}}}
		if err := conn.Machine().SetObserved(ctx, seen); err != nil {
			t.Fatal(err)
		}
		if got := machine.Address(w.Store.View(), s, "0"); got != own {
			t.Errorf("machine 0 claims %s as %s, and is now reached at %s, not %s", victim, scope, got, own)
		}
	}
	in := enterBoth(t, w, bench.RelationAC, "a/0", "c/0")
	hc, err := in["c/0"].Unit().Context(ctx, bench.RelationAC)
	if err != nil {
		t.Fatal(err)
	}
	if bag := bagOf(hc, bench.RelationAC, "a/0"); bag["ingress-address"] != own || bag["private-address"] != own {
		t.Errorf("c/0 is told that a/0 is at %v, it is at %s", bag, own)
	}
	w.Unchanged(t, func() {
		for what, a := range map[string]agentapi.MachineObserved{
			"a name as an address": {Addresses: []agentapi.Address{{Value: "controller.example"}}},
			"a script":             {Addresses: []agentapi.Address{{Value: "10.0.0.1; rm -rf /"}}},
			"an interface's":       {Interfaces: []agentapi.Interface{{Name: "eth0", Addresses: []agentapi.Address{{Value: ""}}}}},
			"two lines of key":     {HostKeys: []string{"ssh-ed25519 AAAA\ncommand=evil ssh-rsa BBBB"}},
		} {
			if err := conn.Machine().SetObserved(ctx, a); err == nil {
				t.Errorf("%s was taken", what)
			}
		}
	})
}

func keptBounds(t *testing.T, _ *env) {
	w := bench.New(t, bench.Options{})
	s := model.ScopeOf(bench.M1)
	ctx := cluster.Context(t)
	a := w.Unit(t, bench.M1, "a/0").Connect(t, w.Cluster)
	m := w.Machine(t, bench.M1, "0").Connect(t, w.Cluster)
	var tasks []task.Row
	w.Do(t, func(tx *state.Tx) (err error) {
		if _, err := lease.Claim(tx, s, "a", "a/0", time.Now()); err != nil {
			return err
		}
		_, tasks, err = task.Enqueue(tx, s, "x", []task.Row{{Receiver: "a/0", Name: "juju-exec"}}, time.Now())
		return err
	})
	if err := a.Unit().LeaderSet(ctx, map[string]string{"k": "v"}); err != nil {
		t.Fatalf("a/0 does not lead: %v", err)
	}
	big := strings.Repeat("x", 2<<20)
	many := make([]agentapi.Address, 300)
	for i := range many {
		many[i] = agentapi.Address{Value: fmt.Sprintf("10.0.%d.%d", i/200, i%200)}
	}
	w.Unchanged(t, func() {
		for what, try := range map[string]func() error{
			"status data": func() error {
				return a.Unit().SetStatus(ctx, agentapi.SetStatusArgs{Kind: "workload", Status: "active", Data: map[string]any{"k": big[:70<<10]}})
			},
			"a status message": func() error {
				return a.Unit().SetStatus(ctx, agentapi.SetStatusArgs{Kind: "workload", Status: "active", Message: big[:10<<10]})
			},
			"leader settings":     func() error { return a.Unit().LeaderSet(ctx, map[string]string{"k": big[:1<<20]}) },
			"many addresses":      func() error { return m.Machine().SetObserved(ctx, agentapi.MachineObserved{Addresses: many}) },
			"a name of a machine": func() error { return m.Machine().SetObserved(ctx, agentapi.MachineObserved{Hostname: big[:5<<10]}) },
			"charm state": func() error {
				_, err := a.Unit().Commit(ctx, agentapi.CommitArgs{OpID: "s", RelationID: -1, StateSet: agentapi.Settings{"k": big[:65<<10]}})
				return err
			},
			"ports of icmp": func() error { return openPort(t, a, "i", agentapi.PortRange{Protocol: "icmp", From: 1, To: 65535}) },
			"port 70000":    func() error { return openPort(t, a, "p", agentapi.PortRange{Protocol: "tcp", From: 1, To: 70000}) },
		} {
			if err := try(); err == nil {
				t.Errorf("%s over the bound: taken", what)
			}
		}
	})
	if err := a.Unit().StartTask(ctx, string(tasks[0].ID)); err != nil {
		t.Fatal(err)
	}
	// A result is cut, not refused: the task has ended all the same.
	end := agentapi.FinishTaskArgs{ID: string(tasks[0].ID), Status: "completed", Message: big[:64<<10], Output: map[string]any{"return-code": 0, "stdout": big}}
	if err := a.Unit().FinishTask(ctx, end); err != nil {
		t.Fatal(err)
	}
	for k, v := range w.Rows(t) {
		if len(v) > 512<<10 {
			t.Errorf("results over the bound: the row %s has %d bytes", k, len(v))
		}
	}
}

func openPort(t *testing.T, c *client.Conn, op string, p agentapi.PortRange) error {
	t.Helper()
	_, err := c.Unit().Commit(cluster.Context(t), agentapi.CommitArgs{OpID: op, RelationID: -1, OpenPorts: []agentapi.PortRange{p}})
	return err
}

func exposeBounds(t *testing.T, _ *env) {
	w := bench.New(t, bench.Options{})
	conn := w.Unit(t, bench.M1, "a/0").Connect(t, w.Cluster)
	if err := openPort(t, conn, "o", agentapi.PortRange{Protocol: "tcp", From: 80, To: 80, Endpoint: "link"}); err != nil {
		t.Fatal(err)
	}
	owner := w.AsUser(t, bench.Owner1, bench.M1)
	v := w.Latest("Application")
	expose := func(eps map[string]any) error {
		_, err := owner.Call(cluster.Context(t), "Application", v, "Expose", "", map[string]any{"application": "a", "exposed-endpoints": eps})
		return err
	}
	networks := func(n int) map[string]any {
		var list []string
		for i := range n {
			list = append(list, fmt.Sprintf("10.%d.%d.0/24", i/250, i%250))
		}
		return map[string]any{"expose-to-cidrs": list}
	}
	endpoints := map[string]any{}
	for i := range 1000 {
		endpoints[fmt.Sprint("e", i)] = networks(1)
	}
	w.Unchanged(t, func() {
		for what, eps := range map[string]map[string]any{
			"a thousand networks":    {"": networks(1000)},
			"a thousand endpoints":   endpoints,
			"a network that is none": {"": map[string]any{"expose-to-cidrs": []string{"10.0.0.0/8; accept"}}},
			"an unknown endpoint":    {"nothing": networks(1)},
		} {
			if err := expose(eps); err == nil {
				t.Errorf("%s: taken", what)
			}
		}
		if r := outside(w, string(w.Host(t, bench.M1, names.Unit("a/0")))); len(r) > 0 {
			t.Errorf("rules for what was refused: %v", r)
		}
	})
	if err := expose(map[string]any{"link": networks(2)}); err != nil {
		t.Errorf("two networks: %v", err)
	}
	cluster.Eventually(t, "they get in", func() bool { return len(outside(w, "0")) == 1 })
}
