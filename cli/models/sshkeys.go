package models

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"github.com/scarab-ops/scarab/cli/output"
	"github.com/scarab-ops/scarab/cli/session"
	"github.com/scarab-ops/scarab/wire"
	"github.com/scarab-ops/scarab/wire/keymanager"
)

// keyOwner is what the key facade calls the owner of all keys of a model.
const keyOwner = "admin"

func sshKeysCommand(s *session.Session) *cobra.Command {
	var full bool
	var format *output.Format
	c := s.Command(session.Spec{
		Use: "ssh-keys", Aliases: []string{"list-ssh-keys"}, Short: "List the ssh keys that may log in to a model's machines", Group: group, Scope: session.OnModel,
		Example: "scarab ssh-keys\nscarab ssh-keys --full",
	}, func(ctx context.Context, _ []string) error {
		m, err := s.OpenModel(ctx)
		if err != nil {
			return err
		}
		keys, err := listKeys(ctx, m, full)
		if err != nil {
			return err
		}
		return s.Print(format, keys, func(t *output.Table) {
			if len(keys) == 0 {
				s.Info("No ssh keys in model %q.", m.Name)
				return
			}
			t.Head("Keys used in model: " + m.Name)
			for _, k := range keys {
				t.Row(k)
			}
		})
	})
	format = session.Lists(c)
	c.Flags().BoolVar(&full, "full", false, "Show whole keys, not fingerprints")
	return c
}

func listKeys(ctx context.Context, m session.Conn, full bool) ([]string, error) {
	res, err := session.Do[wire.StringsResults](ctx, m, "KeyManager", "ListKeys",
		keymanager.ListSSHKeys{Entities: wire.Entities{Entities: []wire.Entity{{Tag: keyOwner}}}, Mode: full})
	if err != nil {
		return nil, err
	}
	one, err := session.One(res.Results, func(r wire.StringsResult) *wire.Error { return r.Error })
	return one.Result, err
}

func addSSHKeyCommand(s *session.Session) *cobra.Command {
	return s.Command(session.Spec{
		Use: "add-ssh-key KEY...", Short: "Let an ssh key log in to a model's machines", Group: group, Scope: session.OnModel, Min: 1, Max: -1,
		Example: "scarab add-ssh-key \"$(cat ~/.ssh/id_ed25519.pub)\"",
	}, func(ctx context.Context, args []string) error {
		for _, k := range args {
			if _, _, _, rest, err := ssh.ParseAuthorizedKey([]byte(k)); err != nil || len(rest) > 0 {
				return &session.Usage{Text: fmt.Sprintf("cannot use %.40q as an ssh key: give the whole line of a .pub file", k)}
			}
		}
		return changeKeys(ctx, s, "AddKeys", args)
	})
}

func removeSSHKeyCommand(s *session.Session) *cobra.Command {
	return s.Command(session.Spec{
		Use: "remove-ssh-key FINGERPRINT-OR-COMMENT...", Short: "Take an ssh key away from a model's machines", Group: group, Scope: session.OnModel, Min: 1, Max: -1,
		Example: "scarab remove-ssh-key bob@laptop",
	}, func(ctx context.Context, args []string) error { return changeKeys(ctx, s, "DeleteKeys", args) })
}

func changeKeys(ctx context.Context, s *session.Session, method string, keys []string) error {
	m, err := s.OpenModel(ctx)
	if err != nil {
		return err
	}
	res, err := session.Do[wire.ErrorResults](ctx, m, "KeyManager", method, keymanager.ModifyUserSSHKeys{User: keyOwner, SSHKeys: keys})
	if err == nil {
		err = session.Errors(res.Results, nil)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("cannot change the ssh keys: %w", err))
	}
	return nil
}
