package charm

import (
	"fmt"
	"strings"
)

// check does the checks of metadata.yaml that need more than one key.
func (m *Meta) check() error {
	if !ValidName(m.Name) {
		return fmt.Errorf("invalid charm name %q", clip(m.Name))
	}
	if err := m.checkRelations(); err != nil {
		return err
	}
	for _, b := range m.ExtraBindings {
		if _, ok := m.Relation(b); ok || b == "" {
			return fmt.Errorf("charm %q: relation names (%s) cannot be used in extra bindings", m.Name, b)
		}
	}
	for _, t := range m.Terms {
		if len(t) > maxName || !metaPatterns.terms.MatchString(t) {
			return fmt.Errorf("wrong term format %q", clip(t))
		}
	}
	return m.checkContainers()
}

func (m *Meta) checkRelations() error {
	seen := map[string]bool{}
	container := false
	for _, set := range []map[string]Relation{m.Provides, m.Requires, m.Peers} {
		for _, name := range sortedKeys(set) {
			r := set[name]
			if name == "" || len(name) > maxName || !validEndpointName(name) {
				return fmt.Errorf("charm %q has an invalid relation name: %q", m.Name, clip(name))
			}
			if seen[name] {
				return fmt.Errorf("charm %q using a duplicated relation name: %q", m.Name, name)
			}
			seen[name] = true
			if err := m.checkReserved(r); err != nil {
				return err
			}
			container = container || r.Role == RoleRequirer && r.Scope == ScopeContainer
		}
	}
	if m.Subordinate && !container {
		return fmt.Errorf("subordinate charm %q lacks \"requires\" relation with container scope", m.Name)
	}
	return nil
}

func (m *Meta) checkReserved(r Relation) error {
	if reserved(r.Name) && !strings.HasPrefix(m.Name, "juju-") {
		if !(m.Subordinate && r.Role == RoleRequirer && r.Scope == ScopeContainer) {
			return fmt.Errorf("charm %q using a reserved relation name: %q", m.Name, r.Name)
		}
	}
	if r.Role != RoleRequirer && reserved(r.Interface) && !strings.HasPrefix(m.Name, "juju-") {
		return fmt.Errorf("charm %q relation %q using a reserved interface: %q", m.Name, r.Name, r.Interface)
	}
	return nil
}

func reserved(s string) bool { return s == "juju" || strings.HasPrefix(s, "juju-") }

// validEndpointName keeps names to what can stand in a relation's key, a hook
// file's name and an environment variable.
func validEndpointName(s string) bool {
	for i, c := range s {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		switch {
		case letter, c >= '0' && c <= '9' && i > 0, (c == '-' || c == '_') && i > 0:
		default:
			return false
		}
	}
	return true
}

func (m *Meta) checkContainers() error {
	for _, name := range sortedKeys(m.Containers) {
		c := m.Containers[name]
		if c.Resource != "" {
			r, ok := m.Resources[c.Resource]
			if !ok {
				return fmt.Errorf("parsing containers: referenced resource %q not found", c.Resource)
			}
			if r.Type != "oci-image" {
				return fmt.Errorf("parsing containers: referenced resource %q is not a oci-image", c.Resource)
			}
		}
		used := map[Mount]bool{}
		for _, mount := range c.Mounts {
			if _, ok := m.Storage[mount.Storage]; !ok {
				return fmt.Errorf("parsing containers: storage %q not valid", mount.Storage)
			}
			if used[mount] {
				return fmt.Errorf("parsing containers: container %q mounts storage %q twice at %q", name, mount.Storage, mount.Location)
			}
			used[mount] = true
		}
	}
	return nil
}

// clip shortens hostile text for an error.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}
