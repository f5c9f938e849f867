// Package machines holds the commands that add and remove machines and that open shells on them. Shells are the system's
// ssh program with host keys from the controller; no host key is ever believed at first sight.
package machines

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/scarab-ops/scarab/cli/session"
	"github.com/scarab-ops/scarab/cli/values"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/wire"
	"github.com/scarab-ops/scarab/wire/machinemanager"
)

const group = "machines"

// Commands are the commands of this package.
func Commands(s *session.Session) []*cobra.Command {
	return []*cobra.Command{addMachineCommand(s), removeMachineCommand(s), retryProvisioningCommand(s), sshCommand(s), scpCommand(s)}
}

func addMachineCommand(s *session.Session) *cobra.Command {
	var n int
	var constraints []string
	var base string
	c := s.Command(session.Spec{
		Use: "add-machine [PLACEMENT]", Short: "Add machines to a model", Group: group, Scope: session.OnModel, Max: 1,
		Example: "scarab add-machine\nscarab add-machine -n 3 --constraints 'mem=2G' --base ubuntu@24.04",
	}, func(ctx context.Context, args []string) error {
		if n < 1 || n > 1000 {
			return &session.Usage{Text: "cannot add machines: -n must lie between 1 and 1000"}
		}
		cons, err := values.Constraints(strings.Join(constraints, " "))
		if err != nil {
			return &session.Usage{Text: err.Error()}
		}
		b, err := values.Base(base)
		if err != nil {
			return &session.Usage{Text: err.Error()}
		}
		m, err := s.OpenModel(ctx)
		if err != nil {
			return err
		}
		one := machinemanager.AddMachineParams{Base: b, Constraints: cons, Jobs: []string{"JobHostUnits"}}
		if len(args) == 1 {
			if len(args[0]) > 4 && args[0][:4] == "ssh:" {
				return fmt.Errorf("cannot add %q: machines of your own are not supported", args[0])
			}
			p, err := values.Placement(args[0], m.UUID)
			if err != nil {
				return &session.Usage{Text: err.Error()}
			}
			one.Placement = &p
		}
		params := machinemanager.AddMachines{}
		for range n {
			params.Params = append(params.Params, one)
		}
		res, err := session.Do[machinemanager.AddMachinesResults](ctx, m, "MachineManager", "AddMachines", params)
		if err != nil {
			return fmt.Errorf("cannot add machines: %w", err)
		}
		var errs []error
		for _, r := range res.Machines {
			if r.Error != nil {
				errs = append(errs, fmt.Errorf("cannot add a machine: %w", r.Error))
				continue
			}
			s.Info("created machine %s", r.Machine)
		}
		return errors.Join(errs...)
	})
	c.Flags().IntVarP(&n, "num-machines", "n", 1, "Number of machines")
	c.Flags().StringArrayVar(&constraints, "constraints", nil, "Constraints: mem=2G cores=2")
	c.Flags().StringVar(&base, "base", "", "Operating system: debian@12")
	return c
}

type removeFlags struct{ force, noWait, keep, noPrompt, dryRun bool }

func removeMachineCommand(s *session.Session) *cobra.Command {
	var f removeFlags
	c := s.Command(session.Spec{
		Use: "remove-machine MACHINE...", Short: "Remove machines", Group: group, Scope: session.OnModel, Min: 1, Max: -1,
		Long:    "Removes machines that hold no units. With --force also those that do, with their units; it says which before it asks.",
		Example: "scarab remove-machine 3\nscarab remove-machine 3 4 --force --no-prompt\nscarab remove-machine 3 --dry-run",
	}, func(ctx context.Context, args []string) error {
		for _, a := range args {
			if !names.ValidMachine(a) {
				return &session.Usage{Text: fmt.Sprintf("cannot remove %q: it is no machine id", a)}
			}
		}
		if f.noWait && !f.force {
			return &session.Usage{Text: "cannot use --no-wait without --force"}
		}
		return removeMachines(ctx, s, args, f)
	})
	c.Flags().BoolVar(&f.force, "force", false, "Remove its units and containers too, go on over errors")
	c.Flags().BoolVar(&f.noWait, "no-wait", false, "With --force: give no step time to end by itself")
	c.Flags().BoolVar(&f.keep, "keep-instance", false, "Keep the instance in the cloud running")
	c.Flags().BoolVar(&f.noPrompt, "no-prompt", false, "Do not ask")
	c.Flags().BoolVar(&f.dryRun, "dry-run", false, "Only say what would be removed")
	return c
}

func removeMachines(ctx context.Context, s *session.Session, ids []string, f removeFlags) error {
	p := machinemanager.DestroyMachinesParams{Force: f.force, Keep: f.keep}
	for _, id := range ids {
		p.MachineTags = append(p.MachineTags, names.Machine(id).Tag().String())
	}
	if f.force {
		wait := time.Minute
		if f.noWait {
			wait = 0
		}
		p.MaxWait = &wait
	}
	m, err := s.OpenModel(ctx)
	if err != nil {
		return err
	}
	ask := false
	if !f.noPrompt && !f.dryRun {
		if ask, err = session.MustAsk(ctx, m); err != nil {
			return err
		}
	}
	if ask || f.dryRun {
		dry := p
		dry.DryRun = true
		s.Info("%s", map[bool]string{true: "This would remove:", false: "WARNING! This command will remove:"}[f.dryRun])
		if err := sendRemoval(ctx, s, m, ids, dry, "- "); err != nil || f.dryRun {
			return err
		}
		if err := s.Confirm("Continue?"); err != nil {
			return err
		}
	}
	return sendRemoval(ctx, s, m, ids, p, "removing ")
}

func sendRemoval(ctx context.Context, s *session.Session, m session.Conn, ids []string, p machinemanager.DestroyMachinesParams, lead string) error {
	res, err := session.Do[machinemanager.DestroyMachineResults](ctx, m, "MachineManager", "DestroyMachineWithParams", p)
	if err != nil {
		return fmt.Errorf("cannot remove machines: %w", err)
	}
	var errs []error
	for i, r := range res.Results {
		if i >= len(ids) {
			break
		}
		if r.Error != nil {
			err := fmt.Errorf("cannot remove machine %s: %w", ids[i], r.Error)
			if !p.Force && !session.IsNotFound(r.Error) {
				err = session.Advise(err, "remove its units first, or use --force")
			}
			errs = append(errs, err)
			continue
		}
		s.Info("%smachine %s", lead, ids[i])
		describe(s, r.Info)
	}
	return errors.Join(errs...)
}

func describe(s *session.Session, info *machinemanager.DestroyMachineInfo) {
	if info == nil {
		return
	}
	tell := func(what string, es []wire.Entity) {
		for _, e := range es {
			id := e.Tag
			if t, err := names.ParseTag(e.Tag); err == nil {
				id = t.ID
			}
			s.Info("  - %s %s", what, id)
		}
	}
	tell("unit", info.DestroyedUnits)
	tell("destroys storage", info.DestroyedStorage)
	tell("detaches storage", info.DetachedStorage)
	for _, c := range info.DestroyedContainers {
		if c.Info != nil {
			s.Info("  - container %s", c.Info.MachineID)
		}
	}
}
