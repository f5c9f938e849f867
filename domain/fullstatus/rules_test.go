package fullstatus

import (
	"strings"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/domain/application"
	"github.com/scarab-ops/scarab/domain/machine"
	"github.com/scarab-ops/scarab/domain/status"
	"github.com/scarab-ops/scarab/domain/unit"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/wire/agentapi"
)

func at(sec int) time.Time { return time.Date(2026, 1, 2, 3, 4, sec, 0, time.UTC) }

// fixed is a Presence with one answer.
type fixed struct {
	here  bool
	since time.Time
}

func (f fixed) Connected(names.Model, string) (bool, time.Time) { return f.here, f.since }

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
	if w.Message != "agent lost, see 'juju show-status-log db/0'" {
		t.Errorf("workload of a lost unit says %q", w.Message)
	}
}

func TestMachineRules(t *testing.T) {
	away := Absence{Lost: true}
	for stored, want := range map[string]string{"started": "down", "pending": "pending", "stopped": "stopped", "error": "error"} {
		if got := Machine(&machine.Row{}, status.Entry{Status: stored}, away).Status; got != want {
			t.Errorf("%s: got %s, want %s", stored, got, want)
		}
	}
	if got := Machine(&machine.Row{}, status.Entry{Status: "started"}, Absence{}).Status; got != "started" {
		t.Errorf("a machine that is there shows %s", got)
	}
}

func TestWorstIsTheFirstThatNoneIsWorseThan(t *testing.T) {
	var w Worst
	if got := w.Entry(application.Row{}); got.Status != "unknown" || got.Message != "" {
		t.Errorf("without units: %v", got)
	}
	for i, s := range []string{"active", "waiting", "unknown", "waiting", "terminated"} {
		w.Add(status.Entry{Status: s, Since: at(i)})
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

func picture() *Picture {
	return &Picture{
		Machines: []*machine.Row{{ID: "0"}, {ID: "1"}},
		hosts: map[names.Machine]*host{
			"0": {&machine.Instance{Machine: "0", Addresses: []string{"10.0.0.1"}}, &notSeen},
			"1": {&machine.Instance{Machine: "1", Addresses: []string{"10.0.1.1"}}, &notSeen},
		},
		Applications: []application.Row{{Name: "db", Exposed: map[string]application.Exposure{"": {}}}, {Name: "log", Subordinate: true}, {Name: "web"}},
		Units: map[names.Application][]*unit.Row{
			"db":  {{Name: "db/0", Application: "db", Machine: "0"}},
			"log": {{Name: "log/0", Application: "log", Machine: "0", Principal: "db/0"}},
			"web": {{Name: "web/0", Application: "web", Machine: "1"}},
		},
		Subordinates: map[names.Unit][]*unit.Row{"db/0": {{Name: "log/0", Application: "log", Machine: "0", Principal: "db/0"}}},
		Ports:        map[names.Unit][]agentapi.PortRange{"web/0": {{From: 8000, To: 8100, Protocol: "tcp"}}},
		Leaders:      map[names.Application]names.Unit{"db": "db/0"},
		statuses:     map[string]map[string]*status.Entry{"workload": {"web/0": {Status: "blocked"}}},
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
		f, err := picture().Match([]string{c.pattern})
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
	if _, err := picture().Match(make([]string, MaxPatterns+1)); err == nil {
		t.Error("too many patterns were taken")
	}
}

func TestFinderWithGaps(t *testing.T) {
	rows := []*machine.Row{{ID: "1"}, {ID: "10"}, {ID: "2"}, {ID: "4"}}
	f := finder[machine.Row]{rows: rows, id: func(m *machine.Row) string { return string(m.ID) }}
	for _, c := range []struct {
		id   string
		want int
	}{{"0", -1}, {"10", 1}, {"100", -1}, {"2", 2}, {"3", -1}, {"4", 3}, {"5", -1}} {
		if got := f.find(c.id); got != c.want {
			t.Errorf("%s is at %d, want %d", c.id, got, c.want)
		}
	}
}
