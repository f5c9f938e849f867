package apps

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/scarab-ops/scarab/cli/session"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/wire/application"
)

func checkEndpoint(text string) error {
	app, ep, has := strings.Cut(text, ":")
	if !names.ValidApplication(app) || (has && ep == "") {
		return &session.Usage{Text: fmt.Sprintf("cannot use endpoint %q: write APPLICATION or APPLICATION:ENDPOINT", text)}
	}
	return nil
}

// integrateHint says what to look at when two applications cannot be related.
func integrateHint(err error) error {
	switch {
	case session.Code(err) == "already exists":
		return session.Advise(err, "they are integrated already; see: scarab status --relations")
	case session.Code(err) == "quota limit exceeded":
		return session.Advise(err, "see what it is integrated with: scarab status --relations; take one away: scarab remove-relation")
	case session.Code(err) == "" && strings.Contains(err.Error(), "relation"):
		return session.Advise(err, "one side must require the interface that the other one provides: look at requires and provides in each charm's metadata.yaml")
	}
	return err
}

func integrateCommand(s *session.Session) *cobra.Command {
	var via string
	c := s.Command(session.Spec{
		Use: "integrate APPLICATION[:ENDPOINT] APPLICATION[:ENDPOINT]", Aliases: []string{"relate"}, Short: "Integrate two applications",
		Group: group, Scope: session.OnModel, Min: 2, Max: 2,
		Long:    "Makes a relation between two applications. The endpoints are found by their interfaces; where several fit, name them.",
		Example: "scarab integrate wordpress mysql\nscarab integrate wordpress:db mysql:server",
	}, func(ctx context.Context, args []string) error {
		for _, a := range args {
			if strings.Contains(a, ".") || strings.Contains(a, "/") {
				return fmt.Errorf("cannot integrate with %q: offers of other models are not supported", a)
			}
			if err := checkEndpoint(a); err != nil {
				return err
			}
		}
		m, err := s.OpenModel(ctx)
		if err != nil {
			return err
		}
		p := application.AddRelation{Endpoints: args}
		if via != "" {
			p.ViaCIDRs = strings.Split(via, ",")
		}
		res, err := session.Do[application.AddRelationResults](ctx, m, "Application", "AddRelation", p)
		if err != nil {
			return integrateHint(fmt.Errorf("cannot integrate %s and %s: %w", args[0], args[1], err))
		}
		for app, ep := range res.Endpoints {
			s.Verbose("%s:%s (%s)", app, ep.Name, ep.Interface)
		}
		return nil
	})
	c.Flags().StringVar(&via, "via", "", "Networks that traffic to an offer comes from")
	return c
}

func removeRelationCommand(s *session.Session) *cobra.Command {
	var f removal
	c := s.Command(session.Spec{
		Use: "remove-relation APPLICATION[:ENDPOINT] APPLICATION[:ENDPOINT] | RELATION-ID", Short: "Remove an integration", Group: group,
		Scope: session.OnModel, Min: 1, Max: 2,
		Example: "scarab remove-relation wordpress mysql\nscarab remove-relation 3\nscarab remove-relation wordpress:db mysql:server --force",
	}, func(ctx context.Context, args []string) error {
		wait, err := f.maxWait()
		if err != nil {
			return err
		}
		p := application.DestroyRelation{MaxWait: wait}
		if f.force {
			p.Force = &f.force
		}
		if len(args) == 1 {
			id, err := strconv.Atoi(args[0])
			if err != nil || id < 0 {
				return &session.Usage{Text: fmt.Sprintf("cannot remove relation %q: give its id or two endpoints", args[0])}
			}
			p.RelationID = id
		} else {
			for _, a := range args {
				if err := checkEndpoint(a); err != nil {
					return err
				}
			}
			p.Endpoints = args
		}
		m, err := s.OpenModel(ctx)
		if err != nil {
			return err
		}
		if err := session.Run(ctx, m, "Application", "DestroyRelation", p); err != nil {
			return fmt.Errorf("cannot remove the relation %s: %w", strings.Join(args, " "), err)
		}
		return nil
	})
	f.forceFlags(c)
	return c
}

// removal are the flags that removals share.
type removal struct {
	force, noWait, noPrompt, dryRun, destroyStorage bool
	wait                                            bool
	timeout                                         time.Duration
}

func (f *removal) forceFlags(c *cobra.Command) {
	c.Flags().BoolVar(&f.force, "force", false, "Go on over errors")
	c.Flags().BoolVar(&f.noWait, "no-wait", false, "With --force: give no step time to end by itself")
}

func (f *removal) flags(c *cobra.Command) {
	f.forceFlags(c)
	c.Flags().BoolVar(&f.noPrompt, "no-prompt", false, "Do not ask")
	c.Flags().BoolVar(&f.dryRun, "dry-run", false, "Only say what would be removed")
	c.Flags().BoolVar(&f.destroyStorage, "destroy-storage", false, "Destroy attached storage too")
	c.Flags().BoolVar(&f.wait, "wait", false, "Wait until it is gone, and say for what")
	c.Flags().DurationVar(&f.timeout, "timeout", 10*time.Minute, "With --wait: how long at most")
}

func (f *removal) maxWait() (*time.Duration, error) {
	if f.noWait && !f.force {
		return nil, &session.Usage{Text: "cannot use --no-wait without --force"}
	}
	if !f.force {
		return nil, nil
	}
	d := time.Minute
	if f.noWait {
		d = 0
	}
	return &d, nil
}
