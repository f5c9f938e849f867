package charm

import (
	"fmt"
	"sort"
	"strings"
)

// LXDProfile is what lxd-profile.yaml asks of the container that hosts the
// charm's units.
type LXDProfile struct {
	Description string                       `json:"description,omitempty"`
	Config      map[string]string            `json:"config,omitempty"`
	Devices     map[string]map[string]string `json:"devices,omitempty"`
}

// Validate refuses devices and settings that would reach past the container.
func (p *LXDProfile) Validate() error {
	for _, name := range sortedKeys(p.Devices) {
		switch t := p.Devices[name]["type"]; t {
		case "unix-char", "unix-block", "gpu", "usb":
		default:
			return fmt.Errorf("invalid lxd-profile.yaml: contains device type %q", t)
		}
	}
	for _, key := range sortedKeys(p.Config) {
		for _, bad := range []string{"boot", "limits", "migration"} {
			if strings.HasPrefix(key, bad) {
				return fmt.Errorf("invalid lxd-profile.yaml: contains config value %q", key)
			}
		}
	}
	return nil
}

func parseLXDProfile(data []byte, lim yamlLimits) (*LXDProfile, error) {
	d, root := openYAML(lxdProfileFile, "lxd-profile", data, lim)
	p := &LXDProfile{}
	for _, f := range d.mapping(root) {
		switch f.key {
		case "description":
			p.Description = d.text(f.val)
		case "config":
			p.Config = d.stringMap(f.val)
		case "devices":
			p.Devices = map[string]map[string]string{}
			for _, dev := range d.mapping(f.val) {
				p.Devices[dev.key] = d.stringMap(dev.val)
			}
		}
	}
	return p, d.err
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}
