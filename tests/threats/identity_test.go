package threats_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/client"
	"github.com/scarab-ops/scarab/domain/agentcred"
	"github.com/scarab-ops/scarab/domain/controller"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/password"
	"github.com/scarab-ops/scarab/pki"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/state/sealed"
	"github.com/scarab-ops/scarab/tests/cluster"
	"github.com/scarab-ops/scarab/tests/threats/bench"
)

func identityParts() []part {
	return []part{
		{"K-AGENTAUTH", "login", "logins with no, wrong, empty, old or another's password, or with a removed unit's, are refused", agentLogins},
		{"K-AGENTAUTH", "random", "passwords and tokens are 256 random bits, per agent, and the token dies at first contact", agentTokens},
		{"P3-16", "start", "an agent whose CA is missing, empty, expired or another's never connects and sends no byte of its credentials", pinnedAuthority},
		{"P3-17", "certificate", "a local key, only its own name, clientAuth, at most 24 h, of the pinned CA; not good for another's login", ownCertificate},
		{"P3-17", "revoked", "a removed agent is cut within 5 s", revokedAgent},
		{"P3-18", "both", "certificate without password and password without certificate are both refused", bothProofs},
	}
}

// tryLogin logs an agent in and returns the error.
func tryLogin(t *testing.T, w *bench.World, m names.Model, cert *tls.Certificate, tag names.Tag, pw client.Secret, nonce string) error {
	t.Helper()
	conn := w.Dial(t, m, cert)
	defer conn.Close()
	_, err := conn.Login(cluster.Context(t), client.Credentials{Tag: tag, Password: pw, Nonce: nonce})
	return err
}

func wantRefused(t *testing.T, what string, err error) {
	t.Helper()
	if !bench.Refused(err) {
		t.Errorf("%s was not refused: %v", what, err)
	}
}

func agentLogins(t *testing.T, e *env) {
	w := e.world()
	unit, other := w.Unit(t, bench.M1, "a/0"), w.Unit(t, bench.M1, "b/0")
	host := w.Machine(t, bench.M1, "0")
	uc, hc := unit.Certificate(t), host.Certificate(t)
	w.Unchanged(t, func() {
		for what, c := range map[string]struct {
			a    *cluster.Agent
			cert *tls.Certificate
			pw   string
		}{
			"no password of a unit":             {unit, uc, ""},
			"a wrong password of a unit":        {unit, uc, "wrong-password-of-some-length-xxxxxxxxxxx"},
			"another unit's password":           {unit, uc, other.Password.Reveal()},
			"the machine's password for a unit": {unit, uc, host.Password.Reveal()},
			"a cut password":                    {unit, uc, unit.Password.Reveal()[:len(unit.Password.Reveal())-1]},
			"a longer password":                 {unit, uc, unit.Password.Reveal() + "x"},
			"a password without certificate":    {unit, nil, unit.Password.Reveal()},
			"a unit with its machine's cert":    {unit, hc, unit.Password.Reveal()},
			"no password of a machine":          {host, hc, ""},
			"a unit's password for a machine":   {host, hc, unit.Password.Reveal()},
			"a machine's password without cert": {host, nil, host.Password.Reveal()},
			"a machine with a unit's cert":      {host, uc, host.Password.Reveal()},
		} {
			wantRefused(t, what, tryLogin(t, w, bench.M1, c.cert, c.a.Tag, client.NewSecret(c.pw), c.a.Nonce))
		}
		wantRefused(t, "a machine with another nonce", tryLogin(t, w, bench.M1, hc, host.Tag, host.Password, "other"))
		wantRefused(t, "an agent in another model", tryLogin(t, w, bench.M2, uc, unit.Tag, unit.Password, ""))
	})
	oldAndRemoved(t, w)
}

// oldAndRemoved plays a unit whose password changed and a unit that is gone.
func oldAndRemoved(t *testing.T, w *bench.World) {
	t.Helper()
	unit := w.Unit(t, bench.M1, "d/0")
	conn := unit.Connect(t, w.Cluster)
	old := unit.Password
	unit.Password = client.NewSecret(password.NewAgent().Reveal())
	if err := conn.Unit().SetPassword(cluster.Context(t), unit.Password); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, "an old password", tryLogin(t, w, bench.M1, unit.Certificate(t), unit.Tag, old, ""))
	if err := tryLogin(t, w, bench.M1, unit.Certificate(t), unit.Tag, unit.Password, ""); err != nil {
		t.Errorf("the new password: %v", err)
	}
	gone := *w.Unit(t, bench.M1, "a/1")
	saved := revoke(t, w, gone.Tag)
	wantRefused(t, "a removed unit", tryLogin(t, w, bench.M1, gone.Certificate(t), gone.Tag, gone.Password, ""))
	w.Do(t, func(tx *state.Tx) error { return agentcred.Table.Put(tx, model.ScopeOf(bench.M1), saved) })
}

func revoke(t *testing.T, w *bench.World, tag names.Tag) agentcred.Row {
	t.Helper()
	var saved agentcred.Row
	w.Do(t, func(tx *state.Tx) error {
		var err error
		if saved, err = agentcred.Table.Get(tx, model.ScopeOf(bench.M1), tag.String()); err != nil {
			return err
		}
		return agentcred.Revoke(tx, model.ScopeOf(bench.M1), tag.String())
	})
	return saved
}

func agentTokens(t *testing.T, e *env) {
	w := e.world()
	seen := map[string]bool{}
	for range count(200, 20_000) {
		s := password.NewAgent().Reveal()
		if len(s) < 43 || seen[s] {
			t.Fatalf("%d characters, or twice the same", len(s))
		}
		seen[s] = true
	}
	conf := w.Conf(t, bench.M1, "0")
	host := w.Machine(t, bench.M1, "0") // the token is used by now
	if len(conf.Token) < 43 || len(conf.Nonce) < 16 {
		t.Errorf("token of %d characters, nonce of %d", len(conf.Token), len(conf.Nonce))
	}
	w.Unchanged(t, func() {
		wantRefused(t, "a used token", tryLogin(t, w, bench.M1, nil, host.Tag, client.NewSecret(conf.Token), conf.Nonce))
		wantRefused(t, "a used token with certificate", tryLogin(t, w, bench.M1, host.Certificate(t), host.Tag, client.NewSecret(conf.Token), conf.Nonce))
	})
}

func pinnedAuthority(t *testing.T, e *env) {
	w := e.world()
	a := w.Unit(t, bench.M1, "a/0")
	other, err := pki.New(pki.Config{Controller: cluster.Controller, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	old, err := pki.New(pki.Config{Controller: cluster.Controller, Now: func() time.Time { return time.Now().AddDate(-40, 0, 0) }})
	if err != nil {
		t.Fatal(err)
	}
	wire := bench.NewWire(t, w.Addr)
	for what, ca := range map[string]string{
		"missing": "", "empty": "\n", "garbage": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
		"another's": string(other.CertPEM()), "expired": string(old.CertPEM()),
		"its own certificate": string(a.Chain[:strings.Index(string(a.Chain), "-----END CERTIFICATE-----")+26]),
	} {
		before := wire.Connections()
		conn, err := client.Dial(cluster.Context(t), client.Config{
			Addresses: []string{wire.Addr()}, CACert: ca, Model: a.Model, Version: "3.6.12",
			Certificate: func() (*tls.Certificate, error) { return a.Certificate(t), nil },
		})
		if err == nil {
			_ = conn.Close()
			t.Errorf("an agent connected with a CA that is %s", what)
		}
		if what == "another's" && wire.Connections() == before {
			t.Errorf("%s: nothing was tried", what)
		}
	}
	up, _ := wire.Recorded()
	bench.NoLeak(t, "the wire", up, map[string][]byte{"the password": []byte(a.Password.Reveal())})
	if err := tryLogin(t, w, a.Model, a.Certificate(t), a.Tag, a.Password, ""); err != nil {
		t.Errorf("with the right CA: %v", err)
	}
}

func leaf(t *testing.T, chain []byte) *x509.Certificate {
	t.Helper()
	return parseChain(t, chain)[0]
}

func ownCertificate(t *testing.T, e *env) {
	w := e.world()
	pool, err := pki.Pin([]byte(w.CACert))
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]bool{}
	for _, a := range []*cluster.Agent{w.Machine(t, bench.M1, "0"), w.Unit(t, bench.M1, "a/0"), w.Unit(t, bench.M1, "b/0")} {
		c := leaf(t, a.Chain)
		if _, err := c.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
			t.Errorf("%s: %v", a.Tag, err)
		}
		if _, err := c.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err == nil {
			t.Errorf("%s: its certificate may serve", a.Tag)
		}
		if life := time.Until(c.NotAfter); life > 24*time.Hour+time.Minute {
			t.Errorf("%s: its certificate lives %s", a.Tag, life)
		}
		want := "scarab://" + string(cluster.Controller) + "/model/" + string(a.Model) + "/" + a.Tag.String()
		if len(c.URIs) != 1 || c.URIs[0].String() != want || len(c.DNSNames)+len(c.IPAddresses) != 0 || c.IsCA {
			t.Errorf("%s: its certificate names %v %v %v", a.Tag, c.URIs, c.DNSNames, c.IPAddresses)
		}
		id := pki.Fingerprint(c)
		if keys[hex.EncodeToString(id[:])] {
			t.Errorf("%s shares a key", a.Tag)
		}
		keys[hex.EncodeToString(id[:])] = true
	}
	a0, b0 := w.Unit(t, bench.M1, "a/0"), w.Unit(t, bench.M1, "b/0")
	w.Unchanged(t, func() {
		wantRefused(t, "a/0's certificate for b/0", tryLogin(t, w, bench.M1, a0.Certificate(t), b0.Tag, b0.Password, ""))
		wantRefused(t, "an agent's certificate for a person", tryLogin(t, w, bench.M1, a0.Certificate(t), cluster.Admin.Tag(), a0.Password, ""))
	})
	otherKey(t, w, a0)
}

// otherKey makes, with the stolen CA, a certificate of the right name for a key
// that was never enrolled: the key itself is bound.
func otherKey(t *testing.T, w *bench.World, a *cluster.Agent) {
	t.Helper()
	key, err := pki.NewKey(pki.ECDSAP384)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := pki.NewCSR(key)
	if err != nil {
		t.Fatal(err)
	}
	chain, _, err := authority(t, w).IssueAgent(csr, pki.Agent{Model: a.Model, Tag: a.Tag}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := pki.TLSCertificate(chain, key)
	if err != nil {
		t.Fatal(err)
	}
	wantRefused(t, "a certificate of the right name for another key", tryLogin(t, w, a.Model, cert, a.Tag, a.Password, ""))
}

// authority is the controller's CA, as one who has disk and unseal key has it.
func authority(t *testing.T, w *bench.World) *pki.Authority {
	t.Helper()
	ca, err := pki.Load(pki.Config{Controller: cluster.Controller, Now: time.Now}, []byte(w.CACert), sealedKey(t, w, "ca"))
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func sealedKey(t *testing.T, w *bench.World, name string) []byte {
	t.Helper()
	box, err := sealed.Open(sealed.Config{KeyFile: w.KeyDir + "/unseal.key", DataDir: w.Dir})
	if err != nil {
		t.Fatal(err)
	}
	k, err := controller.Keys.Get(w.Store.View(), box, state.Controller, name)
	if err != nil {
		t.Fatal(err)
	}
	return k.Data
}

func revokedAgent(t *testing.T, e *env) {
	w := e.world()
	a := w.Unit(t, bench.M1, "c/0")
	conn := a.Connect(t, w.Cluster)
	if err := conn.Ping(cluster.Context(t)); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	saved := revoke(t, w, a.Tag)
	select {
	case <-conn.Done():
	case <-time.After(5 * time.Second):
		t.Error("a removed agent is still connected after 5 s")
	}
	t.Logf("cut after %s", time.Since(start))
	wantRefused(t, "a removed agent", tryLogin(t, w, a.Model, a.Certificate(t), a.Tag, a.Password, ""))
	w.Do(t, func(tx *state.Tx) error { return agentcred.Table.Put(tx, model.ScopeOf(bench.M1), saved) })
}

func bothProofs(t *testing.T, e *env) {
	w := e.world()
	a := w.Unit(t, bench.M1, "a/0")
	w.Unchanged(t, func() {
		wantRefused(t, "a certificate without password", tryLogin(t, w, a.Model, a.Certificate(t), a.Tag, client.Secret{}, ""))
		wantRefused(t, "a certificate with a wrong password", tryLogin(t, w, a.Model, a.Certificate(t), a.Tag, client.NewSecret(strings.Repeat("x", 43)), ""))
		wantRefused(t, "a password without certificate", tryLogin(t, w, a.Model, nil, a.Tag, a.Password, ""))
		foreign, err := pki.New(pki.Config{Controller: cluster.Controller, Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		csr, err := pki.NewCSR(a.Key)
		if err != nil {
			t.Fatal(err)
		}
		chain, _, err := foreign.IssueAgent(csr, pki.Agent{Model: a.Model, Tag: a.Tag}, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := pki.TLSCertificate(chain, a.Key)
		if err != nil {
			t.Fatal(err)
		}
		wantRefused(t, "another authority's certificate for the same key", tryLogin(t, w, a.Model, cert, a.Tag, a.Password, ""))
	})
	if err := tryLogin(t, w, a.Model, a.Certificate(t), a.Tag, a.Password, ""); err != nil {
		t.Errorf("with both: %v", err)
	}
}
