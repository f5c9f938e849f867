package charm

import (
	"fmt"
	"math"
	"path"
	"strconv"
	"strings"

	"github.com/scarab-ops/scarab/charm/internal/yamltree"
)

const storageRoot = "/var/lib/juju/storage"

func readStorage(d *yamltree.Decoder, v yamltree.Value) map[string]Storage {
	out := map[string]Storage{}
	for _, f := range d.Mapping(v) {
		s := Storage{Name: f.Key, CountMin: 1, CountMax: 1}
		if len(f.Key) > maxName || !metaPatterns.storage.MatchString(f.Key) {
			d.Fail(f.Val, "storage name %.80q not valid", f.Key)
		}
		for _, g := range d.Mapping(f.Val) {
			readStorageField(d, &s, g)
		}
		checkStorage(d, f.Val, &s)
		out[f.Key] = s
	}
	return out
}

func readStorageField(d *yamltree.Decoder, s *Storage, g yamltree.Field) {
	switch g.Key {
	case "type":
		s.Type = d.Str(g.Val)
	case "description":
		s.Description = d.Text(g.Val)
	case "shared":
		s.Shared = d.Boolean(g.Val)
	case "read-only":
		s.ReadOnly = d.Boolean(g.Val)
	case "multiple":
		for _, h := range d.Mapping(g.Val) {
			if h.Key == "range" {
				s.CountMin, s.CountMax = readRange(d, h.Val)
			}
		}
	case "minimum-size":
		size, err := ParseSize(d.Text(g.Val))
		if err != nil {
			d.Fail(g.Val, "%v", err)
		}
		s.MinimumSize = size
	case "location":
		s.Location = d.Str(g.Val)
	case "properties":
		s.Properties = d.Strings(g.Val)
		for _, p := range s.Properties {
			if p != "transient" {
				d.Fail(g.Val, "property %q not valid, expected transient", p)
			}
		}
	}
}

func readRange(d *yamltree.Decoder, v yamltree.Value) (low, high int) {
	v = v.Resolve()
	if v.N.ShortTag() == "!!int" {
		n := d.Integer(v)
		if n <= 0 {
			d.Fail(v, "invalid count %d", n)
		}
		return n, n
	}
	text := d.Str(v)
	m := metaPatterns.storageRange.FindStringSubmatch(text)
	if len(text) > maxName || m == nil {
		d.Fail(v, "invalid range %.40q", text)
		return 0, 0
	}
	low, err := strconv.Atoi(m[1])
	high = -1
	// "m-" and "m+" have no upper bound.
	if err == nil && len(m[2]) > 1 {
		high, err = strconv.Atoi(m[2][1:])
	}
	if err != nil || high == 0 || high > 0 && high < low {
		d.Fail(v, "invalid range %.40q", text)
	}
	return low, high
}

func checkStorage(d *yamltree.Decoder, v yamltree.Value, s *Storage) {
	switch s.Type {
	case "filesystem":
	case "block":
		if s.Location != "" {
			d.Fail(v, "location may not be specified for \"type: block\"")
		}
	default:
		d.Fail(v, "type: unexpected value %q, expected filesystem or block", s.Type)
	}
	if s.Location == "" {
		return
	}
	clean := path.Clean(s.Location)
	if !path.IsAbs(s.Location) || strings.ContainsRune(s.Location, 0) {
		d.Fail(v, "invalid location %q: must be an absolute path", s.Location)
	}
	if clean == storageRoot || strings.HasPrefix(clean, storageRoot+"/") {
		d.Fail(v, "invalid location %q: must not fall within %q", s.Location, storageRoot)
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
