package fullstatus

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/domain/application"
	"github.com/scarab-ops/scarab/domain/machine"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/status"
	"github.com/scarab-ops/scarab/domain/unit"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/wire/agentapi"
)

func at(sec int) time.Time { return time.Date(2026, 1, 2, 3, 4, sec, 0, time.UTC) }

// fixed is a Presence with one answer.
type fixed struct {
	here  bool
	since time.Time
}

func (f fixed) Connected(names.Model, names.Tag) (bool, time.Time) { return f.here, f.since }

func TestLostAfterGrace(t *testing.T) {
	for _, c := range []struct {
		name string
		p    Presence
		want bool
	}{
		{"nobody knows", nil, false},
		{"connected", fixed{true, at(0)}, false},
		{"gone a moment ago", fixed{false, at(30)}, false},
		{"gone for the whole grace", fixed{false, at(30).Add(-Grace)}, true},
		{"never seen", fixed{}, true},
	} {
		if got := Lost(c.p, "m", names.Tag{}, at(30)).Lost; got != c.want {
			t.Errorf("%s: lost %v, want %v", c.name, got, c.want)
		}
	}
}

func TestUnitRules(t *testing.T) {
	away := Absence{Lost: true, Since: at(9)}
	entry := func(s string) status.Entry { return status.Entry{Status: s, Since: at(1)} }
	for _, c := range []struct {
		name            string
		u               unit.Row
		agent, workload string
		away            Absence
		wantA, wantW    string
	}{
		{"well", unit.Row{CharmURL: "c"}, "idle", "active", Absence{}, "idle", "active"},
		{"hook error", unit.Row{CharmURL: "c"}, "error", "waiting", Absence{}, "idle", "error"},
		{"hook error stays when lost", unit.Row{CharmURL: "c"}, "error", "waiting", away, "lost", "error"},
		{"terminated stays when lost", unit.Row{CharmURL: "c"}, "idle", "terminated", away, "lost", "terminated"},
		{"lost", unit.Row{CharmURL: "c"}, "executing", "active", away, "lost", "unknown"},
		{"not while allocating", unit.Row{CharmURL: "c"}, "allocating", "waiting", away, "allocating", "waiting"},
		{"not while installing", unit.Row{}, "executing", "maintenance", away, "executing", "maintenance"},
		{"not when dead", unit.Row{CharmURL: "c", Life: "dead"}, "idle", "active", away, "idle", "active"},
	} {
		a, w := Unit(&c.u, entry(c.agent), entry(c.workload), c.away)
		if a.Status != c.wantA || w.Status != c.wantW {
			t.Errorf("%s: got %s and %s, want %s and %s", c.name, a.Status, w.Status, c.wantA, c.wantW)
		}
		if a.Status == "lost" && (a.Message != Silent || !a.Since.Equal(at(9))) {
			t.Errorf("%s: lost says %q since %s", c.name, a.Message, a.Since)
		}
	}
	_, w := Unit(&unit.Row{Name: "db/0", CharmURL: "c"}, entry("idle"), entry("active"), away)
	if w.Message != "agent lost, see: scarab show-status-log db/0" {
		t.Errorf("workload of a lost unit says %q", w.Message)
	}
}

func TestMachineRules(t *testing.T) {
	away := Absence{Lost: true}
	for stored, want := range map[string]string{"started": "down", "pending": "pending", "stopped": "stopped", "error": "error"} {
		if got := Machine(&machine.Row{}, &status.Entry{Status: stored}, away).Status; got != want {
			t.Errorf("%s: got %s, want %s", stored, got, want)
		}
	}
	if got := Machine(&machine.Row{}, &status.Entry{Status: "started"}, Absence{}).Status; got != "started" {
		t.Errorf("a machine that is there shows %s", got)
	}
}

func TestWorstIsTheFirstThatNoneIsWorseThan(t *testing.T) {
	var w Worst
	if got := w.Entry(application.Row{}); got.Status != "unknown" || got.Message != "" {
		t.Errorf("without units: %v", got)
	}
	for i, s := range []string{"active", "waiting", "unknown", "waiting", "terminated"} {
		w.Add(&status.Entry{Status: s, Since: at(i)})
	}
	if got := w.Entry(application.Row{}); got.Status != "waiting" || !got.Since.Equal(at(1)) {
		t.Errorf("got %s since %s, want the first waiting", got.Status, got.Since)
	}
}

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{"db", "db", true},
		{"db", "db2", false},
		{"d*", "db/0", true},
		{"*/0", "db/0", true},
		{"d?/?", "db/1", true},
		{"", "", true},
		{"*", "", true},
		{"?", "", false},
		{"a*b*c", "aXbYbZc", true},
		{"a*b*c", "aXbYbZ", false},
		{"[d]b", "db", false},
	} {
		if got := glob(c.pattern, c.text); got != c.want {
			t.Errorf("glob(%q, %q) = %v", c.pattern, c.text, got)
		}
	}
	// A hostile pattern is not slow.
	if glob(strings.Repeat("*a", 200), strings.Repeat("a", 190)+strings.Repeat("b", 300)) {
		t.Error("a pattern matched that must not")
	}
}

func picture(t *testing.T) *Picture {
	t.Helper()
	empty, err := state.Open(t.Context(), state.NewMem())
	if err != nil {
		t.Fatal(err)
	}
	host := func(id names.Machine, address string) *Host {
		return &Host{&machine.Row{ID: id}, &machine.Instance{Addresses: []string{address}}, &notSeen, &noStatus, &noStatus}
	}
	member := func(u unit.Row, workload string, ports ...agentapi.PortRange) *Member {
		return &Member{&u, ports, &noStatus, &status.Entry{Status: workload}}
	}
	log := member(unit.Row{Name: "log/0", Application: "log", Machine: "0", Principal: "db/0"}, "")
	return &Picture{
		Machines:     []*Host{host("0", "10.0.0.1"), host("1", "10.0.1.1")},
		Applications: []application.Row{{Name: "db", Exposed: map[string]application.Exposure{"": {}}}, {Name: "log", Subordinate: true}, {Name: "web"}},
		Units: map[names.Application][]*Member{
			"db":  {member(unit.Row{Name: "db/0", Application: "db", Machine: "0"}, "")},
			"log": {log},
			"web": {member(unit.Row{Name: "web/0", Application: "web", Machine: "1"}, "blocked", agentapi.PortRange{From: 8000, To: 8100, Protocol: "tcp"})},
		},
		Subordinates: map[names.Unit][]*Member{"db/0": {log}},
		Leaders:      map[names.Application]names.Unit{"db": "db/0"},
		reader:       empty.View(),
	}
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern string
		want    string // what is shown of machines, applications and units
		rel     bool   // whether a relation of db is shown
	}{
		{"db", "0 db log db/0 log/0", true},
		{"db/0", "0 db log db/0 log/0", false},
		{"log/0", "0 db log db/0 log/0", false},
		{"db/leader", "0 db log db/0 log/0", false},
		{"1", "1 web web/0", false},
		{"blocked", "1 web web/0", false},
		{"exposed", "0 db log db/0 log/0", true},
		{"8080/tcp", "1 web web/0", false},
		{"8080/udp", "", false},
		{"10.0.1.0/24", "1 web web/0", false},
		{"10.0.0.1", "0 db log db/0 log/0", false},
		{"nothing", "", false},
	} {
		f, err := picture(t).Match([]string{c.pattern})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, m := range []names.Machine{"0", "1"} {
			if f.Machine(m) {
				got = append(got, string(m))
			}
		}
		for _, a := range []names.Application{"db", "log", "web"} {
			if f.Application(a) {
				got = append(got, string(a))
			}
		}
		for _, u := range []names.Unit{"db/0", "log/0", "web/0"} {
			if f.Unit(u) {
				got = append(got, string(u))
			}
		}
		if s := strings.Join(got, " "); s != c.want || f.Relation("db") != c.rel {
			t.Errorf("%s: shows %q and relation %v, want %q and %v", c.pattern, s, f.Relation("db"), c.want, c.rel)
		}
	}
	if _, err := picture(t).Match(make([]string, MaxPatterns+1)); err == nil {
		t.Error("too many patterns were taken")
	}
}

func TestFinderWithGaps(t *testing.T) {
	f := findHosts([]*Host{{Row: &machine.Row{ID: "1"}}, {Row: &machine.Row{ID: "10"}}, {Row: &machine.Row{ID: "2"}}, {Row: &machine.Row{ID: "4"}}})
	for _, c := range []struct {
		id   string
		want bool
	}{{"0", false}, {"10", true}, {"100", false}, {"2", true}, {"3", false}, {"4", true}, {"5", false}} {
		if got := f.find(c.id); (got != nil) != c.want || got != nil && string(got.ID) != c.id {
			t.Errorf("%s: found %v, want %v", c.id, got, c.want)
		}
	}
}

// What is loaded in one go is what the rows say one by one.
func TestLoadAgreesWithTheRows(t *testing.T) {
	st, err := state.Open(t.Context(), state.NewMem())
	if err != nil {
		t.Fatal(err)
	}
	m := model.Row{UUID: "51515151-0000-4000-8000-000000000001"}
	s := model.ScopeOf(m.UUID)
	units := []names.Unit{"a/0", "a/1", "a/10", "a/2", "a-b/0", "a-b/1", "z/3"}
	err = st.Update(t.Context(), func(tx *state.Tx) error {
		for i, u := range units {
			id := names.Machine(strconv.Itoa(i * 3))
			errs := []error{
				unit.Table.Put(tx, s, unit.Row{Name: u, Application: u.Application(), Machine: id, CharmURL: "c"}),
				machine.Table.Put(tx, s, machine.Row{ID: id}),
			}
			if i%2 == 0 { // half of them have not reported
				errs = append(errs, machine.Instances.Put(tx, s, machine.Instance{Machine: id, Addresses: []string{"10.0.0." + string(id)}}),
					unit.PortsTable.Put(tx, s, unit.Ports{Unit: u, Ranges: []agentapi.PortRange{{From: i, To: i, Protocol: "tcp"}}}))
				for _, of := range []string{status.OfUnitAgent(string(u)), status.OfWorkload(string(u)), status.OfMachineAgent(string(id)), status.OfInstance(string(id))} {
					errs = append(errs, status.Set(tx, s, of, status.Entry{Status: of}))
				}
			}
			if err := errors.Join(errs...); err != nil {
				return err
			}
		}
		// Rows of what is gone are passed over.
		return errors.Join(status.Set(tx, s, "agent/a/11", status.Entry{Status: "left"}), status.Set(tx, s, "machine/1", status.Entry{Status: "left"}))
	})
	if err != nil {
		t.Fatal(err)
	}
	v := st.View()
	p := Load(v, m, nil, at(1))
	seen := 0
	for _, us := range p.Units {
		for _, u := range us {
			seen++
			agent, workload := p.Unit(u)
			h := p.Host(u.Machine)
			wantA, wantW := status.Get(v, s, status.OfUnitAgent(string(u.Name))), status.Get(v, s, status.OfWorkload(string(u.Name)))
			wantM, wantI := status.Get(v, s, status.OfMachineAgent(string(u.Machine))), status.Get(v, s, status.OfInstance(string(u.Machine)))
			if agent.Status != wantA.Status || workload.Status != wantW.Status || p.Machine(h).Status != wantM.Status || h.Running.Status != wantI.Status {
				t.Errorf("%s: got %s, %s, %s, %s", u.Name, agent.Status, workload.Status, p.Machine(h).Status, h.Running.Status)
			}
			if !slices.Equal(u.Ports, unit.PortsOf(v, s, u.Name)) || p.Address(u.Machine) != machine.Address(v, s, u.Machine) {
				t.Errorf("%s: has ports %v and address %s", u.Name, u.Ports, p.Address(u.Machine))
			}
		}
	}
	if seen != len(units) || len(p.Machines) != len(units) {
		t.Errorf("there are %d units on %d machines, want %d", seen, len(p.Machines), len(units))
	}
}
