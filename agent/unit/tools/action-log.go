package tools

import (
	"strings"

	"github.com/scarab-ops/scarab/wire/agentapi"
)

func actionLog() *Tool {
	return &Tool{
		Name: "action-log", Args: "<message>", In: Actions, Effect: AtOnce,
		Purpose: "Record a progress message for the action.",
		Setup: func(c *Call, _ *Flags) func([]string) error {
			return func(args []string) error {
				if len(args) == 0 {
					return usagef("no message specified")
				}
				return c.Live.TaskLog(c.Ctx, agentapi.TaskLogArgs{ID: c.Task.ID, Message: strings.Join(args, " ")})
			}
		},
	}
}
