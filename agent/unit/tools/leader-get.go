package tools

import "strings"

func leaderGet() *Tool {
	return &Tool{
		Name: "leader-get", Args: "[<key>]", In: Anywhere,
		Purpose: "Print application leadership settings.",
		Setup: func(c *Call, f *Flags) func([]string) error {
			out := c.smart(f)
			return func(args []string) error {
				key := "-"
				if len(args) > 0 {
					key, args = args[0], args[1:]
				}
				if strings.Contains(key, "=") {
					return usagef("invalid key %q", key)
				}
				if err := noMore(args); err != nil {
					return err
				}
				return writeBag(out, c.Picture.Settings, key)
			}
		},
	}
}
