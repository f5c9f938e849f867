package apps

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/scarab-ops/scarab/cli/session"
	"github.com/scarab-ops/scarab/cli/values"
	"github.com/scarab-ops/scarab/wire/application"
)

func addUnitCommand(s *session.Session) *cobra.Command {
	var n int
	var to string
	var attach []string
	c := s.Command(session.Spec{
		Use: "add-unit APPLICATION", Short: "Add units to an application", Group: group, Scope: session.OnModel, Min: 1, Max: 1,
		Example: "scarab add-unit mysql\nscarab add-unit mysql -n 2 --to 3,4",
	}, func(ctx context.Context, args []string) error {
		if err := checkApp(args[0]); err != nil {
			return err
		}
		if n < 1 || n > 1000 {
			return &session.Usage{Text: "cannot add units: --num-units must lie between 1 and 1000"}
		}
		if len(attach) > 0 {
			return fmt.Errorf("cannot attach storage: the local cloud has no separate storage; leave --attach-storage out")
		}
		m, err := s.OpenModel(ctx)
		if err != nil {
			return err
		}
		place, err := values.Placements(to, m.UUID)
		if err != nil {
			return &session.Usage{Text: err.Error()}
		}
		res, err := session.Do[application.AddApplicationUnitsResults](ctx, m, "Application", "AddUnits",
			application.AddApplicationUnits{Application: args[0], NumUnits: n, Placement: place})
		if err != nil {
			return fmt.Errorf("cannot add units to %q: %w", args[0], err)
		}
		s.Info("Added %s.", strings.Join(res.Units, ", "))
		return nil
	})
	c.Flags().IntVarP(&n, "num-units", "n", 1, "Number of units")
	c.Flags().StringVar(&to, "to", "", "Where they go: ids of machines, separated by commas")
	c.Flags().StringArrayVar(&attach, "attach-storage", nil, "Existing storage to attach")
	return c
}
