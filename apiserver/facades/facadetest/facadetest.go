// Package facadetest runs facades as clients see them: a small world in
// memory, requests and answers as text. It is for tests only.
//
// A script is a txtar archive of pairs: a file named "call USER MODEL
// FACADE.VERSION.METHOD" with the arguments, and the file "answer" that is
// expected. MODEL is a model's name, or "-" for a controller connection. The
// flag -update rewrites the answers.
package facadetest

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/authz"
	"github.com/scarab-ops/scarab/charm"
	"github.com/scarab-ops/scarab/domain/charmstore"
	"github.com/scarab-ops/scarab/domain/cloud"
	"github.com/scarab-ops/scarab/domain/controller"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/user"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/wire"
)

// Fixed identities of the world.
const (
	ControllerUUID = "c0000000-0000-4000-8000-000000000001"
	ControllerName = "c0000000-0000-4000-8000-0000000000aa" // UUID of the controller model
	Dev            = names.Model("d0000000-0000-4000-8000-000000000001")
	AgentVersion   = "3.6.12"
)

// A World is a controller with a model "dev", in memory. Its users are admin
// (superuser), ann (admin of dev), wendy (write), bob (read) and eve (login
// only); its charms local:db-0, local:web-0 and local:log-0 (subordinate).
type World struct {
	Store *state.Store
	now   time.Time
	uuids int
}

// New makes a world; it ends with the test.
func New(t *testing.T) *World {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	store, err := state.Open(ctx, state.NewMem())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		<-store.Done()
	})
	w := &World{Store: store, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	w.Update(t, func(tx *state.Tx) error { return seed(tx, w.now) })
	return w
}

// Now is the world's clock; it stands still between calls.
func (w *World) Now() time.Time { return w.now }

// Advance moves the clock.
func (w *World) Advance(d time.Duration) { w.now = w.now.Add(d) }

// NewUUID numbers new models.
func (w *World) NewUUID() names.Model {
	w.uuids++
	return names.Model(fmt.Sprintf("e0000000-0000-4000-8000-%012d", w.uuids))
}

// Update changes the state directly.
func (w *World) Update(t *testing.T, f func(*state.Tx) error) {
	t.Helper()
	if err := w.Store.Update(context.Background(), f); err != nil {
		t.Fatal(err)
	}
}

func seed(tx *state.Tx, now time.Time) error {
	ctl := controller.Row{UUID: ControllerUUID, Name: "test", Model: ControllerName, CACert: "a certificate", Created: now}
	if err := controller.Table.Put(tx, state.Controller, ctl); err != nil {
		return err
	}
	if err := cloud.Table.Put(tx, state.Controller, cloud.Localhost()); err != nil {
		return err
	}
	for _, u := range []names.User{"admin", "ann", "wendy", "bob", "eve"} {
		if err := user.Add(tx, user.Row{Name: u, Created: now, CreatedBy: "admin"}); err != nil {
			return err
		}
	}
	for _, m := range []model.Row{
		{UUID: ControllerName, Name: "controller", IsController: true},
		{UUID: Dev, Name: "dev"},
	} {
		m.Owner, m.Cloud, m.Region, m.Created, m.AgentVersion = "admin", "localhost", "localhost", now, AgentVersion
		if err := model.Add(tx, m, map[string]string{"default-base": "debian@12/stable"}); err != nil {
			return err
		}
	}
	for _, g := range []user.Grant{
		{User: "admin", On: user.OnController, Level: "superuser"},
		{User: "ann", On: string(Dev), Level: "admin"},
		{User: "wendy", On: string(Dev), Level: "write"},
		{User: "bob", On: string(Dev), Level: "read"},
	} {
		if err := user.Grants.Put(tx, state.Controller, g); err != nil {
			return err
		}
	}
	for _, c := range charms() {
		row := charmstore.Row{SHA256: strings.Repeat("0", 64), Size: 1, Charm: c, Added: now, AddedBy: "admin"}
		if _, err := charmstore.AddLocal(tx, model.ScopeOf(Dev), row); err != nil {
			return err
		}
	}
	return nil
}

func charms() []charm.Charm {
	base := charm.Manifest{Bases: []charm.Base{{Name: "debian", Channel: "12/stable"}}}
	global, inside := charm.ScopeGlobal, charm.ScopeContainer
	return []charm.Charm{
		{Manifest: base, Version: "git-ab12", Meta: charm.Meta{
			Name: "db", Summary: "a database", Description: "a database",
			Provides: map[string]charm.Relation{"db": {Name: "db", Role: charm.RoleProvider, Interface: "sql", Scope: global}},
			Peers:    map[string]charm.Relation{"cluster": {Name: "cluster", Role: charm.RolePeer, Interface: "cluster", Scope: global}},
		}, Config: charm.Config{Options: map[string]charm.Option{
			"port": {Type: "int", Default: int64(5432), Description: "where to listen"},
			"name": {Type: "string", Description: "of the database"},
		}}, Actions: charm.Actions{Specs: map[string]charm.ActionSpec{"backup": {
			Description: "save everything", Params: map[string]any{
				"type": "object", "title": "backup", "description": "save everything",
				"properties": map[string]any{"to": map[string]any{"type": "string", "default": "disk"}},
			},
		}}}},
		{Manifest: base, Meta: charm.Meta{
			Name: "web", Summary: "a site", Description: "a site",
			Requires:  map[string]charm.Relation{"db": {Name: "db", Role: charm.RoleRequirer, Interface: "sql", Scope: global}},
			Resources: map[string]charm.Resource{"site": {Name: "site", Type: "file", Filename: "site.tgz", Description: "pages"}},
		}},
		{Manifest: base, Meta: charm.Meta{
			Name: "log", Summary: "logs", Description: "logs", Subordinate: true,
			Requires: map[string]charm.Relation{"info": {Name: "info", Role: charm.RoleRequirer, Interface: "juju-info", Scope: inside}},
		}},
	}
}

// grants reads levels straight from the rows.
type grants struct{ r state.Reader }

func (g grants) Level(u names.User, t authz.Target) authz.Level {
	on := user.OnController
	if kind, id, _ := strings.Cut(string(t), ":"); kind == "model" {
		on = id
	} else if t != authz.Controller {
		return authz.Nobody
	}
	return map[string]authz.Level{
		"login": authz.Login, "read": authz.Read, "write": authz.Write, "admin": authz.Admin, "superuser": authz.Superuser,
	}[user.Level(g.r, u, on)]
}

func (g grants) Present(c *authz.Caller) bool {
	row, err := user.Table.Get(g.r, state.Controller, string(c.User))
	return err == nil && !row.Disabled
}

// Session logs a user in; an empty model is a controller connection.
func (w *World) Session(u names.User, m names.Model) *facade.Session {
	return facade.NewSession(facade.SessionConfig{
		Store: w.Store, Grants: func(r state.Reader) authz.Grants { return grants{r} }, Now: w.Now,
		Caller: &authz.Caller{Kind: authz.User, User: u, Model: m}, Connection: "1", Source: "192.0.2.1:1",
	})
}

// Call makes one call and returns its result as JSON, or its error.
func (w *World) Call(s *facade.Session, es []facade.Endpoint, method, id, args string) (json.RawMessage, error) {
	i := slices.IndexFunc(es, func(e facade.Endpoint) bool {
		return fmt.Sprintf("%s.%d.%s", e.Facade, e.Version, e.Method) == method
	})
	if i < 0 {
		return nil, fmt.Errorf("no such method %s", method)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	res, err := es[i].Serve(ctx, s, id, json.RawMessage(args))
	if err != nil {
		return nil, err
	}
	return json.Marshal(res)
}

func (w *World) model(t *testing.T, name string) names.Model {
	t.Helper()
	if name == "-" {
		return ""
	}
	m, err := model.ByName(w.Store.View(), "admin", name)
	if err != nil {
		t.Fatal(err)
	}
	return m.UUID
}

var update = flag.Bool("update", false, "rewrite the expected answers")

// Run runs every script of testdata, each in a world of its own. build makes
// the endpoints; it may prepare the world.
func Run(t *testing.T, build func(*testing.T, *World) []facade.Endpoint) {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txtar"), func(t *testing.T) {
			w := New(t)
			runScript(t, w, build(t, w), f)
		})
	}
}

func runScript(t *testing.T, w *World, es []facade.Endpoint, file string) {
	t.Helper()
	ar, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	changed := false
	for i := 0; i+1 < len(ar.Files); i += 2 {
		words := strings.Fields(ar.Files[i].Name)
		if len(words) != 4 || words[0] != "call" || ar.Files[i+1].Name != "answer" {
			t.Fatalf("%s: want a call and an answer, have %q and %q", file, ar.Files[i].Name, ar.Files[i+1].Name)
		}
		w.Advance(time.Second)
		s := w.Session(names.User(words[1]), w.model(t, words[2]))
		got := answer(t, w, s, es, words[3], strings.TrimSpace(string(ar.Files[i].Data)))
		s.Close()
		if want := string(ar.Files[i+1].Data); got != want {
			if !*update {
				t.Errorf("%s: %s\ngot:\n%swant:\n%s", file, ar.Files[i].Name, got, want)
			}
			ar.Files[i+1].Data, changed = []byte(got), true
		}
	}
	if changed && *update {
		if err := os.WriteFile(file, txtar.Format(ar), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func answer(t *testing.T, w *World, s *facade.Session, es []facade.Endpoint, method, args string) string {
	t.Helper()
	raw, err := w.Call(s, es, method, "", args)
	if err != nil {
		e := facade.ToWire(err)
		return fmt.Sprintf("error %q: %s\n", e.Code, e.Message)
	}
	var out bytes.Buffer
	if err := json.Indent(&out, raw, "", " "); err != nil {
		t.Fatal(err)
	}
	return out.String() + "\n"
}

// Coverage compares what is served with what the schema knows, method by
// method, with the golden file; -update rewrites it.
func Coverage(t *testing.T, es []facade.Endpoint, known []wire.MethodInfo) {
	t.Helper()
	versions := map[string][]string{}
	for _, e := range es {
		versions[e.Method] = append(versions[e.Method], strconv.Itoa(e.Version))
	}
	var lines []string
	for _, m := range known {
		vs := versions[m.Name]
		delete(versions, m.Name)
		if len(vs) == 0 {
			lines = append(lines, m.Name+": not served")
			continue
		}
		slices.Sort(vs)
		lines = append(lines, m.Name+": served by "+strings.Join(vs, " "))
	}
	for name, vs := range versions {
		lines = append(lines, name+": not in the newest schema, served by "+strings.Join(vs, " "))
	}
	slices.Sort(lines)
	got := strings.Join(lines, "\n") + "\n"
	const file = "coverage.golden"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil || got != string(want) {
		t.Errorf("%s differs (%v); run with -update and review\ngot:\n%s", file, err, got)
	}
}
