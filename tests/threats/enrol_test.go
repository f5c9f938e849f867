package threats_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/client"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/password"
	"github.com/scarab-ops/scarab/pki"
	"github.com/scarab-ops/scarab/tests/cluster"
	"github.com/scarab-ops/scarab/tests/threats/bench"
)

func enrolParts() []part {
	return []part{
		{"F-SSH-AG-A", "cut", "enrolment cut at many places: the same token with the same key works until the agent is in, and never half", cutEnrolment},
		{"F-SSH-AG-C", "single", "what a machine starts from and all the controller keeps hold no private key and no password", provisioning},
		{"P4-02", "pinned", "the CA comes with the machine's own file; nothing is written to the system's trust store", pinnedByProvisioning},
		{"F-SSH-AG-A", "race", "a thousand tries with one token: exactly one enrols", tokenRace},
	}
}

func certificateOf(a *cluster.Agent) (*tls.Certificate, error) {
	return pki.TLSCertificate(a.Chain, a.Key)
}

func dialAgent(ctx context.Context, w *bench.World, a *cluster.Agent, cert *tls.Certificate) (*client.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := client.Dial(ctx, client.Config{
		Addresses: []string{w.Addr}, CACert: w.CACert, Model: a.Model, Version: "3.6.12",
		Certificate: func() (*tls.Certificate, error) { return cert, nil },
	})
	if err != nil {
		return nil, err
	}
	if _, err := conn.Login(ctx, client.Credentials{Tag: a.Tag, Password: a.Password, Nonce: a.Nonce}); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// enrolOnce is one try of an agent to enrol by way of addr.
func enrolOnce(ctx context.Context, w *bench.World, addr string, a *cluster.Agent, token client.Secret, csr []byte) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := client.Dial(ctx, client.Config{Addresses: []string{addr}, CACert: w.CACert, Model: a.Model, Version: "3.6.12", DialTimeout: 5 * time.Second})
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.Login(ctx, client.Credentials{Tag: a.Tag, Password: token, Nonce: a.Nonce}); err != nil {
		return err
	}
	res, err := conn.Enrol(ctx, csr, a.Password)
	if err == nil {
		a.Chain = []byte(res.Certificate)
	}
	return err
}

func fresh(t *testing.T, m names.Model, tag names.Tag) (*cluster.Agent, []byte) {
	t.Helper()
	key := must[pki.Key](t)(pki.NewKey(pki.ECDSAP384))
	csr := must[[]byte](t)(pki.NewCSR(key))
	return &cluster.Agent{Tag: tag, Model: m, Key: key, Password: client.NewSecret(password.NewAgent().Reveal())}, csr
}

func cutEnrolment(t *testing.T, _ *env) {
	w := bench.New(t, bench.Options{})
	host := w.Machine(t, bench.M1, "0").Connect(t, w.Cluster)
	wire := bench.NewWire(t, w.Addr)
	stuck := 0
	tries := count(12, 150)
	whole := 0 // bytes of an enrolment that is not cut
	for i := range tries {
		token, err := host.Machine().UnitToken(cluster.Context(t), "b/0")
		if err != nil {
			t.Fatal(err)
		}
		a, csr := fresh(t, bench.M1, names.Unit("b/0").Tag())
		if i == 0 {
			if err := enrolOnce(t.Context(), w, wire.Addr(), a, token, csr); err != nil {
				t.Fatal(err)
			}
			_, down := wire.Recorded()
			whole = len(down)
			continue
		}
		cutAt, seen := whole-i*(whole/2)/tries, 0
		wire.Tap(bench.Taps{Down: func(before int, p []byte) ([]byte, bool) {
			if seen = before + len(p); seen >= cutAt {
				return p[:max(0, min(len(p), cutAt-before))], false
			}
			return p, true
		}})
		first := enrolOnce(t.Context(), w, wire.Addr(), a, token, csr)
		wire.Tap(bench.Taps{})
		other, otherCSR := fresh(t, bench.M1, a.Tag)
		if first == nil {
			if err := enrolOnce(t.Context(), w, w.Addr, other, token, otherCSR); err == nil || !strings.Contains(err.Error(), "used already") {
				t.Errorf("another key with a used token: %v", err)
			}
		} else if err := enrolOnce(t.Context(), w, w.Addr, a, token, csr); err != nil {
			t.Errorf("cut after %d bytes (%v), the same agent cannot enrol again: %v", cutAt, first, err)
			stuck++
			continue
		}
		cert, err := certificateOf(a)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := dialAgent(t.Context(), w, a, cert)
		if err != nil {
			t.Fatalf("cut after %d bytes: enrolled, and cannot log in: %v", cutAt, err)
		}
		_ = conn.Close()
		wantRefused(t, "the token after the first login", enrolOnce(t.Context(), w, w.Addr, a, token, csr))
	}
	if stuck > 0 {
		t.Errorf("%d of %d agents cannot start", stuck, tries)
	}
}

func tokenRace(t *testing.T, _ *env) {
	w := bench.New(t, bench.Options{})
	host := w.Machine(t, bench.M1, "0").Connect(t, w.Cluster)
	token := must[client.Secret](t)(host.Machine().UnitToken(cluster.Context(t), "b/0"))
	var won atomic.Int64
	var wg sync.WaitGroup
	start := make(chan struct{})
	for range count(20, 60) {
		a, csr := fresh(t, bench.M1, names.Unit("b/0").Tag())
		conn := w.Dial(t, bench.M1, nil)
		if _, err := conn.Login(cluster.Context(t), client.Credentials{Tag: a.Tag, Password: token}); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			<-start
			if _, err := conn.Enrol(t.Context(), csr, a.Password); err == nil {
				won.Add(1)
			}
		})
	}
	close(start)
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("one token enrolled %d agents", won.Load())
	}
}

func provisioning(t *testing.T, _ *env) {
	w := bench.New(t, bench.Options{})
	a, host := w.Unit(t, bench.M1, "a/0"), w.Machine(t, bench.M1, "0")
	markers := map[string][]byte{
		"the unit's password": []byte(a.Password.Reveal()), "the machine's password": []byte(host.Password.Reveal()), "a key in PEM": []byte("PRIVATE KEY-----"),
	}
	for _, x := range []*cluster.Agent{a, host} {
		for k, v := range keyMarkers(t, x.Tag.String()+"'s key", must[[]byte](t)(x.Key.RevealPEM())) {
			markers[k] = v
		}
	}
	for k, v := range keyMarkers(t, "the CA's key", sealedKey(t, w, "ca")) {
		markers[k] = v
	}
	for _, id := range []names.Machine{"0", "1", "2"} {
		spec, ok := w.Cloud.Spec(string(bench.M1) + "/" + string(id))
		if !ok {
			t.Fatalf("machine %s was not started", id)
		}
		text := fmt.Sprintf("%+v", spec)
		for _, f := range spec.Files {
			text += string(f.Data)
		}
		bench.NoLeak(t, "what machine "+string(id)+" starts from", []byte(text), markers)
	}
	var dump bytes.Buffer
	if err := w.Store.View().Dump(&dump); err != nil {
		t.Fatal(err)
	}
	bench.NoLeak(t, "the store", dump.Bytes(), markers)
	bench.NoLeak(t, "the log", w.Log.Bytes(), markers)
	w.Halt(t)
	bench.NoLeakOnDisk(t, w.Dir, markers)
}

func pinnedByProvisioning(t *testing.T, e *env) {
	w := e.world()
	spec, ok := w.Cloud.Spec(string(bench.M1) + "/0")
	if !ok {
		t.Fatal("machine 0 was not started")
	}
	conf := w.Conf(t, bench.M1, "0")
	if conf.CACert != w.CACert || !strings.Contains(conf.CACert, "BEGIN CERTIFICATE") {
		t.Errorf("the machine's file carries another CA: %.80q", conf.CACert)
	}
	found := false
	for _, f := range spec.Files {
		if !strings.HasPrefix(f.Path, "/var/lib/scarab/") && !strings.HasPrefix(f.Path, "/etc/systemd/system/") {
			t.Errorf("provisioning writes %s", f.Path)
		}
		if bytes.Contains(f.Data, []byte("BEGIN CERTIFICATE")) {
			found = true
			if f.Mode&0o077 != 0 {
				t.Errorf("%s with the token has mode %o", f.Path, f.Mode)
			}
		}
	}
	if !found {
		t.Error("no file brings the CA")
	}
}
