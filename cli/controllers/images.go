package controllers

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/scarab-ops/scarab/cli/output"
	"github.com/scarab-ops/scarab/cli/session"
	"github.com/scarab-ops/scarab/cli/values"
)

func imageCommand(s *session.Session) *cobra.Command {
	parent := &cobra.Command{
		Use: "image", Short: "List, add and remove base images of the local cloud", GroupID: group, Example: "  scarab image list",
		SilenceErrors: true, SilenceUsage: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return &session.Usage{Text: fmt.Sprintf("cannot run image %q: choose list, add or remove", args[0])}
			}
			return nil
		},
		RunE: func(*cobra.Command, []string) error {
			return &session.Usage{Text: "cannot run image: choose list, add or remove"}
		},
	}
	var format *output.Format
	list := s.Command(session.Spec{Use: "list", Short: "List the base images", Example: "scarab image list --format json"}, func(ctx context.Context, _ []string) error {
		im, err := s.Images()
		if err != nil {
			return err
		}
		all, err := im.List(ctx)
		if err != nil {
			return err
		}
		return s.Print(format, all, func(t *output.Table) {
			t.Head("Image", "Arch", "Size", "Created", "Source", "Digest")
			for _, i := range all {
				t.Cells(output.Text(i.Name), output.Text(i.Arch), output.Right(fmt.Sprintf("%dM", i.Size>>20)),
					output.Text(i.Created.UTC().Format(time.DateOnly)), output.Text(i.Source), output.Text(shortDigest(i.Digest)))
			}
		})
	})
	format = session.Lists(list)
	add := s.Command(session.Spec{
		Names: "file", Use: "add BASE [packages | TARBALL]", Short: "Add a base image", Min: 1, Max: 2,
		Long: `
Adds the image of a base, which is also its name: from then on machines for that base run it. A release of Debian is built from the
distribution's signed packages; others are taken from a tarball of a root file system (plain, gzip or zstd).`,
		Example: "scarab image add debian@13\nscarab image add ubuntu@24.04 ./ubuntu-24.04-root.tar.gz",
	}, func(ctx context.Context, args []string) error { return addImage(ctx, s, args) })
	remove := s.Command(session.Spec{Use: "remove BASE", Short: "Remove a base image", Min: 1, Max: 1, Example: "scarab image remove debian@13"}, func(ctx context.Context, args []string) error {
		im, err := s.Images()
		if err != nil {
			return err
		}
		return im.Remove(ctx, args[0])
	})
	parent.AddCommand(list, add, remove)
	return parent
}

func addImage(ctx context.Context, s *session.Session, args []string) error {
	if b, err := values.Base(args[0]); err != nil || b == nil {
		return &session.Usage{Text: fmt.Sprintf("cannot add image %q: its name is the base that it is for, such as debian@13", args[0])}
	}
	tarball := ""
	if len(args) == 2 && args[1] != "packages" {
		tarball = s.Path(args[1])
		if info, err := os.Stat(tarball); err != nil || info.IsDir() {
			return session.Advise(fmt.Errorf("cannot add image %q: there is no file %s", args[0], args[1]),
				"name a tarball of a root file system; or build a release of Debian: scarab image add debian@13")
		}
	}
	im, err := s.Images()
	if err != nil {
		return err
	}
	p := s.Progress()
	defer p.End()
	i, err := im.Add(ctx, args[0], tarball, p.Report)
	if err != nil {
		return fmt.Errorf("cannot add image %q: %w", args[0], err)
	}
	p.End()
	s.Info("Added image %q (%d MiB).", i.Name, i.Size>>20)
	return nil
}

func shortDigest(d string) string { return d[:min(len(d), 19)] }
