package constraint

import (
	"encoding/json"
	"testing"
)

func TestParsePrint(t *testing.T) {
	for in, want := range map[string]string{
		"":                              "",
		"cores=2 mem=4G":                "cores=2 mem=4096M",
		"cpu-cores=3":                   "cores=3",
		"mem=1.5G  root-disk=10":        "mem=1536M root-disk=10M",
		"arch=arm64 container=lxd":      "arch=arm64 container=lxd",
		"tags=a,^b spaces=x,^y zones=z": "tags=a,^b spaces=x,^y zones=z",
		"allocate-public-ip=true":       "allocate-public-ip=true",
		"mem= arch= tags=":              "arch= mem= tags=",
		`instance-type=big\ one`:        `instance-type=big\ one`,
	} {
		v, err := Parse(in)
		if err != nil {
			t.Errorf("Parse(%q): %v", in, err)
			continue
		}
		if got := v.String(); got != want {
			t.Errorf("Parse(%q) prints %q, want %q", in, got, want)
		}
		again, err := Parse(v.String())
		if err != nil || again.String() != v.String() {
			t.Errorf("Parse(%q) again: %q, %v", v.String(), again.String(), err)
		}
	}
}

func TestParseErrors(t *testing.T) {
	for in, want := range map[string]string{
		"speed=3":                  `unknown constraint "speed"`,
		"mem":                      `malformed constraint "mem"`,
		"=3":                       `malformed constraint "=3"`,
		"mem=4X":                   `bad "mem" constraint: must be a non-negative float with optional M/G/T/P suffix`,
		"mem=-1":                   `bad "mem" constraint: must be a non-negative float with optional M/G/T/P suffix`,
		"mem=1e9":                  `bad "mem" constraint: must be a non-negative float with optional M/G/T/P suffix`,
		"mem=NaN":                  `bad "mem" constraint: must be a non-negative float with optional M/G/T/P suffix`,
		"mem=1G mem=2G":            `bad "mem" constraint: already set`,
		"cores=1 cores=":           `bad "cores" constraint: already set`,
		"cores=two":                `bad "cores" constraint: must be a non-negative integer`,
		"arch=vax":                 `bad "arch" constraint: "vax" not recognized, expected one of amd64, arm64, ppc64el, riscv64, s390x`,
		"spaces=^":                 `bad "spaces" constraint: "^" is no name`,
		"spaces=A":                 `bad "spaces" constraint: "A" is not a valid space name`,
		"allocate-public-ip=maybe": `bad "allocate-public-ip" constraint: must be 'true' or 'false'`,
	} {
		if _, err := Parse(in); err == nil || err.Error() != want {
			t.Errorf("Parse(%q): %v, want %s", in, err, want)
		}
	}
}

func TestMerge(t *testing.T) {
	for _, c := range []struct{ app, model, want string }{
		{"cores=2", "mem=4G cores=8", "cores=2 mem=4096M"},
		{"mem=", "mem=4G", "mem="},
		{"instance-type=big", "mem=4G cores=8 arch=arm64", "arch=arm64 instance-type=big"},
		{"mem=2G", "instance-type=big zones=a", "mem=2048M zones=a"},
	} {
		got, err := Merge(must(t, c.app), must(t, c.model), DefaultConflicts())
		if err != nil || got.String() != c.want {
			t.Errorf("Merge(%q, %q) = %q, %v, want %q", c.app, c.model, got.String(), err, c.want)
		}
	}
	_, err := Merge(must(t, "instance-type=big mem=1G"), Value{}, DefaultConflicts())
	if want := `ambiguous constraints: "instance-type" overlaps with "mem"`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestWireForm(t *testing.T) {
	v := must(t, "cores=2 mem=4G tags=a,b arch=amd64 cpu-power=")
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"arch":"amd64","cores":2,"cpu-power":0,"mem":4096,"tags":["a","b"]}`
	if string(data) != want {
		t.Errorf("wire form %s, want %s", data, want)
	}
	if un := v.Unsupported("cpu-power", "zones"); len(un) != 1 || un[0] != "cpu-power" {
		t.Errorf("unsupported: %v", un)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("cores=2 mem=4G")
	f.Add(`tags=a,,b zones=^x instance-type=a\ b`)
	f.Fuzz(func(t *testing.T, in string) {
		v, err := Parse(in)
		if err != nil {
			return
		}
		again, err := Parse(v.String())
		if err != nil || again.String() != v.String() {
			t.Errorf("%q prints %q, which reads as %q, %v", in, v.String(), again.String(), err)
		}
	})
}

func must(t *testing.T, s string) Value {
	t.Helper()
	v, err := Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
