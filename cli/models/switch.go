package models

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/scarab-ops/scarab/cli/session"
	"github.com/scarab-ops/scarab/cli/store"
)

func switchCommand(s *session.Session) *cobra.Command {
	return s.Command(session.Spec{
		Names: "model", Use: "switch [CONTROLLER | MODEL | CONTROLLER:MODEL | :MODEL]", Short: "Show or choose the current controller and model", Group: group, Max: 1,
		Long:    "Without an argument the current controller and model are shown. A name that is a model of the current controller wins over a controller of the same name; a colon makes it plain.",
		Example: "scarab switch\nscarab switch dev\nscarab switch prod:admin/dev\nscarab switch prod:",
	}, func(ctx context.Context, args []string) error {
		controllers, current, err := s.Store().Controllers()
		if err != nil {
			return err
		}
		before, err := place(s, current)
		if err != nil {
			return err
		}
		if len(args) == 0 {
			if before == "" {
				return session.Advise(errors.New("cannot show the current model: no controller is current"), "make one with: scarab bootstrap localhost")
			}
			fmt.Fprintln(s.Stdout, before)
			return nil
		}
		for _, v := range []string{"JUJU_MODEL", "JUJU_CONTROLLER"} {
			if s.Getenv(v) != "" {
				return fmt.Errorf("cannot switch while %s is set in the environment: unset it", v)
			}
		}
		after, err := choose(ctx, s, controllers, current, args[0])
		if err != nil {
			return err
		}
		if before == "" {
			before = "nothing"
		}
		if before == after {
			s.Info("%s (no change)", after)
		} else {
			s.Info("%s -> %s", before, after)
		}
		return nil
	})
}

// place is the current controller and model as text.
func place(s *session.Session, controller string) (string, error) {
	if controller == "" {
		return "", nil
	}
	_, model, err := s.Store().Models(controller)
	if err != nil {
		return "", err
	}
	if model == "" {
		return controller + " (controller)", nil
	}
	return controller + ":" + model, nil
}

func choose(ctx context.Context, s *session.Session, known map[string]store.Controller, current, target string) (string, error) {
	controller, model := current, target
	explicit := strings.Contains(target, ":")
	if explicit {
		c, m := store.SplitModel(target)
		model = m
		if c != "" {
			controller = c
		}
	} else if _, ok := known[target]; ok && !isModel(s, current, target) {
		controller, model = target, ""
	}
	if _, ok := known[controller]; !ok {
		if !explicit && controller == "" {
			controller = target
		}
		return "", &store.NotFoundError{Kind: "controller", Name: controller, Hint: "see the known ones with: scarab controllers"}
	}
	if model != "" {
		full, err := qualified(s, controller, model)
		if err != nil {
			return "", err
		}
		if _, err := s.FindModel(ctx, controller, full); err != nil {
			return "", err
		}
		if err := s.Store().SetCurrentModel(ctx, controller, full); err != nil {
			return "", err
		}
	}
	if err := s.Store().SetCurrentController(ctx, controller); err != nil {
		return "", err
	}
	return place(s, controller)
}

func isModel(s *session.Session, controller, name string) bool {
	if controller == "" {
		return false
	}
	full, err := qualified(s, controller, name)
	if err != nil {
		return false
	}
	models, _, err := s.Store().Models(controller)
	_, ok := models[full]
	return err == nil && ok
}

func qualified(s *session.Session, controller, model string) (string, error) {
	a, err := s.Store().Account(controller)
	if err != nil {
		return "", err
	}
	return store.Qualify(model, a.User), nil
}
