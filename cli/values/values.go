// Package values reads what people type on the command line (constraints, placements, bases, key=value pairs) into the
// forms that travel on the wire, and prints them back. It refuses what the controller would refuse, in the same words,
// before anything is sent.
package values

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/scarab-ops/scarab/cli/output"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/wire"
)

// Constraints reads `mem=8G cores=2`.
func Constraints(text string) (wire.Value, error) {
	var v wire.Value
	seen := map[string]bool{}
	for _, field := range strings.Fields(text) {
		key, val, ok := strings.Cut(field, "=")
		if !ok {
			return v, fmt.Errorf("malformed constraint %q: write key=value", field)
		}
		if key == "cpu-cores" {
			key = "cores"
		}
		if seen[key] {
			return v, fmt.Errorf("bad %q constraint: already set", key)
		}
		seen[key] = true
		if err := setConstraint(&v, key, val); err != nil {
			return v, err
		}
	}
	return v, nil
}

func setConstraint(v *wire.Value, key, val string) error {
	var err error
	switch key {
	case "arch":
		v.Arch = &val
	case "container":
		v.Container = &val
	case "instance-role":
		v.InstanceRole = &val
	case "instance-type":
		v.InstanceType = &val
	case "root-disk-source":
		v.RootDiskSource = &val
	case "virt-type":
		v.VirtType = &val
	case "image-id":
		v.ImageID = &val
	case "cores":
		v.Cores, err = count(val)
	case "cpu-power":
		v.CPUPower, err = count(val)
	case "mem":
		v.Mem, err = size(val)
	case "root-disk":
		v.RootDisk, err = size(val)
	case "tags":
		v.Tags = list(val)
	case "spaces":
		v.Spaces = list(val)
	case "zones":
		v.Zones = list(val)
	case "allocate-public-ip":
		var b bool
		if b, err = strconv.ParseBool(val); err != nil {
			err = errors.New("must be 'true' or 'false'")
		}
		v.AllocatePublicIP = &b
	default:
		return fmt.Errorf("unknown constraint %q", key)
	}
	if err != nil {
		return fmt.Errorf("bad %q constraint: %w", key, err)
	}
	return nil
}

func count(s string) (*int, error) {
	if s == "" {
		s = "0"
	}
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return nil, errors.New("must be a non-negative integer")
	}
	i := int(n)
	return &i, nil
}

func size(s string) (*int, error) {
	bad := errors.New("must be a non-negative float with optional M/G/T/P suffix")
	if s == "" {
		zero := 0
		return &zero, nil
	}
	mult := 1.0
	if i := strings.IndexByte("MGTP", s[len(s)-1]); i >= 0 {
		mult = math.Pow(1024, float64(i))
		s = s[:len(s)-1]
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || f < 0 || math.IsInf(f*mult, 0) || f*mult > 1<<50 {
		return nil, bad
	}
	n := int(math.Ceil(f * mult))
	return &n, nil
}

func list(s string) []string {
	if s == "" {
		return []string{}
	}
	return strings.Split(s, ",")
}

// FormatConstraints prints constraints in the order of their names.
func FormatConstraints(v wire.Value) string {
	var out []string
	add := func(key string, val *string) {
		if val != nil {
			out = append(out, key+"="+*val)
		}
	}
	num := func(key string, val *int, unit string) {
		if val != nil {
			out = append(out, key+"="+strconv.Itoa(*val)+unit)
		}
	}
	items := func(key string, val []string) {
		if val != nil {
			out = append(out, key+"="+strings.Join(val, ","))
		}
	}
	add("arch", v.Arch)
	add("container", v.Container)
	num("cores", v.Cores, "")
	num("cpu-power", v.CPUPower, "")
	add("instance-role", v.InstanceRole)
	add("instance-type", v.InstanceType)
	num("mem", v.Mem, "M")
	num("root-disk", v.RootDisk, "M")
	add("root-disk-source", v.RootDiskSource)
	items("tags", v.Tags)
	items("spaces", v.Spaces)
	add("virt-type", v.VirtType)
	items("zones", v.Zones)
	if v.AllocatePublicIP != nil {
		out = append(out, fmt.Sprintf("allocate-public-ip=%t", *v.AllocatePublicIP))
	}
	add("image-id", v.ImageID)
	return strings.Join(out, " ")
}

// Placement reads one directive of --to. The model's uuid is the scope of what only the cloud understands.
func Placement(text, modelUUID string) (wire.Placement, error) {
	switch {
	case text == "":
		return wire.Placement{}, errors.New("cannot use an empty placement")
	case text == "lxd" || text == "kvm":
		return wire.Placement{Scope: text}, nil
	case names.ValidMachine(text):
		return wire.Placement{Scope: "#", Directive: text}, nil
	}
	if scope, id, ok := strings.Cut(text, ":"); ok && (scope == "lxd" || scope == "kvm") {
		if !names.ValidMachine(id) {
			return wire.Placement{}, fmt.Errorf("invalid value %q for %q scope: expected machine-id", id, scope)
		}
		return wire.Placement{Scope: scope, Directive: id}, nil
	}
	if key, val, ok := strings.Cut(text, "="); !ok || key == "" || val == "" {
		return wire.Placement{}, fmt.Errorf("cannot place on %q: write a machine's id", text)
	}
	return wire.Placement{Scope: modelUUID, Directive: text}, nil
}

// Placements reads the flag --to: directives separated by commas.
func Placements(text, modelUUID string) ([]wire.Placement, error) {
	if text == "" {
		return nil, nil
	}
	var out []wire.Placement
	for _, part := range strings.Split(text, ",") {
		p, err := Placement(strings.TrimSpace(part), modelUUID)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// Base reads `ubuntu@22.04` or `ubuntu@22.04/stable`.
func Base(text string) (*wire.Base, error) {
	if text == "" {
		return nil, nil
	}
	name, channel, ok := strings.Cut(text, "@")
	if !ok || name == "" || channel == "" {
		return nil, fmt.Errorf("cannot use base %q: write it as debian@12", text)
	}
	if !strings.Contains(channel, "/") {
		channel += "/stable"
	}
	return &wire.Base{Name: name, Channel: channel}, nil
}

// Pairs reads key=value arguments; a value of @FILE is read from the file through read.
func Pairs(args []string, read func(file string) ([]byte, error)) (map[string]string, error) {
	out := map[string]string{}
	for _, a := range args {
		key, val, ok := strings.Cut(a, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("cannot read %q: write key=value", a)
		}
		if _, dup := out[key]; dup {
			return nil, fmt.Errorf("cannot set %q twice", key)
		}
		if file, isFile := strings.CutPrefix(val, "@"); isFile && read != nil {
			data, err := read(file)
			if err != nil {
				return nil, fmt.Errorf("cannot read the value of %q: %w", key, err)
			}
			val = string(data)
		}
		out[key] = val
	}
	return out, nil
}

// maxSettings bounds one file of settings.
const maxSettings = 1 << 20

// Settings reads key=value arguments and the names of YAML files that hold more of them; single values win over files.
func Settings(args []string, path func(string) string) (map[string]string, error) {
	out := map[string]string{}
	var pairs []string
	for _, a := range args {
		if strings.Contains(a, "=") {
			pairs = append(pairs, a)
			continue
		}
		if err := settingsFile(out, a, path(a)); err != nil {
			return nil, err
		}
	}
	set, err := Pairs(pairs, nil)
	if err != nil {
		return nil, err
	}
	maps.Copy(out, set)
	return out, nil
}

func settingsFile(out map[string]string, name, path string) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cannot read %q: it is neither key=value nor a file", name)
	}
	if err != nil {
		return fmt.Errorf("cannot read the settings: %w", err)
	}
	defer f.Close() //nolint:errcheck // read only
	data, err := io.ReadAll(io.LimitReader(f, maxSettings))
	if err != nil {
		return fmt.Errorf("cannot read the settings: %w", err)
	}
	var m map[string]any
	if err := yaml.Unmarshal(data, &m); err != nil {
		return fmt.Errorf("cannot read the settings in %s: %w", name, err)
	}
	for k, v := range m {
		switch v.(type) {
		case nil:
			v = ""
		case map[string]any, []any:
			return fmt.Errorf("cannot read the settings in %s: %q is no single value", name, k)
		}
		out[k] = fmt.Sprint(v)
	}
	return nil
}

// ConstraintMap gives constraints as YAML and JSON show them: numbers as such, sizes in MiB.
func ConstraintMap(v wire.Value) map[string]any {
	out := map[string]any{}
	data, err := json.Marshal(v)
	if err == nil {
		dec := json.NewDecoder(bytes.NewReader(data))
		dec.UseNumber()
		err = dec.Decode(&out)
	}
	if err != nil {
		return map[string]any{} // a plain record of numbers and texts always can be
	}
	return output.NumbersIn(out)
}
