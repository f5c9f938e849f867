package tools

import (
	"errors"
	"slices"

	"github.com/scarab-ops/scarab/wire/agentapi"
)

// maxMessage bounds a status message.
const maxMessage = 64 << 10

func statusSet() *Tool {
	return &Tool{
		Name: "status-set", Args: "<maintenance | blocked | waiting | active> [message]", In: Anywhere, Effect: AtOnce,
		Purpose: "Set status information.",
		Setup: func(c *Call, f *Flags) func([]string) error {
			var app bool
			f.Bool(&app, "application", "set this status for the application to which the unit belongs if the unit is the leader")
			return func(args []string) error {
				allowed := []string{"maintenance", "blocked", "waiting", "active"}
				if len(args) == 0 {
					return usagef("invalid args, require <status> [message]")
				}
				a := agentapi.SetStatusArgs{Kind: "workload", Status: args[0]}
				if !slices.Contains(allowed, a.Status) {
					return usagef("invalid status %q, expected one of %v", a.Status, allowed)
				}
				args = args[1:]
				if len(args) > 0 {
					a.Message, args = args[0], args[1:]
				}
				if err := noMore(args); err != nil {
					return err
				}
				if len(a.Message) > maxMessage {
					return errors.New("cannot set status: message too long")
				}
				return c.setStatus(a, app)
			}
		},
	}
}

func (c *Call) setStatus(a agentapi.SetStatusArgs, app bool) error {
	if app {
		if err := c.mustLead(); err != nil {
			return err
		}
		a.Kind = "application"
	}
	if err := c.Live.SetStatus(c.Ctx, a); err != nil {
		return err
	}
	now := agentapi.Status{Status: a.Status, Message: a.Message}
	if app {
		c.Picture.ApplicationStatus = &now
		return nil
	}
	c.StatusSet, c.Picture.WorkloadStatus = true, now
	return nil
}
