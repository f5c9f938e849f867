package models

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/scarab-ops/scarab/cli/session"
	"github.com/scarab-ops/scarab/cli/store"
	"github.com/scarab-ops/scarab/cli/values"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/wire/cloud"
	"github.com/scarab-ops/scarab/wire/modelmanager"
)

func addModelCommand(s *session.Session) *cobra.Command {
	var config []string
	var owner, credential string
	var noSwitch bool
	c := s.Command(session.Spec{
		Use: "add-model NAME [CLOUD[/REGION]]", Short: "Make a model", Group: group, Scope: session.OnController, Min: 1, Max: 2,
		Long:    "Makes a model on the controller's cloud and switches to it. The client's ssh key may log in to its machines.",
		Example: "scarab add-model dev\nscarab add-model test localhost --config update-status-hook-interval=10m --no-switch",
	}, func(ctx context.Context, args []string) error {
		if !names.ValidModelName(args[0]) {
			return &session.Usage{Text: fmt.Sprintf("cannot use model name %q: small letters, digits and hyphens only", args[0])}
		}
		pairs, err := values.Settings(config, s.Path)
		if err != nil {
			return err
		}
		c, err := s.OpenController(ctx)
		if err != nil {
			return err
		}
		if owner == "" {
			owner = c.Account.User
		}
		p := modelmanager.ModelCreateArgs{Name: args[0], OwnerTag: "user-" + owner, Config: map[string]any{}, Credential: credential}
		if len(args) == 2 {
			p.CloudTag, p.Region, err = chooseCloud(ctx, c, args[1])
			if err != nil {
				return err
			}
		}
		return Create(ctx, s, c, p, pairs, !noSwitch)
	})
	c.Flags().StringArrayVar(&config, "config", nil, "Configuration of the model: key=value, or a YAML file")
	c.Flags().StringVar(&owner, "owner", "", "Make it for another user")
	c.Flags().StringVar(&credential, "credential", "", "Credential of the cloud")
	c.Flags().BoolVar(&noSwitch, "no-switch", false, "Do not switch to it")
	return c
}

func chooseCloud(ctx context.Context, c session.Conn, text string) (tag, region string, err error) {
	name, region, _ := strings.Cut(text, "/")
	all, err := session.Do[cloud.CloudsResult](ctx, c, "Cloud", "Clouds", nil)
	if err != nil {
		return "", "", err
	}
	cl, ok := all.Clouds["cloud-"+name]
	if !ok {
		var known []string
		for _, t := range sortedKeys(all.Clouds) {
			known = append(known, untag(t))
		}
		return "", "", session.Advise(fmt.Errorf("cannot find cloud %q on this controller", name), "there are: "+strings.Join(known, ", "))
	}
	for _, r := range cl.Regions {
		if r.Name == region {
			return "cloud-" + name, region, nil
		}
	}
	if region != "" {
		return "", "", fmt.Errorf("cannot find region %q in cloud %q", region, name)
	}
	return "cloud-" + name, "", nil
}

// Create makes a model, records it and, when told, switches to it.
func Create(ctx context.Context, s *session.Session, c *session.Controller, p modelmanager.ModelCreateArgs, config map[string]string, use bool) error {
	if p.Config == nil {
		p.Config = map[string]any{}
	}
	for k, v := range config {
		p.Config[k] = v
	}
	if _, ok := p.Config["authorized-keys"]; !ok {
		key, err := s.Store().SSHKey(ctx)
		if err != nil {
			return err
		}
		p.Config["authorized-keys"] = key.Public
	}
	info, err := session.Do[modelmanager.ModelInfo](ctx, c, "ModelManager", "CreateModel", p)
	if session.Code(err) == "already exists" {
		return session.Advise(fmt.Errorf("cannot make model %q: %w", p.Name, err), "choose another name, or see the ones there are: scarab models")
	}
	if err != nil {
		return fmt.Errorf("cannot make model %q: %w", p.Name, err)
	}
	full := strings.TrimPrefix(p.OwnerTag, "user-") + "/" + p.Name
	// The model exists now: it is recorded even when the person interrupts at this moment.
	ctx = context.WithoutCancel(ctx)
	if err := s.Store().SetModel(ctx, c.Name, full, store.Model{UUID: info.UUID, Type: info.Type}, use); err != nil {
		return err
	}
	if use {
		if err := s.Store().SetCurrentController(ctx, c.Name); err != nil {
			return err
		}
	}
	s.Info("Added model %q on %s for user %q.", p.Name, strings.TrimSuffix(untag(info.CloudTag)+"/"+info.CloudRegion, "/"), strings.TrimPrefix(p.OwnerTag, "user-"))
	return nil
}
