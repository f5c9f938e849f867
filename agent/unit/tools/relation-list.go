package tools

import (
	"maps"
	"slices"
)

func relationList() *Tool {
	return &Tool{
		Name: "relation-list", In: Anywhere,
		Purpose: "List relation units.",
		Setup: func(c *Call, f *Flags) func([]string) error {
			out := c.smart(f)
			var app bool
			f.Bool(&app, "app", "List remote application instead of participating units")
			rel := c.relationFlag(f, "Specify a relation by id")
			return func(args []string) error {
				if err := noMore(args); err != nil {
					return err
				}
				r, err := c.mustRelation(*rel)
				if err != nil {
					return err
				}
				if app {
					return out.write(r.RemoteApp)
				}
				units := []string{}
				if !c.broken(r.ID) {
					units = slices.AppendSeq(units, maps.Keys(r.RemoteUnits))
				}
				slices.Sort(units)
				return out.write(units)
			}
		},
	}
}
