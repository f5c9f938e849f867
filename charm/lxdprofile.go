package charm

import (
	"fmt"
	"sort"
	"strings"

	"github.com/scarab-ops/scarab/charm/internal/yamltree"
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

func parseLXDProfile(data []byte, lim yamltree.Limits) (*LXDProfile, error) {
	d, root := yamltree.Open(lxdProfileFile, "lxd-profile", data, lim)
	p := &LXDProfile{}
	for _, f := range d.Mapping(root) {
		switch f.Key {
		case "description":
			p.Description = d.Text(f.Val)
		case "config":
			p.Config = d.StringMap(f.Val)
		case "devices":
			p.Devices = map[string]map[string]string{}
			for _, dev := range d.Mapping(f.Val) {
				p.Devices[dev.Key] = d.StringMap(dev.Val)
			}
		}
	}
	return p, d.Err
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}
