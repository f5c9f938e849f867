package tools

func stateSet() *Tool {
	return &Tool{
		Name: "state-set", Args: "<key>=<value> [<key>=<value> ...]", In: Anywhere,
		Purpose: "Set server-side-state values.",
		Doc:     "The values are sent once the hook succeeds.",
		Setup: func(c *Call, f *Flags) func([]string) error {
			var file string
			f.String(&file, "file", `Specify a file with values, "-" for standard input`)
			return func(args []string) error {
				if len(args) == 0 && file == "" {
					return nil
				}
				kv, err := c.settings(args, file)
				if err != nil {
					return err
				}
				return c.Effects.SetState(c.Picture.State, kv)
			}
		},
	}
}
