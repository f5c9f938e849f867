package tools

import (
	"cmp"
	"slices"
	"strings"

	"github.com/scarab-ops/scarab/wire/agentapi"
)

func openedPorts() *Tool {
	return &Tool{
		Name: "opened-ports", In: Anywhere,
		Purpose: "List all ports or port ranges opened by the unit.",
		Doc:     "Only what is committed is listed, not what this hook has asked for.",
		Setup: func(c *Call, f *Flags) func([]string) error {
			out := c.smart(f)
			var endpoints bool
			f.Bool(&endpoints, "endpoints", "display the list of target application endpoints for each port range")
			return func(args []string) error {
				if err := noMore(args); err != nil {
					return err
				}
				return out.write(portList(c.Picture.OpenedPorts, endpoints))
			}
		},
	}
}

func portList(in []agentapi.PortRange, endpoints bool) []string {
	by := map[agentapi.PortRange][]string{}
	for _, p := range in {
		e := p.Endpoint
		p.Endpoint = ""
		if e == "" {
			e = "*"
		}
		by[p] = append(by[p], e)
	}
	ranges := make([]agentapi.PortRange, 0, len(by))
	for p := range by {
		ranges = append(ranges, p)
	}
	slices.SortFunc(ranges, func(a, b agentapi.PortRange) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To))
	})
	out := []string{}
	for _, p := range ranges {
		s := portText(p)
		if endpoints {
			names := by[p]
			slices.Sort(names)
			if slices.Contains(names, "*") {
				names = []string{"*"}
			}
			s += " (" + strings.Join(slices.Compact(names), ", ") + ")"
		}
		out = append(out, s)
	}
	return out
}
