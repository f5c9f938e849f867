package tools

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/scarab-ops/scarab/wire/agentapi"
)

// relation finds a relation of the picture, or returns nil.
func (c *Call) relation(id int) *agentapi.ContextRel {
	for i := range c.Picture.Relations {
		if c.Picture.Relations[i].ID == id {
			return &c.Picture.Relations[i]
		}
	}
	return nil
}

// relationName is a relation as charms name it: "db:4".
func (c *Call) relationName(id int) string {
	if r := c.relation(id); r != nil {
		return fmt.Sprintf("%s:%d", r.Endpoint, id)
	}
	return strconv.Itoa(id)
}

// broken tells that the hook is the last of that relation.
func (c *Call) broken(id int) bool {
	return id == c.RelationID && strings.HasSuffix(c.Hook, "-relation-broken")
}

// relationFlag declares -r, resolved while parsing; the hook's own relation is
// the default, -1 means none.
func (c *Call) relationFlag(f *Flags, usage string) *int {
	id := c.RelationID
	o := &option{names: []string{"r", "relation"}, usage: usage}
	if r := c.relation(id); r != nil {
		o.value = c.relationName(id)
	}
	o.set = func(s string) error {
		n, err := strconv.Atoi(s[strings.LastIndexByte(s, ':')+1:])
		if err != nil || n < 0 {
			return errors.New("invalid relation id")
		}
		r := c.relation(n)
		if name, _, ok := strings.Cut(s, ":"); r == nil || ok && name != r.Endpoint {
			return errors.New("relation not found")
		}
		id = n
		return nil
	}
	f.opts = append(f.opts, o)
	return &id
}

// mustRelation is the chosen relation; without one the caller made a mistake.
func (c *Call) mustRelation(id int) (*agentapi.ContextRel, error) {
	if id < 0 {
		return nil, usagef("no relation id specified")
	}
	r := c.relation(id)
	if r == nil {
		return nil, errors.New("relation not found")
	}
	return r, nil
}

// writeBag prints one value of a bag, or all of it for "-" and "".
func writeBag(out *output, bag agentapi.Settings, key string) error {
	if key == "" || key == "-" {
		m := map[string]any{}
		for k, v := range bag {
			m[k] = v
		}
		return out.write(m)
	}
	if v, ok := bag[key]; ok {
		return out.write(v)
	}
	return out.write(nil)
}
