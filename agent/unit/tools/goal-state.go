package tools

import "github.com/scarab-ops/scarab/wire/agentapi"

func goalState() *Tool {
	return &Tool{
		Name: "goal-state", In: Anywhere,
		Purpose: "Print the status of the charm's peers and related units.",
		Doc:     "Lists all units that are meant to exist, started or not, with their status and since when they have it.",
		Setup: func(c *Call, f *Flags) func([]string) error {
			out := c.output(f, "yaml", "json", "yaml")
			return func(args []string) error {
				if err := noMore(args); err != nil {
					return err
				}
				g, err := c.Live.GoalState(c.Ctx)
				if err != nil {
					return err
				}
				relations := map[string]any{}
				for name, m := range g.Relations {
					relations[name] = goals(m)
				}
				return out.write(map[string]any{"units": goals(g.Units), "relations": relations})
			}
		},
	}
}

func goals(in map[string]agentapi.GoalStatus) map[string]any {
	out := map[string]any{}
	for name, s := range in {
		out[name] = map[string]any{"status": s.Status, "since": s.Since.UTC().Format("2006-01-02 15:04:05Z")}
	}
	return out
}
