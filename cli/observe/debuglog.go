package observe

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/scarab-ops/scarab/cli/output"
	"github.com/scarab-ops/scarab/cli/session"
	"github.com/scarab-ops/scarab/client"
	"github.com/scarab-ops/scarab/names"
)

type logFlags struct {
	include, exclude, includeModule, excludeModule, includeLabel, excludeLabel []string
	level                                                                      string
	lines, limit                                                               uint
	replay, tail, noTail, date, ms, utc, location, colour, retry               bool
	retryDelay                                                                 time.Duration
}

func debugLogCommand(s *session.Session) *cobra.Command {
	var f logFlags
	var format *output.Format
	var c *cobra.Command
	c = s.Command(session.Spec{
		Use: "debug-log", Short: "Show the log of a model", Group: group, Scope: session.OnModel,
		Long: `
Shows the log lines that the agents of a model sent. Filters of one kind are joined by or, filters of different kinds by and. An entity
is a unit, machine or application, by name or tag; a * at the end stands for anything.`,
		Example: "scarab debug-log\nscarab debug-log --replay --no-tail --level WARNING\nscarab debug-log --include mysql/0 --lines 100",
	}, func(ctx context.Context, _ []string) error {
		if f.tail && f.noTail {
			return &session.Usage{Text: "cannot use --tail together with --no-tail"}
		}
		if limit := c.Flags().Changed("limit"); limit && !c.Flags().Changed("lines") {
			// The last N lines that there are; without an end, all of them.
			f.lines, f.replay = f.limit, f.replay || f.limit == 0
		}
		params, err := f.params(s)
		if err != nil {
			return err
		}
		return f.stream(ctx, s, params, format)
	})
	format = session.Format(c, "text", "json")
	f.register(c)
	return c
}

func (f *logFlags) register(c *cobra.Command) {
	fl := c.Flags()
	fl.StringArrayVarP(&f.include, "include", "i", nil, "Only lines of these entities")
	fl.StringArrayVarP(&f.exclude, "exclude", "x", nil, "No lines of these entities")
	fl.StringArrayVar(&f.includeModule, "include-module", nil, "Only lines of these modules")
	fl.StringArrayVar(&f.excludeModule, "exclude-module", nil, "No lines of these modules")
	fl.StringArrayVar(&f.includeLabel, "include-label", nil, "Only lines with these labels")
	fl.StringArrayVar(&f.excludeLabel, "exclude-label", nil, "No lines with these labels")
	fl.StringVarP(&f.level, "level", "l", "", "Lowest level: TRACE, DEBUG, INFO, WARNING, ERROR, CRITICAL")
	fl.UintVarP(&f.lines, "lines", "n", 10, "Begin with this many of the last lines")
	fl.UintVar(&f.limit, "limit", 0, "Show this many of the last lines, and end after as many (0: all, without end)")
	fl.BoolVar(&f.replay, "replay", false, "Begin with the oldest line")
	fl.BoolVar(&f.tail, "tail", false, "Go on with new lines")
	fl.BoolVarP(&f.noTail, "no-tail", "T", false, "End after the lines there are")
	fl.BoolVar(&f.date, "date", false, "Show dates")
	fl.BoolVar(&f.ms, "ms", false, "Show milliseconds")
	fl.BoolVar(&f.utc, "utc", false, "Show times in UTC")
	fl.BoolVar(&f.location, "location", false, "Show file names and line numbers")
	fl.BoolVar(&f.colour, "color", false, "Use colours even when the output is no terminal")
	fl.BoolVar(&f.retry, "retry", false, "Connect again when the stream breaks, also for lines there are")
	fl.DurationVar(&f.retryDelay, "retry-delay", time.Second, "Wait this long before connecting again")
}

func (f *logFlags) params(s *session.Session) (url.Values, error) {
	v := url.Values{}
	level := strings.ToUpper(f.level)
	if level != "" && !slices.Contains([]string{"TRACE", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}, level) {
		return nil, &session.Usage{Text: fmt.Sprintf("cannot use level %q: choose TRACE, DEBUG, INFO, WARNING, ERROR or CRITICAL", f.level)}
	}
	if level != "" {
		v.Set("level", level)
	}
	for key, list := range map[string][]string{
		"includeEntity": entities(f.include), "excludeEntity": entities(f.exclude), "includeModule": f.includeModule,
		"excludeModule": f.excludeModule, "includeLabel": f.includeLabel, "excludeLabel": f.excludeLabel,
	} {
		for _, x := range list {
			v.Add(key, x)
		}
	}
	if f.replay {
		v.Set("replay", "true")
	} else {
		v.Set("backlog", strconv.FormatUint(uint64(f.lines), 10))
	}
	if f.limit > 0 {
		v.Set("maxLines", strconv.FormatUint(uint64(f.limit), 10))
	}
	if f.noTail || (!f.tail && !s.Term().StdoutIsTerminal()) {
		v.Set("noTail", "true")
	}
	return v, nil
}

// entities turns names into the tags that log lines carry; what is no name, such as a pattern, stays.
func entities(list []string) []string {
	out := make([]string, 0, len(list))
	for _, e := range list {
		switch {
		case names.ValidUnit(e):
			e = names.Unit(e).Tag().String()
		case names.ValidMachine(e):
			e = names.Machine(e).Tag().String()
		case names.ValidApplication(e) && !strings.HasPrefix(e, "unit-") && !strings.HasPrefix(e, "machine-"):
			e = "unit-" + e + "-*"
		}
		out = append(out, e)
	}
	return out
}

// stream prints lines until their end. Who follows a log goes on with the next line when a connection broke, as a
// controller that starts anew is back in a moment.
func (f *logFlags) stream(ctx context.Context, s *session.Session, params url.Values, format *output.Format) error {
	follows := params.Get("noTail") == "" && f.limit == 0
	before := false
	err := patient{s: s, delay: f.retryDelay, what: "the log"}.run(ctx, follows || f.retry, func(alive func()) error {
		m, err := s.OpenModel(ctx)
		if err != nil {
			return err
		}
		src, ok := m.Conn.(session.LogSource)
		if !ok {
			return errors.New("cannot read the log: this connection carries no logs")
		}
		alive()
		before = true
		err = src.DebugLog(ctx, params, func(l session.LogLine) error {
			params.Del("backlog") // after a break: what came after this line
			params.Set("replay", "true")
			params.Set("startTime", l.Timestamp.Add(1).UTC().Format(time.RFC3339Nano))
			return f.print(s, l, format)
		})
		if err == nil && follows {
			return client.ErrBroken // a log that is followed has no end
		}
		return err
	})
	if before && ctx.Err() != nil {
		return nil //nolint:nilerr // whoever interrupts has seen enough
	}
	return err
}

func (f *logFlags) print(s *session.Session, l session.LogLine, format *output.Format) error {
	if format.Name == "json" {
		return output.JSON(s.Stdout.Raw(), map[string]any{
			"timestamp": l.Timestamp.UTC().Format(time.RFC3339Nano), "entity": l.Entity, "level": l.Severity,
			"module": l.Module, "location": l.Location, "message": l.Message, "labels": l.Labels,
		})
	}
	layout := "15:04:05"
	if f.date {
		layout = "2006-01-02 15:04:05"
	}
	if f.ms {
		layout += ".000"
	}
	when := l.Timestamp.Local()
	if f.utc {
		when = l.Timestamp.UTC()
	}
	colour := f.colour || s.Colour()
	text := output.Paint(l.Entity+":", output.Dim, colour) + " " + when.Format(layout) + " " + output.Paint(l.Severity, levelStyle(l.Severity), colour) + " " + output.Escape(l.Module)
	if f.location && l.Location != "" {
		text += " " + output.Escape(l.Location)
	}
	if len(l.Labels) > 0 {
		text += " " + output.Escape(strings.Join(l.Labels, ","))
	}
	_, err := fmt.Fprintf(s.Stdout.Raw(), "%s %s\n", text, output.EscapeText(l.Message))
	return err
}

func levelStyle(level string) output.Style {
	switch level {
	case "ERROR", "CRITICAL":
		return output.Bad
	case "WARNING":
		return output.Warn
	case "INFO":
		return output.Info
	}
	return output.Dim
}
