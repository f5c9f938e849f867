// Package observe holds the commands that look and wait: status, machines' and units' details, the logs, wait-for and why.
// It changes nothing anywhere.
package observe

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/scarab-ops/scarab/cli/session"
	"github.com/scarab-ops/scarab/wire"
)

// Commands are the commands of this package.
func Commands(s *session.Session) []*cobra.Command {
	return []*cobra.Command{
		statusCommand(s), statusLogCommand(s), debugLogCommand(s), waitForCommand(s), whyCommand(s),
		machinesCommand(s), showMachineCommand(s), showUnitCommand(s), showApplicationCommand(s),
	}
}

const group = "observe"

// watchAll hands over the changes of a model as they happen, the whole state first, until each returns done.
func watchAll(ctx context.Context, c session.Conn, each func([]wire.Delta) (done bool, err error)) error {
	for {
		id, err := session.Do[wire.AllWatcherId](ctx, c, "Client", "WatchAll", nil)
		if err != nil {
			return err
		}
		restart, err := drain(ctx, c, id.WatcherID, each)
		if err != nil || !restart {
			return err
		}
	}
}

func drain(ctx context.Context, c session.Conn, id string, each func([]wire.Delta) (bool, error)) (restart bool, err error) {
	for {
		var next wire.AllWatcherNextResults
		err := c.Call(ctx, "AllWatcher", id, "Next", struct{}{}, &next)
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		if session.Code(err) == "stopped" {
			return true, nil
		}
		if err != nil {
			return false, err
		}
		done, err := each(next.Deltas)
		if err != nil || done {
			stop := context.WithoutCancel(ctx)
			if serr := c.Call(stop, "AllWatcher", id, "Stop", struct{}{}, nil); serr != nil && !errors.Is(serr, context.Canceled) {
				err = errors.Join(err, serr)
			}
			return false, err
		}
	}
}
