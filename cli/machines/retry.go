package machines

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/scarab-ops/scarab/cli/session"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/wire"
	"github.com/scarab-ops/scarab/wire/machinemanager"
)

func retryProvisioningCommand(s *session.Session) *cobra.Command {
	var all bool
	c := s.Command(session.Spec{
		Use: "retry-provisioning [MACHINE...]", Short: "Ask the cloud again for machines that it could not give", Group: group,
		Scope: session.OnModel, Max: -1,
		Example: "scarab retry-provisioning 3\nscarab retry-provisioning --all",
	}, func(ctx context.Context, args []string) error {
		if all == (len(args) > 0) {
			return &session.Usage{Text: "cannot tell which machines: name some, or use --all alone"}
		}
		p := machinemanager.RetryProvisioningArgs{All: all, Machines: []string{}}
		for _, a := range args {
			if !names.ValidMachine(a) {
				return &session.Usage{Text: fmt.Sprintf("cannot retry %q: it is no machine id", a)}
			}
			p.Machines = append(p.Machines, names.Machine(a).Tag().String())
		}
		m, err := s.OpenModel(ctx)
		if err != nil {
			return err
		}
		res, err := session.Do[wire.ErrorResults](ctx, m, "MachineManager", "RetryProvisioning", p)
		if err == nil {
			err = session.Errors(res.Results, args)
		}
		if err != nil {
			return fmt.Errorf("cannot retry: %w", err)
		}
		return nil
	})
	c.Flags().BoolVar(&all, "all", false, "All machines that the cloud could not give")
	return c
}
