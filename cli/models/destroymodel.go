package models

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/scarab-ops/scarab/cli/session"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/wire"
	"github.com/scarab-ops/scarab/wire/modelmanager"
)

type destroyFlags struct {
	noPrompt, force, noWait, destroyStorage, releaseStorage bool
	timeout                                                 time.Duration
}

func destroyModelCommand(s *session.Session) *cobra.Command {
	var f destroyFlags
	c := s.Command(session.Spec{
		Names: "model", Use: "destroy-model [CONTROLLER:]MODEL", Short: "Destroy a model with everything in it", Group: group, Scope: session.OnController, Min: 1, Max: 1,
		Long: `
Removes all applications and machines of a model, then the model, and shows what is left until it is gone. It asks for the name unless
--no-prompt is given. Interrupting stops the display, not the destruction.`,
		Example: "scarab destroy-model dev\nscarab destroy-model dev --no-prompt --destroy-storage\nscarab destroy-model dev --force --no-wait --no-prompt",
	}, func(ctx context.Context, args []string) error {
		if f.noWait && !f.force {
			return &session.Usage{Text: "cannot use --no-wait without --force"}
		}
		if f.destroyStorage && f.releaseStorage {
			return &session.Usage{Text: "cannot use --destroy-storage together with --release-storage"}
		}
		s.ChooseModel(args[0])
		return destroyModel(ctx, s, f)
	})
	c.Flags().BoolVar(&f.noPrompt, "no-prompt", false, "Do not ask")
	c.Flags().BoolVarP(&f.noPrompt, "yes", "y", false, "The same as --no-prompt")
	c.Flags().BoolVar(&f.force, "force", false, "Go on over errors")
	c.Flags().BoolVar(&f.noWait, "no-wait", false, "With --force: give no step time to end by itself")
	c.Flags().BoolVar(&f.destroyStorage, "destroy-storage", false, "Destroy the model's storage")
	c.Flags().BoolVar(&f.releaseStorage, "release-storage", false, "Keep the storage, outside of the model")
	c.Flags().DurationVarP(&f.timeout, "timeout", "t", 30*time.Minute, "How long to wait for its end")
	return c
}

func (f destroyFlags) params(tag string) modelmanager.DestroyModelParams {
	p := modelmanager.DestroyModelParams{ModelTag: tag, Force: f.force, Timeout: &f.timeout}
	if f.destroyStorage || f.releaseStorage {
		p.DestroyStorage = &f.destroyStorage
	}
	if f.force {
		wait := time.Minute
		if f.noWait {
			wait = 0
		}
		p.MaxWait = &wait
	}
	return p
}

func destroyModel(ctx context.Context, s *session.Session, f destroyFlags) error {
	controller, name, err := s.ModelName()
	if err != nil {
		return err
	}
	m, err := s.FindModel(ctx, controller, name)
	if err != nil {
		return err
	}
	c, err := s.OpenNamed(ctx, controller)
	if err != nil {
		return err
	}
	tag := names.Model(m.UUID).Tag().String()
	st, err := modelStatus(ctx, c, tag)
	if err != nil {
		return fmt.Errorf("cannot destroy model %q: %w", name, err)
	}
	if !f.noPrompt {
		s.Info("WARNING! This command will destroy the %q model and all its resources. It cannot be undone.\nIt holds %s.", name, counts(st))
		if err := s.ConfirmName("", name[indexSlash(name)+1:]); err != nil {
			return err
		}
	}
	res, err := session.Do[wire.ErrorResults](ctx, c, "ModelManager", "DestroyModels", modelmanager.DestroyModelsParams{Models: []modelmanager.DestroyModelParams{f.params(tag)}})
	if err == nil {
		err = session.Errors(res.Results, []string{name})
	}
	if session.Code(err) == "controller/model has persistent storage" {
		return session.Advise(fmt.Errorf("cannot destroy model %q: %w", name, err), "say what becomes of its storage: --destroy-storage or --release-storage")
	}
	if err != nil {
		return fmt.Errorf("cannot destroy model %q: %w", name, err)
	}
	s.Info("Destroying model")
	if err := awaitModel(ctx, s, c, tag, name, f.timeout); err != nil {
		return err
	}
	return s.Store().RemoveModel(context.WithoutCancel(ctx), controller, name)
}

func indexSlash(s string) int {
	for i := range s {
		if s[i] == '/' {
			return i
		}
	}
	return -1
}

func counts(st wire.ModelStatus) string {
	return fmt.Sprintf("%d machine(s), %d application(s), %d unit(s)", st.HostedMachineCount, st.ApplicationCount, st.UnitCount)
}

func modelStatus(ctx context.Context, c session.Conn, tag string) (wire.ModelStatus, error) {
	res, err := session.Do[wire.ModelStatusResults](ctx, c, "ModelManager", "ModelStatus", wire.Entities{Entities: []wire.Entity{{Tag: tag}}})
	if err != nil {
		return wire.ModelStatus{}, err
	}
	return session.One(res.Models, func(m wire.ModelStatus) *wire.Error { return m.Error })
}

func awaitModel(ctx context.Context, s *session.Session, c session.Conn, tag, name string, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	p := s.Progress()
	defer p.End()
	last := ""
	for delay := 10 * time.Millisecond; ; delay = min(2*delay, 2*time.Second) {
		st, err := modelStatus(ctx, c, tag)
		switch {
		case session.IsNotFound(err):
			p.End()
			s.Info("Model destroyed after %s.", p.Elapsed().Round(100*time.Millisecond))
			return nil
		case err != nil && ctx.Err() == nil:
			return err
		case err == nil:
			last = counts(st)
			p.Waiting("Waiting for model to be removed: " + last)
		}
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return session.Advise(fmt.Errorf("cannot wait any longer for the end of model %q: it still holds %s", name, last), "see what holds it up: scarab why -m "+name)
			}
			return ctx.Err()
		}
	}
}
