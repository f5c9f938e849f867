package controllers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/scarab-ops/scarab/cli/models"
	"github.com/scarab-ops/scarab/cli/session"
	"github.com/scarab-ops/scarab/cli/store"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/wire/block"
	"github.com/scarab-ops/scarab/wire/modelmanager"
)

type bootstrapFlags struct {
	config, modelDefault, storagePool []string
	base, version, credential, to     string
	constraints, bootstrapConstraints []string
	addModel, regions                 string
	noSwitch, check, clouds, force    bool
}

func bootstrapCommand(s *session.Session) *cobra.Command {
	var f bootstrapFlags
	c := s.Command(session.Spec{
		Names: "localhost", Use: "bootstrap [CLOUD[/REGION] [CONTROLLER]]", Short: "Make a controller on a cloud", Group: group, Max: 2,
		Long: `
Starts a controller on the local cloud and records it in the client's files. Every step is shown with the time it took. A bootstrap that fails
or is interrupted takes back what it started. --check only looks whether it would work.`,
		Example: "scarab bootstrap localhost\nscarab bootstrap localhost prod --add-model dev\nscarab bootstrap localhost --check",
	}, func(ctx context.Context, args []string) error {
		cloud, name := "localhost", ""
		if len(args) > 0 {
			cloud = args[0]
		}
		if len(args) > 1 {
			name = args[1]
		}
		return bootstrap(ctx, s, f, cloud, name)
	})
	fl := c.Flags()
	fl.StringArrayVar(&f.config, "config", nil, "Configuration of the controller and its model: key=value, or a YAML file")
	fl.StringArrayVar(&f.modelDefault, "model-default", nil, "Configuration of all models: key=value, or a YAML file")
	fl.StringArrayVar(&f.constraints, "constraints", nil, "Constraints of the controller's model: mem=2G")
	fl.StringArrayVar(&f.bootstrapConstraints, "bootstrap-constraints", nil, "Constraints of the controller's machine; without effect on the local cloud")
	fl.StringArrayVar(&f.storagePool, "storage-pool", nil, "Refused: the local cloud has no pools")
	fl.StringVar(&f.credential, "credential", "", "Credential of the cloud; the local cloud needs none")
	fl.StringVar(&f.to, "to", "", "Refused: the controller runs on this host")
	fl.StringVar(&f.regions, "regions", "", "List the regions of a cloud")
	fl.BoolVar(&f.force, "force", false, "Without effect: no check of the local cloud can be left out")
	fl.StringVar(&f.base, "bootstrap-base", "", "Operating system of the controller's machine; without effect on the local cloud")
	fl.StringVar(&f.version, "agent-version", "", "Version to start: only that of this build")
	fl.StringVar(&f.addModel, "add-model", "", "Make a model of this name too")
	fl.BoolVar(&f.noSwitch, "no-switch", false, "Do not switch to it")
	fl.BoolVar(&f.check, "check", false, "Only look whether it would work")
	fl.BoolVar(&f.clouds, "clouds", false, "List the clouds there are")
	return c
}

func (f bootstrapFlags) request(cloud, name string, set settings) (session.BootstrapRequest, error) {
	var r session.BootstrapRequest
	kind, region, _ := strings.Cut(cloud, "/")
	if kind != "localhost" {
		return r, session.Advise(fmt.Errorf("cannot bootstrap on cloud %q: only localhost is known", cloud), "use: scarab bootstrap localhost")
	}
	if name == "" {
		name = strings.TrimSuffix(kind+"-"+region, "-")
		if region == "" {
			name = "localhost-localhost"
		}
	}
	if err := store.CheckControllerName(name); err != nil {
		return r, &session.Usage{Text: err.Error()}
	}
	if f.addModel != "" && !names.ValidModelName(f.addModel) {
		return r, &session.Usage{Text: fmt.Sprintf("cannot use model name %q: small letters, digits and hyphens only", f.addModel)}
	}
	return session.BootstrapRequest{
		Cloud: kind, Region: region, Name: name, ControllerConfig: set.first, ModelConfig: set.world, CheckOnly: f.check,
	}, nil
}

func bootstrap(ctx context.Context, s *session.Session, f bootstrapFlags, cloud, name string) error {
	if f.clouds {
		fmt.Fprintln(s.Stdout, "localhost  containers on this machine")
		return nil
	}
	if f.regions != "" {
		if f.regions != "localhost" {
			return session.Advise(fmt.Errorf("cannot find cloud %q", f.regions), "see the ones there are: scarab bootstrap --clouds")
		}
		fmt.Fprintln(s.Stdout, "localhost")
		return nil
	}
	set, err := f.settings(s)
	if err != nil {
		return err
	}
	r, err := f.request(cloud, name, set)
	if err == nil {
		err = f.refuse(s)
	}
	if err != nil {
		return err
	}
	b, err := s.Bootstrapper()
	if err != nil {
		return err
	}
	known, _, err := s.Store().Controllers()
	if err != nil {
		return err
	}
	if _, taken := known[r.Name]; taken && !f.check {
		return session.Advise(fmt.Errorf("cannot bootstrap: this client knows a controller %q already", r.Name),
			"use it: scarab switch "+r.Name+"; or choose another name; or take it down: scarab kill-controller "+r.Name+", which also forgets one that is gone")
	}
	key, err := s.Store().SSHKey(ctx)
	if err != nil {
		return err
	}
	if _, set := r.ModelConfig["authorized-keys"]; !set {
		r.ModelConfig["authorized-keys"] = key.Public
	}
	s.Info("Creating controller %q on %s", r.Name, cloud)
	p := s.Progress()
	defer p.End()
	done, err := b.Start(ctx, r, p.Report)
	if err != nil {
		return bootstrapError(s, err, r)
	}
	if f.check {
		s.Info("This machine is fit for a controller.")
		return nil
	}
	// The controller runs: it is recorded even when the person interrupts now, else nobody could reach it.
	if err := record(context.WithoutCancel(ctx), s, r, set, done, !f.noSwitch); err != nil {
		return err
	}
	if err := awaitController(ctx, s, r.Name, done, p); errors.Is(err, context.Canceled) {
		return takeBack(ctx, s, b, r, done, p, ctx.Err())
	} else if err != nil {
		return session.Advise(err, "look at the controller's log, or take it down: scarab kill-controller "+r.Name)
	}
	if err := set.apply(ctx, s, r.Name, target(done)); err != nil {
		return takeBack(ctx, s, b, r, done, p, err)
	}
	s.Info("Bootstrap complete after %s. Controller %q is ready.", p.Elapsed().Round(100*time.Millisecond), r.Name)
	if f.addModel == "" {
		s.Info("Now make a model: scarab add-model NAME")
		return nil
	}
	c, err := s.OpenNamed(ctx, r.Name)
	if err == nil {
		err = models.Create(ctx, s, c, modelmanager.ModelCreateArgs{Name: f.addModel, OwnerTag: "user-" + done.User}, nil, !f.noSwitch)
	}
	if err != nil && errors.Is(ctx.Err(), context.Canceled) {
		return takeBack(ctx, s, b, r, done, p, ctx.Err())
	}
	return err
}

// takeBack undoes a bootstrap that was interrupted, or whose settings were refused, after the controller was recorded.
func takeBack(ctx context.Context, s *session.Session, b session.Bootstrapper, r session.BootstrapRequest, done session.Bootstrapped, p *session.Progress, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
	defer cancel()
	err := b.Destroy(ctx, session.DestroyRequest{Name: r.Name, Cloud: r.Cloud, ControllerUUID: done.ControllerUUID, Kill: true}, p.Report)
	if err == nil {
		err = s.Store().RemoveController(ctx, r.Name)
	}
	if err != nil {
		return session.Advise(fmt.Errorf("cannot take back the bootstrap of %q, which ended with %q: %w", r.Name, cause.Error(), err), "take it down: scarab kill-controller "+r.Name)
	}
	return cause
}

func bootstrapError(s *session.Session, err error, r session.BootstrapRequest) error {
	var running *session.RunningError
	if errors.As(err, &running) {
		return session.Advise(err, aboutRunning(s, running))
	}
	if !strings.HasPrefix(err.Error(), "cannot bootstrap") {
		err = fmt.Errorf("cannot bootstrap %q: %w", r.Name, err)
	}
	if r.CheckOnly || errors.Is(err, context.Canceled) {
		return err
	}
	return session.Advise(err, "see whether this machine is fit for it: scarab bootstrap localhost --check")
}

// aboutRunning says how to use or to remove the controller that is in the way of a new one.
func aboutRunning(s *session.Session, e *session.RunningError) string {
	known, _, err := s.Store().Controllers()
	for name, c := range known {
		if err == nil && c.UUID == e.UUID {
			return fmt.Sprintf("this client knows it as %q; use it: scarab switch %s; or remove it: scarab kill-controller %s", name, name, name)
		}
	}
	return fmt.Sprintf("register it here: scarab login %s -c NAME -u admin; or remove it: scarab kill-controller %s", e.Address, e.UUID)
}

// record writes the client files. The entry of the controller itself goes last: until it is there, nothing of the rest counts.
func record(ctx context.Context, s *session.Session, r session.BootstrapRequest, set settings, b session.Bootstrapped, use bool) error {
	st := s.Store()
	entry := store.Controller{
		UUID: b.ControllerUUID, Endpoints: b.Addresses, CACert: b.CACert, Cloud: r.Cloud, Region: or(r.Region, "localhost"), Type: b.CloudType,
		AgentVersion: b.Version, Machines: 1, ActiveMachines: 1,
	}
	if err := st.SetAccount(ctx, r.Name, store.Account{User: b.User, Password: store.NewPassword(b.Password.Reveal()), Access: "superuser"}); err != nil {
		return err
	}
	model := b.User + "/controller"
	if err := st.SetModel(ctx, r.Name, model, store.Model{UUID: b.ControllerModelUUID, Type: "iaas"}, true); err != nil {
		return err
	}
	boot := store.Bootstrap{
		ControllerConfig: set.all(), ModelConfig: map[string]any{"name": "controller", "type": b.CloudType},
		ControllerModelUUID: b.ControllerModelUUID, Cloud: r.Cloud, Type: b.CloudType, Region: entry.Region,
	}
	if err := st.SetBootstrap(ctx, r.Name, boot); err != nil {
		return err
	}
	if err := st.SetTrust(ctx, r.Name, entry); err != nil {
		return err
	}
	return st.SetController(ctx, r.Name, entry, use)
}

// target is the new controller's own model.
func target(b session.Bootstrapped) session.Target {
	return session.Target{Addresses: b.Addresses, CACert: b.CACert, ControllerUUID: b.ControllerUUID, ModelUUID: b.ControllerModelUUID, User: b.User, Secret: b.Password}
}

// awaitController asks the new controller something harmless until it answers.
func awaitController(ctx context.Context, s *session.Session, name string, b session.Bootstrapped, p *session.Progress) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	step := session.Step{Name: "wait for the controller to answer"}
	p.Report(step)
	t := target(b)
	for delay := 50 * time.Millisecond; ; delay = min(2*delay, 3*time.Second) {
		conn, err := s.Use(ctx, t)
		if err == nil && conn.Has("Block") {
			_, err = session.Do[block.BlockResults](ctx, conn, "Block", "List", nil)
		}
		if err == nil {
			step.Done = true
			p.Report(step)
			return nil
		}
		if code := session.Code(err); code != "" && code != "upgrade in progress" && code != "try again" {
			return fmt.Errorf("cannot use the new controller %q: %w", name, err)
		}
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fmt.Errorf("cannot reach the new controller %q: %w", name, err)
			}
			return ctx.Err()
		}
	}
}
