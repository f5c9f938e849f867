package tools

import "fmt"

func stateGet() *Tool {
	return &Tool{
		Name: "state-get", Args: "[<key>]", In: Anywhere,
		Purpose: "Print server-side-state value.",
		Setup: func(c *Call, f *Flags) func([]string) error {
			out := c.smart(f)
			var strict bool
			f.Bool(&strict, "strict", "Return an error if the requested key does not exist")
			return func(args []string) error {
				key := "-"
				if len(args) > 0 {
					key, args = args[0], args[1:]
				}
				if err := noMore(args); err != nil {
					return err
				}
				bag := c.Effects.State(c.Picture.State)
				if _, ok := bag[key]; strict && !ok && key != "-" && key != "" {
					return fmt.Errorf("%q not found", key)
				}
				return writeBag(out, bag, key)
			}
		},
	}
}
