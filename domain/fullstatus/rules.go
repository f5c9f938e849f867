package fullstatus

import (
	"time"

	"github.com/scarab-ops/scarab/domain/application"
	"github.com/scarab-ops/scarab/domain/life"
	"github.com/scarab-ops/scarab/domain/machine"
	"github.com/scarab-ops/scarab/domain/status"
	"github.com/scarab-ops/scarab/domain/unit"
	"github.com/scarab-ops/scarab/names"
)

// Silent is what is said of an agent without contact.
const Silent = "agent is not communicating with the server"

// Lost tells whether an agent has been away for longer than Grace, and since
// when. Without a Presence nothing is lost.
func Lost(p Presence, m names.Model, t names.Tag, now time.Time) Absence {
	if p == nil {
		return Absence{}
	}
	here, since := p.Connected(m, t)
	if here || (!since.IsZero() && now.Sub(since) < Grace) {
		return Absence{}
	}
	return Absence{Lost: true, Since: since}
}

// An Absence says whether an agent is lost. Since is zero when it was never
// connected.
type Absence struct {
	Lost  bool
	Since time.Time
}

// Unit applies the rules of errors and of presence to what a unit reported.
func Unit(u *unit.Row, agent, workload status.Entry, away Absence) (status.Entry, status.Entry) {
	a, w := showUnit(u, &agent, &workload, away)
	return *a, *w
}

// showUnit is Unit for many: it gives back what it got where no rule applies.
func showUnit(u *unit.Row, agent, workload *status.Entry, away Absence) (*status.Entry, *status.Entry) {
	allocating := agent.Status == "allocating"
	if agent.Status == "error" {
		workload = agent
		agent = &status.Entry{Status: "idle", Since: agent.Since}
	}
	installing := u.CharmURL == ""
	if !away.Lost || allocating || installing || u.Life == life.Dead {
		return agent, workload
	}
	agent = &status.Entry{Status: "lost", Message: Silent, Since: orTime(away.Since, agent.Since)}
	if workload.Status != "error" && workload.Status != "terminated" {
		workload = &status.Entry{
			Status: "unknown", Message: "agent lost, see: scarab show-status-log " + string(u.Name),
			Since: agent.Since,
		}
	}
	return agent, workload
}

// Machine applies the rule of presence to what a machine's agent reported.
func Machine(m *machine.Row, agent *status.Entry, away Absence) *status.Entry {
	if !away.Lost || agent.Status == "pending" || agent.Status == "stopped" || agent.Status == "error" || m.Life == life.Dead {
		return agent
	}
	return &status.Entry{Status: "down", Message: Silent, Since: orTime(away.Since, agent.Since)}
}

func orTime(a, b time.Time) time.Time {
	if a.IsZero() {
		return b
	}
	return a
}

func isSet(e status.Entry) bool { return e.Status != "" && e.Status != "unset" }

// severity ranks workload statuses; what is not listed counts least.
func severity(s string) int {
	switch s {
	case "error":
		return 100
	case "blocked":
		return 90
	case "maintenance":
		return 80
	case "waiting":
		return 70
	case "active":
		return 60
	case "terminated":
		return 50
	case "unknown":
		return 40
	}
	return 0
}

// Worst finds the status of an application that set none of its own: that of
// the first unit, in the order added, that none is worse than.
type Worst struct {
	entry *status.Entry
}

// Add takes the workload status of one more unit.
func (w *Worst) Add(e *status.Entry) {
	if w.entry == nil || severity(e.Status) > severity(w.entry.Status) {
		w.entry = e
	}
}

// Entry returns the result; unknown when there were no units.
func (w *Worst) Entry(a application.Row) status.Entry {
	if w.entry == nil {
		return status.Entry{Status: "unknown", Since: a.Created}
	}
	return *w.entry
}
