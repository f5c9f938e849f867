package apps

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"github.com/scarab-ops/scarab/cli/session"
	"github.com/scarab-ops/scarab/wire"
	"github.com/scarab-ops/scarab/wire/application"
)

func exposeCommand(s *session.Session) *cobra.Command {
	var endpoints, cidrs, spaces string
	c := s.Command(session.Spec{
		Use: "expose APPLICATION", Short: "Open the ports of an application to the outside", Group: group, Scope: session.OnModel, Min: 1, Max: 1,
		Long:    "Opens the ports that units of an application asked for. Without flags: all endpoints, to everywhere. Name networks to open less.",
		Example: "scarab expose wordpress\nscarab expose wordpress --endpoints website --to-cidrs 10.0.0.0/8",
	}, func(ctx context.Context, args []string) error {
		if err := checkApp(args[0]); err != nil {
			return err
		}
		e := wire.ExposedEndpoint{ExposeToCIDRs: split(cidrs), ExposeToSpaces: split(spaces)}
		for _, c := range e.ExposeToCIDRs {
			if _, err := netip.ParsePrefix(c); err != nil {
				return &session.Usage{Text: fmt.Sprintf("cannot use network %q: write it as 10.0.0.0/8", c)}
			}
		}
		p := application.ApplicationExpose{Application: args[0]}
		if endpoints != "" || cidrs != "" || spaces != "" {
			p.ExposedEndpoints = map[string]wire.ExposedEndpoint{}
			for _, ep := range orAll(split(endpoints)) {
				p.ExposedEndpoints[ep] = e
			}
		}
		m, err := s.OpenModel(ctx)
		if err != nil {
			return err
		}
		if err := session.Run(ctx, m, "Application", "Expose", p); err != nil {
			return fmt.Errorf("cannot expose %q: %w", args[0], err)
		}
		return nil
	})
	c.Flags().StringVar(&endpoints, "endpoints", "", "Endpoints to open, separated by commas")
	c.Flags().StringVar(&cidrs, "to-cidrs", "", "Networks to open to, separated by commas")
	c.Flags().StringVar(&spaces, "to-spaces", "", "Spaces to open to, separated by commas")
	return c
}

func split(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

func orAll(eps []string) []string {
	if len(eps) == 0 {
		return []string{""}
	}
	return eps
}

func unexposeCommand(s *session.Session) *cobra.Command {
	var endpoints string
	c := s.Command(session.Spec{
		Use: "unexpose APPLICATION", Short: "Close the ports of an application to the outside", Group: group, Scope: session.OnModel, Min: 1, Max: 1,
		Example: "scarab unexpose wordpress\nscarab unexpose wordpress --endpoints website",
	}, func(ctx context.Context, args []string) error {
		if err := checkApp(args[0]); err != nil {
			return err
		}
		m, err := s.OpenModel(ctx)
		if err != nil {
			return err
		}
		p := application.ApplicationUnexpose{Application: args[0], ExposedEndpoints: split(endpoints)}
		if p.ExposedEndpoints == nil {
			p.ExposedEndpoints = []string{}
		}
		if err := session.Run(ctx, m, "Application", "Unexpose", p); err != nil {
			return fmt.Errorf("cannot unexpose %q: %w", args[0], err)
		}
		return nil
	})
	c.Flags().StringVar(&endpoints, "endpoints", "", "Endpoints to close, separated by commas")
	return c
}
