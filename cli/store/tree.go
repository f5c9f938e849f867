package store

import (
	"fmt"
	"slices"

	"gopkg.in/yaml.v3"
)

// child finds the value of a key in a mapping.
func child(m *yaml.Node, key string) *yaml.Node {
	if m == nil || m.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			return resolve(m.Content[i+1])
		}
	}
	return nil
}

func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// childMap finds or makes the mapping below a key.
func childMap(m *yaml.Node, key string) *yaml.Node {
	if c := child(m, key); c != nil && c.Kind == yaml.MappingNode {
		return c
	}
	c := emptyMap()
	put(m, key, c)
	return c
}

// put sets a key, in place when it exists.
func put(m *yaml.Node, key string, value *yaml.Node) {
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			m.Content[i+1] = value
			return
		}
	}
	k := &yaml.Node{}
	k.SetString(key)
	m.Content = append(m.Content, k, value)
}

func drop(m *yaml.Node, key string) bool {
	if m == nil {
		return false
	}
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			m.Content = slices.Delete(m.Content, i, i+2)
			return true
		}
	}
	return false
}

func keys(m *yaml.Node) []string {
	if m == nil || m.Kind != yaml.MappingNode {
		return nil
	}
	out := make([]string, 0, len(m.Content)/2)
	for i := 0; i+1 < len(m.Content); i += 2 {
		out = append(out, m.Content[i].Value)
	}
	slices.Sort(out)
	return out
}

func text(n *yaml.Node) string {
	if n == nil || n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		return ""
	}
	return n.Value
}

// merge writes the fields of v into the entry below key. Keys the entry has and v's type does not know stay; keys of
// known that v leaves out are removed.
func merge(parent *yaml.Node, key string, v any, known []string) error {
	var fresh yaml.Node
	if err := fresh.Encode(v); err != nil {
		return fmt.Errorf("cannot encode %s: %w", key, err)
	}
	entry := childMap(parent, key)
	for _, k := range known {
		if child(&fresh, k) == nil {
			drop(entry, k)
		}
	}
	for i := 0; i+1 < len(fresh.Content); i += 2 {
		put(entry, fresh.Content[i].Value, fresh.Content[i+1])
	}
	return nil
}

func scalar(s string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(s)
	return n
}
