package tools

import (
	"errors"
	"fmt"

	"github.com/scarab-ops/scarab/wire/agentapi"
)

type networkFlags struct{ bind, ingress, egress, primary bool }

func networkGet() *Tool {
	return &Tool{
		Name: "network-get", Args: "<binding-name> [--ingress-address] [--bind-address] [--egress-subnets]", In: Anywhere,
		Purpose: "Get network config.",
		Doc:     "Prints the addresses of an endpoint or extra binding. One selecting flag prints that value alone, several print a map.",
		Setup: func(c *Call, f *Flags) func([]string) error {
			out := c.smart(f)
			var o networkFlags
			f.Bool(&o.bind, "bind-address", "Get the address for the binding on which the unit should listen")
			f.Bool(&o.ingress, "ingress-address", "Get the ingress address for the binding")
			f.Bool(&o.egress, "egress-subnets", "Get the egress subnets for the binding")
			f.Bool(&o.primary, "primary-address", "(deprecated) Get the primary address for the binding")
			rel := c.relationFlag(f, "Specify a relation by id")
			return func(args []string) error {
				if len(args) == 0 || args[0] == "" {
					return usagef("no arguments specified")
				}
				if err := noMore(args[1:]); err != nil {
					return err
				}
				if o.primary && (o.bind || o.ingress || o.egress) {
					return usagef("--primary-address must be the only flag specified")
				}
				info, err := c.network(args[0], *rel)
				if err != nil {
					return err
				}
				return writeNetwork(out, o, info)
			}
		},
	}
}

func (c *Call) network(binding string, relID int) (agentapi.NetworkInfo, error) {
	if r := c.relation(relID); r != nil && r.Endpoint == binding {
		return r.Network, nil
	}
	info, ok := c.Picture.Bindings[binding]
	if !ok {
		return info, fmt.Errorf("no network config found for binding %q", binding)
	}
	return info, nil
}

func writeNetwork(out *output, o networkFlags, n agentapi.NetworkInfo) error {
	bind := ""
	if len(n.BindAddresses) > 0 && len(n.BindAddresses[0].Addresses) > 0 {
		bind = n.BindAddresses[0].Addresses[0].Value
	}
	if o.primary {
		if bind == "" {
			return errors.New("no addresses attached to the binding")
		}
		return out.write(bind)
	}
	ingress := bind
	if len(n.IngressAddresses) > 0 {
		ingress = n.IngressAddresses[0]
	}
	selected := map[string]any{}
	if o.bind {
		selected["bind-address"] = bind
	}
	if o.ingress {
		selected["ingress-address"] = ingress
	}
	if o.egress {
		selected["egress-subnets"] = append([]string{}, n.EgressSubnets...)
	}
	if len(selected) == 1 {
		for _, v := range selected {
			return out.write(v)
		}
	}
	if len(selected) > 1 {
		return out.write(selected)
	}
	return out.write(networkMap(n, false), networkMap(n, true))
}

// networkMap is the whole answer; YAML has a few older names beside the new.
func networkMap(n agentapi.NetworkInfo, legacy bool) map[string]any {
	m := map[string]any{}
	var binds []any
	for _, i := range n.BindAddresses {
		var addrs []any
		for _, a := range i.Addresses {
			addr := map[string]any{"hostname": "", "value": a.Value, "cidr": a.CIDR}
			if legacy {
				addr["address"] = a.Value
			}
			addrs = append(addrs, addr)
		}
		b := map[string]any{"mac-address": i.MAC, "interface-name": i.Name, "addresses": addrs}
		if legacy {
			b["macaddress"], b["interfacename"] = i.MAC, i.Name
		}
		binds = append(binds, b)
	}
	if len(binds) > 0 {
		m["bind-addresses"] = binds
	}
	if len(n.IngressAddresses) > 0 {
		m["ingress-addresses"] = n.IngressAddresses
	}
	if len(n.EgressSubnets) > 0 {
		m["egress-subnets"] = n.EgressSubnets
	}
	return m
}
