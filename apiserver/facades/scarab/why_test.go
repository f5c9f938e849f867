package scarab

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/apiserver/facades/facadetest"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/removal"
	"github.com/scarab-ops/scarab/domain/status"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
	wirescarab "github.com/scarab-ops/scarab/wire/scarab"
)

// away is a Presence that knows only who is away.
type away map[string]bool

func (a away) Connected(_ names.Model, tag names.Tag) (bool, time.Time) {
	return !a[tag.String()], time.Time{}
}

// chain asks why and returns "entity state" for each cause.
func chain(t *testing.T, w *facadetest.World, p away, name string) string {
	t.Helper()
	es, err := Endpoints(Service{Presence: p})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := w.Call(w.Session("bob", facadetest.Dev), es, "Scarab.1.Why", "", `{"name":"`+name+`"}`)
	if err != nil {
		t.Fatal(err)
	}
	var got wirescarab.WhyResult
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, c := range got.Causes {
		if c.Because == "" {
			t.Errorf("%s is %s for no reason", c.Entity, c.State)
		}
		out = append(out, c.Entity+" "+c.State)
	}
	return strings.Join(out, ", ")
}

func TestChains(t *testing.T) {
	w := facadetest.New(t)
	w.Deploy(t, "db", "db", 1)
	w.Deploy(t, "web", "web", 1)
	w.Start(t, "0", "10.0.0.10")
	w.Start(t, "1", "10.0.0.11")
	w.Report(t, "db/0", status.Entry{Status: "idle"}, status.Entry{Status: "active"})
	w.Report(t, "web/0", status.Entry{Status: "idle"}, status.Entry{Status: "blocked", Message: "needs a database"})

	check := func(p away, name, want string) {
		t.Helper()
		if got := chain(t, w, p, name); got != want {
			t.Errorf("why %s: got %q, want %q", name, got, want)
		}
	}
	check(nil, "db/0", "")
	check(nil, "web/0", "unit-web-0 blocked, application-web unrelated")
	// A hook that runs explains all; what the charm lacks besides is no cause.
	w.Report(t, "web/0", status.Entry{Status: "executing", Message: "running install hook"}, status.Entry{Status: "maintenance", Message: "installing"})
	check(nil, "web/0", "unit-web-0 maintenance, unit-web-0 executing")
	w.Report(t, "web/0", status.Entry{Status: "executing", Message: "running start hook"}, status.Entry{Status: "blocked", Message: "needs a database"})
	check(nil, "web/0", "unit-web-0 blocked, unit-web-0 executing")
	w.Report(t, "web/0", status.Entry{Status: "idle"}, status.Entry{Status: "maintenance", Message: "tidying"})
	check(nil, "web/0", "unit-web-0 maintenance")
	w.Report(t, "web/0", status.Entry{Status: "idle"}, status.Entry{Status: "blocked", Message: "needs a database"})
	check(away{"unit-db-0": true, "machine-0": true}, "db/0", "unit-db-0 lost, machine-0 down")

	w.Relate(t, "web", "db")
	check(nil, "web:db db:db", "relation-web.db#db.db joining, unit-web-0 blocked, relation-web.db#db.db joining")

	w.Update(t, func(tx *state.Tx) error {
		s := model.ScopeOf(facadetest.Dev)
		return status.Set(tx, s, status.OfInstance("1"), status.Entry{Status: "provisioning error", Message: "no room"})
	})
	check(nil, "1", "machine-1 provisioning error")

	w.Update(t, func(tx *state.Tx) error {
		m, err := model.Get(tx, facadetest.Dev)
		if err != nil {
			return err
		}
		_, err = removal.DestroyApplication(tx, m, "db", removal.Options{}, w.Now())
		return err
	})
	if got := chain(t, w, nil, "db"); !strings.HasPrefix(got, "application-db dying") || !strings.Contains(got, "unit-db-0 dying") {
		t.Errorf("why db: got %q", got)
	}
}
