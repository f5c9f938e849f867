package tools

import (
	"errors"

	"github.com/scarab-ops/scarab/wire/agentapi"
)

func leaderSet() *Tool {
	return &Tool{
		Name: "leader-set", Args: "<key>=<value> [...]", In: Anywhere, Effect: AtOnce,
		Purpose: "Write application leadership settings.",
		Doc:     "Only the leader may. The settings are written at once; an empty value deletes a key.",
		Setup: func(c *Call, _ *Flags) func([]string) error {
			return func(args []string) error {
				kv, err := keyValues(args)
				if err != nil {
					return err
				}
				led, err := c.leader()
				if err != nil {
					return err
				}
				if !led {
					return errors.New("cannot write leadership settings: cannot write settings: not the leader")
				}
				if err := c.Live.LeaderSet(c.Ctx, kv); err != nil {
					return err
				}
				if c.Picture.Settings == nil {
					c.Picture.Settings = agentapi.Settings{}
				}
				for k, v := range kv {
					c.Picture.Settings[k] = v
					if v == "" {
						delete(c.Picture.Settings, k)
					}
				}
				return nil
			}
		},
	}
}
