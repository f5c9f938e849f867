package clients

import (
	"crypto/tls"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/scarab-ops/scarab/tests/cluster"
)

// TestOffer checks that every version that some published client depends on
// is offered, on the right kind of connection and on no other.
func TestOffer(t *testing.T) {
	c := cluster.Start(t, cluster.Options{Memory: true})
	const onController, onModel = 1, 2
	must := map[string]struct {
		where    int
		versions []int
	}{
		"Action": {onModel, []int{7}}, "AllWatcher": {onModel, []int{3}}, "Annotations": {onModel, []int{2}},
		"Application": {onModel, []int{19, 20, 22}}, "Block": {onModel, []int{2}}, "Charms": {onModel, []int{6, 7}},
		"Client": {onModel, []int{6, 7, 8}}, "Cloud": {onController, []int{7}}, "Controller": {onController, []int{11, 12}},
		"KeyManager": {onModel, []int{1}}, "MachineManager": {onModel, []int{9, 10}}, "ModelConfig": {onController | onModel, []int{3}},
		"ModelManager": {onController, []int{9, 10}}, "NotifyWatcher": {onController | onModel, []int{1}},
		"Pinger": {onController | onModel, []int{1}}, "Resources": {onModel, []int{3}}, "SSHClient": {onModel, []int{4}},
		"Spaces": {onModel, []int{6}}, "Storage": {onModel, []int{6}}, "StringsWatcher": {onModel, []int{1}},
		"UserManager": {onController, []int{3}},
	}
	_, lc := controllerConn(t, c)
	_, lm := modelConn(t, c, cluster.AdminModel)
	offered := func(l login) map[string][]int {
		out := map[string][]int{}
		for _, f := range l.Facades {
			if out[f.Name] != nil || len(f.Versions) == 0 || !slices.IsSorted(f.Versions) {
				t.Errorf("offered %s %v", f.Name, f.Versions)
			}
			out[f.Name] = f.Versions
		}
		return out
	}
	for bit, got := range map[int]map[string][]int{onController: offered(lc), onModel: offered(lm)} {
		for name, want := range must {
			if want.where&bit == 0 && got[name] != nil {
				t.Errorf("%s is offered on the wrong kind of connection (%d)", name, bit)
			}
			for _, v := range want.versions {
				if want.where&bit != 0 && !slices.Contains(got[name], v) {
					t.Errorf("%s %d is not offered, only %v", name, v, got[name])
				}
			}
		}
		for _, never := range []string{"JIMM", "Admin", "UnitAgent", "MachineAgent", "Enrolment"} {
			if got[never] != nil {
				t.Errorf("%s is offered to people", never)
			}
		}
	}
	if !strings.HasPrefix(lc.ServerVersion, "3.") || lc.ModelTag != "" || lm.ModelTag != "model-"+string(cluster.AdminModel) {
		t.Errorf("told version %q, model %q on the controller and %q on the model", lc.ServerVersion, lc.ModelTag, lm.ModelTag)
	}
}

// TestProbes checks what clients try before what they mean: an answer must
// come, it must be an error, and the connection must live on.
func TestProbes(t *testing.T) {
	c := cluster.Start(t, cluster.Options{Memory: true})
	r := dialRaw(t, c, "/api", nil)
	refused := func(what string, got reply, code, text string) {
		t.Helper()
		if got.text("error-code") != code || !strings.Contains(got.text("error"), text) {
			t.Errorf("%s was answered with %q (%q)", what, got.text("error"), got.text("error-code"))
		}
	}
	refused("a session token", r.call("Admin", 4, "LoginWithSessionToken", `{"session-token":"x"}`), "not supported", "")
	refused("a facade before login", r.call("Pinger", 1, "Ping", `{}`), "not implemented", "")
	refused("a wrong password", r.call("Admin", 3, "Login", credentials("admin", "wrong")), "unauthorized access", "invalid entity name or password")
	refused("no credentials", r.call("Admin", 3, "Login", `{"auth-tag":"","credentials":"","client-version":"3.6.1"}`), "no credentials provided", "")
	r.login()
	refused("the probe for JIMM", r.call("JIMM", 4, "ListControllers", `{}`), "not implemented", `unknown version (4) of interface "JIMM"`)
	refused("an unknown facade", r.call("Foo", 0, "Bar", `{}`), "not implemented", `unknown object type "Foo"`)
	refused("an unknown version", r.call("ModelManager", 99, "ListModels", `{}`), "not implemented", `unknown version (99) of interface "ModelManager"`)
	refused("an unknown method", r.call("ModelManager", 9, "Frob", `{}`), "not implemented", "no such request - method ModelManager(9).Frob is not implemented")
	refused("a facade of models", r.call("Client", 8, "FullStatus", `{}`), "not supported", `facade "Client" not supported for controller API connection`)
	refused("arguments that are no object", r.call("ModelManager", 9, "ListModels", `[1]`), "bad request", "")
	for _, params := range []string{"", "null", "{}", `{"no-such-key":1}`} {
		r.ok(nil, "Pinger", 1, "Ping", params)
	}
}

// TestPython goes the way of the Python client through the versions that it
// knows.
func TestPython(t *testing.T) {
	c := cluster.Start(t, cluster.Options{Memory: true})
	r, _ := controllerConn(t, c)
	r.ok(nil, "ModelManager", 9, "ListModels", `{"tag":"user-admin"}`)
	r.ok(nil, "Controller", 11, "AllModels", `{}`)
	r.ok(nil, "Controller", 11, "ControllerConfig", `{}`)
	var made map[string]json.RawMessage
	r.ok(&made, "ModelManager", 9, "CreateModel", `{"name":"py","owner-tag":"user-admin","cloud-tag":"cloud-localhost","config":{}}`)
	for _, key := range []string{"uuid", "name", "default-base", "default-series", "users", "machines", "life", "status"} {
		if made[key] == nil {
			t.Errorf("CreateModel 9 answered without %s", key)
		}
	}
	m, _ := modelConn(t, c, cluster.AdminModel)
	var status struct{ Model map[string]json.RawMessage }
	m.ok(&status, "Client", 6, "FullStatus", `{"patterns":[]}`)
	if string(status.Model["name"]) != `"controller"` {
		t.Errorf("FullStatus 6 answered model %s", status.Model)
	}
	m.ok(nil, "ModelConfig", 3, "ModelGet", `{}`)
	var watcher struct {
		ID string `json:"watcher-id"`
	}
	m.ok(&watcher, "Client", 6, "WatchAll", `{}`)
	got := m.send(`{"request-id":77,"type":"AllWatcher","version":3,"id":"` + watcher.ID + `","request":"Next","params":{}}`)
	var next struct{ Deltas [][3]json.RawMessage }
	if err := json.Unmarshal(got["response"], &next); err != nil || len(next.Deltas) == 0 {
		t.Fatalf("the first Next answered %s, %v", got, err)
	}
	for _, d := range next.Deltas {
		var entity map[string]json.RawMessage
		if err := json.Unmarshal(d[2], &entity); err != nil {
			t.Fatal(err)
		}
		if string(d[0]) == `"model"` && (entity["config"] == nil || string(entity["config"])[0] != '{') {
			t.Errorf("the model's delta has config %s", entity["config"])
		}
	}
}

// TestDashboard opens the paths of the web dashboard, whose proxy rewrites the
// origin to the controller's own. Pages of any other origin are refused.
func TestDashboard(t *testing.T) {
	c := cluster.Start(t, cluster.Options{Memory: true})
	for _, path := range []string{"/api", "/", "/model/" + string(cluster.AdminModel) + "/api"} {
		dialRaw(t, c, path, http.Header{"Origin": {"https://" + c.Addr}}).login()
		if _, err := openRaw(t, c, path, http.Header{"Origin": {"https://elsewhere.example"}}); err == nil {
			t.Errorf("a page of another origin opened %s", path)
		}
	}
}

// TestOldTLS checks the handshake of clients that speak no TLS 1.3, and the
// chain that a client shows to its user before it trusts it.
func TestOldTLS(t *testing.T) {
	c := cluster.Start(t, cluster.Options{Memory: true})
	conn, err := tls.Dial("tcp", c.Addr, &tls.Config{RootCAs: roots(t, c), ServerName: "juju-apiserver", MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	s := conn.ConnectionState()
	if name := tls.CipherSuiteName(s.CipherSuite); !strings.HasPrefix(name, "TLS_ECDHE_") || !strings.HasSuffix(name, "_WITH_AES_256_GCM_SHA384") {
		t.Errorf("TLS 1.2 chose %s", name)
	}
	if n := len(s.PeerCertificates); n != 2 || !s.PeerCertificates[1].IsCA {
		t.Errorf("the server sent %d certificates, not its own and the CA's", n)
	}
	for _, name := range []string{"juju-apiserver", "localhost", "127.0.0.1"} {
		if err := s.PeerCertificates[0].VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	if old, err := tls.Dial("tcp", c.Addr, &tls.Config{RootCAs: roots(t, c), ServerName: "juju-apiserver", MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}); err == nil {
		_ = old.Close()
		t.Error("TLS 1.1 was accepted")
	}
}
