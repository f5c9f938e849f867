package observe

import (
	"context"
	"net/url"
	"strings"
	"time"

	"github.com/scarab-ops/scarab/cli/session"
	"github.com/scarab-ops/scarab/names"
)

const (
	logPatience = 5 * time.Second // an explanation is worth having without its log, too
	logBacklog  = "200"           // lines of one unit that are looked through
)

// tellFailures adds to units whose hook failed how it ended and what it said last, as far as the log tells.
func tellFailures(ctx context.Context, m *session.Model, chains [][]cause) {
	src, ok := m.Conn.(session.LogSource)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, logPatience)
	defer cancel()
	for _, chain := range chains {
		for i := range chain {
			unit, ok := strings.CutPrefix(chain[i].Entity, "unit ")
			if ok && strings.Contains(chain[i].State, "error") && ctx.Err() == nil {
				chain[i].Ended, chain[i].Said = lastFailure(ctx, src, unit)
			}
		}
	}
}

// lastFailure finds how the last failed hook of a unit ended, and the last line that it printed.
func lastFailure(ctx context.Context, src session.LogSource, unit string) (ended, said string) {
	tag := names.Unit(unit).Tag().String()
	last := ""
	err := src.DebugLog(ctx, url.Values{"includeEntity": {tag}, "backlog": {logBacklog}, "noTail": {"true"}}, func(l session.LogLine) error {
		hook, isHook := strings.CutPrefix(l.Module, "unit."+unit+".")
		switch {
		case isHook && hook != "juju-log" || isHook && l.Severity != "DEBUG":
			last = l.Message
		case strings.HasPrefix(l.Message, "hook \""):
			if _, how, ok := strings.Cut(l.Message, "\" failed: "); ok {
				ended, said, last = how, last, ""
			}
		}
		return nil
	})
	if err != nil {
		return "", ""
	}
	return ended, said
}
