package apps

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/scarab-ops/scarab/cli/output"
	"github.com/scarab-ops/scarab/cli/session"
	"github.com/scarab-ops/scarab/cli/values"
	"github.com/scarab-ops/scarab/wire"
	"github.com/scarab-ops/scarab/wire/application"
)

func constraintsCommand(s *session.Session) *cobra.Command {
	var format *output.Format
	c := s.Command(session.Spec{
		Use: "constraints APPLICATION", Short: "Show the constraints of an application", Group: group, Scope: session.OnModel, Min: 1, Max: 1,
		Example: "scarab constraints mysql\nscarab constraints mysql --format yaml",
	}, func(ctx context.Context, args []string) error {
		if err := checkApp(args[0]); err != nil {
			return err
		}
		m, err := s.OpenModel(ctx)
		if err != nil {
			return err
		}
		res, err := session.Do[application.ApplicationGetConstraintsResults](ctx, m, "Application", "GetConstraints",
			wire.Entities{Entities: []wire.Entity{{Tag: "application-" + args[0]}}})
		if err != nil {
			return err
		}
		one, err := session.One(res.Results, func(r application.ApplicationConstraint) *wire.Error { return r.Error })
		if err != nil {
			return err
		}
		text := values.FormatConstraints(one.Constraints)
		return format.Write(s.Stdout.Raw(), values.ConstraintMap(one.Constraints), func(w io.Writer) error {
			_, err := fmt.Fprintln(w, output.Escape(text))
			return err
		})
	})
	format = session.Format(c, "constraints", "yaml", "json")
	return c
}

func setConstraintsCommand(s *session.Session) *cobra.Command {
	return s.Command(session.Spec{
		Use: "set-constraints APPLICATION KEY=VALUE...", Short: "Set the constraints of an application", Group: group, Scope: session.OnModel, Min: 2, Max: -1,
		Long:    "Sets the constraints of machines that are made for an application from now on. All constraints are replaced.",
		Example: "scarab set-constraints mysql mem=4G cores=2",
	}, func(ctx context.Context, args []string) error {
		if err := checkApp(args[0]); err != nil {
			return err
		}
		v, err := values.Constraints(strings.Join(args[1:], " "))
		if err != nil {
			return &session.Usage{Text: err.Error()}
		}
		m, err := s.OpenModel(ctx)
		if err != nil {
			return err
		}
		if err := session.Run(ctx, m, "Application", "SetConstraints", wire.SetConstraints{Application: args[0], Constraints: v}); err != nil {
			return fmt.Errorf("cannot set the constraints of %q: %w", args[0], err)
		}
		return nil
	})
}
