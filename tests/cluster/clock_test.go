package cluster

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/cli"
	"github.com/scarab-ops/scarab/cli/connect"
	"github.com/scarab-ops/scarab/cli/session"
	"github.com/scarab-ops/scarab/cli/store"
)

// person runs the command line over client files that know the cluster.
func (c *Cluster) person(t *testing.T, now func() time.Time, change func(*store.Controller, *store.Account)) func(args ...string) (int, string) {
	t.Helper()
	st, err := store.New(store.Config{Dir: filepath.Join(t.TempDir(), "data"), UID: os.Geteuid()})
	if err != nil {
		t.Fatal(err)
	}
	entry := store.Controller{UUID: string(Controller), Endpoints: []string{c.Addr}, CACert: c.CACert, Cloud: "localhost", Type: "lxd"}
	account := store.Account{User: string(Admin), Password: store.NewPassword(AdminPassword.Reveal())}
	if change != nil {
		change(&entry, &account)
	}
	err = errors.Join(st.SetController(t.Context(), "prod", entry, true), st.SetAccount(t.Context(), "prod", account),
		st.SetModel(t.Context(), "prod", "admin/controller", store.Model{UUID: string(AdminModel), Type: "iaas"}, true))
	if err != nil {
		t.Fatal(err)
	}
	return func(args ...string) (int, string) {
		var out bytes.Buffer
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		code := cli.Main(ctx, session.Config{
			Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out, Getenv: func(string) string { return "" }, Now: time.Now, Store: st,
			Dial: connect.New(connect.Config{Version: "3.6.12", Now: now}), Terminal: cli.NewTerminal(ctx, os.Stdin, os.Stdout, os.Stderr),
			Version: session.Versions{Juju: "3.6.12", Scarab: "0.1.0"},
		}, args)
		return code, out.String()
	}
}

// TestClocksAndAuthorities has controllers and clients that disagree about the time: one clear error, and what to do.
func TestClocksAndAuthorities(t *testing.T) {
	const year = 365 * 24 * time.Hour
	at := func(d time.Duration) func() time.Time { return func() time.Time { return time.Now().Add(d) } }
	refused := func(t *testing.T, run func(...string) (int, string), want ...string) {
		t.Helper()
		for _, command := range [][]string{{"status"}, {"models"}} {
			code, out := run(command...)
			if code != 1 || strings.Count(out, "ERROR") != 1 || strings.Contains(out, "x509:") {
				t.Errorf("%v: exit code %d:\n%s", command, code, out)
			}
			for _, w := range want {
				if !strings.Contains(out, w) {
					t.Errorf("%v: %q is missing:\n%s", command, w, out)
				}
			}
		}
	}
	t.Run("the authority ran out", func(t *testing.T) {
		c := Start(t, Options{Memory: true, Now: at(-12 * year)})
		refused(t, c.person(t, nil, nil), "cannot connect to controller \"prod\"", "the authority (CA) of the controller is valid from", "hint: see whether the clock of this machine is right",
			"scarab login -c prod --trust-new-ca")
	})
	t.Run("the controller's clock is behind", func(t *testing.T) {
		c := Start(t, Options{Memory: true, Now: at(-72 * time.Hour)})
		refused(t, c.person(t, nil, nil), "its certificate is valid from", "that of the controller's host")
	})
	c := Start(t, Options{Memory: true})
	if code, out := c.person(t, nil, nil)("models"); code != 0 {
		t.Fatalf("exit code %d:\n%s", code, out)
	}
	t.Run("the client's clock is ahead by years", func(t *testing.T) {
		refused(t, c.person(t, at(12*year), nil), "the authority (CA) of the controller is valid from", "clock of this machine")
	})
	t.Run("the client's clock is behind", func(t *testing.T) {
		refused(t, c.person(t, at(-48*time.Hour), nil), "the authority (CA) of the controller is valid from", "clock of this machine")
	})
	t.Run("a foreign authority", func(t *testing.T) {
		other := Start(t, Options{Memory: true})
		run := c.person(t, nil, func(e *store.Controller, _ *store.Account) { e.CACert = other.CACert })
		refused(t, run, "not vouched for by the authority", "posing as the controller")
	})
	t.Run("a wrong password", func(t *testing.T) {
		run := c.person(t, nil, func(_ *store.Controller, a *store.Account) { a.Password = store.NewPassword("wrong") })
		refused(t, run, "invalid entity name or password", "hint: log in again: scarab login -c prod")
	})
	t.Run("the controller is down", func(t *testing.T) {
		run := c.person(t, nil, nil)
		c.Stop(t)
		refused(t, run, c.Addr+": connection refused", "see whether the controller's host runs")
	})
}
