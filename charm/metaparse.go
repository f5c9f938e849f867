package charm

import (
	"fmt"
	"regexp"
	"sort"
	"strings"
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
func ParseMeta(data []byte) (Meta, error) { return parseMeta(data, defaultYAMLLimits()) }

func parseMeta(data []byte, lim yamlLimits) (Meta, error) {
	d, root := openYAML(metadataFile, "metadata", data, lim)
	var m Meta
	present := map[string]bool{}
	fields := d.mapping(root)
	for _, f := range fields {
		present[f.key] = true
		readMetaField(d, &m, f)
	}
	for _, key := range []string{"name", "summary", "description"} {
		if !present[key] {
			d.fail(root, "%s: expected string, got nothing", key)
		}
	}
	if d.err != nil {
		return Meta{}, d.err
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
func readMetaField(d *decoder, m *Meta, f field) {
	switch f.key {
	case "name":
		m.Name = d.str(f.val)
	case "summary":
		m.Summary = d.str(f.val)
	case "description":
		m.Description = d.str(f.val)
	case "subordinate":
		m.Subordinate = d.boolean(f.val)
	case "provides":
		m.Provides = readRelations(d, f.val, RoleProvider)
	case "requires":
		m.Requires = readRelations(d, f.val, RoleRequirer)
	case "peers":
		m.Peers = readRelations(d, f.val, RolePeer)
	case "extra-bindings":
		m.ExtraBindings = readExtraBindings(d, f.val)
	case "categories":
		m.Categories = d.strings(f.val)
	case "tags":
		m.Tags = d.strings(f.val)
	case "series":
		m.Series = readSeries(d, f.val)
	case "storage":
		m.Storage = readStorage(d, f.val)
	case "devices":
		m.Devices = readDevices(d, f.val)
	case "terms":
		m.Terms = d.strings(f.val)
	default:
		readMetaFieldMore(d, m, f)
	}
}

func readMetaFieldMore(d *decoder, m *Meta, f field) {
	switch f.key {
	case "deployment":
		m.Deployment = &Deployment{}
		for _, g := range d.mapping(f.val) {
			switch g.key {
			case "type":
				m.Deployment.Type = d.str(g.val)
			case "mode":
				m.Deployment.Mode = d.str(g.val)
			case "service":
				m.Deployment.Service = d.str(g.val)
			case "min-version":
				m.Deployment.MinVersion = d.text(g.val)
			}
		}
	case "payloads":
		m.Payloads = map[string]Payload{}
		for _, p := range d.mapping(f.val) {
			payload := Payload{Name: p.key}
			for _, g := range d.mapping(p.val) {
				if g.key == "type" {
					payload.Type = d.str(g.val)
				}
			}
			m.Payloads[p.key] = payload
		}
	case "resources":
		m.Resources = readResources(d, f.val)
	case "min-juju-version":
		m.MinVersion = d.text(f.val)
	case "assumes":
		m.Assumes = readAssumes(d, f.val)
	case "containers":
		m.Containers = readContainers(d, f.val)
	case "charm-user":
		m.CharmUser = d.str(f.val)
		switch m.CharmUser {
		case "root", "sudoer", "non-root":
		default:
			d.fail(value{n: f.val.n}, "parsing charm-user: invalid charm-user %q expected one of root, sudoer or non-root", m.CharmUser)
		}
	}
}

func readRelations(d *decoder, v value, role Role) map[string]Relation {
	out := map[string]Relation{}
	for _, f := range d.mapping(v) {
		r := Relation{Name: f.key, Role: role, Scope: ScopeGlobal}
		if !f.val.isMap() {
			r.Interface = d.str(f.val)
			out[f.key] = r
			continue
		}
		for _, g := range d.mapping(f.val) {
			switch g.key {
			case "interface":
				r.Interface = d.str(g.val)
			case "limit":
				if !g.val.null() {
					r.Limit = d.integer(g.val)
				}
			case "optional":
				r.Optional = d.boolean(g.val)
			case "scope":
				r.Scope = Scope(d.str(g.val))
			}
		}
		if r.Interface == "" {
			d.fail(f.val, "interface: expected string, got nothing")
		}
		if r.Scope != ScopeGlobal && r.Scope != ScopeContainer {
			d.fail(f.val, "scope: unexpected value %q, expected global or container", r.Scope)
		}
		if r.Limit < 0 {
			d.fail(f.val, "limit: expected a number of 0 or more, got %d", r.Limit)
		}
		out[f.key] = r
	}
	return out
}

func readExtraBindings(d *decoder, v value) []string {
	var out []string
	for _, f := range d.mapping(v) {
		if !f.val.null() {
			d.fail(f.val, "expected no value, got %s", describe(f.val.n))
		}
		out = append(out, f.key)
	}
	if d.err == nil && len(out) == 0 {
		d.fail(v, "expected at least one binding")
	}
	sort.Strings(out)
	return out
}

func readSeries(d *decoder, v value) []string {
	out := d.strings(v)
	for _, s := range out {
		if len(s) > maxName || !metaPatterns.series.MatchString(s) {
			d.fail(v, "series %q not valid", s)
		}
	}
	return out
}

func readDevices(d *decoder, v value) map[string]Device {
	out := map[string]Device{}
	for _, f := range d.mapping(v) {
		dev := Device{Name: f.key, CountMin: 1, CountMax: 1}
		for _, g := range d.mapping(f.val) {
			switch g.key {
			case "type":
				dev.Type = d.str(g.val)
			case "description":
				dev.Description = d.text(g.val)
			case "countmin":
				dev.CountMin = d.integer(g.val)
			case "countmax":
				dev.CountMax = d.integer(g.val)
			}
		}
		if dev.Type == "" {
			d.fail(f.val, "type: expected string, got nothing")
		}
		if dev.CountMin < 0 || dev.CountMax < dev.CountMin {
			d.fail(f.val, "count from %d to %d not valid", dev.CountMin, dev.CountMax)
		}
		out[f.key] = dev
	}
	return out
}

func readResources(d *decoder, v value) map[string]Resource {
	out := map[string]Resource{}
	for _, f := range d.mapping(v) {
		r := Resource{Name: f.key, Type: "file"}
		for _, g := range d.mapping(f.val) {
			switch g.key {
			case "type":
				r.Type = d.str(g.val)
			case "filename":
				r.Filename = d.str(g.val)
			case "description":
				r.Description = d.text(g.val)
			}
		}
		switch {
		case r.Type != "file" && r.Type != "oci-image":
			d.fail(f.val, "unsupported resource type %q", r.Type)
		case r.Type == "file" && r.Filename == "":
			d.fail(f.val, "resource missing filename")
		case strings.ContainsAny(r.Filename, "/\x00") || r.Filename == "." || r.Filename == "..":
			d.fail(f.val, "filename %q may not contain a path", r.Filename)
		}
		out[f.key] = r
	}
	return out
}

func readContainers(d *decoder, v value) map[string]Container {
	out := map[string]Container{}
	for _, f := range d.mapping(v) {
		if f.val.null() {
			d.fail(f.val, "parsing containers: expected map, got nothing")
		}
		var c Container
		for _, g := range d.mapping(f.val) {
			switch g.key {
			case "resource":
				c.Resource = d.str(g.val)
			case "mounts":
				c.Mounts = readMounts(d, g.val)
			case "uid":
				c.UID = readID(d, f.key, "uid", g.val)
			case "gid":
				c.GID = readID(d, f.key, "gid", g.val)
			}
		}
		out[f.key] = c
	}
	return out
}

func readMounts(d *decoder, v value) []Mount {
	var out []Mount
	for _, item := range d.list(v) {
		var m Mount
		for _, f := range d.mapping(item) {
			switch f.key {
			case "storage":
				m.Storage = d.str(f.val)
			case "location":
				m.Location = d.str(f.val)
			}
		}
		if m.Storage == "" || m.Location == "" {
			d.fail(item, "parsing containers: a mount needs storage and location")
		}
		out = append(out, m)
	}
	return out
}

func readID(d *decoder, container, kind string, v value) *int {
	id := d.integer(v)
	if id >= 1000 && id <= 9999 {
		d.fail(value{n: v.n}, "parsing containers: container %q has invalid %s %d: %s cannot be in reserved range 1000-9999", container, kind, id, kind)
	}
	if id < 0 {
		d.fail(v, "%s %d not valid", kind, id)
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
