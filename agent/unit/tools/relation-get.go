package tools

import (
	"fmt"
	"strings"

	"github.com/scarab-ops/scarab/wire/agentapi"
)

func relationGet() *Tool {
	return &Tool{
		Name: "relation-get", Args: "<key> <unit id>", In: Anywhere,
		Purpose: "Get relation settings.",
		Doc:     `Prints one value, or with "-" or no key the whole bag, of the remote unit that the hook is about, or of the unit or application that is named.`,
		Setup: func(c *Call, f *Flags) func([]string) error {
			out := c.smart(f)
			var app bool
			f.Bool(&app, "app", "Get the relation data for the overall application, not just a unit")
			rel := c.relationFlag(f, "Specify a relation by id")
			return func(args []string) error {
				key, target := "", c.RemoteUnit
				explicit := len(args) > 1
				if len(args) > 0 {
					key, args = args[0], args[1:]
				}
				if explicit {
					target, args = args[0], args[1:]
				}
				if err := noMore(args); err != nil {
					return err
				}
				r, err := c.mustRelation(*rel)
				if err != nil {
					return err
				}
				if !explicit && target == "" && c.RemoteApp != "" {
					app = true
				}
				if app && !explicit {
					target = c.RemoteApp
				}
				bag, err := c.bagOf(r, target, app)
				if err != nil {
					return err
				}
				return writeBag(out, bag, key)
			}
		},
	}
}

// bagOf picks a bag and applies who may read it.
func (c *Call) bagOf(r *agentapi.ContextRel, target string, app bool) (agentapi.Settings, error) {
	if target == "" {
		return nil, usagef("no unit or application specified")
	}
	name, _, isUnit := strings.Cut(target, "/")
	if app {
		return c.appBag(r, name)
	}
	if !isUnit {
		return nil, usagef("expected unit name, got application name %q", target)
	}
	if target == c.Unit {
		return c.Effects.Bag(r.Local, r.ID, false), nil
	}
	if bag, ok := r.RemoteUnits[target]; ok {
		return bag, nil
	}
	if bag, ok := r.Departed[target]; ok {
		return bag, nil
	}
	reason := "settings not found"
	if name == c.Application && !r.Peer {
		reason = "permission denied"
	}
	return nil, fmt.Errorf("cannot read settings for unit %q in relation %q: %s", target, c.relationName(r.ID), reason)
}

func (c *Call) appBag(r *agentapi.ContextRel, name string) (agentapi.Settings, error) {
	if name == c.Application {
		if !r.Peer && !r.CanReadApp {
			return nil, fmt.Errorf("cannot read settings for application %q in relation %q: permission denied", name, c.relationName(r.ID))
		}
		return c.Effects.Bag(r.LocalApp, r.ID, true), nil
	}
	if name != r.RemoteApp {
		return nil, fmt.Errorf("cannot read settings for application %q in relation %q: permission denied", name, c.relationName(r.ID))
	}
	return r.RemoteAppBag, nil
}
