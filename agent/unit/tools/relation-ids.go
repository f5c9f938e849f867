package tools

import "slices"

func relationIDs() *Tool {
	return &Tool{
		Name: "relation-ids", Args: "<name>", In: Anywhere,
		Purpose: "List all relation ids for the given endpoint.",
		Setup: func(c *Call, f *Flags) func([]string) error {
			out := c.smart(f)
			return func(args []string) error {
				name := ""
				if r := c.relation(c.RelationID); r != nil {
					name = r.Endpoint
				}
				if len(args) > 0 {
					name, args = args[0], args[1:]
				}
				if name == "" {
					return usagef("no endpoint name specified")
				}
				if err := noMore(args); err != nil {
					return err
				}
				ids := []string{}
				for _, r := range c.Picture.Relations {
					if r.Endpoint == name && !c.broken(r.ID) {
						ids = append(ids, c.relationName(r.ID))
					}
				}
				slices.Sort(ids)
				return out.write(ids)
			}
		},
	}
}
