package tools

func isLeader() *Tool {
	return &Tool{
		Name: "is-leader", In: Anywhere, Effect: AtOnce,
		Purpose: "Print application leadership status.",
		Doc:     "A true answer holds for at least 30 seconds. A false answer stays for the rest of the hook.",
		Setup: func(c *Call, f *Flags) func([]string) error {
			out := c.smart(f)
			return func(args []string) error {
				if err := noMore(args); err != nil {
					return err
				}
				led, err := c.leader()
				if err != nil {
					return err
				}
				return out.write(led)
			}
		},
	}
}
