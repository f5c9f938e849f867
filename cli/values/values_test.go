package values_test

import (
	"testing"

	"github.com/scarab-ops/scarab/cli/values"
)

func TestConstraints(t *testing.T) {
	for in, want := range map[string]string{
		"":                              "",
		"mem=8G cpu-cores=2":            "cores=2 mem=8192M",
		"mem=1.5G arch=arm64 tags=a,^b": "arch=arm64 mem=1536M tags=a,^b",
		"mem= zones=":                   "mem=0M zones=",
		"allocate-public-ip=true":       "allocate-public-ip=true",
	} {
		v, err := values.Constraints(in)
		if err != nil {
			t.Fatalf("%s: %v", in, err)
		}
		if got := values.FormatConstraints(v); got != want {
			t.Errorf("%s became %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]string{
		"x=1":         `unknown constraint "x"`,
		"mem":         `malformed constraint "mem": write key=value`,
		"mem=1 mem=2": `bad "mem" constraint: already set`,
		"mem=-1":      `bad "mem" constraint: must be a non-negative float with optional M/G/T/P suffix`,
		"cores=1.5":   `bad "cores" constraint: must be a non-negative integer`,
	} {
		if _, err := values.Constraints(in); err == nil || err.Error() != want {
			t.Errorf("%s: %v", in, err)
		}
	}
}

func TestPlacement(t *testing.T) {
	for in, want := range map[string][2]string{"3": {"#", "3"}, "0/lxd/1": {"#", "0/lxd/1"}, "lxd": {"lxd", ""}, "lxd:3": {"lxd", "3"}, "zone=a": {"uuid", "zone=a"}} {
		p, err := values.Placement(in, "uuid")
		if err != nil || p.Scope != want[0] || p.Directive != want[1] {
			t.Errorf("%s: %v, %v", in, p, err)
		}
	}
	if _, err := values.Placement("lxd:x", "uuid"); err == nil {
		t.Error("lxd:x is taken")
	}
}
