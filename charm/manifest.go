package charm

import (
	"fmt"
	"strings"

	"github.com/scarab-ops/scarab/charm/internal/yamltree"
)

// Manifest is what manifest.yaml says.
type Manifest struct {
	Bases []Base `json:"bases,omitempty"`
}

// Base is an operating system that a charm was built for.
type Base struct {
	Name          string   `json:"name"`    // ubuntu, centos, ...
	Channel       string   `json:"channel"` // track/risk[/branch]
	Architectures []string `json:"architectures,omitempty"`
}

// String is "name@track" or "name@track/risk".
func (b Base) String() string {
	return b.Name + "@" + strings.TrimSuffix(b.Channel, "/stable")
}

// Track is the first part of the channel.
func (b Base) Track() string {
	t, _, _ := strings.Cut(b.Channel, "/")
	return t
}

var knownOS = map[string]bool{
	"ubuntu": true, "centos": true, "windows": true, "osx": true, "opensuse": true, "genericlinux": true,
	// Debian is our addition: the local cloud's own image is Debian's.
	"debian": true,
}

// ParseBase reads "name@channel", or "name channel" parts given apart.
func ParseBase(name, channel string) (Base, error) {
	if name == "" {
		return Base{}, fmt.Errorf("base without name not valid")
	}
	if !knownOS[name] {
		return Base{}, fmt.Errorf("os %q not valid", name)
	}
	ch, err := parseBaseChannel(channel)
	if err != nil {
		return Base{}, err
	}
	return Base{Name: name, Channel: ch}, nil
}

func parseBaseChannel(s string) (string, error) {
	parts := strings.Split(s, "/")
	if s == "" || parts[0] == "" || len(parts) > 3 || len(s) > 128 {
		return "", fmt.Errorf("channel not valid")
	}
	if len(parts) == 1 {
		return s + "/stable", nil
	}
	if !isRisk(parts[1]) {
		return "", fmt.Errorf("channel %q not valid", s)
	}
	return s, nil
}

func isRisk(s string) bool {
	switch s {
	case "stable", "candidate", "beta", "edge":
		return true
	}
	return false
}

// NormaliseArch maps the names that machines give themselves to the names
// used in charms; the second result says whether the architecture is known.
func NormaliseArch(s string) (string, bool) {
	switch s {
	case "amd64", "x86_64":
		return "amd64", true
	case "arm64", "aarch64":
		return "arm64", true
	case "ppc64el", "ppc64le":
		return "ppc64el", true
	case "s390x", "riscv64":
		return s, true
	}
	return "", false
}

func parseManifest(data []byte, lim yamltree.Limits) (Manifest, error) {
	d, root := yamltree.Open(manifestFile, "manifest", data, lim)
	var m Manifest
	for _, f := range d.Mapping(root) {
		if f.Key != "bases" {
			continue
		}
		for _, b := range d.List(f.Val) {
			m.Bases = append(m.Bases, readBase(d, b))
		}
	}
	return m, d.Err
}

func readBase(d *yamltree.Decoder, n yamltree.Value) Base {
	var name, channel string
	var arches []string
	for _, f := range d.Mapping(n) {
		switch f.Key {
		case "name":
			name = d.Str(f.Val)
		case "channel":
			channel = d.Text(f.Val)
		case "architectures":
			for _, a := range d.Strings(f.Val) {
				arch, ok := NormaliseArch(a)
				if !ok {
					d.Fail(f.Val, "architecture %q not valid", a)
				}
				arches = append(arches, arch)
			}
		}
	}
	if d.Err != nil {
		return Base{}
	}
	b, err := ParseBase(name, channel)
	if err != nil {
		d.Fail(n, "%v", err)
	}
	b.Architectures = arches
	return b
}
