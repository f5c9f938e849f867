package apiserver_test

import (
	"crypto/tls"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/apiserver"
	"github.com/scarab-ops/scarab/audit"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/wire/admin"
)

func TestLoginTexts(t *testing.T) {
	b := start(t)
	const m = "/model/" + string(m1) + "/api"
	for _, c := range []struct{ name, path, tag, pw, want string }{
		{"good", "/api", "user-bob", "pw-bob", "ok"},
		{"root path", "/", "user-bob", "pw-bob", "ok"},
		{"good on model", m, "user-bob", "pw-bob", "ok"},
		{"superuser anywhere", "/model/" + string(m2) + "/api", "user-root", "pw-root", "ok"},
		{"wrong password", "/api", "user-bob", "nope", "invalid entity name or password | unauthorized access"},
		{"unknown user", "/api", "user-eve", "pw-eve", "invalid entity name or password | unauthorized access"},
		{"other model", "/model/" + string(m2) + "/api", "user-bob", "pw-bob", "permission denied | unauthorized access"},
		{"no login right", m, "user-alien", "pw-alien", "permission denied | unauthorized access"},
		{"no tag", "/api", "", "", "no credentials provided | no credentials provided"},
		{"no password", "/api", "user-bob", "", "no credentials provided | no credentials provided"},
		{"malformed", "/api", "x", "y", `"x" is not a valid tag | `},
		{"application", m, "application-a", "y", "invalid entity name or password | unauthorized access"},
		{"anonymous", m, "user-jujuanonymous", "x", "invalid entity name or password | unauthorized access"},
		{"unknown model", "/model/99999999-9999-4999-8999-999999999999/api", "user-bob", "pw-bob", `unknown model: "99999999-9999-4999-8999-999999999999" | model not found`},
		{"moved model", "/model/" + string(movedM) + "/api", "user-bob", "pw-bob", "redirection required | redirection required"},
	} {
		if _, got := b.open(c.path, nil).login(c.tag, c.pw, ""); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

func TestLoginResult(t *testing.T) {
	b := start(t)
	result := func(path, user string) admin.LoginResult {
		t.Helper()
		a, got := b.open(path, nil).login("user-"+user, "pw-"+user, "")
		var r admin.LoginResult
		if err := json.Unmarshal(a.Response, &r); err != nil || got != "ok" {
			t.Fatalf("%s, %v", got, err)
		}
		return r
	}
	r := result("/api", "bob")
	if r.ControllerTag != "controller-"+string(ctl) || r.ServerVersion != "3.6.12" || r.ModelTag != "" {
		t.Errorf("got %+v", r)
	}
	if len(r.Servers) != 1 || len(r.Servers[0]) != 1 || r.Servers[0][0].Scope != "local-cloud" {
		t.Errorf("servers %+v", r.Servers)
	}
	if *r.UserInfo != (admin.AuthUserInfo{Identity: "user-bob", ControllerAccess: "login"}) {
		t.Errorf("user %+v", r.UserInfo)
	}
	facades := func(r admin.LoginResult) string {
		var s []string
		for _, f := range r.Facades {
			s = append(s, f.Name)
		}
		return strings.Join(s, " ")
	}
	if got := facades(r); got != "AllModelWatcher Cloud ModelSummaryWatcher NotifyWatcher Pinger" {
		t.Errorf("controller facades: %s", got)
	}
	r = result("/model/"+string(m1)+"/api", "bob")
	if r.ModelTag != "model-"+string(m1) || r.UserInfo.ModelAccess != "write" {
		t.Errorf("got %+v %+v", r, r.UserInfo)
	}
	if got := facades(r); got != "AllWatcher Client NotifyWatcher Pinger RelationUnitsWatcher StringsWatcher" {
		t.Errorf("model facades: %s", got)
	}
	r = result("/model/"+string(m1)+"/api", "root")
	if r.UserInfo.ModelAccess != "admin" || r.UserInfo.ControllerAccess != "superuser" {
		t.Errorf("superuser %+v", r.UserInfo)
	}
}

func TestBeforeAndAfterLogin(t *testing.T) {
	b := start(t)
	s := b.open("/model/"+string(m1)+"/api", nil)
	expect := func(facade string, version int, method, want string) {
		t.Helper()
		if _, got := s.call(facade, version, method, nil); got != want {
			t.Errorf("%s(%d).%s: got %s, want %s", facade, version, method, got, want)
		}
	}
	expect("Client", 8, "Get", `unknown version (8) of interface "Client" | not implemented`)
	expect("Pinger", 1, "Ping", `unknown version (1) of interface "Pinger" | not implemented`)
	expect("Admin", 4, "LoginWithSessionToken", `version 4 of facade "Admin" is not supported: use 3 | not supported`)
	expect("Admin", 3, "RedirectInfo", "not redirected | ")
	if _, got := s.login("user-bob", "wrong", ""); got == "ok" {
		t.Fatal("wrong password")
	}
	if _, got := s.login("user-bob", "pw-bob", ""); got != "ok" {
		t.Fatal(got)
	}
	expect("Client", 8, "Get", "ok")
	expect("Client", 9, "Get", `unknown version (9) of interface "Client" | not implemented`)
	expect("JIMM", 4, "ListControllers", `unknown version (4) of interface "JIMM" | not implemented`)
	expect("Foo", 0, "Get", `unknown object type "Foo" | not implemented`)
	expect("Client", 8, "Frob", "no such request - method Client(8).Frob is not implemented | not implemented")
	expect("Cloud", 7, "Get", `facade "Cloud" not supported for model API connection | not supported`)
	expect("UnitAgent", 1, "Get", "permission denied | unauthorized access")
	expect("Enrolment", 1, "Get", "permission denied | unauthorized access")
	expect("Admin", 3, "Login", `unknown version (3) of interface "Admin" | not implemented`)
	expect("Client", 8, "Panic", "internal error: the call failed; see the controller's log | ")
	expect("Pinger", 1, "Ping", "ok")
	s = b.open("/api", nil)
	if _, got := s.login("user-bob", "pw-bob", ""); got != "ok" {
		t.Fatal(got)
	}
	expect("Client", 8, "Get", `facade "Client" not supported for controller API connection | not supported`)
	moved := b.open("/model/"+string(movedM)+"/api", nil)
	if a, got := moved.call("Admin", 3, "RedirectInfo", nil); got != "ok" || !strings.Contains(string(a.Response), "203.0.113.9") {
		t.Errorf("redirect: %s %s", got, a.Response)
	}
}

func TestAgents(t *testing.T) {
	b := start(t)
	model := func(m names.Model) string { return "/model/" + string(m) + "/api" }
	unit, machine := b.agentCert("unit-app-0", m1, time.Hour), b.agentCert("machine-0", m1, time.Hour)
	other, err := newForeign()
	if err != nil {
		t.Fatal(err)
	}
	const refused = "invalid entity name or password | unauthorized access"
	for _, c := range []struct {
		name, path, tag, pw, nonce string
		cert                       *tls.Certificate
		want                       string
	}{
		{"unit", model(m1), "unit-app-0", agentPW + "unit-app-0", "", unit, "ok"},
		{"machine", model(m1), "machine-0", agentPW + "machine-0", "nonce", machine, "ok"},
		{"machine, wrong nonce", model(m1), "machine-0", agentPW + "machine-0", "x", machine, "machine 0 not provisioned | not provisioned"},
		{"password without certificate", model(m1), "unit-app-0", agentPW + "unit-app-0", "", nil, refused},
		{"certificate without password", model(m1), "unit-app-0", "", "", unit, refused},
		{"wrong password", model(m1), "unit-app-0", "x", "", unit, refused},
		{"other's certificate", model(m1), "unit-app-0", agentPW + "unit-app-0", "", machine, refused},
		{"other's password", model(m1), "unit-app-0", agentPW + "machine-0", "", unit, refused},
		{"other model", model(m2), "unit-app-0", agentPW + "unit-app-0", "", unit, refused},
		{"controller connection", "/api", "unit-app-0", agentPW + "unit-app-0", "", unit, refused},
		{"foreign certificate", model(m1), "unit-app-0", agentPW + "unit-app-0", "", other, refused},
		{"token", model(m1), "unit-app-0", "one-time-token", "", nil, "ok"},
		{"token with foreign certificate", model(m1), "unit-app-0", "one-time-token", "", other, refused},
		{"token with good certificate", model(m1), "unit-app-0", "one-time-token", "", unit, refused},
	} {
		if _, got := b.open(c.path, c.cert).login(c.tag, c.pw, c.nonce); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

func TestEnrollingReachesNothingElse(t *testing.T) {
	b := start(t)
	s := b.open("/model/"+string(m1)+"/api", nil)
	a, got := s.login("unit-app-0", "one-time-token", "")
	if got != "ok" || strings.Contains(string(a.Response), "Client") || strings.Contains(string(a.Response), "user-info") {
		t.Fatalf("%s %s", got, a.Response)
	}
	for _, e := range b.srv.Table().Endpoints() {
		if e.Method == "Watch" {
			continue // only whole agents and users watch
		}
		_, got := s.call(e.Facade, e.Version, e.Method, nil)
		allowed := e.Facade == "Enrolment" || e.Facade == "Pinger"
		if allowed == strings.Contains(got, "permission denied") && !strings.Contains(got, "not supported for") {
			t.Errorf("%s: %s", e, got)
		}
	}
}

func TestExpiredCertificateRenewsOnly(t *testing.T) {
	b := start(t, func(c *apiserver.Config) {
		c.Now = func() time.Time { return time.Now().Add(48 * time.Hour) }
	})
	cert := b.agentCert("unit-app-0", m1, time.Hour)
	_, got := b.open("/model/"+string(m1)+"/api", cert).login("unit-app-0", agentPW+"unit-app-0", "")
	if got == "ok" {
		t.Error("an expired certificate gave an agent's rights")
	}
	s := b.open("/model/"+string(m1)+"/api", cert)
	if _, got := s.login("unit-app-0", "one-time-token", ""); got != "ok" { // the test's authenticator lets it in as enrolling
		t.Fatal(got)
	}
	if _, got := s.call("UnitAgent", 1, "Get", nil); got != "permission denied | unauthorized access" {
		t.Errorf("got %s", got)
	}
	if _, got := s.call("Enrolment", 1, "Get", nil); got != "ok" {
		t.Errorf("got %s", got)
	}
}

func TestAgentLoginRate(t *testing.T) {
	b := start(t, func(c *apiserver.Config) { c.Limits.AgentBurst, c.Limits.AgentEvery = 3, time.Hour })
	cert := b.agentCert("unit-app-0", m1, time.Hour)
	last := ""
	for range 4 {
		_, last = b.open("/model/"+string(m1)+"/api", cert).login("unit-app-0", agentPW+"unit-app-0", "")
	}
	if last != "try again | try again" {
		t.Errorf("got %s", last)
	}
	if _, got := b.open("/api", nil).login("user-bob", "pw-bob", ""); got != "ok" {
		t.Errorf("a user was limited with the agents: %s", got)
	}
}

// TestStrangersDoNotSpendTheAgentsLogins: whoever has no certificate of ours
// uses up the strangers' budget, and agents still come in.
func TestStrangersDoNotSpendTheAgentsLogins(t *testing.T) {
	b := start(t, func(c *apiserver.Config) { c.Limits.AgentBurst, c.Limits.AgentEvery = 3, time.Hour })
	last := ""
	for range 5 {
		_, last = b.open("/model/"+string(m1)+"/api", nil).login("unit-app-0", "nope", "")
	}
	if last != "try again | try again" {
		t.Fatalf("strangers have no limit: %s", last)
	}
	cert := b.agentCert("unit-app-0", m1, time.Hour)
	if _, got := b.open("/model/"+string(m1)+"/api", cert).login("unit-app-0", agentPW+"unit-app-0", ""); got != "ok" {
		t.Errorf("an agent with its certificate got %s", got)
	}
}

func TestUsersAreSlowedNotLockedOut(t *testing.T) {
	b := start(t, func(c *apiserver.Config) {
		c.Limits.FreeTries, c.Limits.FirstWait, c.Limits.MaxWait = 2, 2*time.Second, 3*time.Second
	})
	s := b.open("/api", nil)
	for _, tag := range []string{"user-bob", "user-BOB", "user-bob@local"} {
		if _, got := s.login(tag, "wrong", ""); got == "ok" {
			t.Fatal(got)
		}
	}
	began := time.Now()
	if _, got := b.open("/api", nil).login("user-bob", "pw-bob", ""); got != "ok" {
		t.Errorf("locked out: %s", got)
	}
	if took := time.Since(began); took < 2*time.Second {
		t.Errorf("not slowed down: %v", took)
	}
	began = time.Now()
	if _, got := b.open("/api", nil).login("user-rd", "pw-rd", ""); got != "ok" || time.Since(began) > 1900*time.Millisecond {
		t.Errorf("another account: %s after %v", got, time.Since(began))
	}
}

func TestRacingLogins(t *testing.T) {
	b := start(t)
	s := b.open("/api", nil)
	const n = 20
	for i := range n {
		err := s.write(map[string]any{"request-id": i + 1, "type": "Admin", "version": 3, "request": "Login", "params": map[string]any{
			"auth-tag": "user-bob", "credentials": "pw-bob",
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	ok := 0
	for range n {
		if _, got := s.read(); got == "ok" {
			ok++
		} else if !strings.HasPrefix(got, "already logged in") && !strings.HasPrefix(got, "unknown version (3)") {
			t.Errorf("got %s", got)
		}
	}
	if ok != 1 {
		t.Errorf("%d logins succeeded", ok)
	}
}

func TestRevocationCutsLiveConnections(t *testing.T) {
	b := start(t)
	s := b.open("/model/"+string(m1)+"/api", nil)
	if _, got := s.login("user-bob", "pw-bob", ""); got != "ok" {
		t.Fatal(got)
	}
	b.people.remove("bob")
	b.waitFor(func() bool { _, got := s.call("Client", 8, "Get", nil); return got == "closed" })
}

func TestGrantsAreAskedAtEachCall(t *testing.T) {
	b := start(t)
	s := b.open("/model/"+string(m1)+"/api", nil)
	if _, got := s.login("user-bob", "pw-bob", ""); got != "ok" {
		t.Fatal(got)
	}
	b.people.mu.Lock()
	delete(b.people.levels["bob"], "model:"+m1str)
	b.people.mu.Unlock()
	if _, got := s.call("Client", 8, "Get", nil); got != "permission denied | unauthorized access" {
		t.Errorf("got %s", got)
	}
}

func TestSilence(t *testing.T) {
	b := start(t, func(c *apiserver.Config) {
		c.Limits.LoginTimeout, c.Limits.AgentSilence = 3*time.Second, 4*time.Second
	})
	cert := b.agentCert("unit-app-0", m1, time.Hour)
	mute, user, agent := b.open("/api", nil), b.open("/api", nil), b.open("/model/"+string(m1)+"/api", cert)
	if _, got := user.login("user-bob", "pw-bob", ""); got != "ok" {
		t.Fatal(got)
	}
	if _, got := agent.login("unit-app-0", agentPW+"unit-app-0", ""); got != "ok" {
		t.Fatal(got)
	}
	began := time.Now()
	if _, got := mute.read(); got != "closed" {
		t.Errorf("a socket that does not log in: %s", got)
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for time.Since(began) < 6*time.Second { // pings keep it
		if _, got := agent.call("Pinger", 1, "Ping", nil); got != "ok" {
			t.Fatalf("ping: %s", got)
		}
		<-tick.C
	}
	if _, got := agent.read(); got != "closed" {
		t.Errorf("a silent agent: %s", got)
	}
	if _, got := user.call("Cloud", 7, "Get", nil); got != "ok" {
		t.Errorf("a silent user: %s", got)
	}
}

func TestLoginsAreRecorded(t *testing.T) {
	b := start(t, func(c *apiserver.Config) { c.Limits.RecordBurst, c.Limits.RecordEvery = 5, time.Hour })
	_, _ = b.open("/api", nil).login("user-bob", "pw-bob", "")
	guesser := b.open("/api", nil)
	for range 12 {
		_, _ = guesser.login("user-eve", "hunter2", "")
	}
	_, _ = b.open("/api", nil).login("user-rd", "pw-rd", "")
	ok, denied, more := 0, 0, ""
	for r, err := range audit.Table.All(b.store.View(), state.Controller) {
		if err != nil {
			t.Fatal(err)
		}
		raw, _ := json.Marshal(r)
		if strings.Contains(string(raw), "hunter2") || strings.Contains(string(raw), "pw-") {
			t.Errorf("a password is on record: %s", raw)
		}
		switch r.Outcome {
		case audit.OK:
			ok++
		case audit.Denied:
			denied++
		}
		more += strings.Join(r.Targets, " ")
	}
	if ok != 2 || denied != 5 || more != "7 more failed logins before this one" {
		t.Errorf("%d good, %d failed, %q", ok, denied, more)
	}
}
