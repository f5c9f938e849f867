package apps

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/scarab-ops/scarab/cli/session"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/wire"
	"github.com/scarab-ops/scarab/wire/application"
)

func resolvedCommand(s *session.Session) *cobra.Command {
	var noRetry, all bool
	c := s.Command(session.Spec{
		Use: "resolved [UNIT...]", Aliases: []string{"resolve"}, Short: "Mark errors of units as resolved, and run the failed hook again", Group: group,
		Scope: session.OnModel, Max: -1,
		Example: "scarab resolved mysql/0\nscarab resolved mysql/0 --no-retry\nscarab resolved --all",
	}, func(ctx context.Context, args []string) error {
		if all == (len(args) > 0) {
			return &session.Usage{Text: "cannot tell which units: name some, or use --all alone"}
		}
		p := application.UnitsResolved{All: all, Retry: !noRetry}
		if !all {
			p.Tags = &wire.Entities{}
		}
		for _, a := range args {
			if err := checkUnit(a); err != nil {
				return err
			}
			p.Tags.Entities = append(p.Tags.Entities, wire.Entity{Tag: names.Unit(a).Tag().String()})
		}
		m, err := s.OpenModel(ctx)
		if err != nil {
			return err
		}
		res, err := session.Do[wire.ErrorResults](ctx, m, "Application", "ResolveUnitErrors", p)
		if err == nil {
			err = session.Errors(res.Results, args)
		}
		if err != nil && strings.Contains(err.Error(), "not in an error state") {
			err = session.Advise(err, "see how it is: scarab why "+strings.Join(args[:min(1, len(args))], ""))
		}
		return session.Because("cannot resolve", err)
	})
	c.Flags().BoolVar(&noRetry, "no-retry", false, "Do not run the failed hook again")
	c.Flags().BoolVar(&all, "all", false, "All units in error")
	return c
}
