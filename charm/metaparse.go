package charm

import (
	"fmt"
	"regexp"
	"sort"
	"strings"

	"github.com/scarab-ops/scarab/charm/internal/yamltree"
)

// Patterns of what metadata.yaml may hold. Compiled once, never set again.
var metaPatterns = struct {
	name, series, storage, terms, size, storageRange *regexp.Regexp
}{
	name:         regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]*[a-z][a-z0-9]*)*$`),
	series:       regexp.MustCompile(`^[a-z]+([a-z0-9]+)?$`),
	storage:      regexp.MustCompile(`^[a-z]+[a-z0-9]*(-[a-z0-9]*[a-z][a-z0-9]*)*$`),
	terms:        regexp.MustCompile(`^([^:/]+:)?([^:/]+/)?[a-z](-?[a-z0-9]+)+(/[0-9]+)?$`),
	size:         regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)([MGTPEZY]?)(?:i?B)?$`),
	storageRange: regexp.MustCompile(`^([0-9]+)([-+]|-[0-9]+)$`),
}

// maxName bounds names and short texts of a charm.
const maxName = 256

// ValidName says whether s can be a charm's name.
func ValidName(s string) bool { return len(s) <= maxName && metaPatterns.name.MatchString(s) }

// ParseMeta reads metadata.yaml.
func ParseMeta(data []byte) (Meta, error) { return parseMeta(data, yamltree.DefaultLimits()) }

func parseMeta(data []byte, lim yamltree.Limits) (Meta, error) {
	d, root := yamltree.Open(metadataFile, "metadata", data, lim)
	var m Meta
	present := map[string]bool{}
	fields := d.Mapping(root)
	for _, f := range fields {
		present[f.Key] = true
		readMetaField(d, &m, f)
	}
	for _, key := range []string{"name", "summary", "description"} {
		if !present[key] {
			d.Fail(root, "%s: expected string, got nothing", key)
		}
	}
	if d.Err != nil {
		return Meta{}, d.Err
	}
	if err := checkMixedFormats(present); err != nil {
		return Meta{}, err
	}
	if err := m.check(); err != nil {
		return Meta{}, err
	}
	return m, nil
}

// readMetaField reads one top-level key; unknown ones are dropped.
func readMetaField(d *yamltree.Decoder, m *Meta, f yamltree.Field) {
	switch f.Key {
	case "name":
		m.Name = d.Str(f.Val)
	case "summary":
		m.Summary = d.Str(f.Val)
	case "description":
		m.Description = d.Str(f.Val)
	case "subordinate":
		m.Subordinate = d.Boolean(f.Val)
	case "provides":
		m.Provides = readRelations(d, f.Val, RoleProvider)
	case "requires":
		m.Requires = readRelations(d, f.Val, RoleRequirer)
	case "peers":
		m.Peers = readRelations(d, f.Val, RolePeer)
	case "extra-bindings":
		m.ExtraBindings = readExtraBindings(d, f.Val)
	case "categories":
		m.Categories = d.Strings(f.Val)
	case "tags":
		m.Tags = d.Strings(f.Val)
	case "series":
		m.Series = readSeries(d, f.Val)
	case "storage":
		m.Storage = readStorage(d, f.Val)
	case "devices":
		m.Devices = readDevices(d, f.Val)
	case "terms":
		m.Terms = d.Strings(f.Val)
	default:
		readMetaFieldMore(d, m, f)
	}
}

func readMetaFieldMore(d *yamltree.Decoder, m *Meta, f yamltree.Field) {
	switch f.Key {
	case "deployment":
		m.Deployment = &Deployment{}
		for _, g := range d.Mapping(f.Val) {
			switch g.Key {
			case "type":
				m.Deployment.Type = d.Str(g.Val)
			case "mode":
				m.Deployment.Mode = d.Str(g.Val)
			case "service":
				m.Deployment.Service = d.Str(g.Val)
			case "min-version":
				m.Deployment.MinVersion = d.Text(g.Val)
			}
		}
	case "payloads":
		m.Payloads = map[string]Payload{}
		for _, p := range d.Mapping(f.Val) {
			payload := Payload{Name: p.Key}
			for _, g := range d.Mapping(p.Val) {
				if g.Key == "type" {
					payload.Type = d.Str(g.Val)
				}
			}
			m.Payloads[p.Key] = payload
		}
	case "resources":
		m.Resources = readResources(d, f.Val)
	case "min-juju-version":
		m.MinVersion = d.Text(f.Val)
	case "assumes":
		m.Assumes = readAssumes(d, f.Val)
	case "containers":
		m.Containers = readContainers(d, f.Val)
	case "charm-user":
		m.CharmUser = d.Str(f.Val)
		switch m.CharmUser {
		case "root", "sudoer", "non-root":
		default:
			d.Fail(f.Val.Bare(), "parsing charm-user: invalid charm-user %q expected one of root, sudoer or non-root", m.CharmUser)
		}
	}
}

func readRelations(d *yamltree.Decoder, v yamltree.Value, role Role) map[string]Relation {
	out := map[string]Relation{}
	for _, f := range d.Mapping(v) {
		r := Relation{Name: f.Key, Role: role, Scope: ScopeGlobal}
		if !f.Val.IsMap() {
			r.Interface = d.Str(f.Val)
			out[f.Key] = r
			continue
		}
		for _, g := range d.Mapping(f.Val) {
			switch g.Key {
			case "interface":
				r.Interface = d.Str(g.Val)
			case "limit":
				if !g.Val.Null() {
					r.Limit = d.Integer(g.Val)
				}
			case "optional":
				r.Optional = d.Boolean(g.Val)
			case "scope":
				r.Scope = Scope(d.Str(g.Val))
			}
		}
		if r.Interface == "" {
			d.Fail(f.Val, "interface: expected string, got nothing")
		}
		if r.Scope != ScopeGlobal && r.Scope != ScopeContainer {
			d.Fail(f.Val, "scope: unexpected value %q, expected global or container", r.Scope)
		}
		if r.Limit < 0 {
			d.Fail(f.Val, "limit: expected a number of 0 or more, got %d", r.Limit)
		}
		out[f.Key] = r
	}
	return out
}

func readExtraBindings(d *yamltree.Decoder, v yamltree.Value) []string {
	var out []string
	for _, f := range d.Mapping(v) {
		if !f.Val.Null() {
			d.Fail(f.Val, "expected no value, got %s", f.Val.Describe())
		}
		out = append(out, f.Key)
	}
	if d.Err == nil && len(out) == 0 {
		d.Fail(v, "expected at least one binding")
	}
	sort.Strings(out)
	return out
}

func readSeries(d *yamltree.Decoder, v yamltree.Value) []string {
	out := d.Strings(v)
	for _, s := range out {
		if len(s) > maxName || !metaPatterns.series.MatchString(s) {
			d.Fail(v, "series %q not valid", s)
		}
	}
	return out
}

func readDevices(d *yamltree.Decoder, v yamltree.Value) map[string]Device {
	out := map[string]Device{}
	for _, f := range d.Mapping(v) {
		dev := Device{Name: f.Key, CountMin: 1, CountMax: 1}
		for _, g := range d.Mapping(f.Val) {
			switch g.Key {
			case "type":
				dev.Type = d.Str(g.Val)
			case "description":
				dev.Description = d.Text(g.Val)
			case "countmin":
				dev.CountMin = d.Integer(g.Val)
			case "countmax":
				dev.CountMax = d.Integer(g.Val)
			}
		}
		if dev.Type == "" {
			d.Fail(f.Val, "type: expected string, got nothing")
		}
		if dev.CountMin < 0 || dev.CountMax < dev.CountMin {
			d.Fail(f.Val, "count from %d to %d not valid", dev.CountMin, dev.CountMax)
		}
		out[f.Key] = dev
	}
	return out
}

func readResources(d *yamltree.Decoder, v yamltree.Value) map[string]Resource {
	out := map[string]Resource{}
	for _, f := range d.Mapping(v) {
		r := Resource{Name: f.Key, Type: "file"}
		for _, g := range d.Mapping(f.Val) {
			switch g.Key {
			case "type":
				r.Type = d.Str(g.Val)
			case "filename":
				r.Filename = d.Str(g.Val)
			case "description":
				r.Description = d.Text(g.Val)
			}
		}
		switch {
		case r.Type != "file" && r.Type != "oci-image":
			d.Fail(f.Val, "unsupported resource type %q", r.Type)
		case r.Type == "file" && r.Filename == "":
			d.Fail(f.Val, "resource missing filename")
		case strings.ContainsAny(r.Filename, "/\x00") || r.Filename == "." || r.Filename == "..":
			d.Fail(f.Val, "filename %q may not contain a path", r.Filename)
		}
		out[f.Key] = r
	}
	return out
}

func readContainers(d *yamltree.Decoder, v yamltree.Value) map[string]Container {
	out := map[string]Container{}
	for _, f := range d.Mapping(v) {
		if f.Val.Null() {
			d.Fail(f.Val, "parsing containers: expected map, got nothing")
		}
		var c Container
		for _, g := range d.Mapping(f.Val) {
			switch g.Key {
			case "resource":
				c.Resource = d.Str(g.Val)
			case "mounts":
				c.Mounts = readMounts(d, g.Val)
			case "uid":
				c.UID = readID(d, f.Key, "uid", g.Val)
			case "gid":
				c.GID = readID(d, f.Key, "gid", g.Val)
			}
		}
		out[f.Key] = c
	}
	return out
}

func readMounts(d *yamltree.Decoder, v yamltree.Value) []Mount {
	var out []Mount
	for _, item := range d.List(v) {
		var m Mount
		for _, f := range d.Mapping(item) {
			switch f.Key {
			case "storage":
				m.Storage = d.Str(f.Val)
			case "location":
				m.Location = d.Str(f.Val)
			}
		}
		if m.Storage == "" || m.Location == "" {
			d.Fail(item, "parsing containers: a mount needs storage and location")
		}
		out = append(out, m)
	}
	return out
}

func readID(d *yamltree.Decoder, container, kind string, v yamltree.Value) *int {
	id := d.Integer(v)
	if id >= 1000 && id <= 9999 {
		d.Fail(v.Bare(), "parsing containers: container %q has invalid %s %d: %s cannot be in reserved range 1000-9999", container, kind, id, kind)
	}
	if id < 0 {
		d.Fail(v, "%s %d not valid", kind, id)
	}
	return &id
}

// checkMixedFormats refuses keys of both metadata formats in one file.
func checkMixedFormats(present map[string]bool) error {
	pick := func(keys ...string) (out []string) {
		for _, k := range keys {
			if present[k] {
				out = append(out, fmt.Sprintf("%q", k))
			}
		}
		return out
	}
	v1 := pick("series", "deployment", "min-juju-version")
	v2 := pick("assumes", "containers", "charm-user")
	if len(v1) > 0 && len(v2) > 0 {
		return &SyntaxError{File: metadataFile, Text: fmt.Sprintf("ambiguous metadata: keys %s cannot be used with %s",
			strings.Join(v1, ", "), strings.Join(v2, ", "))}
	}
	return nil
}
