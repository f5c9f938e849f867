package tools

func applicationVersionSet() *Tool {
	return &Tool{
		Name: "application-version-set", Args: "<new-version>", In: Anywhere, Effect: AtOnce,
		Purpose: "Specify which version of the application is deployed.",
		Setup: func(c *Call, _ *Flags) func([]string) error {
			return func(args []string) error {
				if len(args) == 0 {
					return usagef("no version specified")
				}
				if err := noMore(args[1:]); err != nil {
					return err
				}
				return c.Live.SetWorkloadVersion(c.Ctx, args[0])
			}
		},
	}
}
