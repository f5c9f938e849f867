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
	watch, retryDelay                                       time.Duration
	retries                                                 int
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
		v := &viewer{s: s, f: f, format: format, patterns: args}
		if v.patterns == nil {
			v.patterns = []string{}
		}
		return v.show(ctx)
	})
	format = session.Format(c, "tabular", "short", "oneline", "line", "summary", "json", "yaml")
	fl := c.Flags()
	fl.BoolVar(&f.relations, "relations", false, "Show the integrations too")
	fl.BoolVar(&f.integrations, "integrations", false, "The same as --relations")
	fl.BoolVar(&f.storage, "storage", false, "Show the storage too")
	fl.BoolVar(&f.utc, "utc", false, "Show times in UTC")
	fl.BoolVar(&f.colour, "color", false, "Use colours even when the output is no terminal")
	fl.BoolVar(&f.noColour, "no-color", false, "Use no colours")
	fl.IntVar(&f.retries, "retry-count", 3, "How often to ask again when the connection broke")
	fl.DurationVar(&f.retryDelay, "retry-delay", 100*time.Millisecond, "How long to wait before that")
	fl.DurationVar(&f.watch, "watch", 0, "Redraw on changes, at most once in this time")
	return c
}

type viewer struct {
	s        *session.Session
	m        *session.Model
	f        statusFlags
	format   *output.Format
	patterns []string
	drawn    bool // something was shown since the last connection
}

// show asks again when a connection breaks, as often as was said: a controller that starts anew is back in a moment. Who
// watches has more patience.
func (v *viewer) show(ctx context.Context) error {
	limit, delay := v.f.retries, v.f.retryDelay
	if v.f.watch > 0 {
		limit, delay = max(limit, 60), max(delay, 500*time.Millisecond)
	}
	for left := limit; ; left-- {
		v.drawn = false
		err := v.try(ctx)
		if v.drawn {
			left = limit
		}
		if err == nil || left <= 0 || ctx.Err() != nil || !session.Broken(err, v.m != nil) {
			return err
		}
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (v *viewer) try(ctx context.Context) error {
	m, err := v.s.OpenModel(ctx)
	if err != nil {
		return err
	}
	v.m = m
	if v.f.watch > 0 {
		return v.watch(ctx)
	}
	return v.once(ctx)
}

func (v *viewer) fetch(ctx context.Context) (*status.Document, error) {
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
	defer func() { stop(); <-ended }() //nolint:errcheck // the picture ended, nobody asks why the watch did
	tick := time.NewTimer(v.f.watch)
	defer tick.Stop()
	for {
		if err := v.redraw(ctx); err != nil {
			return unlessInterrupted(ctx, err)
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
			return unlessInterrupted(ctx, err)
		case <-ctx.Done():
			return nil
		}
	}
}

// unlessInterrupted drops the error of a picture that nobody wants any more.
func unlessInterrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		err = nil
	}
	return err
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
	v.drawn = true
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
