package threats_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/domain/controller"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/tests/cluster"
	"github.com/scarab-ops/scarab/tests/threats/bench"
)

func reachParts() []part {
	return []part{
		{"P3-11", "cidrs", "the API port answers the allowed networks only, for open connections within 10 s; a list that would shut out who sets it, or a machine, is refused", allowedNetworks},
	}
}

// loginFrom logs in from an address.
func loginFrom(t *testing.T, w *bench.World, from string, u names.User) (*bench.Raw, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r, err := w.RawFrom(ctx, t, from, "", nil)
	if err != nil {
		return nil, err
	}
	_, err = r.Call(ctx, "Admin", 3, "Login", "", bench.LoginArgs(u.Tag(), bench.Password(u), ""))
	return r, err
}

func allow(t *testing.T, w *bench.World, by *bench.Raw, networks string) error {
	t.Helper()
	args := map[string]any{"config": map[string]any{controller.AllowedNetworks: networks}}
	_, err := by.Call(cluster.Context(t), "Controller", w.Latest("Controller"), "ConfigSet", "", args)
	return err
}

func allowedNetworks(t *testing.T, _ *env) {
	w := bench.New(t, bench.Options{Abroad: true})
	w.Machine(t, bench.M1, "0") // its address is in 10.99.0.0/24
	at := must[*bench.Raw](t)(loginFrom(t, w, "", cluster.Admin))
	far := must[*bench.Raw](t)(loginFrom(t, w, "127.0.2.7", cluster.Admin))
	near := must[*bench.Raw](t)(loginFrom(t, w, "127.0.2.200", bench.Writer))
	for networks, want := range map[string]string{
		"192.0.2.128/25": "machine", "10.99.0.0/24 192.0.2.0/25": "cannot allow network", "10.99.0.1/24": "10.99.0.0/24", "0.0.0.0": "cannot allow network",
	} {
		if err := allow(t, w, at, networks); err == nil || !strings.Contains(err.Error(), want) || !bench.Refused(err) {
			t.Errorf("networks %q: %v, want a refusal with %q", networks, err, want)
		}
	}
	if err := allow(t, w, far, "10.99.0.0/24,192.0.2.128/25"); err == nil || !strings.Contains(err.Error(), "you come from 192.0.2.7") {
		t.Errorf("somebody shut out himself: %v", err)
	}
	start := time.Now()
	if err := allow(t, w, at, "10.99.0.0/24,192.0.2.128/25"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := far.Receive(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("an open connection from outside the networks is still open after %s: %v", time.Since(start), err)
	}
	knock(t, w)
	if _, err := loginFrom(t, w, "127.0.2.201", bench.Writer); err != nil {
		t.Errorf("from an allowed network: %v", err)
	}
	for who, r := range map[string]*bench.Raw{"loopback": at, "an allowed network": near} {
		if _, err := r.Call(cluster.Context(t), "Pinger", 1, "Ping", "", nil); err != nil {
			t.Errorf("a connection from %s was cut: %v", who, err)
		}
	}
	w.Restart(t) // it is the setting that counts, not who was there first
	knock(t, w)
	at = must[*bench.Raw](t)(loginFrom(t, w, "", cluster.Admin))
	if err := allow(t, w, at, ""); err != nil {
		t.Fatal(err)
	}
	cluster.Eventually(t, "all may come again", func() bool { _, err := loginFrom(t, w, "127.0.2.7", bench.Writer); return err == nil })
}

// knock tries the port from where nobody is allowed: not a byte comes back.
func knock(t *testing.T, w *bench.World) {
	t.Helper()
	wire := bench.NewWire(t, w.Addr)
	wire.From("127.0.2.8")
	direct := *w.Cluster
	direct.Addr = wire.Addr()
	hostile := *w
	hostile.Cluster = &direct
	_, err := loginFrom(t, &hostile, "", bench.Writer)
	up, down := wire.Recorded()
	if err == nil || len(down) > 0 || wire.Connections() == 0 {
		t.Errorf("from outside the networks: %v, %d bytes came back", err, len(down))
	}
	if bytes.Contains(up, []byte(bench.Password(bench.Writer).Reveal())) {
		t.Error("the password was sent in the clear")
	}
}
