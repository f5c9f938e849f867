package threats_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/authz"
	"github.com/scarab-ops/scarab/client"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/relation"
	"github.com/scarab-ops/scarab/domain/task"
	"github.com/scarab-ops/scarab/domain/unit"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/tests/cluster"
	"github.com/scarab-ops/scarab/tests/threats/bench"
)

func sweepParts() []part {
	return []part{
		{"A-UNIT-I", "sweep", "every method of every facade, with every other entity's ids, by a unit and by a machine: nothing of another entity is changed or told", idorSweep},
		{"A-UNIT-I", "access", "every method and route for every kind of caller equals the reviewed table, and is enforced", accessMatrix},
		{"A-UNIT-I", "before-login", "before login nothing answers but the login", beforeLogin},
	}
}

// foreign are ids that evil unit a/0 on machine 0 has no right to use.
func foreign() []string {
	return []string{
		"b", "b/0", "d/0", "unit-b-0", "unit-d-0", "application-b", "z/0", "unit-z-0", "machine-1", "1", "0/lxd/0", "machine-7",
		string(bench.M2), "model-" + string(bench.M2), string(cluster.AdminModel), "controller", "controller-" + string(cluster.Controller),
		"user-admin", "admin", "user-owner2", "*", "%", "", " ", "../b/0", "a/0/../../b/0", "unit-a-00", "unit-a-0 ", "UNIT-A-0", "a/0\x00b/0",
		"relation-b.link#d.link", "local:giver-0", "all",
	}
}

// kitchenSink names one foreign id in every way that arguments are known to
// name things. Keys that a method does not know are ignored by it.
func kitchenSink(id string, n int) []map[string]any {
	bag := map[string]string{"stolen": "evil-value"}
	ent := []map[string]any{{"tag": id}}
	flat := map[string]any{
		"unit": id, "units": []string{id}, "tag": id, "entity": id, "application": id, "application-name": id, "machine": id, "machine-id": id,
		"model": id, "model-tag": id, "model-uuid": id, "name": id, "id": id, "user": id, "user-tag": id, "owner-tag": id, "url": id, "uuid": id,
		"relation-id": n, "relation": id, "key": id, "op-id": fmt.Sprintf("sweep-%q-%d", id, n), "hook": "link-relation-broken",
		"relations": []map[string]any{{"id": n, "unit": bag, "app": bag}}, "settings": bag, "charm-url": "local:taker-0",
		"status": "active", "kind": "application", "message": "evil-value", "version": "evil-value", "password": "",
		"open-ports": []map[string]any{{"from": 1, "to": 65535, "protocol": "tcp", "endpoint": id}}, "state-set": bag, "host-keys": []string{},
	}
	items := map[string]any{
		"entities": ent, "tags": []string{id}, "args": []map[string]any{flat}, "changes": []map[string]any{flat}, "params": []map[string]any{flat},
		"models": ent, "applications": []map[string]any{flat}, "units": []map[string]any{flat}, "machines": []map[string]any{flat}, "users": ent,
		"unit": map[string]any{"tag": id}, "relation-ids": []int{n},
	}
	status := map[string]any{"kind": "workload", "status": "active", "tag": id, "unit": id, "id": id}
	return []map[string]any{flat, items, status}
}

// sinister are the methods that end the caller itself; they are called last,
// elsewhere.
var sinister = []string{"UnitAgent.1.Dead", "UnitAgent.1.SetPassword", "MachineAgent.1.SetPassword"}

func idorSweep(t *testing.T, _ *env) {
	w := bench.New(t, bench.Options{})
	plant(t, w)
	w.Unit(t, bench.M1, "b/0")
	w.Unit(t, bench.M1, "d/0")
	w.Unit(t, bench.M2, "z/0")
	markers := map[string][]byte{
		"b's configuration": []byte(bench.MarkerConfig + "b"), "d's configuration": []byte(bench.MarkerConfig + "d"),
		"z's configuration": []byte(bench.MarkerConfig + "z"), "data of the relation of b and d": []byte(bench.MarkerBag + "bd"),
		"b/0's charm state": []byte(bench.MarkerState + "b"), "b/0's task": []byte("ta5k-mark-b"),
		"another's password": []byte(w.Unit(t, bench.M1, "b/0").Password.Reveal()),
	}
	endpoints := w.Server.Table().Endpoints()
	if len(endpoints) < 30 {
		t.Fatalf("only %d methods in the table", len(endpoints))
	}
	evil := w.Unit(t, bench.M1, "a/0")
	mach := w.Machine(t, bench.M1, "1")
	sweep(t, w, endpoints, evil, markers, ownUnit)
	delete(markers, "another's password")
	sweep(t, w, endpoints, mach, markers, ownMachine)
}

// plant puts what is to be stolen.
func plant(t *testing.T, w *bench.World) {
	t.Helper()
	s := model.ScopeOf(bench.M1)
	w.Do(t, func(tx *state.Tx) error {
		for _, u := range []names.Unit{"b/0", "d/0"} {
			if err := relation.Enter(tx, s, bench.RelationBD, u, map[string]string{"k": bench.MarkerBag + "bd"}); err != nil {
				return err
			}
		}
		if err := unit.ChangeState(tx, s, "b/0", map[string]string{"k": bench.MarkerState + "b"}, nil); err != nil {
			return err
		}
		if err := relation.SetApp(tx, s, bench.RelationBD, "b", map[string]string{"k": bench.MarkerBag + "bd"}); err != nil {
			return err
		}
		_, _, err := task.Enqueue(tx, s, "x", []task.Row{{Receiver: "b/0", Name: "act", Params: map[string]any{"k": "ta5k-mark-b"}}}, time.Now())
		return err
	})
}

// ownUnit and ownMachine tell whether a row is the caller's own to change.
func ownUnit(key string) bool {
	for _, own := range []string{"a/0", "unit-a-0", "lease/a", "leader-settings/a", "relation-app/0/", "relation-app/4/a", "application/a", "status/relation/0", "status/relation/4"} {
		if strings.Contains(key, own) {
			return true
		}
	}
	return strings.HasSuffix(key, "/a")
}

func ownMachine(key string) bool {
	for _, own := range []string{"machine-1", "observed/1", "machine/1", "status/machine-agent/1", "unit-a-1", "a/1", "/lease/"} {
		if strings.Contains(key, own) {
			return true
		}
	}
	return strings.HasSuffix(key, "/1")
}

func sweep(t *testing.T, w *bench.World, endpoints []facade.Endpoint, a *cluster.Agent, markers map[string][]byte, own func(string) bool) {
	t.Helper()
	w.Settle(t)
	before := w.Rows(t)
	calls := 0
	ids := foreign()
	if !long {
		ids = ids[:12]
	}
	conn := w.AsAgent(t, a)
	for _, e := range endpoints {
		name := fmt.Sprintf("%s.%d.%s", e.Facade, e.Version, e.Method)
		if slices.Contains(sinister, name) {
			continue
		}
		mine := e.Rule.Who&kindOf(a) != 0
		for i, id := range ids {
			for j, args := range kitchenSink(id, []int{bench.RelationBD, -1, 1 << 30}[i%3]) {
				if !mine && !long && i+j > 0 || !mine && i > 5 { // refused by its kind, whatever it says
					break
				}
				if calls++; calls%100 == 0 { // failures on one connection are slowed down
					conn.Close()
					conn = w.AsAgent(t, a)
				}
				conn = attempt(t, w, conn, a, e, id, args, markers)
			}
		}
	}
	after := w.Rows(t)
	for _, k := range bench.Changed(before, after) {
		if !own(k) {
			t.Errorf("%s changed %s, which is not its own: %.200s", a.Tag, k, after[k])
		}
	}
	for _, u := range []string{"unit-b-0", "unit-d-0"} {
		for k, v := range after {
			if strings.HasSuffix(k, u) && before[k] != v {
				t.Errorf("%s changed %s", a.Tag, k)
			}
		}
	}
	t.Logf("%s made %d calls of %d methods", a.Tag, calls, len(endpoints))
}

func kindOf(a *cluster.Agent) authz.Kinds {
	if a.Tag.Kind == names.KindUnit {
		return authz.Unit
	}
	return authz.Machine
}

// attempt makes one call; a call that does not come back (a watcher's Next)
// costs the connection.
func attempt(t *testing.T, w *bench.World, conn *bench.Raw, a *cluster.Agent, e facade.Endpoint, id string, args any, markers map[string][]byte) *bench.Raw {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	object := ""
	if strings.HasSuffix(e.Facade, "Watcher") || e.Facade == "Pinger" {
		object = "4711"
	}
	reply, err := conn.Call(ctx, e.Facade, e.Version, e.Method, object, args)
	bench.NoLeak(t, fmt.Sprintf("%s.%s(%q) by %s", e.Facade, e.Method, id, a.Tag), reply, markers)
	if err != nil {
		bench.NoLeak(t, "an error of "+e.Method, []byte(err.Error()), markers)
	}
	if e.Rule.Who&kindOf(a) == 0 && (err == nil || !bench.Refused(err)) {
		t.Errorf("%s by %s: %v", e, a.Tag, err)
	}
	if ctx.Err() != nil || client.Code(err) == "" && err != nil && isClosed(err) {
		conn.Close()
		return w.AsAgent(t, a)
	}
	return conn
}

func isClosed(err error) bool {
	var coded interface{ ErrorCode() string }
	return !errors.As(err, &coded)
}

// callers are the columns of the access table.
var callers = []string{"nobody", "login", "read", "write", "admin", "superuser", "machine", "unit", "enrolling"}

type caller struct {
	name string
	kind authz.Kinds
	conn func(m names.Model) *bench.Raw
}

func accessMatrix(t *testing.T, e *env) {
	w := e.world()
	fresh := enrolling(t, w)
	person := func(u names.User) func(names.Model) *bench.Raw {
		return func(m names.Model) *bench.Raw { return w.AsUser(t, u, m) }
	}
	agent := func(a *cluster.Agent) func(names.Model) *bench.Raw {
		return func(names.Model) *bench.Raw { return w.AsAgent(t, a) }
	}
	who := map[string]caller{
		"login": {"login", authz.User, person(bench.Stray)}, "read": {"read", authz.User, person(bench.ReaderU)},
		"write": {"write", authz.User, person(bench.Writer)}, "admin": {"admin", authz.User, person(bench.Owner1)},
		"superuser": {"superuser", authz.User, person(cluster.Admin)},
		"machine":   {"machine", authz.Machine, agent(w.Machine(t, bench.M1, "0"))},
		"unit":      {"unit", authz.Unit, agent(w.Unit(t, bench.M1, "a/0"))},
		"enrolling": {"enrolling", authz.Enrolling, fresh},
	}
	for _, c := range []string{"machine", "unit"} { // a first login ends the token
		who[c].conn(bench.M1).Close()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# method: %s; + admitted, i item by item, - refused\n", strings.Join(callers, " "))
	asked := 0
	w.Unchanged(t, func() {
		conns := map[string]*bench.Raw{}
		for i, ep := range w.Server.Table().Endpoints() {
			fmt.Fprintf(&b, "%s.%d.%s", ep.Facade, ep.Version, ep.Method)
			for _, c := range callers {
				cell := cellOf(ep.Rule, c)
				b.WriteString(" " + cell)
				if cell == "-" && c != "nobody" && (long || asked == 0 || (i+len(c))%4 == 0) {
					asked++
					refuseLive(t, who[c], ep, conns)
				}
			}
			b.WriteString("\n")
		}
	})
	for _, r := range w.Server.Routes() {
		fmt.Fprintf(&b, "%s %s auth=%v %s\n", r.Method, r.Path, r.Policy.Auth, r.Policy.Rule)
	}
	if asked < 100 {
		t.Errorf("only %d refusals were tried", asked)
	}
	golden(t, "testdata/access.golden", b.String())
}

// cellOf is what the rule says of a caller of that degree on the model or the
// controller.
func cellOf(r authz.Rule, c string) string {
	level := map[string]authz.Level{"login": authz.Login, "read": authz.Read, "write": authz.Write, "admin": authz.Admin, "superuser": authz.Superuser}
	kind := map[string]authz.Kinds{"machine": authz.Machine, "unit": authz.Unit, "enrolling": authz.Enrolling, "nobody": 0}
	l, person := level[c]
	if !person {
		if r.Who&kind[c] != 0 {
			return "+"
		}
		return "-"
	}
	has := l
	if r.On == authz.OnTheController && l < authz.Superuser {
		has = authz.Login
	}
	if r.On == authz.OnTheModel && l == authz.Login {
		has = authz.Nobody
	}
	switch {
	case r.Who&authz.User == 0:
		return "-"
	case r.On == authz.OnItem:
		return "i"
	case r.On == authz.OnSelf || has >= r.Need:
		return "+"
	}
	return "-"
}

// refuseLive makes the call and demands a refusal.
func refuseLive(t *testing.T, c caller, ep facade.Endpoint, conns map[string]*bench.Raw) {
	t.Helper()
	m := bench.M1
	if c.kind == authz.User && (ep.Rule.On == authz.OnTheController || c.name == "login") {
		m = "" // where such methods are; elsewhere the kind of connection refuses
	}
	key := c.name + string(m)
	if conns[key] == nil {
		conns[key] = c.conn(m)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := conns[key].Call(ctx, ep.Facade, ep.Version, ep.Method, "", map[string]any{}); !bench.Refused(err) {
		t.Errorf("%s.%d.%s by %s was not refused: %v", ep.Facade, ep.Version, ep.Method, c.name, err)
	}
}

// enrolling returns connections of a unit that has only its token.
func enrolling(t *testing.T, w *bench.World) func(names.Model) *bench.Raw {
	t.Helper()
	host := w.Machine(t, bench.M1, w.Host(t, bench.M1, "a/1"))
	token, err := host.Connect(t, w.Cluster).Machine().UnitToken(cluster.Context(t), "a/1")
	if err != nil {
		t.Fatal(err)
	}
	return func(m names.Model) *bench.Raw { return w.As(t, m, nil, names.Unit("a/1").Tag(), token, "") }
}

func beforeLogin(t *testing.T, e *env) {
	w := e.world()
	w.Unchanged(t, func() {
		for _, m := range []names.Model{bench.M1, ""} {
			conn := w.Raw(t, m, nil)
			done := map[string]bool{}
			for _, ep := range w.Server.Table().Endpoints() {
				if done[ep.Facade+ep.Method] {
					continue
				}
				done[ep.Facade+ep.Method] = true
				_, err := conn.Call(cluster.Context(t), ep.Facade, ep.Version, ep.Method, "1", map[string]any{})
				wantRefused(t, "before login "+ep.Facade+"."+ep.Method, err)
			}
			for _, v := range []int{0, 1, 2, 4} {
				_, err := conn.Call(cluster.Context(t), "Admin", v, "Login", "", bench.LoginArgs(cluster.Admin.Tag(), cluster.AdminPassword, ""))
				wantRefused(t, fmt.Sprintf("Admin version %d", v), err)
			}
			if len(done) < 20 {
				t.Errorf("only %v tried", slices.Collect(maps.Keys(done)))
			}
		}
	})
}
