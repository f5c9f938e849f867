package tools

func relationModelGet() *Tool {
	return &Tool{
		Name: "relation-model-get", In: Anywhere,
		Purpose: "Get details about the model housing a related application.",
		Setup: func(c *Call, f *Flags) func([]string) error {
			out := c.smart(f)
			rel := c.relationFlag(f, "Specify a relation by id")
			return func(args []string) error {
				if err := noMore(args); err != nil {
					return err
				}
				r, err := c.mustRelation(*rel)
				if err != nil {
					return err
				}
				id := r.RemoteModelUUID
				if id == "" {
					id = c.ModelUUID
				}
				return out.write(map[string]any{"uuid": id})
			}
		},
	}
}
