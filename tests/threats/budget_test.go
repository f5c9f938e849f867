package threats_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/app/controller"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/rpc"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/tests/cluster"
	"github.com/scarab-ops/scarab/tests/threats/bench"
	"github.com/scarab-ops/scarab/wire/agentapi"
	wireapp "github.com/scarab-ops/scarab/wire/application"
)

func budgetParts() []part {
	return []part{
		{"F-AG-CHARM-A", "store", "a unit that stores all it can is refused; others go on, and it can be removed", fillStore},
	}
}

// fillStore has a unit write into everything that a unit may write into.
func fillStore(t *testing.T, _ *env) {
	const mib = 1 << 20
	w := bench.New(t, bench.Options{Change: func(cfg *controller.Config) {
		cfg.Quota = state.Quota{Store: 64 * mib, Model: 3 * mib}
	}})
	in := enterBoth(t, w, bench.RelationAC, "a/0", "c/0")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	evil := in["a/0"]
	used := func() int64 {
		n, _ := usedBy(t, w, model.ScopeOf(bench.M1))
		return n
	}
	var refusals int
	keep := func(what string, err error) {
		if err == nil {
			return
		}
		var typed *rpc.Error
		if !errors.As(err, &typed) || typed.Code != "quota limit exceeded" {
			t.Errorf("%s: refused with %v", what, err)
		}
		refusals++
	}
	w.Alive(t, 10*time.Second, func() {
		for i := range 40 {
			text := strings.Repeat(fmt.Sprint(i%10), 60<<10)
			_, err := evil.Unit().Commit(ctx, agentapi.CommitArgs{
				OpID: fmt.Sprint("s", i), RelationID: -1, StateSet: map[string]string{fmt.Sprint(i % 30): text},
				Relations: []agentapi.RelationSettings{{ID: bench.RelationAC, Unit: agentapi.Settings{fmt.Sprint("k", i%12): text}}},
			})
			keep("a commit", err)
			keep("a status", evil.Unit().SetStatus(ctx, agentapi.SetStatusArgs{
				Kind: "workload", Status: "active", Message: fmt.Sprint(i), Data: map[string]any{"x": text},
			}))
		}
		for i := range 40 { // and in steps that are small
			_, err := evil.Unit().Commit(ctx, agentapi.CommitArgs{
				OpID: fmt.Sprint("t", i), RelationID: -1, StateSet: map[string]string{fmt.Sprint("small", i): strings.Repeat("x", 700)},
			})
			keep("a small commit", err)
		}
	})
	if n := used(); refusals == 0 || n > 3*mib/16*14 {
		t.Errorf("a unit filled its model: %d of %d bytes, %d refusals", n, 3*mib, refusals)
	}
	victim := w.Unit(t, bench.M2, "z/0").Connect(t, w.Cluster)
	if err := victim.Unit().SetStatus(ctx, agentapi.SetStatusArgs{Kind: "workload", Status: "active", Message: strings.Repeat("x", 4<<10)}); err != nil {
		t.Errorf("a unit of another model: %v", err)
	}
	admin := w.Login(t, cluster.Admin, cluster.AdminPassword, bench.M1)
	res, err := admin.DestroyApplications(ctx, []wireapp.DestroyApplicationParams{{ApplicationTag: "application-a", Force: true}})
	if err != nil || len(res) != 1 || res[0].Error != nil {
		t.Errorf("the application cannot be removed: %+v, %v", res, err)
	}
}

// usedBy counts what is stored in a scope.
func usedBy(t *testing.T, w *bench.World, s state.Scope) (scope, all int64) {
	t.Helper()
	if err := w.Store.Fresh(cluster.Context(t)); err != nil {
		t.Fatal(err)
	}
	return w.Store.Used(s)
}
