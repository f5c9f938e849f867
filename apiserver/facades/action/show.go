package action

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/apiserver/facades/wiremap"
	"github.com/scarab-ops/scarab/authz"
	"github.com/scarab-ops/scarab/domain/application"
	"github.com/scarab-ops/scarab/domain/charmstore"
	"github.com/scarab-ops/scarab/domain/task"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/wire"
	wireaction "github.com/scarab-ops/scarab/wire/action"
)

func receiverTag(r string) string {
	if names.ValidUnit(r) {
		return names.Unit(r).Tag().String()
	}
	return names.Machine(r).Tag().String()
}

func result(t task.Row) wireaction.ActionResult {
	out := wireaction.ActionResult{
		Action: &wireaction.Action{
			Tag: t.ID.Tag().String(), Receiver: receiverTag(t.Receiver), Name: t.Name, Parameters: t.Params,
			Parallel: t.Parallel, ExecutionGroup: t.Group,
		},
		Enqueued: wiremap.Time(t.Enqueued), Started: wiremap.Time(t.Started), Completed: wiremap.Time(t.Completed),
		Status: t.Status, Message: t.Message, Output: t.Output,
	}
	for _, m := range t.Log {
		out.Log = append(out.Log, wireaction.ActionMessage{Timestamp: m.Time.UTC(), Message: m.Message})
	}
	return out
}

func find(r state.Reader, s state.Scope, tag string) (task.Row, error) {
	id, err := names.Parse(tag, names.KindAction)
	if err != nil {
		return task.Row{}, bad(err)
	}
	t, err := task.Table.Get(r, s, id)
	if err != nil {
		return task.Row{}, &task.NotFoundError{ID: names.Task(id)}
	}
	return t, nil
}

func show(_ Service, c facade.Call, e wire.Entity) (wireaction.ActionResult, error) {
	t, err := find(c.View(), scope(c), e.Tag)
	if err != nil {
		return wireaction.ActionResult{}, err
	}
	return result(t), nil
}

func charmActions(_ Service, c facade.Call, e wire.Entity) (wireaction.ApplicationCharmActionsResult, error) {
	a, err := names.ParseApplication(e.Tag)
	if err != nil {
		return wireaction.ApplicationCharmActionsResult{}, bad(err)
	}
	row, err := application.Get(c.View(), scope(c), a)
	if err != nil {
		return wireaction.ApplicationCharmActionsResult{}, err
	}
	ch, err := charmstore.Get(c.View(), scope(c), row.CharmURL)
	if err != nil {
		return wireaction.ApplicationCharmActionsResult{}, err
	}
	out := wireaction.ApplicationCharmActionsResult{ApplicationTag: e.Tag, Actions: map[string]wireaction.ActionSpec{}}
	for name, spec := range ch.Charm.Actions.Specs {
		out.Actions[name] = wireaction.ActionSpec{Description: spec.Description, Params: spec.Params}
	}
	return out, nil
}

func operation(_ Service, c facade.Call, e wire.Entity) (wireaction.OperationResult, error) {
	id, err := names.Parse(e.Tag, names.KindOperation)
	if err != nil {
		return wireaction.OperationResult{}, bad(err)
	}
	op, err := task.Operations.Get(c.View(), scope(c), id)
	if err != nil {
		return wireaction.OperationResult{}, &missingError{id}
	}
	out, _ := operationResult(c.View(), scope(c), op)
	return out, nil
}

type missingError struct{ id string }

func (e *missingError) Error() string { return fmt.Sprintf("operation %q not found", e.id) }
func (e *missingError) Code() string  { return "not found" }

func operationResult(r state.Reader, s state.Scope, op task.Operation) (wireaction.OperationResult, []task.Row) {
	out := wireaction.OperationResult{
		Operation: op.ID.Tag().String(), Summary: op.Summary, Enqueued: wiremap.Time(op.Enqueued), Actions: []wireaction.ActionResult{},
	}
	var tasks []task.Row
	var started, completed time.Time
	active := false
	for _, id := range op.Tasks {
		t, err := task.Table.Get(r, s, string(id))
		if err != nil {
			continue
		}
		tasks = append(tasks, t)
		out.Actions = append(out.Actions, result(t))
		active = active || t.Active()
		if !t.Started.IsZero() && (started.IsZero() || t.Started.Before(started)) {
			started = t.Started
		}
		if t.Completed.After(completed) {
			completed = t.Completed
		}
	}
	out.Status, out.Started = task.StatusOf(tasks), wiremap.Time(started)
	if !active {
		out.Completed = wiremap.Time(completed)
	}
	return out, tasks
}

// Bounds of a list of operations.
const (
	defaultLimit = 50
	maxLimit     = 500
)

// listOperations gives the newest operations that match, newest last.
func listOperations(_ Service, c facade.Call, q wireaction.OperationQueryArgs) (wireaction.OperationResults, error) {
	limit := q.Limit
	if limit <= 0 {
		limit = defaultLimit
	}
	limit = min(limit, maxLimit)
	v, s := c.View(), scope(c)
	var ops []task.Operation
	for op, err := range task.Operations.All(v, s) {
		if err == nil {
			ops = append(ops, op)
		}
	}
	slices.SortFunc(ops, func(a, b task.Operation) int { return number(b.ID) - number(a.ID) })
	out, skip := wireaction.OperationResults{Results: []wireaction.OperationResult{}}, max(q.Offset, 0)
	for _, op := range ops {
		x, tasks := operationResult(v, s, op)
		if !matches(q, x.Status, tasks) {
			continue
		}
		if skip > 0 {
			skip--
			continue
		}
		if len(out.Results) == limit {
			out.Truncated = true
			break
		}
		out.Results = append(out.Results, x)
	}
	slices.Reverse(out.Results)
	return out, nil
}

func number(id names.Operation) int {
	n, err := strconv.Atoi(string(id))
	if err != nil {
		return 0
	}
	return n
}

func matches(q wireaction.OperationQueryArgs, status string, tasks []task.Row) bool {
	if len(q.Status) > 0 && !slices.Contains(q.Status, status) {
		return false
	}
	if len(q.Actions) > 0 && !slices.ContainsFunc(tasks, func(t task.Row) bool { return slices.Contains(q.Actions, t.Name) }) {
		return false
	}
	if len(q.Units)+len(q.Machines)+len(q.Applications) == 0 {
		return true
	}
	return slices.ContainsFunc(tasks, func(t task.Row) bool {
		app := string(names.Unit(t.Receiver).Application())
		return slices.Contains(q.Units, t.Receiver) || slices.Contains(q.Machines, t.Receiver) ||
			names.ValidUnit(t.Receiver) && slices.Contains(q.Applications, app)
	})
}

// watchProgress watches the log of one task; each string is one message.
func watchProgress(s Service, c facade.Call, e wire.Entity) (wire.StringsWatchResult, error) {
	t, err := find(c.View(), scope(c), e.Tag)
	if err != nil {
		return wire.StringsWatchResult{}, err
	}
	sub := s.Store.Subscribe(task.Table.Key(scope(c), string(t.ID)))
	p := &progress{}
	w := facade.Strings(sub, func() ([]string, error) {
		now, err := task.Table.Get(c.View(), scope(c), string(t.ID))
		if err != nil {
			return nil, err
		}
		return p.fresh(now.Log), nil
	}, func(ch state.Change) []string {
		now, err := task.Table.Value(ch)
		if err != nil || !c.Holds(authz.Read, authz.Model(c.Caller.Model)) {
			return nil
		}
		return p.fresh(now.Log)
	})
	id, first, err := c.Watch(facade.StringsWatcher, w)
	if err != nil {
		return wire.StringsWatchResult{}, err
	}
	changes, _ := first.([]string)
	return wire.StringsWatchResult{WatcherID: id, Changes: changes}, nil
}

// progress remembers what was sent of a log that loses its oldest lines.
type progress struct {
	last time.Time // time of the newest message sent
	same int       // messages sent with that time
}

func (p *progress) fresh(log []task.Message) []string {
	var out []string
	seen := 0
	last := p.last
	for _, m := range log {
		switch {
		case m.Time.Before(last):
			continue
		case m.Time.Equal(last):
			if seen++; seen <= p.same {
				continue
			}
		}
		if m.Time.After(p.last) {
			p.last, p.same = m.Time, 0
		}
		p.same++
		raw, err := json.Marshal(wireaction.ActionMessage{Timestamp: m.Time.UTC(), Message: m.Message})
		if err == nil {
			out = append(out, string(raw))
		}
	}
	return out
}
