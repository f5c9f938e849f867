package facade_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/audit"
	"github.com/scarab-ops/scarab/authz"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/wire"
)

const m1, m2 = names.Model("11111111-1111-4111-8111-111111111111"), names.Model("22222222-2222-4222-8222-222222222222")

// grant and note are rows for these tests.
type grant struct {
	User  names.User
	On    authz.Target
	Level authz.Level
}

type note struct{ ID, Text string }

var (
	grantTable = state.Table[grant]{Kind: "test-grant", ID: func(g grant) string { return string(g.User) + "/" + string(g.On) }}
	noteTable  = state.Table[note]{Kind: "test-note", ID: func(n note) string { return n.ID }}
)

type rowGrants struct{ r state.Reader }

func (g rowGrants) Level(u names.User, t authz.Target) authz.Level {
	row, err := grantTable.Get(g.r, state.Controller, string(u)+"/"+string(t))
	if err != nil {
		return authz.Nobody
	}
	return row.Level
}

func (g rowGrants) Present(c *authz.Caller) bool {
	return c.Kind != authz.User || g.Level(c.User, authz.Controller) >= authz.Login
}

type world struct {
	t     *testing.T
	store *state.Store
}

func newWorld(t *testing.T) *world {
	t.Helper()
	s, err := state.Open(t.Context(), state.NewMem())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t, s}
	w.grant("root", authz.Controller, authz.Superuser)
	w.grant("bob", authz.Controller, authz.Login)
	w.grant("bob", authz.Model(m1), authz.Write)
	return w
}

func (w *world) grant(u names.User, on authz.Target, l authz.Level) {
	w.t.Helper()
	err := w.store.Update(w.t.Context(), func(tx *state.Tx) error { return grantTable.Put(tx, state.Controller, grant{u, on, l}) })
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) session(c authz.Caller, change ...func(*facade.SessionConfig)) *facade.Session {
	cfg := facade.SessionConfig{
		Store: w.store, Grants: func(r state.Reader) authz.Grants { return rowGrants{r} }, Now: time.Now,
		Caller: &c, Connection: "c1", Source: "10.0.0.1:1",
	}
	for _, f := range change {
		f(&cfg)
	}
	s := facade.NewSession(cfg)
	w.t.Cleanup(s.Close)
	return s
}

func (w *world) records() []audit.Record {
	w.t.Helper()
	var rs []audit.Record
	for r, err := range audit.Table.All(w.store.View(), state.Controller) {
		if err != nil {
			w.t.Fatal(err)
		}
		rs = append(rs, r)
	}
	return rs
}

func (w *world) notes() int {
	n := 0
	for range noteTable.All(w.store.View(), state.Controller) {
		n++
	}
	return n
}

func bob() authz.Caller { return authz.Caller{Kind: authz.User, User: "bob", Model: m1} }

func endpoint(t *testing.T, m facade.Method[*world], w *world) facade.Endpoint {
	t.Helper()
	es, err := facade.Bind(facade.Facade[*world]{Name: "Notes", Version: 1, Methods: []facade.Method[*world]{m}}, w)
	if err != nil {
		t.Fatal(err)
	}
	return es[0]
}

type noteArgs struct {
	Notes []note `json:"notes"`
}

func items(a noteArgs) []note { return a.Notes }

func putNote(_ *world, c facade.Call, n note) error {
	return c.Update(func(tx *state.Tx) error { return noteTable.Put(tx, state.Controller, n) })
}

func TestBindRefuses(t *testing.T) {
	w := newWorld(t)
	ok := facade.None("M", authz.OnModel(authz.Read).Reads(), func(*world, facade.Call) (int, error) { return 1, nil })
	norule := facade.None("N", authz.Rule{}, func(*world, facade.Call) (int, error) { return 1, nil })
	for name, f := range map[string]facade.Facade[*world]{
		"no rule":    {Name: "F", Version: 1, Methods: []facade.Method[*world]{norule}},
		"no handler": {Name: "F", Version: 1, Methods: []facade.Method[*world]{{Name: "X", Rule: ok.Rule}}},
		"twice":      {Name: "F", Version: 1, Methods: []facade.Method[*world]{ok, ok}},
		"no version": {Name: "F", Methods: []facade.Method[*world]{ok}},
	} {
		if _, err := facade.Bind(f, w); err == nil {
			t.Errorf("%s: was bound", name)
		}
	}
	v1 := facade.Facade[*world]{Name: "F", Version: 1, Methods: []facade.Method[*world]{ok}}
	v2 := v1.At(2).With(facade.None("New", ok.Rule, func(*world, facade.Call) (int, error) { return 2, nil })).Without("M")
	e1, err1 := facade.Bind(v1, w)
	e2, err2 := facade.Bind(v2, w)
	table, err3 := facade.NewTable(e1, e2)
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range table.Endpoints() {
		got = append(got, e.String())
	}
	want := "F.1.M who=user need=read on=model class=read when=normal\nF.2.New who=user need=read on=model class=read when=normal"
	if strings.Join(got, "\n") != want {
		t.Errorf("table:\n%s", strings.Join(got, "\n"))
	}
	if _, err := facade.NewTable(e1, e1); err == nil {
		t.Error("one method was taken twice")
	}
}

func TestChangeWritesRecordWithIt(t *testing.T) {
	w := newWorld(t)
	e := endpoint(t, facade.Do("Set", authz.OnModel(authz.Write).Changes(), items, putNote), w)
	res, err := e.Serve(t.Context(), w.session(bob()), "", json.RawMessage(`{"notes":[{"ID":"a"},{"ID":"b"}],"unknown":1}`))
	if err != nil {
		t.Fatal(err)
	}
	if raw, _ := json.Marshal(res); string(raw) != `{"results":[{},{}]}` {
		t.Errorf("answer %s", raw)
	}
	rs := w.records()
	if len(rs) != 2 || w.notes() != 2 {
		t.Fatalf("%d records, %d notes", len(rs), w.notes())
	}
	r := rs[0]
	if r.Actor != "user-bob" || r.Outcome != audit.OK || r.Facade != "Notes" || r.Method != "Set" || r.Model != string(m1) ||
		r.Connection != "c1" || r.Source != "10.0.0.1:1" || !strings.Contains(string(r.Args), `"ID":"a"`) {
		t.Errorf("record %+v", r)
	}
}

func TestSecretClassHidesArguments(t *testing.T) {
	w := newWorld(t)
	rule := authz.OnModel(authz.Write) // no class given
	e := endpoint(t, facade.Act("SetPassword", rule, func(_ *world, c facade.Call, n note) error {
		if n.Text == "fail" {
			return fmt.Errorf("cannot use %s", "hunter2")
		}
		return putNote(nil, c, note{ID: n.ID})
	}), w)
	for _, text := range []string{"hunter2", "fail"} {
		_, _ = e.Serve(t.Context(), w.session(bob()), "", json.RawMessage(`{"ID":"a","Text":"`+text+`","p":"hunter2"}`))
	}
	raw, err := json.Marshal(w.records())
	if err != nil || strings.Contains(string(raw), "hunter2") || len(w.records()) != 2 {
		t.Errorf("records: %s, %v", raw, err)
	}
}

func TestDenialAndFailureAreRecorded(t *testing.T) {
	w := newWorld(t)
	e := endpoint(t, facade.Do("Set", authz.OnModel(authz.Admin).Changes(), items, putNote), w)
	if _, err := e.Serve(t.Context(), w.session(bob()), "", json.RawMessage(`{"notes":[{"ID":"a"}]}`)); !errors.Is(err, authz.ErrDenied) {
		t.Errorf("got %v", err)
	}
	e = endpoint(t, facade.Do("Set", authz.OnModel(authz.Write).Changes(), items, func(*world, facade.Call, note) error {
		return &state.NotFoundError{Kind: "note", ID: "x"}
	}), w)
	res, err := e.Serve(t.Context(), w.session(bob()), "", json.RawMessage(`{"notes":[{"ID":"a"}]}`))
	if raw, _ := json.Marshal(res); err != nil || string(raw) != `{"results":[{"error":{"code":"not found","message":"note \"x\" not found"}}]}` {
		t.Errorf("%s, %v", raw, err)
	}
	rs := w.records()
	if len(rs) != 2 || rs[0].Outcome != audit.Denied || rs[1].Outcome != audit.Failed || w.notes() != 0 {
		t.Errorf("records %+v", rs)
	}
}

func TestRevocationBetweenCheckAndCommit(t *testing.T) {
	w := newWorld(t)
	e := endpoint(t, facade.Act("Set", authz.OnModel(authz.Write).Changes(), func(_ *world, c facade.Call, n note) error {
		w.grant("bob", authz.Model(m1), authz.Read)
		return putNote(nil, c, n)
	}), w)
	if _, err := e.Serve(t.Context(), w.session(bob()), "", json.RawMessage(`{"ID":"a"}`)); !errors.Is(err, authz.ErrDenied) || w.notes() != 0 {
		t.Errorf("got %v, %d notes", err, w.notes())
	}
}

func TestPerItemChecks(t *testing.T) {
	w := newWorld(t)
	forgets := endpoint(t, facade.Do("Set", authz.PerItem(authz.Write).Changes(), items, putNote), w)
	res, err := forgets.Serve(t.Context(), w.session(bob()), "", json.RawMessage(`{"notes":[{"ID":"a"}]}`))
	raw, _ := json.Marshal(res)
	if err != nil || !strings.Contains(string(raw), "did not check access") || w.notes() != 0 {
		t.Errorf("a handler that forgot: %s, %v, %d notes", raw, err, w.notes())
	}
	reads := endpoint(t, facade.One("Get", authz.PerItem(authz.Read).Reads(), func(*world, facade.Call, note) (string, error) { return "leak", nil }), w)
	if res, err := reads.Serve(t.Context(), w.session(bob()), "", nil); err == nil {
		t.Errorf("a reader that forgot gave %v", res)
	}
	target := func(n note) (authz.Target, error) { return authz.Model(names.Model(n.ID)), nil }
	asks := endpoint(t, facade.DoOn("Set", authz.PerItem(authz.Write).Changes(), target, items, putNote), w)
	body := fmt.Sprintf(`{"notes":[{"ID":"%s"},{"ID":"%s"}]}`, m2, m1)
	res, err = asks.Serve(t.Context(), w.session(bob()), "", json.RawMessage(body))
	raw, _ = json.Marshal(res)
	if err != nil || string(raw) != `{"results":[{"error":{"code":"unauthorized access","message":"permission denied"}},{}]}` || w.notes() != 1 {
		t.Errorf("item by item: %s, %v, %d notes", raw, err, w.notes())
	}
	var onM2 bool
	for _, r := range w.records() {
		if r.Outcome == audit.Denied && len(r.Targets) == 1 && r.Targets[0] == "model:"+string(m2) {
			onM2 = true
		}
	}
	if !onM2 {
		t.Errorf("the refused target is not on record: %+v", w.records())
	}
}

func TestReadMethodCannotChange(t *testing.T) {
	w := newWorld(t)
	e := endpoint(t, facade.Act("Get", authz.OnModel(authz.Read).Reads(), putNote), w)
	if _, err := e.Serve(t.Context(), w.session(bob()), "", json.RawMessage(`{"ID":"a"}`)); err == nil || w.notes() != 0 {
		t.Errorf("got %v, %d notes", err, w.notes())
	}
}

func TestPanicIsContained(t *testing.T) {
	w := newWorld(t)
	told := ""
	e := endpoint(t, facade.Act("Boom", authz.OnModel(authz.Write).Changes(), func(*world, facade.Call, note) error { panic("hunter2") }), w)
	s := w.session(bob(), func(c *facade.SessionConfig) { c.Panicked = func(m string, _ any, _ []byte) { told = m } })
	if _, err := e.Serve(t.Context(), s, "", nil); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
	if rs := w.records(); told != "Notes.1.Boom" || len(rs) != 1 || rs[0].Outcome != audit.Failed {
		t.Errorf("told %q, records %+v", told, rs)
	}
}

func TestHostileArguments(t *testing.T) {
	w := newWorld(t)
	e := endpoint(t, facade.Each("Get", authz.OnModel(authz.Read).Reads(), wire.Shape[noteArgs, note, []any, any]{
		Items: items, Wrap: func(a []any) []any { return a }, Fail: func(e *wire.Error) any { return e },
	}, func(*world, facade.Call, note) (any, error) { return nil, nil }), w)
	for name, raw := range map[string]string{
		"deep":       strings.Repeat("[", 5000) + strings.Repeat("]", 5000),
		"many":       `{"notes":[` + strings.Repeat("{},", 400_000) + `{}]}`,
		"many items": `{"notes":[` + strings.Repeat("{},", 20_000) + `{}]}`,
		"not json":   `{"notes":`,
		"wrong type": `{"notes":{"a":1}}`,
		"string":     `"x"`,
	} {
		_, err := e.Serve(t.Context(), w.session(bob()), "", json.RawMessage(raw))
		if we := facade.ToWire(err); we == nil || we.Code != "bad request" {
			t.Errorf("%s: got %v", name, err)
		}
	}
	for _, raw := range []string{"", "null", "{}"} {
		if _, err := e.Serve(t.Context(), w.session(bob()), "", json.RawMessage(raw)); err != nil {
			t.Errorf("%q: %v", raw, err)
		}
	}
}

func TestUnusualTimes(t *testing.T) {
	w := newWorld(t)
	mode := authz.Normal
	s := w.session(bob(), func(c *facade.SessionConfig) { c.Mode = func(*state.View, *authz.Caller) authz.When { return mode } })
	get := func(*world, facade.Call) (int, error) { return 1, nil }
	normal := endpoint(t, facade.None("Get", authz.OnModel(authz.Read).Reads(), get), w)
	always := endpoint(t, facade.None("Get", authz.OnModel(authz.Read).Reads().During(authz.Upgrading|authz.Migrating), get), w)
	for m, code := range map[authz.When]string{authz.Upgrading: "upgrade in progress", authz.Migrating: "model migration in progress"} {
		mode = m
		if _, err := normal.Serve(t.Context(), s, "", nil); facade.ToWire(err) == nil || facade.ToWire(err).Code != code {
			t.Errorf("%v: got %v", m, err)
		}
		if _, err := always.Serve(t.Context(), s, "", nil); err != nil {
			t.Errorf("%v: got %v", m, err)
		}
	}
}

func watchTable(t *testing.T, w *world) *facade.Table {
	t.Helper()
	f := facade.Facade[*world]{Name: "Notes", Version: 1, Methods: []facade.Method[*world]{
		facade.Watch("Watch", authz.OnModel(authz.Read), facade.NotifyWatcher, func(w *world, _ facade.Call, _ struct{}) (facade.Watcher, error) {
			return facade.Notify(w.store.Subscribe(noteTable.Keys(state.Controller)), func(c state.Change) bool { return c.ID != "quiet" }), nil
		}, func(id string, first any) map[string]any {
			return map[string]any{"NotifyWatcherId": id, "first": first}
		}),
		facade.Watch("WatchNames", authz.OnModel(authz.Read), facade.StringsWatcher, func(w *world, _ facade.Call, _ struct{}) (facade.Watcher, error) {
			return facade.Strings(w.store.Subscribe(noteTable.Keys(state.Controller)), func() ([]string, error) { return nil, nil },
				func(c state.Change) []string { return []string{c.ID} }), nil
		}, func(id string, first any) map[string]any { return map[string]any{"watcher-id": id, "changes": first} }),
	}}
	own, err1 := facade.Bind(f, w)
	watchers, err2 := facade.WatcherEndpoints()
	table, err3 := facade.NewTable(own, watchers)
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	return table
}

func call(ctx context.Context, t *testing.T, table *facade.Table, s *facade.Session, f, m, id string) (string, error) {
	t.Helper()
	e, ok := table.Lookup(f, 1, m)
	if !ok {
		t.Fatalf("no %s.%s", f, m)
	}
	res, err := e.Serve(ctx, s, id, nil)
	raw, merr := json.Marshal(res)
	if merr != nil {
		t.Fatal(merr)
	}
	return string(raw), err
}

func TestWatchers(t *testing.T) {
	w := newWorld(t)
	table, s := watchTable(t, w), w.session(bob(), func(c *facade.SessionConfig) { c.MaxWatchers = 2 })
	put := func(id string) {
		t.Helper()
		if err := w.store.Update(t.Context(), func(tx *state.Tx) error { return noteTable.Put(tx, state.Controller, note{ID: id}) }); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	expect := func(f, m, id, want, wantErr string) {
		t.Helper()
		got, err := call(ctx, t, table, s, f, m, id)
		if err != nil {
			got = ""
		}
		code := ""
		if we := facade.ToWire(err); we != nil {
			code = we.Code + ": " + we.Message
		}
		if got != want || code != wantErr {
			t.Errorf("%s.%s(%s): got %s %s, want %s %s", f, m, id, got, code, want, wantErr)
		}
	}
	expect("Notes", "Watch", "", `{"NotifyWatcherId":"1","first":null}`, "")
	expect("Notes", "WatchNames", "", `{"changes":[],"watcher-id":"2"}`, "")
	expect("Notes", "Watch", "", "", "quota limit exceeded: cannot watch more than 2 things on one connection: stop a watcher first")
	put("quiet")
	put("a")
	expect("NotifyWatcher", "Next", "1", `{}`, "")
	expect("StringsWatcher", "Next", "2", `{"changes":["quiet","a"],"watcher-id":"2"}`, "")
	expect("StringsWatcher", "Next", "1", "", "not found: unknown watcher id")
	expect("NotifyWatcher", "Next", "99", "", "not found: unknown watcher id")
	expect("NotifyWatcher", "Next", "", "", "not found: unknown watcher id")
	blocked := make(chan error, 1)
	go func() { _, err := call(ctx, t, table, s, "NotifyWatcher", "Next", "1"); blocked <- err }()
	expect("NotifyWatcher", "Stop", "1", `{}`, "")
	if err := <-blocked; err == nil || err.Error() != "watcher has been stopped" {
		t.Errorf("blocked Next: %v", err)
	}
	expect("NotifyWatcher", "Next", "1", "", "stopped: watcher has been stopped")
	s.Close()
	if s.Watchers.Len() != 0 {
		t.Errorf("%d watchers live after close", s.Watchers.Len())
	}
}

func TestWatcherEndsWithTheGrant(t *testing.T) {
	w := newWorld(t)
	table, s := watchTable(t, w), w.session(bob())
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := call(ctx, t, table, s, "Notes", "WatchNames", ""); err != nil {
		t.Fatal(err)
	}
	w.grant("bob", authz.Model(m1), authz.Nobody)
	err := w.store.Update(ctx, func(tx *state.Tx) error { return noteTable.Put(tx, state.Controller, note{ID: "new"}) })
	if err != nil {
		t.Fatal(err)
	}
	if got, err := call(ctx, t, table, s, "StringsWatcher", "Next", "1"); !errors.Is(err, authz.ErrDenied) {
		t.Errorf("got %s, %v after the grant was withdrawn", got, err)
	}
	if s.Watchers.Len() != 0 {
		t.Error("the watcher lives on")
	}
}

func FuzzArguments(f *testing.F) {
	for _, s := range []string{`{"notes":[{"ID":"a"}]}`, `[[[[`, `{"a":"\\"}`, "null", `"`, strings.Repeat("[", 100)} {
		f.Add([]byte(s))
	}
	store, err := state.Open(f.Context(), state.NewMem())
	if err != nil {
		f.Fatal(err)
	}
	es, err := facade.Bind(facade.Facade[int]{Name: "F", Version: 1, Methods: []facade.Method[int]{
		facade.Act("M", authz.Self(authz.User).Reads(), func(int, facade.Call, noteArgs) error { return nil }),
	}}, 0)
	if err != nil {
		f.Fatal(err)
	}
	s := facade.NewSession(facade.SessionConfig{
		Store: store, Grants: func(state.Reader) authz.Grants { return everyone{} }, Now: time.Now, Caller: &authz.Caller{Kind: authz.User, User: "bob"},
		Panicked: func(m string, reason any, _ []byte) { f.Errorf("%s panics: %v", m, reason) },
	})
	f.Fuzz(func(t *testing.T, raw []byte) {
		_, err := es[0].Serve(t.Context(), s, "", raw)
		if err == nil && len(raw) > 0 && !json.Valid(raw) {
			t.Errorf("%q was taken", raw)
		}
	})
}

type everyone struct{}

func (everyone) Level(names.User, authz.Target) authz.Level { return authz.Superuser }
func (everyone) Present(*authz.Caller) bool                 { return true }
