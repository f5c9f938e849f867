package clients

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/scarab-ops/scarab/charm/charmtest"
	"github.com/scarab-ops/scarab/client"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/tests/cluster"
	"github.com/scarab-ops/scarab/wire/agentapi"
)

// one is an answer of the bulk kind.
type one struct {
	Results []struct {
		Error *struct{ Message, Code string } `json:"error"`
	} `json:"results"`
}

// bulk calls a method that answers a list, none of which may be an error.
func (c *conn) bulk(facade, method string, params any) {
	c.n.t.Helper()
	var r one
	c.call(facade, method, params, &r)
	if len(r.Results) == 0 {
		c.n.t.Fatalf("%s.%s answered no results", facade, method)
	}
	for _, x := range r.Results {
		if x.Error != nil {
			c.n.t.Fatalf("%s.%s: %s (%s)", facade, method, x.Error.Message, x.Error.Code)
		}
	}
}

type object = map[string]any

// web is a charm with one option, one action and one endpoint.
func web() []byte {
	return charmtest.Build(charmtest.Tail{},
		charmtest.Entry{Name: "metadata.yaml", Data: "name: web\nsummary: a web server\ndescription: for tests\n" +
			"requires:\n  db: {interface: sql}\npeers:\n  ring: {interface: ring}\n"},
		charmtest.Entry{Name: "config.yaml", Data: "options:\n  title: {type: string, default: hello}\n  workers: {type: int, default: 2}\n"},
		charmtest.Entry{Name: "manifest.yaml", Data: "bases:\n- {name: debian, channel: '12', architectures: [amd64, arm64]}\n"},
		charmtest.Entry{Name: "hooks/install", Data: "#!/bin/sh\n", Mode: 0o100755},
	)
}

// A world is a controller, a model in it, and the JavaScript client on both.
type world struct {
	*cluster.Cluster
	n               *node
	admin, modelRPC *conn
	uuid            names.Model
}

func newWorld(t *testing.T) *world {
	w := &world{Cluster: cluster.Start(t, cluster.Options{})}
	w.n = start(t, w.Cluster)
	w.admin = w.n.mustOpen("controller", w.url(""), "admin", cluster.AdminPassword.Reveal())
	var made struct {
		UUID names.Model `json:"uuid"`
	}
	w.admin.call("modelManager", "createModel", object{
		"name": "dev", "owner-tag": "user-admin", "cloud-tag": "cloud-localhost", "config": object{}, "credential": "", "region": "",
	}, &made)
	if _, err := names.ParseModel("model-" + string(made.UUID)); err != nil {
		t.Fatalf("createModel answered UUID %q", made.UUID)
	}
	w.uuid = made.UUID
	w.modelRPC = w.n.mustOpen("model", w.url(w.uuid), "admin", cluster.AdminPassword.Reveal())
	return w
}

func (w *world) url(m names.Model) string {
	if m == "" {
		return "wss://" + w.Addr + "/api"
	}
	return "wss://" + w.Addr + "/model/" + string(m) + "/api"
}

// deploy uploads the charm, which the JavaScript client leaves to HTTP, and
// deploys it with the JavaScript client.
func (w *world) deploy(t *testing.T, app string) {
	t.Helper()
	up := w.Login(t, cluster.Admin, cluster.AdminPassword, w.uuid)
	url, err := up.UploadCharm(cluster.Context(t), "web", 0, bytes.NewReader(web()))
	if err != nil {
		t.Fatal(err)
	}
	w.modelRPC.bulk("application", "deploy", object{"applications": []object{{
		"application": app, "charm-url": url, "num-units": 1, "channel": "", "policy": "", "Force": false,
		"config": object{"title": "first"}, "config-yaml": "", "constraints": object{}, "series": "",
		"charm-origin": object{
			"source": "local", "type": "charm", "id": "", "architecture": "amd64", "instance-key": "",
			"base": object{"name": "debian", "channel": "12"},
		},
	}}})
}

// TestLogin checks what the client is told at login, and which version it
// then takes of each facade.
func TestLogin(t *testing.T) {
	w := newWorld(t)
	_, err := w.n.open("wrong", w.url(""), "admin", "not the password")
	// What the client makes of "invalid entity name or password"; any other text would show as it is.
	if err == nil || err.Error() != "Have you been granted permission to a model on this controller?" {
		t.Errorf("a wrong password got %v", err)
	}
	if _, err := w.n.open("nobody", w.url(""), "nobody", "not the password"); err == nil ||
		err.Error() != "Have you been granted permission to a model on this controller?" {
		t.Errorf("an unknown user got %v", err)
	}
	i := w.admin.Info
	if i.ControllerTag != "controller-"+string(cluster.Controller) || !strings.HasPrefix(i.ServerVersion, "3.6.") {
		t.Errorf("the client was told %+v", i)
	}
	if i.User.Identity != "user-admin" || i.User.ControllerAccess != "superuser" {
		t.Errorf("the client was told of user %+v", i.User)
	}
	if len(i.Servers) != 1 || len(i.Servers[0]) != 1 || i.Servers[0][0].Scope != "local-cloud" {
		t.Errorf("the client was told of servers %+v", i.Servers)
	}
	wants(t, w.admin.Versions, map[string]int{"cloud": 7, "controller": 12, "modelManager": 9, "pinger": 1, "userManager": 3})
	wants(t, w.modelRPC.Versions, map[string]int{
		"action": 7, "allWatcher": 3, "annotations": 2, "application": 22, "charms": 7, "client": 8,
		"machineManager": 9, "modelConfig": 3, "pinger": 1,
	})
	if w.modelRPC.Info.User.ModelAccess != "admin" {
		t.Errorf("the client was told of user %+v on the model", w.modelRPC.Info.User)
	}
	w.admin.call("pinger", "ping", nil, nil)
	if _, err := w.n.do("logout", map[string]any{"name": "controller"}); err != nil {
		t.Errorf("cannot log out: %v", err)
	}
}

func wants(t *testing.T, got, want map[string]int) {
	t.Helper()
	for facade, version := range want {
		if got[facade] != version {
			t.Errorf("the client took version %d of %s, want %d", got[facade], facade, version)
		}
	}
}

// TestModels checks the lists that a dashboard begins with.
func TestModels(t *testing.T) {
	w := newWorld(t)
	var list struct {
		Models []struct {
			Model struct {
				Name, UUID, Type string
				Owner            string `json:"owner-tag"`
			} `json:"model"`
		} `json:"user-models"`
	}
	w.admin.call("modelManager", "listModels", object{"tag": "user-admin"}, &list)
	found := map[string]string{}
	for _, m := range list.Models {
		found[m.Model.Name] = m.Model.UUID
		if m.Model.Type != "iaas" || m.Model.Owner != "user-admin" {
			t.Errorf("listed %+v", m.Model)
		}
	}
	if found["controller"] != string(cluster.AdminModel) || found["dev"] != string(w.uuid) || len(found) != 2 {
		t.Errorf("listed %v", found)
	}
	var info struct {
		Results []struct {
			Result struct {
				Name, Life, Cloud string
				Status            struct{ Status string }
				Users             []struct{ User, Access string }
			} `json:"result"`
			Error *struct{ Message, Code string } `json:"error"`
		} `json:"results"`
	}
	w.admin.call("modelManager", "modelInfo", object{"entities": []object{
		{"tag": "model-" + string(w.uuid)}, {"tag": "model-00000000-0000-4000-8000-00000000dead"},
	}}, &info)
	if len(info.Results) != 2 || info.Results[0].Error != nil || info.Results[1].Error == nil {
		t.Fatalf("modelInfo answered %+v", info)
	}
	r := info.Results[0].Result
	if r.Name != "dev" || r.Life != "alive" || r.Status.Status != "available" || len(r.Users) != 1 || r.Users[0].Access != "admin" {
		t.Errorf("modelInfo answered %+v", r)
	}
}

// TestLifeOfAnApplication deploys, watches, configures and removes.
func TestLifeOfAnApplication(t *testing.T) {
	w := newWorld(t)
	seen := w.watch(t)
	seen.until("the model", func() bool { return seen.get("model", string(w.uuid), "name") == "dev" })
	w.deploy(t, "web")
	seen.until("the new application", func() bool {
		return seen.get("application", "web", "life") == "alive" && seen.get("unit", "web/0", "machine-id") == "0" &&
			seen.get("machine", "0", "life") == "alive" && seen.get("unit", "web/0", "workload-status", "current") == "waiting"
	})
	agents := w.bringUp(t)
	seen.until("an active unit", func() bool {
		return seen.get("unit", "web/0", "workload-status", "current") == "active" &&
			seen.get("unit", "web/0", "workload-status", "message") == "serving" &&
			seen.get("unit", "web/0", "agent-status", "current") == "idle" &&
			seen.get("machine", "0", "agent-status", "current") == "started" &&
			seen.get("machine", "0", "instance-status", "current") == "running"
	})
	w.status(t)
	w.configure(t, seen)
	w.remove(t, seen, agents)
	seen.stop(t)
}

// agents are those of the one machine and the one unit.
type agents struct{ machine, unit *client.Conn }

// bringUp plays the agents until the unit is active.
func (w *world) bringUp(t *testing.T) agents {
	t.Helper()
	ctx := cluster.Context(t)
	m := w.EnrolMachine(t, w.uuid, "0")
	u := w.EnrolUnit(t, m, "web/0")
	a := agents{m.Connect(t, w.Cluster), u.Connect(t, w.Cluster)}
	steps := []func() error{
		func() error {
			return a.machine.Machine().SetObserved(ctx, agentapi.MachineObserved{
				Hostname: "m0", Cores: 1, MemMiB: 512, Arch: "amd64", State: "booted", Isolation: "container",
				Addresses: []agentapi.Address{{Value: "10.99.0.10", Type: "ipv4", Scope: "local-cloud"}},
			})
		},
		func() error {
			return a.machine.Machine().SetStatus(ctx, agentapi.SetStatusArgs{Kind: "agent", Status: "started"})
		},
		func() error {
			return a.unit.Unit().SetStatus(ctx, agentapi.SetStatusArgs{Kind: "agent", Status: "executing", Message: "running install hook"})
		},
		func() error {
			_, err := a.unit.Unit().Commit(ctx, agentapi.CommitArgs{
				OpID: "op-1", Hook: "install", RelationID: -1, OpenPorts: []agentapi.PortRange{{From: 80, To: 80, Protocol: "tcp"}},
			})
			return err
		},
		func() error {
			return a.unit.Unit().SetStatus(ctx, agentapi.SetStatusArgs{Kind: "workload", Status: "active", Message: "serving"})
		},
		func() error {
			return a.unit.Unit().SetStatus(ctx, agentapi.SetStatusArgs{Kind: "agent", Status: "idle"})
		},
	}
	for i, step := range steps {
		if err := step(); err != nil {
			t.Fatalf("step %d of the agents: %v", i, err)
		}
	}
	return a
}

func (w *world) status(t *testing.T) {
	t.Helper()
	type info struct{ Status, Info string }
	var s struct {
		Model        struct{ Name, Version string }
		Applications map[string]struct {
			Status info
			Units  map[string]struct {
				Agent    info     `json:"agent-status"`
				Workload info     `json:"workload-status"`
				Machine  string   `json:"machine"`
				Ports    []string `json:"opened-ports"`
			}
		}
		Machines map[string]struct {
			Agent info `json:"agent-status"`
		}
	}
	w.modelRPC.call("client", "fullStatus", object{"patterns": []string{}}, &s)
	app := s.Applications["web"]
	u := app.Units["web/0"]
	if s.Model.Name != "dev" || app.Status.Status != "active" || u.Workload != (info{"active", "serving"}) ||
		u.Agent.Status != "idle" || u.Machine != "0" || s.Machines["0"].Agent.Status != "started" {
		t.Errorf("fullStatus answered %+v", s)
	}
	if len(u.Ports) != 1 || u.Ports[0] != "80/tcp" {
		t.Errorf("fullStatus answered ports %q", u.Ports)
	}
	w.modelRPC.call("client", "fullStatus", object{"patterns": []string{"nothing-like-this"}}, &s)
}

func (w *world) configure(t *testing.T, seen *seen) {
	t.Helper()
	value := func(option string) (any, any) {
		var r struct {
			Config map[string]map[string]any `json:"config"`
		}
		w.modelRPC.call("application", "get", object{"application": "web", "branch": ""}, &r)
		return r.Config[option]["value"], r.Config[option]["source"]
	}
	if v, from := value("title"); v != "first" || from != "user" {
		t.Errorf("after deploying with it, title is %v from %v", v, from)
	}
	w.modelRPC.bulk("application", "setConfigs", object{"Args": []object{{
		"application": "web", "generation": "", "config": object{"title": "second", "workers": "7"}, "config-yaml": "",
	}}})
	if v, _ := value("title"); v != "second" {
		t.Errorf("after it was set, title is %v", v)
	}
	if v, _ := value("workers"); v != 7.0 {
		t.Errorf("after it was set, workers is %v", v)
	}
	seen.until("the new option", func() bool { return seen.get("application", "web", "config", "title") == "second" })
	w.modelRPC.bulk("application", "unsetApplicationsConfig", object{"Args": []object{{
		"application": "web", "branch": "", "options": []string{"title"},
	}}})
	if v, from := value("title"); v != "hello" || from != "default" {
		t.Errorf("after it was unset, title is %v from %v", v, from)
	}
	raw, err := w.modelRPC.try("application", "setConfigs", object{"Args": []object{{
		"application": "web", "generation": "", "config": object{"no-such-option": "x"}, "config-yaml": "",
	}}})
	var r one
	if err == nil {
		err = json.Unmarshal(raw, &r)
	}
	if err != nil || len(r.Results) != 1 || r.Results[0].Error == nil || !strings.Contains(r.Results[0].Error.Message, "no-such-option") {
		t.Errorf("an unknown option got %s, %v", raw, err)
	}
	w.modelRPC.call("application", "expose", object{"application": "web", "exposed-endpoints": object{}}, nil)
	seen.until("the exposed application", func() bool { return seen.get("application", "web", "exposed") == true })
	w.modelRPC.bulk("annotations", "set", object{"annotations": []object{{"entity": "application-web", "annotations": object{"gui-x": "1"}}}})
	seen.until("the annotation", func() bool { return seen.get("annotation", "application-web", "annotations", "gui-x") == "1" })
}

func (w *world) remove(t *testing.T, seen *seen, a agents) {
	t.Helper()
	ctx := cluster.Context(t)
	w.modelRPC.bulk("application", "destroyApplication", object{"applications": []object{{
		"application-tag": "application-web", "destroy-storage": false, "force": false, "dry-run": false,
	}}})
	seen.until("the dying unit", func() bool { return seen.get("unit", "web/0", "life") == "dying" })
	if err := a.unit.Unit().Dead(ctx); err != nil {
		t.Fatalf("the unit cannot end: %v", err)
	}
	if err := a.machine.Machine().RemoveUnit(ctx, "web/0"); err != nil {
		t.Fatalf("the machine cannot remove the unit: %v", err)
	}
	// The machine goes with its last unit: the cloud is told to stop it.
	for _, gone := range [][2]string{{"unit", "web/0"}, {"application", "web"}, {"machine", "0"}, {"annotation", "application-web"}} {
		seen.until(gone[0]+" "+gone[1]+" removed", func() bool { return seen.removed(gone[0], gone[1]) })
	}
	if _, there := w.Cloud.Spec(string(w.uuid) + "/0"); there {
		t.Error("the machine's record is gone but the cloud still has it")
	}
}
