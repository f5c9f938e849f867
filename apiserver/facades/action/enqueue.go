package action

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/authz"
	"github.com/scarab-ops/scarab/charm"
	"github.com/scarab-ops/scarab/domain/application"
	"github.com/scarab-ops/scarab/domain/block"
	"github.com/scarab-ops/scarab/domain/charmstore"
	"github.com/scarab-ops/scarab/domain/lease"
	"github.com/scarab-ops/scarab/domain/machine"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/task"
	"github.com/scarab-ops/scarab/domain/unit"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/wire"
	wireaction "github.com/scarab-ops/scarab/wire/action"
)

// Bounds of commands.
const (
	maxCommand     = 128 << 10
	maxTimeout     = 24 * time.Hour
	defaultTimeout = 5 * time.Minute
)

func enqueue(_ Service, c facade.Call, a wireaction.Actions) (wireaction.EnqueuedActions, error) {
	if len(a.Actions) == 0 || len(a.Actions) > task.MaxTasks {
		return wireaction.EnqueuedActions{}, bad(fmt.Errorf("cannot enqueue %d actions: between 1 and %d", len(a.Actions), task.MaxTasks))
	}
	for _, x := range a.Actions {
		if x.Name == charm.JujuExec {
			if err := c.Check(authz.Admin, authz.Model(c.Caller.Model)); err != nil {
				return wireaction.EnqueuedActions{}, err
			}
		}
	}
	return submit(c, summary(a.Actions), len(a.Actions), func(tx *state.Tx, s state.Scope, i int) (task.Row, error) {
		return prepare(tx, s, c, a.Actions[i])
	})
}

func summary(as []wireaction.Action) string {
	var rs []string
	for _, x := range as[:min(len(as), 10)] {
		rs = append(rs, clip(receiverName(x.Receiver)))
	}
	if len(as) > 10 {
		rs = append(rs, "...")
	}
	return clip(as[0].Name) + " run on " + strings.Join(rs, ",")
}

func clip(s string) string {
	if len(s) > 100 {
		return s[:100]
	}
	return s
}

func receiverName(r string) string {
	if t, err := names.ParseTag(r); err == nil {
		return t.ID
	}
	return r
}

// submit makes one operation of the tasks that can be made; the others keep
// their errors. Nothing is stored if there is no good one.
func submit(c facade.Call, summary string, n int, make1 func(*state.Tx, state.Scope, int) (task.Row, error)) (wireaction.EnqueuedActions, error) {
	out := wireaction.EnqueuedActions{Actions: make([]wireaction.ActionResult, n)}
	none := errors.New("none to run")
	err := c.Update(func(tx *state.Tx) error {
		m, err := model.Get(tx, c.Caller.Model) // what helps a dying model on has to run there
		if err != nil {
			return err
		}
		s := model.ScopeOf(m.UUID)
		if err := block.Check(tx, s, block.Change); err != nil {
			return err
		}
		var tasks []task.Row
		var at []int
		for i := range n {
			t, err := make1(tx, s, i)
			if err != nil {
				out.Actions[i] = wireaction.ActionResult{Error: facade.ToWire(err)}
				continue
			}
			tasks, at = append(tasks, t), append(at, i)
		}
		if len(tasks) == 0 {
			return none
		}
		op, made, err := task.Enqueue(tx, s, summary, tasks, c.Now())
		if err != nil {
			return err
		}
		out.Operation = op.ID.Tag().String()
		for j, t := range made {
			c.Concerns(t.Receiver)
			out.Actions[at[j]] = result(t)
		}
		return nil
	})
	if errors.Is(err, none) {
		err = nil
	}
	return out, err
}

// receiver resolves a unit's tag or name, "app/leader", or a machine.
func receiver(r state.Reader, s state.Scope, c facade.Call, text string) (names.Tag, error) {
	t, err := names.ParseTag(text)
	if err != nil {
		app, unitName, _ := strings.Cut(text, "/")
		switch {
		case unitName == "leader" && names.ValidApplication(app):
			holder := lease.Holder(r, s, app)
			if holder == "" || lease.Check(r, s, app, holder, c.Now()) != nil {
				return names.Tag{}, fmt.Errorf("cannot find the leader of %q: it has none now", app)
			}
			t = names.Unit(holder).Tag()
		case names.ValidUnit(text):
			t = names.Unit(text).Tag()
		case names.ValidMachine(text):
			t = names.Machine(text).Tag()
		default:
			return names.Tag{}, bad(&names.InvalidTagError{Text: clip(text), Kind: names.KindUnit})
		}
	}
	switch t.Kind {
	case names.KindUnit:
		_, err = unit.Get(r, s, names.Unit(t.ID))
	case names.KindMachine:
		_, err = machine.Get(r, s, names.Machine(t.ID))
	default:
		err = bad(&names.InvalidTagError{Text: clip(text), Kind: names.KindUnit})
	}
	return t, err
}

func prepare(tx *state.Tx, s state.Scope, c facade.Call, a wireaction.Action) (task.Row, error) {
	t, err := receiver(tx, s, c, a.Receiver)
	if err != nil {
		return task.Row{}, err
	}
	spec, known := charm.PredefinedAction(a.Name)
	if !known {
		if spec, err = declared(tx, s, t, a.Name); err != nil {
			return task.Row{}, err
		}
	}
	params, err := spec.Prepare(a.Parameters)
	if err != nil {
		return task.Row{}, bad(err)
	}
	if _, err := task.Measure(params); err != nil {
		return task.Row{}, err
	}
	row := task.Row{
		Receiver: t.ID, Name: a.Name, Params: params,
		Parallel: a.Parallel || spec.Parallel, Group: a.ExecutionGroup,
	}
	if row.Group == "" {
		row.Group = spec.ExecutionGroup
	}
	if len(row.Group) > 256 {
		return task.Row{}, bad(errors.New("cannot enqueue action: the execution group is too long"))
	}
	return row, nil
}

func declared(r state.Reader, s state.Scope, t names.Tag, name string) (charm.ActionSpec, error) {
	missing := bad(fmt.Errorf("action %q not defined on unit %q", clip(name), t.ID))
	if t.Kind != names.KindUnit {
		return charm.ActionSpec{}, missing
	}
	app, err := application.Get(r, s, names.Unit(t.ID).Application())
	if err != nil {
		return charm.ActionSpec{}, err
	}
	ch, err := charmstore.Get(r, s, app.CharmURL)
	if err != nil {
		return charm.ActionSpec{}, err
	}
	spec, ok := ch.Charm.Actions.Specs[name]
	if !ok {
		return charm.ActionSpec{}, missing
	}
	return spec, nil
}

func run(_ Service, c facade.Call, a wireaction.RunParams) (wireaction.EnqueuedActions, error) {
	var targets []string
	targets = append(targets, a.Units...)
	for _, m := range a.Machines {
		if _, err := names.ParseMachine(m); err != nil && names.ValidMachine(m) {
			m = names.Machine(m).Tag().String()
		}
		targets = append(targets, m)
	}
	for _, app := range a.Applications {
		if _, err := application.Get(c.View(), scope(c), names.Application(app)); err != nil {
			return wireaction.EnqueuedActions{}, err
		}
		for _, u := range unit.Of(c.View(), scope(c), names.Application(app)) {
			if tag := u.Name.Tag().String(); !slices.Contains(targets, tag) && !slices.Contains(targets, string(u.Name)) {
				targets = append(targets, tag)
			}
		}
	}
	return exec(c, a, targets)
}

func runOnAll(_ Service, c facade.Call, a wireaction.RunParams) (wireaction.EnqueuedActions, error) {
	if len(a.Units)+len(a.Machines)+len(a.Applications) > 0 {
		return wireaction.EnqueuedActions{}, bad(errors.New("cannot name targets when running on all machines"))
	}
	var targets []string
	for m, err := range machine.Table.All(c.View(), scope(c)) {
		if err == nil {
			targets = append(targets, m.ID.Tag().String())
		}
	}
	return exec(c, a, targets)
}

func exec(c facade.Call, a wireaction.RunParams, targets []string) (wireaction.EnqueuedActions, error) {
	timeout := a.Timeout
	if timeout == 0 {
		timeout = defaultTimeout
	}
	switch {
	case strings.TrimSpace(a.Commands) == "" || len(a.Commands) > maxCommand:
		return wireaction.EnqueuedActions{}, bad(fmt.Errorf("cannot run commands of %d bytes: between 1 and %d", len(a.Commands), maxCommand))
	case timeout < 0 || timeout > maxTimeout:
		return wireaction.EnqueuedActions{}, bad(fmt.Errorf("cannot run for %s: at most %s", timeout, maxTimeout))
	case len(targets) == 0:
		return wireaction.EnqueuedActions{}, bad(errors.New("cannot run: there is nothing to run on"))
	case len(targets) > task.MaxTasks:
		return wireaction.EnqueuedActions{}, bad(fmt.Errorf("cannot run on %d targets at once: at most %d", len(targets), task.MaxTasks))
	}
	params := map[string]any{"command": a.Commands, "timeout": float64(timeout.Nanoseconds()), "workload-context": a.WorkloadContext}
	as := make([]wireaction.Action, len(targets))
	for i, t := range targets {
		as[i] = wireaction.Action{
			Receiver: t, Name: charm.JujuExec, Parameters: params, Parallel: a.Parallel, ExecutionGroup: a.ExecutionGroup,
		}
	}
	return submit(c, summary(as), len(as), func(tx *state.Tx, s state.Scope, i int) (task.Row, error) {
		row, err := prepare(tx, s, c, as[i])
		row.Timeout = timeout
		return row, err
	})
}

func cancel(_ Service, c facade.Call, e wire.Entity) (wireaction.ActionResult, error) {
	id, err := names.Parse(e.Tag, names.KindAction)
	if err != nil {
		return wireaction.ActionResult{}, bad(err)
	}
	c.Concerns(e.Tag)
	var out task.Row
	err = c.Update(func(tx *state.Tx) error {
		m, err := model.Get(tx, c.Caller.Model)
		if err != nil {
			return err
		}
		if err := block.Check(tx, model.ScopeOf(m.UUID), block.Change); err != nil {
			return err
		}
		out, err = task.Cancel(tx, model.ScopeOf(m.UUID), names.Task(id), c.Now())
		return err
	})
	if err != nil {
		return wireaction.ActionResult{}, err
	}
	return result(out), nil
}
