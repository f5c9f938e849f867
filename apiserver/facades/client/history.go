package client

import (
	"slices"
	"strconv"
	"time"

	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/apiserver/facades/wiremap"
	"github.com/scarab-ops/scarab/domain/model"
	domstatus "github.com/scarab-ops/scarab/domain/status"
	"github.com/scarab-ops/scarab/domain/unit"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/wire/agentapi"
	wireclient "github.com/scarab-ops/scarab/wire/client"
)

// side is one reporting side of an entity, under the name clients give it.
type side struct{ kind, entity string }

// sides maps a kind of history and a tag to the rows that hold it.
func sides(v state.Reader, s state.Scope, kind, text string) ([]side, error) {
	t, err := names.ParseTag(text)
	if err != nil {
		return nil, &facade.BadRequest{Reason: err.Error()}
	}
	bad := &facade.BadRequest{Reason: strconv.Quote(kind) + " is no kind of history of " + text}
	switch t.Kind {
	case names.KindUnit:
		if _, err := unit.Get(v, s, names.Unit(t.ID)); err != nil {
			return nil, err
		}
		agent, work := side{"juju-unit", domstatus.OfUnitAgent(t.ID)}, side{"workload", domstatus.OfWorkload(t.ID)}
		switch kind {
		case "unit":
			return []side{agent, work}, nil
		case "workload":
			return []side{work}, nil
		case "juju-unit":
			return []side{agent}, nil
		}
	case names.KindMachine:
		switch kind {
		case "machine", "container":
			return []side{{kind, domstatus.OfInstance(t.ID)}}, nil
		case "juju-machine", "juju-container":
			return []side{{kind, domstatus.OfMachineAgent(t.ID)}}, nil
		}
	case names.KindApplication:
		if kind == "application" {
			return []side{{kind, domstatus.OfApplication(t.ID)}}, nil
		}
	case names.KindModel:
		if kind == "model" {
			return []side{{kind, domstatus.OfModel}}, nil
		}
	}
	return nil, bad
}

// defaultHistory is how many entries are given when the client names no bound.
const defaultHistory = 20

func statusHistory(_ Service, c facade.Call, q wireclient.StatusHistoryRequest) (wireclient.StatusHistoryResult, error) {
	v, s := c.View(), model.ScopeOf(c.Caller.Model)
	all, err := sides(v, s, q.HistoryKind, q.Tag)
	if err != nil {
		return wireclient.StatusHistoryResult{}, err
	}
	out := []wireclient.DetailedStatus{}
	for _, x := range all {
		row, err := domstatus.Table.Get(v, s, x.entity)
		if err != nil {
			continue
		}
		for _, e := range append([]domstatus.Entry{row.Entry}, row.History...) {
			if !admits(q.Filter, e, c.Now()) {
				continue
			}
			out = append(out, wireclient.DetailedStatus{
				Status: e.Status, Info: e.Message, Data: e.Data, Since: wiremap.Time(e.Since), Kind: x.kind,
			})
		}
	}
	slices.SortStableFunc(out, func(a, b wireclient.DetailedStatus) int { return since(b).Compare(since(a)) })
	size := max(q.Size, q.Filter.Size)
	if size <= 0 && q.Filter.Date.IsZero() && q.Filter.Delta == 0 {
		size = defaultHistory
	}
	if size > 0 && len(out) > size {
		out = out[:size]
	}
	return wireclient.StatusHistoryResult{History: wireclient.History{Statuses: out}}, nil
}

func since(d wireclient.DetailedStatus) time.Time {
	if d.Since == nil {
		return time.Time{}
	}
	return *d.Since
}

func admits(f wireclient.StatusHistoryFilter, e domstatus.Entry, now time.Time) bool {
	if !f.Date.IsZero() && e.Since.Before(f.Date) {
		return false
	}
	if f.Delta > 0 && e.Since.Before(now.Add(-f.Delta)) {
		return false
	}
	return !slices.Contains(f.Exclude, e.Message)
}

// ports prints ranges in order, each once; nil when there are none.
func ports(ranges []agentapi.PortRange) []string {
	if len(ranges) == 0 {
		return nil
	}
	if len(ranges) == 1 {
		return []string{unit.FormatRange(ranges[0])}
	}
	rs := slices.Clone(ranges)
	slices.SortFunc(rs, func(a, b agentapi.PortRange) int {
		if a.From != b.From {
			return a.From - b.From
		}
		return a.To - b.To
	})
	var out []string
	for _, r := range rs {
		if t := unit.FormatRange(r); !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	return out
}
