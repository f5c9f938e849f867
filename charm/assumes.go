package charm

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/scarab-ops/scarab/charm/internal/yamltree"
)

// An Assumption is one expression of the "assumes" block: a feature with an
// optional bound, or a group.
type Assumption struct {
	Feature string       `json:"feature,omitempty"`
	Op      string       `json:"op,omitempty"` // ">=", "<" or empty
	Version string       `json:"version,omitempty"`
	AnyOf   []Assumption `json:"any-of,omitempty"`
	AllOf   []Assumption `json:"all-of,omitempty"`
}

// A Feature is something that a model offers; Version may be empty.
type Feature struct {
	Name    string
	Version string
}

var assumePattern = regexp.MustCompile(`^\s*([a-z][a-z0-9-]*?[a-z0-9]+)(?:\s*(>=|<)\s*([0-9]+(?:\.[0-9]+)*(?:[-.+][0-9A-Za-z.-]+)?))?\s*$`)

func readAssumes(d *yamltree.Decoder, v yamltree.Value) []Assumption {
	v = v.Resolve()
	if v.N.Kind != yaml.SequenceNode {
		d.Fail(v.Bare(), "malformed \"assumes\" block; expected an expression list")
		return nil
	}
	out := []Assumption{}
	for _, e := range d.List(v) {
		out = append(out, readAssumption(d, e))
	}
	return out
}

func readAssumption(d *yamltree.Decoder, v yamltree.Value) Assumption {
	if v.N.Kind == yaml.ScalarNode {
		text := v.N.Value
		m := assumePattern.FindStringSubmatch(text)
		if len(text) > maxName || m == nil {
			d.Fail(v.Bare(), "malformed feature expression %q", clip(text))
			return Assumption{}
		}
		return Assumption{Feature: m[1], Op: m[2], Version: m[3]}
	}
	fields := []yamltree.Field(nil)
	if v.IsMap() {
		fields = d.Mapping(v)
	}
	if len(fields) != 1 || fields[0].Key != "any-of" && fields[0].Key != "all-of" {
		d.Fail(v.Bare(), "malformed composite expression")
		return Assumption{}
	}
	group := readAssumes(d, fields[0].Val)
	if fields[0].Key == "any-of" {
		return Assumption{AnyOf: group}
	}
	return Assumption{AllOf: group}
}

// CheckAssumes says why a model that offers these features cannot run the
// charm, or nil.
func (m *Meta) CheckAssumes(offered []Feature) error {
	have := map[string]Feature{}
	for _, f := range offered {
		have[f.Name] = f
	}
	lines := unmet(m.Assumes, have)
	if len(lines) == 0 {
		return nil
	}
	return fmt.Errorf("Charm cannot be deployed because:\n  - %s", strings.Join(lines, "\n  - "))
}

// unmet lists what fails of a list of which all must hold.
func unmet(all []Assumption, have map[string]Feature) []string {
	var out []string
	for _, a := range all {
		out = append(out, a.unmet(have)...)
	}
	return out
}

func (a Assumption) unmet(have map[string]Feature) []string {
	switch {
	case a.AnyOf != nil:
		var lines []string
		for _, e := range a.AnyOf {
			l := e.unmet(have)
			if len(l) == 0 {
				return nil
			}
			lines = append(lines, l...)
		}
		if len(lines) == 0 {
			return nil
		}
		return []string{"charm requires at least one of the following:\n    - " + strings.Join(lines, "\n    - ")}
	case a.AllOf != nil:
		lines := unmet(a.AllOf, have)
		if len(lines) == 0 {
			return nil
		}
		return []string{"charm requires all of the following:\n    - " + strings.Join(lines, "\n    - ")}
	}
	return a.unmetFeature(have)
}

func (a Assumption) unmetFeature(have map[string]Feature) []string {
	f, ok := have[a.Feature]
	if !ok {
		if a.Feature == "k8s-api" {
			return []string{"charm must be deployed on a Kubernetes cloud"}
		}
		return []string{fmt.Sprintf("charm requires feature %q but model does not support it", a.Feature)}
	}
	if a.Op == "" || f.Version == "" {
		return nil
	}
	cmp := compareVersions(f.Version, a.Version)
	if a.Op == ">=" && cmp >= 0 || a.Op == "<" && cmp < 0 {
		return nil
	}
	what := fmt.Sprintf("feature %q version", a.Feature)
	switch a.Feature {
	case "juju":
		what = "Juju version"
	case "k8s-api":
		what = "Kubernetes version"
	}
	return []string{fmt.Sprintf("charm requires %s %s %s, model has version %s", what, a.Op, a.Version, f.Version)}
}

// compareVersions orders lenient versions; a pre-release tag sorts before the
// release.
func compareVersions(a, b string) int {
	an, at := splitVersion(a)
	bn, bt := splitVersion(b)
	for i := range an {
		if an[i] != bn[i] {
			if an[i] < bn[i] {
				return -1
			}
			return 1
		}
	}
	switch {
	case at == bt:
		return 0
	case at == "":
		return 1
	case bt == "":
		return -1
	}
	return strings.Compare(at, bt)
}

// splitVersion gives the first three numbers and the pre-release tag:
// "3.6-beta1" and "3.6.0-beta1" are the same.
func splitVersion(s string) (nums [3]int, tag string) {
	s, _, _ = strings.Cut(s, "+")
	s, tag, _ = strings.Cut(s, "-")
	for i, p := range strings.SplitN(s, ".", 4) {
		n, err := strconv.Atoi(p)
		if err != nil || i > 2 {
			break
		}
		nums[i] = n
	}
	return nums, tag
}
