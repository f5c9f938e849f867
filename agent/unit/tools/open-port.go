package tools

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/scarab-ops/scarab/wire/agentapi"
)

// parsePorts reads "80", "80/tcp", "80-90/udp" or "icmp".
func parsePorts(s string) (agentapi.PortRange, error) {
	p := agentapi.PortRange{Protocol: "tcp"}
	ports, proto, ok := strings.Cut(s, "/")
	if ok {
		p.Protocol = strings.ToLower(proto)
	}
	if strings.EqualFold(ports, "icmp") && !ok {
		return agentapi.PortRange{Protocol: "icmp"}, nil
	}
	if p.Protocol != "tcp" && p.Protocol != "udp" && p.Protocol != "icmp" {
		return p, usagef(`invalid protocol %q, expected "tcp", "udp", or "icmp"`, p.Protocol)
	}
	if p.Protocol == "icmp" {
		return p, usagef(`protocol "icmp" doesn't support any ports; got %q`, ports)
	}
	from, to, isRange := strings.Cut(ports, "-")
	if !isRange {
		to = from
	}
	var err1, err2 error
	p.From, err1 = strconv.Atoi(from)
	p.To, err2 = strconv.Atoi(to)
	switch {
	case err1 != nil:
		return p, usagef("invalid port %q", from)
	case err2 != nil:
		return p, usagef("invalid port %q", to)
	case p.From > p.To:
		return p, usagef("invalid port range %s", ports)
	case p.From < 0 || p.To > 65535:
		return p, usagef("port range bounds must be between 0 and 65535, got %d-%d", p.From, p.To)
	}
	return p, nil
}

func portText(p agentapi.PortRange) string {
	switch {
	case p.Protocol == "icmp":
		return "icmp"
	case p.From == p.To:
		return fmt.Sprintf("%d/%s", p.From, p.Protocol)
	}
	return fmt.Sprintf("%d-%d/%s", p.From, p.To, p.Protocol)
}

func sameRange(a, b agentapi.PortRange) bool {
	return a.From == b.From && a.To == b.To && a.Protocol == b.Protocol
}

func overlaps(a, b agentapi.PortRange) bool {
	return a.Protocol == b.Protocol && a.From <= b.To && b.From <= a.To
}

// portTool is the shared shape of open-port and close-port.
func portTool(name, purpose, doc string, apply func(*Call, []agentapi.PortRange) error) *Tool {
	return &Tool{
		Name: name, Args: "<port>[/<protocol>] or <from>-<to>[/<protocol>] or icmp", In: Anywhere,
		Purpose: purpose, Doc: doc,
		Setup: func(c *Call, f *Flags) func([]string) error {
			var endpoints string
			f.String(&endpoints, "endpoints", "a comma-delimited list of application endpoints to target with this operation")
			ignoredFormat(c, f)
			return func(args []string) error {
				if len(args) == 0 {
					return usagef("no port or range specified")
				}
				p, err := parsePorts(args[0])
				if err != nil {
					return err
				}
				if err := noMore(args[1:]); err != nil {
					return err
				}
				var list []agentapi.PortRange
				for _, e := range strings.Split(endpoints, ",") {
					q := p
					q.Endpoint = strings.TrimSpace(e)
					if endpoints != "" && q.Endpoint == "" {
						return usagef("invalid endpoints %q: a name is empty", endpoints)
					}
					list = append(list, q)
				}
				return apply(c, list)
			}
		},
	}
}

func openPort() *Tool {
	return portTool("open-port", "Register a request to open a port or port range.",
		"The port is opened once the hook succeeds, and reachable from outside once the application is exposed.",
		func(c *Call, list []agentapi.PortRange) error {
			if err := c.portConflict(list[0]); err != nil {
				return err
			}
			for _, p := range list {
				if err := c.Effects.OpenPort(p); err != nil {
					return err
				}
			}
			return nil
		})
}

// portConflict refuses a range that overlaps another unit's, or a different
// one of this unit.
func (c *Call) portConflict(p agentapi.PortRange) error {
	conflict := func(q agentapi.PortRange, unit string) error {
		return fmt.Errorf("cannot open %s (unit %q): port range conflicts with %s (unit %q)", portText(p), c.Unit, portText(q), unit)
	}
	for _, m := range c.Picture.MachinePorts {
		if m.Unit != c.Unit && overlaps(m.PortRange, p) {
			return conflict(m.PortRange, m.Unit)
		}
	}
	closing := c.Effects.PendingClose()
	for _, q := range append(c.Effects.PendingOpen(), c.Picture.OpenedPorts...) {
		closed := false
		for _, cl := range closing {
			closed = closed || sameRange(cl, q) && (cl.Endpoint == "" || cl.Endpoint == q.Endpoint)
		}
		if !closed && overlaps(q, p) && !sameRange(q, p) {
			return conflict(q, c.Unit)
		}
	}
	return nil
}
