package charm

import (
	"fmt"
	"math"
	"path"
	"strconv"
	"strings"
)

const storageRoot = "/var/lib/juju/storage"

func readStorage(d *decoder, v value) map[string]Storage {
	out := map[string]Storage{}
	for _, f := range d.mapping(v) {
		s := Storage{Name: f.key, CountMin: 1, CountMax: 1}
		if len(f.key) > maxName || !metaPatterns.storage.MatchString(f.key) {
			d.fail(f.val, "storage name %.80q not valid", f.key)
		}
		for _, g := range d.mapping(f.val) {
			readStorageField(d, &s, g)
		}
		checkStorage(d, f.val, &s)
		out[f.key] = s
	}
	return out
}

func readStorageField(d *decoder, s *Storage, g field) {
	switch g.key {
	case "type":
		s.Type = d.str(g.val)
	case "description":
		s.Description = d.text(g.val)
	case "shared":
		s.Shared = d.boolean(g.val)
	case "read-only":
		s.ReadOnly = d.boolean(g.val)
	case "multiple":
		for _, h := range d.mapping(g.val) {
			if h.key == "range" {
				s.CountMin, s.CountMax = readRange(d, h.val)
			}
		}
	case "minimum-size":
		size, err := ParseSize(d.text(g.val))
		if err != nil {
			d.fail(g.val, "%v", err)
		}
		s.MinimumSize = size
	case "location":
		s.Location = d.str(g.val)
	case "properties":
		s.Properties = d.strings(g.val)
		for _, p := range s.Properties {
			if p != "transient" {
				d.fail(g.val, "property %q not valid, expected transient", p)
			}
		}
	}
}

func readRange(d *decoder, v value) (low, high int) {
	v = v.resolve()
	if v.n.ShortTag() == "!!int" {
		n := d.integer(v)
		if n <= 0 {
			d.fail(v, "invalid count %d", n)
		}
		return n, n
	}
	text := d.str(v)
	m := metaPatterns.storageRange.FindStringSubmatch(text)
	if len(text) > maxName || m == nil {
		d.fail(v, "invalid range %.40q", text)
		return 0, 0
	}
	low, err := strconv.Atoi(m[1])
	high = -1
	// "m-" and "m+" have no upper bound.
	if err == nil && len(m[2]) > 1 {
		high, err = strconv.Atoi(m[2][1:])
	}
	if err != nil || high == 0 || high > 0 && high < low {
		d.fail(v, "invalid range %.40q", text)
	}
	return low, high
}

func checkStorage(d *decoder, v value, s *Storage) {
	switch s.Type {
	case "filesystem":
	case "block":
		if s.Location != "" {
			d.fail(v, "location may not be specified for \"type: block\"")
		}
	default:
		d.fail(v, "type: unexpected value %q, expected filesystem or block", s.Type)
	}
	if s.Location == "" {
		return
	}
	clean := path.Clean(s.Location)
	if !path.IsAbs(s.Location) || strings.ContainsRune(s.Location, 0) {
		d.fail(v, "invalid location %q: must be an absolute path", s.Location)
	}
	if clean == storageRoot || strings.HasPrefix(clean, storageRoot+"/") {
		d.fail(v, "invalid location %q: must not fall within %q", s.Location, storageRoot)
	}
}

// ParseSize reads a number with an optional suffix M to Y, in MiB.
func ParseSize(s string) (uint64, error) {
	m := metaPatterns.size.FindStringSubmatch(s)
	if len(s) > 40 || m == nil {
		return 0, fmt.Errorf("expected a non-negative number with optional multiplier suffix (M/G/T/P/E/Z/Y), got %.40q", s)
	}
	n, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		return 0, fmt.Errorf("size %.40q not valid", s)
	}
	if m[2] != "" {
		n *= math.Pow(1024, float64(strings.Index("MGTPEZY", m[2])))
	}
	n = math.Ceil(n)
	if n >= 1<<63 {
		return 0, fmt.Errorf("size %.40q is too large", s)
	}
	return uint64(n), nil
}
