package observe

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/scarab-ops/scarab/cli/output"
	"github.com/scarab-ops/scarab/cli/session"
	"github.com/scarab-ops/scarab/cli/status"
	"github.com/scarab-ops/scarab/wire"
	"github.com/scarab-ops/scarab/wire/client"
)

type statusFlags struct {
	relations, integrations, storage, utc, noColour, colour bool
	watch                                                   time.Duration
}

func statusCommand(s *session.Session) *cobra.Command {
	var f statusFlags
	var format *output.Format
	c := s.Command(session.Spec{
		Use: "status [PATTERN...]", Aliases: []string{"show-status"}, Short: "Show the state of a model", Group: group, Scope: session.OnModel, Max: -1,
		Long: `
Shows machines, applications and units of a model with their states. Patterns choose a part of it: names of applications and
units (with * and ?), machine ids, states, ports, addresses. With --watch the picture is redrawn when something changes, at most
once per the time given; the changes are pushed by the controller.`,
		Example: "scarab status\nscarab status mysql --relations\nscarab status --watch 2s\nscarab status --format json",
	}, func(ctx context.Context, args []string) error {
		s.SetColour(f.colour, f.noColour)
		m, err := s.OpenModel(ctx)
		if err != nil {
			return err
		}
		v := &viewer{s: s, m: m, f: f, format: format, patterns: args}
		if f.watch > 0 {
			return v.watch(ctx)
		}
		return v.once(ctx)
	})
	format = session.Format(c, "tabular", "short", "oneline", "line", "summary", "json", "yaml")
	fl := c.Flags()
	fl.BoolVar(&f.relations, "relations", false, "Show the integrations too")
	fl.BoolVar(&f.integrations, "integrations", false, "The same as --relations")
	fl.BoolVar(&f.storage, "storage", false, "Show the storage too")
	fl.BoolVar(&f.utc, "utc", false, "Show times in UTC")
	fl.BoolVar(&f.colour, "color", false, "Use colours even when the output is no terminal")
	fl.BoolVar(&f.noColour, "no-color", false, "Use no colours")
	fl.DurationVar(&f.watch, "watch", 0, "Redraw on changes, at most once in this time")
	return c
}

type viewer struct {
	s        *session.Session
	m        *session.Model
	f        statusFlags
	format   *output.Format
	patterns []string
}

func (v *viewer) fetch(ctx context.Context) (*status.Document, error) {
	if v.patterns == nil {
		v.patterns = []string{}
	}
	full := v.f.storage || v.format.Name == "yaml" || v.format.Name == "json"
	fs, err := session.Do[client.FullStatus](ctx, v.m, "Client", "FullStatus", client.StatusParams{Patterns: v.patterns, IncludeStorage: full})
	if err != nil {
		return nil, fmt.Errorf("cannot read the status of model %q: %w", v.m.Name, err)
	}
	if len(v.patterns) > 0 && len(fs.Machines) == 0 && len(fs.Applications) == 0 {
		v.s.Info("Nothing matches %s.", strings.Join(v.patterns, ", "))
	} else if len(fs.Machines) == 0 && len(fs.Applications) == 0 && len(fs.RemoteApplications) == 0 && v.format.Name == "tabular" && v.f.watch == 0 {
		v.s.Info("Model %q is empty.", v.m.Name)
	}
	return status.Build(fs, status.Options{Controller: v.m.Controller, UTC: v.f.utc, ISO: v.s.Getenv("JUJU_STATUS_ISO_TIME") == "true"}), nil
}

func (v *viewer) render(w io.Writer, d *status.Document) error {
	colour := v.s.Colour() && v.format.File == ""
	switch v.format.Name {
	case "short", "oneline", "line":
		return d.Short(w)
	case "summary":
		return d.Summary(w, colour)
	}
	return d.Tabular(w, colour, v.f.relations || v.f.integrations, v.f.storage)
}

func (v *viewer) once(ctx context.Context) error {
	d, err := v.fetch(ctx)
	if err != nil {
		return err
	}
	return v.format.Write(v.s.Stdout.Raw(), d, func(w io.Writer) error { return v.render(w, d) })
}

// watch redraws whenever the controller pushes a change. It draws into memory first and then over the old picture, line
// by line, so that nothing flickers.
func (v *viewer) watch(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	changed := make(chan struct{}, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- watchAll(ctx, v.m, func([]wire.Delta) (bool, error) {
			select {
			case changed <- struct{}{}:
			default:
			}
			return false, nil
		})
	}()
	defer func() { stop(); <-ended }()
	tick := time.NewTimer(v.f.watch)
	defer tick.Stop()
	for {
		if err := v.redraw(ctx); err != nil {
			return err
		}
		tick.Reset(v.f.watch)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		select {
		case <-changed:
		case err := <-ended:
			ended <- err
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

func (v *viewer) redraw(ctx context.Context) error {
	d, err := v.fetch(ctx)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := v.format.Write(&b, d, func(w io.Writer) error { return v.render(w, d) }); err != nil {
		return err
	}
	out := v.s.Stdout.Raw()
	if !v.s.Term().StdoutIsTerminal() {
		_, err = fmt.Fprintf(out, "%s\n", b.Bytes())
		return err
	}
	_, height := v.s.Term().Size()
	lines := strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
	if height > 1 && len(lines) > height-1 {
		lines = append(lines[:height-2], fmt.Sprintf("... %d lines more", len(lines)-height+2))
	}
	_, err = io.WriteString(out, "\x1b[H"+strings.Join(lines, "\x1b[K\n")+"\x1b[K\n\x1b[J")
	return err
}
