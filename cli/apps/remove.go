package apps

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/scarab-ops/scarab/cli/session"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/wire"
	"github.com/scarab-ops/scarab/wire/application"
	"github.com/scarab-ops/scarab/wire/client"
)

func removeApplicationCommand(s *session.Session) *cobra.Command {
	var f removal
	c := s.Command(session.Spec{
		Use: "remove-application APPLICATION...", Short: "Remove applications with their units", Group: group, Scope: session.OnModel, Min: 1, Max: -1,
		Long: `
Says what will go, asks unless --no-prompt is given or the model's mode does not require prompts, and begins the removal. Hooks of the
charm run to the end; with --force every step has one minute, with --no-wait none.`,
		Example: "scarab remove-application mysql\nscarab remove-application mysql --wait --no-prompt\nscarab remove-application mysql --dry-run",
	}, func(ctx context.Context, args []string) error {
		for _, a := range args {
			if err := checkApp(a); err != nil {
				return err
			}
		}
		r := &remover{s: s, f: &f, names: args, kind: "application", send: sendApplications}
		return r.run(ctx)
	})
	f.flags(c)
	return c
}

func removeUnitCommand(s *session.Session) *cobra.Command {
	var f removal
	var n int
	c := s.Command(session.Spec{
		Use: "remove-unit UNIT...", Short: "Remove units", Group: group, Scope: session.OnModel, Min: 1, Max: -1,
		Example: "scarab remove-unit mysql/1\nscarab remove-unit mysql/1 mysql/2 --no-prompt --wait",
	}, func(ctx context.Context, args []string) error {
		if n != 0 {
			return errors.New("cannot remove units by number: this is for Kubernetes models; name the units")
		}
		for _, a := range args {
			if err := checkUnit(a); err != nil {
				return err
			}
		}
		r := &remover{s: s, f: &f, names: args, kind: "unit", send: sendUnits}
		return r.run(ctx)
	})
	f.flags(c)
	c.Flags().IntVar(&n, "num-units", 0, "Number of units, on Kubernetes")
	return c
}

// effect is what a removal takes along.
type effect struct {
	name  string
	err   error
	lines []string
}

type sender func(ctx context.Context, m *session.Model, names []string, f *removal, dry bool) ([]effect, error)

type remover struct {
	s     *session.Session
	f     *removal
	names []string
	kind  string
	send  sender
}

func (r *remover) run(ctx context.Context) error {
	if _, err := r.f.maxWait(); err != nil {
		return err
	}
	m, err := r.s.OpenModel(ctx)
	if err != nil {
		return err
	}
	if err := r.preview(ctx, m); err != nil || r.f.dryRun {
		return err
	}
	done, err := r.send(ctx, m, r.names, r.f, false)
	if err != nil {
		return fmt.Errorf("cannot remove %s: %w", strings.Join(r.names, ", "), err)
	}
	var errs []error
	for _, e := range done {
		if e.err != nil {
			errs = append(errs, fmt.Errorf("cannot remove %s %s: %w", r.kind, e.name, e.err))
			continue
		}
		r.s.Info("removing %s %s", r.kind, e.name)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if r.f.wait {
		return r.await(ctx, m)
	}
	return nil
}

// preview shows what would go, and asks where that is due.
func (r *remover) preview(ctx context.Context, m *session.Model) error {
	ask := false
	if !r.f.noPrompt && !r.f.dryRun {
		var err error
		if ask, err = session.MustAsk(ctx, m); err != nil {
			return err
		}
	}
	if !ask && !r.f.dryRun {
		return nil
	}
	effects, err := r.send(ctx, m, r.names, r.f, true)
	if err != nil {
		return err
	}
	var errs []error
	something := slices.ContainsFunc(effects, func(e effect) bool { return e.err == nil })
	switch {
	case something && r.f.dryRun:
		r.s.Info("This would remove:")
	case something:
		r.s.Info("WARNING! This command will remove:")
	}
	for _, e := range effects {
		if e.err != nil {
			errs = append(errs, fmt.Errorf("cannot remove %s %s: %w", r.kind, e.name, e.err))
			continue
		}
		r.s.Info("- %s %s", r.kind, e.name)
		for _, l := range e.lines {
			r.s.Info("  - %s", l)
		}
	}
	if err := errors.Join(errs...); err != nil || r.f.dryRun {
		return err
	}
	return r.s.Confirm("Continue?")
}

func described(storageGone, storageKept, units []wire.Entity) []string {
	var out []string
	add := func(what string, es []wire.Entity) {
		for _, e := range es {
			id := e.Tag
			if t, err := names.ParseTag(e.Tag); err == nil {
				id = t.ID
			}
			out = append(out, what+" "+id)
		}
	}
	add("unit", units)
	add("destroys storage", storageGone)
	add("detaches storage", storageKept)
	return out
}

func sendApplications(ctx context.Context, m *session.Model, apps []string, f *removal, dry bool) ([]effect, error) {
	var p application.DestroyApplicationsParams
	wait, err := f.maxWait()
	if err != nil {
		return nil, err
	}
	for _, a := range apps {
		p.Applications = append(p.Applications, application.DestroyApplicationParams{
			ApplicationTag: "application-" + a, DestroyStorage: f.destroyStorage,
			DryRun: dry, Force: f.force, MaxWait: wait,
		})
	}
	res, err := session.Do[application.DestroyApplicationResults](ctx, m, "Application", "DestroyApplication", p)
	if err != nil {
		return nil, err
	}
	var out []effect
	for i, r := range res.Results {
		if i >= len(apps) {
			break
		}
		e := effect{name: apps[i]}
		if r.Error != nil {
			e.err = r.Error
		} else if r.Info != nil {
			e.lines = described(r.Info.DestroyedStorage, r.Info.DetachedStorage, r.Info.DestroyedUnits)
		}
		out = append(out, e)
	}
	return out, nil
}

func sendUnits(ctx context.Context, m *session.Model, units []string, f *removal, dry bool) ([]effect, error) {
	var p application.DestroyUnitsParams
	wait, err := f.maxWait()
	if err != nil {
		return nil, err
	}
	for _, u := range units {
		p.Units = append(p.Units, application.DestroyUnitParams{
			UnitTag: names.Unit(u).Tag().String(), DestroyStorage: f.destroyStorage, DryRun: dry,
			Force: f.force, MaxWait: wait,
		})
	}
	res, err := session.Do[application.DestroyUnitResults](ctx, m, "Application", "DestroyUnit", p)
	if err != nil {
		return nil, err
	}
	var out []effect
	for i, r := range res.Results {
		if i >= len(units) {
			break
		}
		e := effect{name: units[i]}
		if r.Error != nil {
			e.err = r.Error
		} else if r.Info != nil {
			e.lines = described(r.Info.DestroyedStorage, r.Info.DetachedStorage, nil)
		}
		out = append(out, e)
	}
	return out, nil
}

// await follows the removal until the last of it is gone, saying what holds it up.
func (r *remover) await(ctx context.Context, m *session.Model) error {
	ctx, cancel := context.WithTimeout(ctx, r.f.timeout)
	defer cancel()
	p := r.s.Progress()
	defer p.End()
	last := ""
	for delay := 50 * time.Millisecond; ; delay = min(2*delay, 2*time.Second) {
		fs, err := session.Do[client.FullStatus](ctx, m, "Client", "FullStatus", client.StatusParams{Patterns: []string{}})
		if err == nil {
			left := r.left(fs)
			if len(left) == 0 {
				p.End()
				r.s.Info("%s gone after %s", strings.Join(r.names, ", "), p.Elapsed().Round(100*time.Millisecond))
				return nil
			}
			last = strings.Join(left, "; ")
			p.Waiting("waiting for " + last)
		} else if ctx.Err() == nil {
			return err
		}
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return session.Advise(fmt.Errorf("cannot wait any longer after %s: %s", r.f.timeout, last), "see what holds it up: scarab why "+r.names[0])
			}
			return ctx.Err()
		}
	}
}

func (r *remover) left(fs client.FullStatus) []string {
	var out []string
	wanted := map[string]bool{}
	for _, n := range r.names {
		wanted[n] = true
	}
	for name, a := range fs.Applications {
		if wanted[name] && len(a.Units) == 0 {
			out = append(out, "application "+name+" to go")
		}
		for u, st := range a.Units {
			if !wanted[name] && !wanted[u] {
				continue
			}
			text := "unit " + u + " (" + st.AgentStatus.Status
			if st.AgentStatus.Info != "" {
				text += ": " + st.AgentStatus.Info
			}
			out = append(out, text+")")
		}
	}
	return out
}
