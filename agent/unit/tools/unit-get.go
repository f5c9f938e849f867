package tools

import "errors"

func unitGet() *Tool {
	return &Tool{
		Name: "unit-get", Args: "<setting>", In: Anywhere,
		Purpose: "Print public-address or private-address.",
		Doc:     "Deprecated: network-get knows more.",
		Setup: func(c *Call, f *Flags) func([]string) error {
			out := c.smart(f)
			return func(args []string) error {
				if len(args) == 0 {
					return usagef("no setting specified")
				}
				var v, kind string
				switch args[0] {
				case "private-address":
					v, kind = c.Picture.PrivateAddress, "private"
				case "public-address":
					v, kind = c.Picture.PublicAddress, "public"
				default:
					return usagef("unknown setting %q", args[0])
				}
				if err := noMore(args[1:]); err != nil {
					return err
				}
				if v == "" {
					return errors.New(kind + " address not found")
				}
				return out.write(v)
			}
		},
	}
}
