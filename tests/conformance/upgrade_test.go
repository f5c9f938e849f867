package conformance

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/app/controller"
	"github.com/scarab-ops/scarab/domain/application"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/provider"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/tests/cluster"
)

// refresher gives an application another charm. The API of this release does
// not; what agents make of it is checked by a change of the row.
type refresher struct {
	store *state.Store
	m     *modelT
}

func (r *refresher) refresh(t *testing.T, app, url string, force bool) {
	t.Helper()
	must(t, r.store.Update(ctx(t), func(tx *state.Tx) error {
		s := model.ScopeOf(r.m.uuid)
		row, err := application.Table.Get(tx, s, app)
		if err != nil {
			return err
		}
		row.CharmURL, row.ForceUnits = url, force
		return application.Table.Put(tx, s, row)
	}))
}

// TestUpgrade: another charm under a running unit, and under one in error.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	w := emptyWorld(t)
	mem := state.NewMem()
	w.Cluster = cluster.Start(t, cluster.Options{Log: w.log, Change: func(c *controller.Config) {
		c.Clouds, c.Backend = map[string]provider.Instances{"localhost": w.cloud}, mem
	}})
	w.keep(t)
	store, err := state.Open(t.Context(), mem)
	must(t, err)
	m := w.model(t, "upgrade")
	m.noRetry(t)
	r := &refresher{store, m}
	upgradeRunning(t, m, r)
	upgradeInError(t, m, r)
}

func upgradeRunning(t *testing.T, m *modelT, r *refresher) {
	m.behave(t, "a", `
case $hook in
install) echo 1 >made-by-charm;;
*) note "$hook: $(cat made-by-charm) old $(cat only-old 2>/dev/null || echo none) new $(cat only-new 2>/dev/null || echo none)";;
esac`)
	url := m.upload(t, "probe", map[string]string{"only-old": "yes"})
	must(t, m.conn.Deploy(ctx(t), deployArgs("a", url, 1, nil)))
	m.idle(t, "a/0")
	m.noted(t, "a/0", "^start: 1 old yes new none$")
	r.refresh(t, "a", m.upload(t, "probe", map[string]string{"only-new": "yes"}), false)
	m.noted(t, "a/0", "^upgrade-charm: 1 old none new yes$")
	m.noted(t, "a/0", "^config-changed: 1 old none new yes$")
	m.idle(t, "a/0")
	want := []string{"install", "leader-elected", "config-changed", "start", "upgrade-charm", "config-changed"}
	if got := m.hooks(t, "a/0"); !slices.Equal(got, want) {
		t.Errorf("ran %v", got)
	}
}

func upgradeInError(t *testing.T, m *modelT, r *refresher) {
	m.behave(t, "b", `[ "$hook" != config-changed ] || [ "$(config-get count)" = 0 ] || [ -e fixed ]`)
	m.deploy(t, "probe", "b", 1)
	m.idle(t, "b/0")
	m.set(t, "b", "count", "1")
	m.inError(t, "b/0", "config-changed")
	r.refresh(t, "b", m.upload(t, "probe", map[string]string{"changed": "yes"}), false)
	if out := m.stdout(t, "ls", "b/0"); strings.Contains(out, "changed") {
		t.Errorf("the charm was changed under a failed hook: %q", out)
	}
	r.refresh(t, "b", m.upload(t, "probe", map[string]string{"fixed": "yes"}), true)
	eventually(t, "the new charm is in place", func() bool { return strings.Contains(m.stdout(t, "ls", "b/0"), "fixed") })
	m.inError(t, "b/0", "config-changed")
	m.resolved(t, "b/0", true)
	eventually(t, "b/0 out of error", func() bool {
		u, _ := m.unit(t, "b/0")
		return u.WorkloadStatus.Status != "error" && u.AgentStatus.Status == "idle"
	})
	want := []string{"install", "leader-elected", "config-changed", "start", "config-changed code=1", "config-changed"}
	if got := m.hooks(t, "b/0"); !slices.Equal(got, want) {
		t.Errorf("ran %v", got)
	}
}

// TestUpdateStatus: the hook comes when there is nothing else to do, and not
// several times for the time that was missed. Its shortest interval is a
// minute: the short form checks only that it does not come early.
func TestUpdateStatus(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster.Options{})
	m := w.model(t, "update-status")
	must(t, m.conn.SetModelConfig(ctx(t), map[string]any{"update-status-hook-interval": "1m"}))
	gate := m.gate(t)
	m.behave(t, "a", `
[ "$hook" = config-changed ] || exit 0
n=$(config-get count)
note "count=$n"
[ "$n" != 1 ] || read -r <"$world/gate"`)
	m.deploy(t, "probe", "a", 1)
	m.idle(t, "a/0")
	m.set(t, "a", "count", "1")
	m.noted(t, "a/0", "^count=1$")
	if long() {
		<-time.After(150 * time.Second) // two of its times go by
	}
	m.set(t, "a", "count", "2")
	gate()
	m.noted(t, "a/0", "^count=2$")
	early := m.hooks(t, "a/0")[:6]
	if want := []string{"install", "leader-elected", "config-changed", "start", "config-changed"}; !slices.Equal(early[:5], want) || !strings.HasPrefix(early[5], "config-changed") {
		t.Errorf("ran %v", early)
	}
	if !long() {
		return
	}
	m.until(t, "a/0", "update-status")
	if got := m.hooks(t, "a/0"); len(got) != 7 {
		t.Errorf("ran %v", got)
	}
	within(t, 2*time.Minute, "the next update-status", func() bool { return len(m.until(t, "a/0", "update-status")) == 2 })
}
