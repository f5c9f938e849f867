package observe

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/scarab-ops/scarab/cli/output"
	"github.com/scarab-ops/scarab/cli/session"
	"github.com/scarab-ops/scarab/cli/status"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/wire/client"
	wirescarab "github.com/scarab-ops/scarab/wire/scarab"
)

// cause is one link of the chain: because the next one is as it is, this one is as it is.
type cause struct {
	Entity  string     `yaml:"entity" json:"entity"`
	State   string     `yaml:"state" json:"state"`
	Because string     `yaml:"because,omitempty" json:"because,omitempty"`
	Since   *time.Time `yaml:"since,omitempty" json:"since,omitempty"`
	Next    string     `yaml:"next,omitempty" json:"next,omitempty"`
	Ended   string     `yaml:"ended,omitempty" json:"ended,omitempty"` // how a failed hook ended
	Said    string     `yaml:"said,omitempty" json:"said,omitempty"`   // and its last line
}

// causes turns the controller's answer into links; its entities are tags.
func causes(in []wirescarab.Cause) []cause {
	out := make([]cause, len(in))
	for i, c := range in {
		out[i] = cause{Entity: c.Entity, State: c.State, Because: c.Because, Since: c.Since, Next: c.Next}
		if t, err := names.ParseTag(c.Entity); err == nil {
			out[i].Entity = string(t.Kind) + " " + t.ID
		}
	}
	return out
}

func whyCommand(s *session.Session) *cobra.Command {
	var format *output.Format
	c := s.Command(session.Spec{
		Use: "why [ENTITY]", Short: "Explain why something waits, failed or is stuck", Group: group, Scope: session.OnModel, Max: 1,
		Long: `
Follows the causes of a state from one thing to the next: a unit that waits for its machine, a machine that waits for its instance, a
removal that waits for a hook. The last line says what happens next or what to do. Without a name it explains everything that is not well.`,
		Example: "scarab why mysql/0\nscarab why 3\nscarab why",
	}, func(ctx context.Context, args []string) error {
		m, err := s.OpenModel(ctx)
		if err != nil {
			return err
		}
		var chains [][]cause
		if len(args) == 0 {
			chains, err = whyAll(ctx, m)
		} else {
			var one []cause
			if one, err = whyOne(ctx, m, args[0]); len(one) > 0 {
				chains = [][]cause{one}
			}
		}
		if err != nil {
			return err
		}
		tellFailures(ctx, m, chains)
		return format.Write(s.Stdout.Raw(), chains, func(w ioWriter) error {
			if len(chains) == 0 && len(args) > 0 {
				s.Info("%s is well: it waits for nothing.", args[0])
			} else if len(chains) == 0 {
				s.Info("Nothing in model %q waits or failed.", m.Name)
			}
			return printChains(w, chains, s.Now(), s.Colour() && format.File == "")
		})
	})
	format = session.Format(c, "tabular", "yaml", "json")
	return c
}

func entityTag(m *session.Model, name string) (string, error) {
	switch {
	case name == m.Short() || name == m.Name:
		return names.Model(m.UUID).Tag().String(), nil
	case names.ValidUnit(name):
		return names.Unit(name).Tag().String(), nil
	case names.ValidMachine(name):
		return names.Machine(name).Tag().String(), nil
	case names.ValidApplication(name):
		return "application-" + name, nil
	}
	if names.ValidRelation(name) {
		return names.Relation(name).Tag().String(), nil
	}
	return "", &session.Usage{Text: fmt.Sprintf("cannot explain %q: name a unit, machine, application, relation or the model", name)}
}

func whyOne(ctx context.Context, m *session.Model, name string) ([]cause, error) {
	tag, err := entityTag(m, name)
	if err != nil {
		return nil, err
	}
	if m.Has("Scarab") {
		r, err := session.Do[wirescarab.WhyResult](ctx, m, "Scarab", "Why", wirescarab.WhyArgs{Tag: tag})
		if err == nil || (session.Code(err) != "not implemented" && session.Code(err) != "not supported") {
			if session.IsNotFound(err) {
				err = session.Advise(fmt.Errorf("cannot explain %q: there is no such thing in model %q", name, m.Name), "see what there is: scarab status")
			}
			return causes(r.Causes), err
		}
	}
	fs, err := session.Do[client.FullStatus](ctx, m, "Client", "FullStatus", client.StatusParams{Patterns: []string{}})
	if err != nil {
		return nil, err
	}
	chain := (&explainer{fs}).entity(name)
	if chain == nil && name != m.Short() && name != m.Name {
		return nil, session.Advise(fmt.Errorf("cannot explain %q: there is no such thing in model %q", name, m.Name), "see what there is: scarab status")
	}
	return chain, nil
}

func whyAll(ctx context.Context, m *session.Model) ([][]cause, error) {
	fs, err := session.Do[client.FullStatus](ctx, m, "Client", "FullStatus", client.StatusParams{Patterns: []string{}})
	if err != nil {
		return nil, err
	}
	chains := [][]cause{}
	e := &explainer{fs}
	told := map[string]bool{}
	for _, app := range slices.SortedFunc(maps.Keys(fs.Applications), status.Natural) {
		for _, u := range e.troubledUnits(fs.Applications[app].Units) {
			c, err := whyOne(ctx, m, u)
			if err != nil {
				return nil, err
			}
			for _, x := range c {
				told[x.Entity] = true
			}
			chains = append(chains, c)
		}
	}
	for _, id := range slices.SortedFunc(maps.Keys(fs.Machines), status.Natural) {
		if c := e.machine(id); !told["machine "+id] && !wellMachine(fs.Machines[id]) {
			chains = append(chains, c)
		}
	}
	return chains, nil
}

// explainer finds causes in the status document alone.
type explainer struct{ fs client.FullStatus }

func wellMachine(m client.MachineStatus) bool {
	return m.AgentStatus.Status == "started" && m.AgentStatus.Life == "" && m.InstanceStatus.Status == "running"
}

func wellUnit(u client.UnitStatus) bool {
	return (u.WorkloadStatus.Status == "active" || u.WorkloadStatus.Status == "unknown") && u.AgentStatus.Status == "idle" && u.AgentStatus.Life == ""
}

func (e *explainer) troubledUnits(us map[string]client.UnitStatus) []string {
	var out []string
	for _, n := range slices.SortedFunc(maps.Keys(us), status.Natural) {
		if !wellUnit(us[n]) {
			out = append(out, n)
		}
		out = append(out, e.troubledUnits(us[n].Subordinates)...)
	}
	return out
}

func (e *explainer) entity(name string) []cause {
	if app, ok := e.fs.Applications[name]; ok {
		return e.application(name, app)
	}
	if names.ValidUnit(name) {
		if u, principal, ok := e.findUnit(name); ok {
			return e.unit(name, u, principal)
		}
		return nil
	}
	if names.ValidMachine(name) {
		return e.machine(name)
	}
	return nil
}

func (e *explainer) findUnit(name string) (client.UnitStatus, client.UnitStatus, bool) {
	for _, a := range e.fs.Applications {
		for n, u := range a.Units {
			if n == name {
				return u, u, true
			}
			if sub, ok := u.Subordinates[name]; ok {
				return sub, u, true
			}
		}
	}
	return client.UnitStatus{}, client.UnitStatus{}, false
}

func (e *explainer) application(name string, a client.ApplicationStatus) []cause {
	c := cause{Entity: "application " + name, State: a.Status.Status, Because: a.Status.Info, Since: a.Status.Since}
	if a.Life != "" {
		c.State = a.Life
		c.Because = fmt.Sprintf("%d units are still there", len(a.Units))
	}
	chain := []cause{c}
	bad := e.troubledUnits(a.Units)
	if len(bad) == 0 {
		return chain
	}
	u, principal, _ := e.findUnit(bad[0])
	return append(chain, e.unit(bad[0], u, principal)...)
}

func (e *explainer) unit(name string, u, principal client.UnitStatus) []cause {
	c := cause{
		Entity: "unit " + name, State: "workload " + u.WorkloadStatus.Status + ", agent " + u.AgentStatus.Status,
		Because: u.WorkloadStatus.Info, Since: u.WorkloadStatus.Since,
	}
	if u.AgentStatus.Life != "" {
		c.State = u.AgentStatus.Life + ", " + c.State
	}
	if u.AgentStatus.Info != "" {
		c.Because = strings.TrimPrefix(c.Because+"; agent: "+u.AgentStatus.Info, "; ")
	}
	switch {
	case u.WorkloadStatus.Status == "error":
		c.Next = "look at the log: scarab debug-log --replay --include " + name + "; then retry the hook: scarab resolved " + name
	case u.WorkloadStatus.Status == "blocked":
		c.Next = "the charm waits for a person: do what its message says"
	case u.AgentStatus.Status == "lost":
		c.Next = "the agent does not answer: see its machine"
	case u.AgentStatus.Status == "executing":
		c.Next = "a hook is running; it goes on when the hook ends"
	case wellUnit(u):
		c.Next = "nothing: all is well"
	}
	chain := []cause{c}
	if m, ok := e.fs.Machines[principal.Machine]; ok && !wellMachine(m) {
		chain = append(chain, e.machine(principal.Machine)...)
	}
	return chain
}

func (e *explainer) machine(id string) []cause {
	m, ok := findMachine(e.fs.Machines, id)
	if !ok {
		return nil
	}
	agent := cause{Entity: "machine " + id, State: "agent " + m.AgentStatus.Status, Because: m.AgentStatus.Info, Since: m.AgentStatus.Since}
	if m.AgentStatus.Life != "" {
		agent.State = m.AgentStatus.Life + ", " + agent.State
	}
	if wellMachine(m) {
		agent.Next = "nothing: all is well"
		return []cause{agent}
	}
	inst := cause{Entity: "instance " + m.InstanceID, State: m.InstanceStatus.Status, Because: m.InstanceStatus.Info, Since: m.InstanceStatus.Since}
	switch m.InstanceStatus.Status {
	case "provisioning error", "error":
		inst.Next = "mend what the message says, then: scarab remove-machine " + id + " --force, or add another one"
	case "running":
		inst.Next = "the instance runs; its agent has to connect"
	default:
		inst.Next = "the cloud is starting it"
	}
	return []cause{agent, inst}
}
