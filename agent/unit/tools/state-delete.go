package tools

func stateDelete() *Tool {
	return &Tool{
		Name: "state-delete", Args: "<key>", In: Anywhere,
		Purpose: "Delete server-side-state key value pair.",
		Setup: func(c *Call, _ *Flags) func([]string) error {
			return func(args []string) error {
				if len(args) == 0 || args[0] == "" {
					return nil
				}
				if err := noMore(args[1:]); err != nil {
					return err
				}
				return c.Effects.DeleteState(args[0])
			}
		},
	}
}
