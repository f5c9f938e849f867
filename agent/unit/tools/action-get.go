package tools

import "strings"

func actionGet() *Tool {
	return &Tool{
		Name: "action-get", Args: "[<key>[.<key>.<key>...]]", In: Actions,
		Purpose: "Get the action's parameters.",
		Doc:     "Without a key the whole map is printed. A dotted key walks into nested maps; a missing key has no value.",
		Setup: func(c *Call, f *Flags) func([]string) error {
			out := c.smart(f)
			return func(args []string) error {
				var v any = c.Task.Params
				if c.Task.Params == nil {
					v = map[string]any{}
				}
				if len(args) > 0 {
					for _, part := range strings.Split(args[0], ".") {
						m, _ := v.(map[string]any)
						v = m[part]
					}
					args = args[1:]
				}
				if err := noMore(args); err != nil {
					return err
				}
				return out.write(v)
			}
		},
	}
}
