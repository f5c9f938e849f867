package threats_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/domain/application"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/removal"
	"github.com/scarab-ops/scarab/provider"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/tests/cluster"
	"github.com/scarab-ops/scarab/tests/threats/bench"
	"github.com/scarab-ops/scarab/wire/agentapi"
)

func networkParts() []part {
	return []part{
		{"P3-31", "rules", "nothing is reachable before expose; then only the endpoint and the networks named; unexpose closes in 10 s", exposure},
		{"P3-14", "rules", "the cloud's rules are the least: none without opened ports and relations, and none survives its machine", leastRules},
	}
}

// outside are the rules of a machine that admit others than related machines.
func outside(w *bench.World, id string) []string {
	var out []string
	for _, r := range w.Cloud.Rules(string(bench.M1) + "/" + id) {
		if len(r.Peers) == 0 {
			out = append(out, fmt.Sprintf("%s %d-%d %v", r.Protocol, r.From, r.To, r.Sources))
		}
	}
	slices.Sort(out)
	return out
}

func exposure(t *testing.T, _ *env) {
	w := bench.New(t, bench.Options{})
	conn := w.Unit(t, bench.M1, "a/0").Connect(t, w.Cluster)
	ctx := cluster.Context(t)
	open := agentapi.CommitArgs{OpID: "p1", RelationID: -1, OpenPorts: []agentapi.PortRange{
		{From: 80, To: 80, Protocol: "tcp", Endpoint: "link"}, {From: 9000, To: 9010, Protocol: "udp", Endpoint: "ring"},
	}}
	if _, err := conn.Unit().Commit(ctx, open); err != nil {
		t.Fatal(err)
	}
	w.Settle(t)
	time.Sleep(300 * time.Millisecond) // time for a rule that must not come
	if r := outside(w, "0"); len(r) > 0 {
		t.Errorf("before expose: %v", r)
	}
	s := model.ScopeOf(bench.M1)
	w.Do(t, func(tx *state.Tx) error {
		return application.Expose(tx, s, "a", map[string]application.Exposure{"link": {CIDRs: []string{"192.0.2.0/24"}}})
	})
	want := []string{"tcp 80-80 [192.0.2.0/24]"}
	cluster.Eventually(t, "the port is open", func() bool { return len(outside(w, "0")) > 0 })
	w.Settle(t)
	if r := outside(w, "0"); !slices.Equal(r, want) {
		t.Errorf("exposed: %v, want %v", r, want)
	}
	start := time.Now()
	w.Do(t, func(tx *state.Tx) error { return application.Unexpose(tx, s, "a", nil) })
	cluster.Eventually(t, "the port is shut", func() bool { return len(outside(w, "0")) == 0 })
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("unexpose took %s", took)
	}
}

func leastRules(t *testing.T, _ *env) {
	w := bench.New(t, bench.Options{})
	for _, id := range []string{"0", "1", "2", "3"} {
		_ = w.Conf(t, bench.M1, "0")
		if r := w.Cloud.Rules(string(bench.M1) + "/" + id); len(r) > 0 {
			t.Errorf("a machine without relations and ports: %v", r)
		}
	}
	enterBoth(t, w, bench.RelationAC, "a/0", "c/0")
	host := string(w.Host(t, bench.M1, "c/0"))
	cluster.Eventually(t, "the related may talk", func() bool { return len(w.Cloud.Rules(string(bench.M1)+"/0")) > 0 })
	for _, r := range w.Cloud.Rules(string(bench.M1) + "/0") {
		if !slices.Equal(r.Peers, []provider.InstanceID{provider.InstanceID(string(bench.M1) + "/" + host)}) || len(r.Sources) > 0 {
			t.Errorf("a rule for others than the related: %+v", r)
		}
	}
	w.Do(t, func(tx *state.Tx) error {
		row, err := model.Get(tx, bench.M1)
		if err != nil {
			return err
		}
		_, err = removal.DestroyApplication(tx, row, "c", removal.Options{Force: true}, time.Now().Add(-time.Hour))
		return err
	})
	cluster.Eventually(t, "the rules go with the machine", func() bool {
		return !strings.Contains(fmt.Sprint(w.Cloud.Rules(string(bench.M1)+"/0")), "/"+host)
	})
}
