package tools

func configGet() *Tool {
	return &Tool{
		Name: "config-get", Args: "[<key>]", In: Anywhere,
		Purpose: "Print application configuration.",
		Doc:     "Without a key every option that has a value is printed, with --all the unset ones too. An option that is not known has no value.",
		Setup: func(c *Call, f *Flags) func([]string) error {
			out := c.smart(f)
			var all bool
			f.Bool(&all, "a,all", "Print all keys")
			return func(args []string) error {
				if len(args) > 0 {
					if all {
						return usagef("cannot use argument --all together with key %q", args[0])
					}
					if err := noMore(args[1:]); err != nil {
						return err
					}
					return out.write(c.Picture.Config[args[0]])
				}
				m := map[string]any{}
				if all {
					for _, k := range c.Picture.Options {
						m[k] = nil
					}
				}
				for k, v := range c.Picture.Config {
					if v != nil {
						m[k] = v
					}
				}
				return out.write(m)
			}
		},
	}
}
