package controllers

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
	"github.com/scarab-ops/scarab/wire/client"
	"github.com/scarab-ops/scarab/wire/controller"
)

type destroyFlags struct {
	all, destroyStorage, releaseStorage, force, noWait, noPrompt, kill bool
	modelTimeout, timeout                                              time.Duration
}

func destroyControllerCommand(s *session.Session) *cobra.Command {
	f := destroyFlags{timeout: time.Hour}
	c := s.Command(session.Spec{
		Names: "controller", Use: "destroy-controller CONTROLLER", Short: "Destroy a controller", Group: group, Min: 1, Max: 1,
		Long:    "Destroys a controller. One that has models is destroyed only with --destroy-all-models. It asks for the name unless --no-prompt is given.",
		Example: "scarab destroy-controller prod\nscarab destroy-controller prod --destroy-all-models --no-prompt",
	}, func(ctx context.Context, args []string) error {
		if f.noWait && !f.force {
			return &session.Usage{Text: "cannot use --no-wait without --force"}
		}
		if f.destroyStorage && f.releaseStorage {
			return &session.Usage{Text: "cannot use --destroy-storage together with --release-storage"}
		}
		return destroy(ctx, s, f, args[0])
	})
	fl := c.Flags()
	fl.BoolVar(&f.all, "destroy-all-models", false, "Destroy its models first")
	fl.BoolVar(&f.destroyStorage, "destroy-storage", false, "Destroy the models' storage")
	fl.BoolVar(&f.releaseStorage, "release-storage", false, "Keep the storage")
	fl.BoolVar(&f.force, "force", false, "Go on over errors in models")
	fl.BoolVar(&f.noWait, "no-wait", false, "With --force: give no step time to end by itself")
	fl.BoolVar(&f.noPrompt, "no-prompt", false, "Do not ask")
	fl.DurationVar(&f.modelTimeout, "model-timeout", 0, "Time for each model to end by itself")
	return c
}

func killControllerCommand(s *session.Session) *cobra.Command {
	f := destroyFlags{all: true, destroyStorage: true, force: true, kill: true}
	c := s.Command(session.Spec{
		Names: "controller", Use: "kill-controller CONTROLLER", Short: "Destroy a controller by all means", Group: group, Min: 1, Max: 1,
		Long: `
Destroys a controller with all its models. They have --timeout to end by themselves, with the stop hooks of their charms; then everything is
taken down as it is, even when the controller does not answer. A controller of this host that the client's files do not know can be named by its UUID.`,
		Example: "scarab kill-controller prod\nscarab kill-controller prod --timeout 30s --no-prompt",
	}, func(ctx context.Context, args []string) error { return destroy(ctx, s, f, args[0]) })
	c.Flags().DurationVarP(&f.timeout, "timeout", "t", killPatience, "How long the models have to end by themselves")
	c.Flags().BoolVar(&f.noPrompt, "no-prompt", false, "Do not ask")
	return c
}

const (
	// killPatience is what well-behaved charms need to stop; killing is not about the others.
	killPatience = 8 * time.Second
	// killStep is how long each step of a killed model's end waits for an agent.
	killStep = 3 * time.Second
	// namesAfter is when it is said what exactly is waited for.
	namesAfter = time.Second
)

func destroy(ctx context.Context, s *session.Session, f destroyFlags, name string) error {
	b, err := s.Bootstrapper()
	if err != nil {
		return err
	}
	entry, err := s.Store().Controller(name)
	if err != nil && f.kill && names.ValidUUID(name) {
		return destroyUnknown(ctx, s, b, f, name)
	}
	if err != nil {
		return err
	}
	c, here, err := locate(ctx, s, b, f, name, entry.UUID)
	if err != nil {
		return err
	}
	if !f.noPrompt {
		s.Info("WARNING! This command will destroy controller %q%s. It cannot be undone.", name,
			map[bool]string{true: " with all its models, applications and their data", false: ""}[f.all])
		if err := s.ConfirmName("", name); err != nil {
			return err
		}
	}
	p := s.Progress()
	defer p.End()
	if c != nil {
		if err := endModels(ctx, s, c, f, p); err != nil {
			if !f.kill || errors.Is(err, context.Canceled) {
				return err
			}
			s.Info("%v; taking it down directly.", err)
		}
	}
	if here {
		err = b.Destroy(ctx, session.DestroyRequest{Name: name, Cloud: entry.Cloud, ControllerUUID: entry.UUID, Kill: f.kill}, p.Report)
	}
	if err != nil {
		return session.Advise(fmt.Errorf("cannot take down controller %q: %w", name, err), "run the command again; it goes on where it ended")
	}
	if err := s.Store().RemoveController(context.WithoutCancel(ctx), name); err != nil {
		return err
	}
	s.Info("Controller %q is gone after %s.", name, p.Elapsed().Round(100*time.Millisecond))
	return nil
}

// locate connects to a controller that is to be destroyed, and finds out whether this host can do that. One that was
// bootstrapped from here, is not here any more and does not answer is gone: kill-controller may forget it.
func locate(ctx context.Context, s *session.Session, b session.Bootstrapper, f destroyFlags, name, uuid string) (*session.Controller, bool, error) {
	here, err := b.Here(uuid)
	if err != nil {
		return nil, false, fmt.Errorf("cannot destroy controller %q: %w", name, err)
	}
	c, err := s.OpenNamed(ctx, name)
	_, unknown := s.Store().Bootstrap(name)
	switch {
	case err == nil && here:
		return c, true, nil
	case err == nil || unknown != nil && !here:
		return nil, false, session.Advise(fmt.Errorf("cannot destroy controller %q: it does not run on this host, or belongs to another user here", name),
			"run this where and as whom it was bootstrapped; or only forget it here: scarab unregister "+name)
	case !f.kill || errors.Is(err, context.Canceled):
		return nil, false, session.Advise(err, "take it down without asking it: scarab kill-controller "+name+"; or only forget it here: scarab unregister "+name)
	}
	s.Info("The controller cannot be asked (%v); taking it down directly.", err)
	return nil, here, nil
}

// destroyUnknown takes down a controller of this host that no client file names: whoever lost the files has no other way.
func destroyUnknown(ctx context.Context, s *session.Session, b session.Bootstrapper, f destroyFlags, uuid string) error {
	here, err := b.Here(uuid)
	if err != nil {
		return fmt.Errorf("cannot take down controller %s: %w", uuid, err)
	}
	if !here {
		return session.Advise(fmt.Errorf("cannot take down controller %s: neither this client nor this host knows it", uuid),
			"see the ones that this client knows: scarab controllers")
	}
	if !f.noPrompt {
		s.Info("WARNING! This command will destroy controller %s of this host with all its models. It cannot be undone.", uuid)
		if err := s.ConfirmName("", uuid); err != nil {
			return err
		}
	}
	p := s.Progress()
	defer p.End()
	if err := b.Destroy(ctx, session.DestroyRequest{Name: uuid, Cloud: "localhost", ControllerUUID: uuid, Kill: true}, p.Report); err != nil {
		return session.Advise(fmt.Errorf("cannot take down controller %s: %w", uuid, err), "run the command again; it goes on where it ended")
	}
	if err := forget(context.WithoutCancel(ctx), s, uuid); err != nil {
		return err
	}
	s.Info("Controller %s is gone after %s.", uuid, p.Elapsed().Round(100*time.Millisecond))
	return nil
}

// forget removes what the client's files hold of a controller that is gone, under whatever names.
func forget(ctx context.Context, s *session.Session, uuid string) error {
	known, _, err := s.Store().Controllers()
	if err != nil {
		return err
	}
	for name, c := range known {
		if c.UUID == uuid {
			if err := s.Store().RemoveController(ctx, name); err != nil {
				return err
			}
		}
	}
	return nil
}

// endModels asks the controller to end its models and follows them until none is left.
func endModels(ctx context.Context, s *session.Session, c *session.Controller, f destroyFlags, p *session.Progress) error {
	args := controller.DestroyControllerArgs{DestroyModels: f.all, Force: f.force}
	if f.destroyStorage || f.releaseStorage {
		args.DestroyStorage = &f.destroyStorage
	}
	if f.force {
		wait := time.Minute
		if f.kill {
			wait = min(killStep, f.timeout)
		}
		if f.noWait {
			wait = 0
		}
		args.MaxWait = &wait
	}
	if f.modelTimeout > 0 {
		args.ModelTimeout = &f.modelTimeout
	}
	err := session.Run(ctx, c, "Controller", "DestroyController", args)
	switch code := session.Code(err); {
	case code == "controller has hosted models" && f.all:
	case code == "controller has hosted models":
		return session.Advise(fmt.Errorf("cannot destroy controller %q: %w", c.Name, err), "destroy its models first, or all together with --destroy-all-models")
	case code == "controller/model has persistent storage":
		return session.Advise(fmt.Errorf("cannot destroy controller %q: %w", c.Name, err), "say what becomes of the storage: --destroy-storage or --release-storage")
	case err != nil:
		return fmt.Errorf("cannot destroy controller %q: %w", c.Name, err)
	}
	step := session.Step{Name: "end the models", Done: true}
	p.Begin(step.Name)
	step.Err = awaitModels(ctx, s, c, f.timeout, p)
	p.Report(step)
	return step.Err
}

func awaitModels(ctx context.Context, s *session.Session, c *session.Controller, timeout time.Duration, p *session.Progress) error {
	whole := ctx
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	last, began := "", s.Now()
	open := map[string]*session.Model{}
	for delay := 50 * time.Millisecond; ; delay = min(2*delay, time.Second) {
		n, text, err := hosted(ctx, c)
		if err == nil && n == 0 {
			return nil
		}
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("cannot see the models of controller %q: %w", c.Name, err)
		}
		if err == nil {
			if s.Now().Sub(began) > namesAfter {
				text += slow(ctx, s, c, open)
			}
			last = text
			p.Waiting("Waiting for " + text)
		}
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			if whole.Err() == nil {
				return fmt.Errorf("cannot wait any longer: there are still %s", last)
			}
			return whole.Err()
		}
	}
}

// maxSlow is how many units are named that others wait for.
const maxSlow = 5

// slow names the units whose hooks the end of the models waits for; nothing if they cannot be asked.
func slow(ctx context.Context, s *session.Session, c *session.Controller, open map[string]*session.Model) string {
	list, err := session.Do[wire.UserModelList](ctx, c, "Controller", "AllModels", nil)
	if err != nil {
		return ""
	}
	var out []string
	for _, m := range list.UserModels {
		if m.Model.Name == "controller" {
			continue
		}
		model := open[m.Model.UUID]
		if model == nil {
			s.ChooseModel(c.Name + ":" + untag(m.Model.OwnerTag) + "/" + m.Model.Name)
			if model, err = s.OpenModel(ctx); err != nil {
				continue
			}
			open[m.Model.UUID] = model
		}
		fs, err := session.Do[client.FullStatus](ctx, model, "Client", "FullStatus", client.StatusParams{Patterns: []string{}})
		if err != nil {
			continue
		}
		out = append(out, busy(fs)...)
	}
	slices.Sort(out)
	if len(out) > maxSlow {
		out = append(out[:maxSlow], fmt.Sprintf("%d more", len(out)-maxSlow))
	}
	if len(out) == 0 {
		return ""
	}
	return ": " + strings.Join(out, ", ")
}

// busy are the units of a model whose hooks fail or run.
func busy(fs client.FullStatus) []string {
	var out []string
	for _, app := range fs.Applications {
		for name, u := range app.Units {
			switch {
			case u.WorkloadStatus.Status == "error":
				out = append(out, name+" ("+u.WorkloadStatus.Info+")")
			case u.AgentStatus.Status == "executing":
				out = append(out, name+" ("+u.AgentStatus.Info+")")
			}
		}
	}
	return out
}

// hosted counts the models beside the controller's own, with what they hold.
func hosted(ctx context.Context, c *session.Controller) (int, string, error) {
	list, err := session.Do[wire.UserModelList](ctx, c, "Controller", "AllModels", nil)
	if err != nil {
		return 0, "", err
	}
	var e wire.Entities
	for _, m := range list.UserModels {
		if m.Model.Name != "controller" {
			e.Entities = append(e.Entities, wire.Entity{Tag: names.Model(m.Model.UUID).Tag().String()})
		}
	}
	if len(e.Entities) == 0 {
		return 0, "", nil
	}
	st, err := session.Do[wire.ModelStatusResults](ctx, c, "Controller", "ModelStatus", e)
	if err != nil {
		return 0, "", err
	}
	n, machines, apps := 0, 0, 0
	for _, m := range st.Models {
		if m.Error != nil || m.Life == "dead" {
			continue
		}
		n++
		machines += m.HostedMachineCount
		apps += m.ApplicationCount
	}
	return n, fmt.Sprintf("%d model(s), %d machine(s), %d application(s)", n, machines, apps), nil
}
