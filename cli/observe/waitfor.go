package observe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/scarab-ops/scarab/cli/session"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/wire"
	"github.com/scarab-ops/scarab/wire/multiwatch"
)

func waitForCommand(s *session.Session) *cobra.Command {
	var text string
	var timeout time.Duration
	var summary bool
	c := s.Command(session.Spec{
		Names: "application unit machine model", Use: "wait-for application|unit|machine|model NAME", Short: "Wait until something reaches a state", Group: group,
		Scope: session.OnModel, Min: 2, Max: 2,
		Long: `
Waits until a condition holds, as told by the controller; it does not poll. Without a query it waits for: an application that is
active, a unit whose workload is active, a machine that is started, a model that is available.

A query compares fields with == != < > <= >= and joins comparisons with && || ! and parentheses. Fields of all: name, life, status.
Of a unit also: workload-status, agent-status, machine, message. Of a machine: instance-status, instance-id, hostname. What
was there and is gone has the life "dead".`,
		Example: "scarab wait-for application mysql\n" +
			"scarab wait-for unit mysql/0 --query='workload-status==\"active\" && agent-status==\"idle\"' --timeout 5m\n" +
			"scarab wait-for application old --query='life==\"dead\"'",
	}, func(ctx context.Context, args []string) error {
		w, err := newWaiter(args[0], args[1], text)
		if err != nil {
			return err
		}
		w.quiet = !summary
		return w.run(ctx, s, timeout)
	})
	c.Flags().StringVar(&text, "query", "", "Condition to wait for")
	c.Flags().DurationVar(&timeout, "timeout", 10*time.Minute, "How long to wait at most")
	c.Flags().BoolVar(&summary, "summary", true, "Say what is being waited for")
	return c
}

type waiter struct {
	kind, name string
	text       string
	q          *query
	quiet      bool
	entities   map[string]json.RawMessage // by kind and name
	seen       bool
	blind      bool // nothing was told on this connection yet
	told       string
}

func newWaiter(kind, name, text string) (*waiter, error) {
	valid := map[string]func(string) bool{
		"application": names.ValidApplication, "unit": names.ValidUnit, "machine": names.ValidMachine,
		"model": func(string) bool { return true },
	}
	check, ok := valid[kind]
	if !ok {
		return nil, &session.Usage{Text: fmt.Sprintf("cannot wait for %q: choose application, unit, machine or model", kind)}
	}
	if !check(name) {
		return nil, &session.Usage{Text: fmt.Sprintf("cannot wait for %s %q: it is no valid name", kind, name)}
	}
	if text == "" {
		text = map[string]string{
			"application": `life=="alive" && status=="active"`, "unit": `life=="alive" && workload-status=="active"`,
			"machine": `life=="alive" && status=="started"`, "model": `life=="alive" && status=="available"`,
		}[kind]
	}
	q, err := parseQuery(text)
	if err != nil {
		return nil, &session.Usage{Text: err.Error()}
	}
	return &waiter{kind: kind, name: name, text: text, q: q, entities: map[string]json.RawMessage{}}, nil
}

func (w *waiter) run(ctx context.Context, s *session.Session, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	p := s.Progress()
	defer p.End()
	last := ""
	each := func(ds []wire.Delta) (bool, error) {
		if w.blind = w.blind && len(ds) == 0; w.blind && w.seen {
			return false, nil // it is not gone: nothing was told on this connection yet
		}
		if err := w.take(ds); err != nil {
			return false, err
		}
		fields, err := w.fields()
		if err != nil {
			return false, err
		}
		if fields == nil {
			last = fmt.Sprintf("waiting for %s %q: it does not exist yet, until %s", w.kind, w.name, w.text)
		} else {
			done, err := w.q.holds(fields)
			if err != nil || done {
				return done, err
			}
			now := w.describe(fields)
			last = fmt.Sprintf("waiting for %s %q: %s, until %s", w.kind, w.name, now, w.text)
			if w.told != "" && !s.Term().StderrIsTerminal() {
				last = fmt.Sprintf("%s %q: %s", w.kind, w.name, now) // a line for each change, and the query once
			}
			if now == w.told {
				return false, nil
			}
			w.told = now
		}
		if !w.quiet {
			p.Waiting(last)
		}
		return false, nil
	}
	err := patient{s: s, delay: time.Second, what: "waiting"}.run(ctx, true, func(alive func()) error {
		m, err := s.OpenModel(ctx)
		if err != nil {
			return err
		}
		if w.kind == "model" && w.name != m.Short() && w.name != m.Name {
			return &session.Usage{Text: fmt.Sprintf("cannot wait for model %q on a connection to %q: name it with -m", w.name, m.Name)}
		}
		alive()
		clear(w.entities) // each connection tells all there is first
		w.blind = true
		return watchAll(ctx, m, each)
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return session.Advise(fmt.Errorf("cannot wait any longer after %s: %s", timeout, last), "look for the cause: scarab why "+w.name)
	}
	if err == nil && !w.quiet {
		p.End()
		s.Info("%s %q: %s", w.kind, w.name, w.text)
	}
	return err
}

// describe gives the fields that tell how far it is, and those that the query asks for.
func (w *waiter) describe(f map[string]any) string {
	main := []string{"life", "status", "message", "instance-status"}
	if w.kind == "unit" {
		main = []string{"life", "workload-status", "agent-status", "message"}
	}
	asked := strings.FieldsFunc(w.text, func(r rune) bool { return r != '-' && (r < 'a' || r > 'z') })
	var out []string
	for _, k := range slices.Sorted(maps.Keys(f)) {
		if v, ok := f[k].(string); ok && v != "" && (slices.Contains(main, k) || slices.Contains(asked, k)) {
			out = append(out, k+"="+v)
		}
	}
	return strings.Join(out, " ")
}

// take records the newest state of the entities that matter.
func (w *waiter) take(ds []wire.Delta) error {
	for _, d := range ds {
		raw, ok := d.Entity.(json.RawMessage)
		if !ok {
			continue
		}
		var id struct {
			Name string `json:"name"`
			ID   any    `json:"id"`
		}
		if err := json.Unmarshal(raw, &id); err != nil {
			return fmt.Errorf("cannot read the controller's change of a %s: %w", d.Kind, err)
		}
		key := d.Kind + " " + id.Name
		if d.Kind == multiwatch.KindMachine {
			key = d.Kind + " " + fmt.Sprint(id.ID)
		}
		if d.Kind == multiwatch.KindModel {
			key = d.Kind + " " + w.name
		}
		if d.Removed {
			delete(w.entities, key)
			continue
		}
		w.entities[key] = raw
		w.seen = w.seen || key == w.kind+" "+w.name
	}
	return nil
}

// fields are what the query may ask of the entity; nil while it does not exist.
func (w *waiter) fields() (map[string]any, error) {
	raw, ok := w.entities[w.kind+" "+w.name]
	if !ok {
		if w.seen {
			return w.gone(), nil
		}
		return nil, nil
	}
	switch w.kind {
	case "application":
		var a multiwatch.Application
		err := json.Unmarshal(raw, &a)
		if a.Status.Current == "unset" || a.Status.Current == "" {
			a.Status = w.derive()
		}
		return map[string]any{
			"name": a.Name, "life": a.Life, "status": a.Status.Current, "message": a.Status.Message, "exposed": a.Exposed,
			"charm-url": a.CharmURL, "subordinate": a.Subordinate, "min-units": float64(a.MinUnits), "workload-version": a.WorkloadVersion,
		}, err
	case "unit":
		var u multiwatch.Unit
		err := json.Unmarshal(raw, &u)
		return map[string]any{
			"name": u.Name, "life": u.Life, "status": u.WorkloadStatus.Current, "workload-status": u.WorkloadStatus.Current,
			"workload-message": u.WorkloadStatus.Message, "message": u.WorkloadStatus.Message, "agent-status": u.AgentStatus.Current,
			"machine": u.MachineID, "machine-id": u.MachineID, "application": u.Application, "public-address": u.PublicAddress,
			"charm-url": u.CharmURL, "subordinate": u.Subordinate,
		}, err
	case "machine":
		var m multiwatch.Machine
		err := json.Unmarshal(raw, &m)
		return map[string]any{
			"id": m.ID, "name": m.ID, "life": m.Life, "status": m.AgentStatus.Current, "agent-status": m.AgentStatus.Current,
			"message": m.AgentStatus.Message, "instance-status": m.InstanceStatus.Current, "instance-id": m.InstanceID, "hostname": m.Hostname, "base": m.Base,
		}, err
	}
	var m multiwatch.Model
	err := json.Unmarshal(raw, &m)
	return map[string]any{
		"name": m.Name, "life": m.Life, "status": m.Status.Current, "message": m.Status.Message, "is-controller": m.IsController,
		"cloud": m.Cloud, "version": m.Version,
	}, err
}

func (w *waiter) gone() map[string]any {
	f := map[string]any{"name": w.name, "life": "dead"}
	for _, k := range []string{"status", "message", "workload-status", "agent-status", "instance-status", "machine", "machine-id"} {
		f[k] = ""
	}
	return f
}

// derive takes the worst of an application's units when the charm has not set a status for all.
func (w *waiter) derive() multiwatch.StatusInfo {
	rank := map[string]int{"error": 100, "blocked": 90, "maintenance": 80, "waiting": 70, "active": 60, "terminated": 50, "unknown": 40}
	worst := multiwatch.StatusInfo{Current: "unknown"}
	for _, key := range slices.Sorted(maps.Keys(w.entities)) {
		if !strings.HasPrefix(key, "unit "+w.name+"/") {
			continue
		}
		var u multiwatch.Unit
		if json.Unmarshal(w.entities[key], &u) == nil && rank[u.WorkloadStatus.Current] > rank[worst.Current] {
			worst = u.WorkloadStatus
		}
	}
	return worst
}
