// Package constraint owns the constraints text: "cores=2 mem=4G". It parses,
// prints, merges and checks it. It refuses what it does not know, and holds
// no state.
package constraint

import (
	"encoding/json"
	"fmt"
	"math"
	"sort"
	"strconv"
	"strings"
)

// Value is a set of constraints. A nil field is not set; an empty text, zero
// or empty list is explicitly none and hides the model's value.
type Value struct {
	Arch             *string   `json:"arch,omitempty"`
	Container        *string   `json:"container,omitempty"`
	Cores            *uint64   `json:"cores,omitempty"`
	CPUPower         *uint64   `json:"cpu-power,omitempty"`
	Mem              *uint64   `json:"mem,omitempty"`       // MiB
	RootDisk         *uint64   `json:"root-disk,omitempty"` // MiB
	RootDiskSource   *string   `json:"root-disk-source,omitempty"`
	Tags             *[]string `json:"tags,omitempty"`
	InstanceRole     *string   `json:"instance-role,omitempty"`
	InstanceType     *string   `json:"instance-type,omitempty"`
	Spaces           *[]string `json:"spaces,omitempty"`
	VirtType         *string   `json:"virt-type,omitempty"`
	Zones            *[]string `json:"zones,omitempty"`
	AllocatePublicIP *bool     `json:"allocate-public-ip,omitempty"`
	ImageID          *string   `json:"image-id,omitempty"`
}

// maxText bounds what Parse reads.
const maxText = 8192

// slot is one constraint: where it lives and how it reads and prints.
type slot struct {
	key  string
	text **string
	num  **uint64
	size bool
	list **[]string
	flag **bool
}

func (v *Value) slots() []slot {
	return []slot{
		{key: "arch", text: &v.Arch},
		{key: "container", text: &v.Container},
		{key: "cores", num: &v.Cores},
		{key: "cpu-power", num: &v.CPUPower},
		{key: "mem", num: &v.Mem, size: true},
		{key: "root-disk", num: &v.RootDisk, size: true},
		{key: "tags", list: &v.Tags},
		{key: "instance-role", text: &v.InstanceRole},
		{key: "instance-type", text: &v.InstanceType},
		{key: "spaces", list: &v.Spaces},
		{key: "virt-type", text: &v.VirtType},
		{key: "zones", list: &v.Zones},
		{key: "allocate-public-ip", flag: &v.AllocatePublicIP},
		{key: "root-disk-source", text: &v.RootDiskSource},
		{key: "image-id", text: &v.ImageID},
	}
}

func (s slot) set() bool {
	return s.text != nil && *s.text != nil || s.num != nil && *s.num != nil ||
		s.list != nil && *s.list != nil || s.flag != nil && *s.flag != nil
}

// Parse reads constraints from one or more texts of "key=value" pairs
// separated by spaces. A backslash before a space keeps it in the value.
func Parse(texts ...string) (Value, error) {
	var v Value
	total := 0
	for _, text := range texts {
		if total += len(text); total > maxText {
			return Value{}, fmt.Errorf("constraints have more than %d bytes", maxText)
		}
		for _, pair := range fields(text) {
			if err := v.setPair(pair); err != nil {
				return Value{}, err
			}
		}
	}
	return v, nil
}

// fields splits at spaces that no backslash protects.
func fields(text string) []string {
	var out []string
	var cur strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && i+1 < len(text) && text[i+1] == ' ':
			cur.WriteByte(' ')
			i++
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			if cur.Len() > 0 {
				out = append(out, cur.String())
				cur.Reset()
			}
		default:
			cur.WriteByte(c)
		}
	}
	if cur.Len() > 0 {
		out = append(out, cur.String())
	}
	return out
}

func (v *Value) setPair(pair string) error {
	key, text, ok := strings.Cut(pair, "=")
	if !ok || key == "" {
		return fmt.Errorf("malformed constraint %q", pair)
	}
	if key == "cpu-cores" {
		key = "cores"
	}
	for _, s := range v.slots() {
		if s.key != key {
			continue
		}
		if s.set() {
			return fmt.Errorf("bad %q constraint: already set", key)
		}
		if err := s.parse(text); err != nil {
			return fmt.Errorf("bad %q constraint: %w", key, err)
		}
		return nil
	}
	return fmt.Errorf("unknown constraint %q", key)
}

func (s slot) parse(text string) error {
	switch {
	case s.text != nil:
		if err := checkText(s.key, text); err != nil {
			return err
		}
		*s.text = &text
	case s.num != nil && s.size:
		n, err := parseSize(text)
		if err != nil {
			return err
		}
		*s.num = &n
	case s.num != nil:
		n, err := uint64(0), error(nil)
		if text != "" {
			n, err = strconv.ParseUint(text, 10, 64)
		}
		if err != nil {
			return fmt.Errorf("must be a non-negative integer")
		}
		*s.num = &n
	case s.flag != nil:
		b, err := false, error(nil)
		if text != "" {
			b, err = strconv.ParseBool(text)
		}
		if err != nil {
			return fmt.Errorf("must be 'true' or 'false'")
		}
		*s.flag = &b
	default:
		list := []string{}
		for _, e := range strings.Split(text, ",") {
			if e = strings.TrimSpace(e); e != "" {
				list = append(list, e)
			}
		}
		if err := checkList(s.key, list); err != nil {
			return err
		}
		*s.list = &list
	}
	return nil
}

func checkText(key, text string) error {
	var known []string
	switch key {
	case "arch":
		known = []string{"amd64", "arm64", "ppc64el", "riscv64", "s390x"}
	case "container":
		known = []string{"kvm", "lxd", "none"}
	}
	if text == "" || known == nil {
		return nil
	}
	for _, k := range known {
		if k == text {
			return nil
		}
	}
	return fmt.Errorf("%q not recognized, expected one of %s", text, strings.Join(known, ", "))
}

func checkList(key string, list []string) error {
	for _, e := range list {
		name := e
		if key == "spaces" || key == "tags" {
			name = strings.TrimPrefix(e, "^")
		}
		if name == "" {
			return fmt.Errorf("%q is no name", e)
		}
		if key == "spaces" && !validSpace(name) {
			return fmt.Errorf("%q is not a valid space name", name)
		}
	}
	return nil
}

func validSpace(s string) bool {
	for i, c := range s {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
			continue
		}
		if c != '-' || i == 0 || i == len(s)-1 || s[i-1] == '-' {
			return false
		}
	}
	return s != ""
}

// parseSize reads a size in MiB with an optional suffix.
func parseSize(text string) (uint64, error) {
	if text == "" {
		return 0, nil
	}
	bad := fmt.Errorf("must be a non-negative float with optional M/G/T/P suffix")
	mult := 1.0
	if i := strings.IndexByte("MGTP", text[len(text)-1]); i >= 0 {
		mult = math.Pow(1024, float64(i))
		text = text[:len(text)-1]
	}
	if text == "" || strings.Trim(text, "0123456789.") != "" {
		return 0, bad
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(f, 0) || f*mult >= 1<<63 {
		return 0, bad
	}
	return uint64(math.Ceil(f * mult)), nil
}

// String prints the constraints as Parse reads them, sizes with M.
func (v Value) String() string {
	var out []string
	for _, s := range v.slots() {
		if s.set() {
			out = append(out, s.key+"="+strings.ReplaceAll(s.print(), " ", `\ `))
		}
	}
	return strings.Join(out, " ")
}

func (s slot) print() string {
	switch {
	case s.text != nil:
		return **s.text
	case s.num != nil && s.size:
		if **s.num == 0 {
			return ""
		}
		return strconv.FormatUint(**s.num, 10) + "M"
	case s.num != nil:
		if **s.num == 0 {
			return ""
		}
		return strconv.FormatUint(**s.num, 10)
	case s.flag != nil:
		return strconv.FormatBool(**s.flag)
	}
	return strings.Join(**s.list, ",")
}

// IsEmpty says that nothing is set.
func (v Value) IsEmpty() bool { return len(v.Keys()) == 0 }

// Keys lists what is set, sorted.
func (v Value) Keys() []string {
	var out []string
	for _, s := range v.slots() {
		if s.set() {
			out = append(out, s.key)
		}
	}
	sort.Strings(out)
	return out
}

func (v Value) has(key string) bool {
	for _, s := range v.slots() {
		if s.key == key {
			return s.set()
		}
	}
	return false
}

// Without gives the constraints with some keys unset.
func (v Value) Without(keys ...string) Value {
	for _, s := range v.slots() {
		for _, k := range keys {
			if s.key == k {
				s.clear()
			}
		}
	}
	return v
}

func (s slot) clear() {
	switch {
	case s.text != nil:
		*s.text = nil
	case s.num != nil:
		*s.num = nil
	case s.list != nil:
		*s.list = nil
	default:
		*s.flag = nil
	}
}

// A Conflict is two groups of keys of which only one may be set.
type Conflict struct{ Reds, Blues []string }

// DefaultConflicts are those that hold on every cloud.
func DefaultConflicts() []Conflict {
	return []Conflict{{Reds: []string{"instance-type"}, Blues: []string{"cores", "cpu-power", "mem"}}}
}

// Validate refuses constraints that contradict each other.
func (v Value) Validate(conflicts []Conflict) error {
	for _, c := range conflicts {
		for _, r := range c.Reds {
			for _, b := range c.Blues {
				if v.has(r) && v.has(b) {
					return fmt.Errorf("ambiguous constraints: %q overlaps with %q", r, b)
				}
			}
		}
	}
	return nil
}

// Unsupported lists those of the keys that are set, sorted: a cloud that does
// not know them warns with "unsupported constraints: a,b".
func (v Value) Unsupported(keys ...string) []string {
	var out []string
	for _, k := range keys {
		if v.has(k) {
			out = append(out, k)
		}
	}
	sort.Strings(out)
	return out
}

// Merge gives what holds for an application's machines: its own value where it
// has one, else the model's, but for those of the model that contradict one
// of the application's own.
func Merge(app, model Value, conflicts []Conflict) (Value, error) {
	for _, v := range []Value{app, model} {
		if err := v.Validate(conflicts); err != nil {
			return Value{}, err
		}
	}
	for _, c := range conflicts {
		for _, pair := range [][2][]string{{c.Reds, c.Blues}, {c.Blues, c.Reds}} {
			if len(app.Unsupported(pair[0]...)) > 0 {
				model = model.Without(pair[1]...)
			}
		}
	}
	out := model
	mine := app.slots()
	for i, s := range out.slots() {
		if mine[i].set() {
			s.copyFrom(mine[i])
		}
	}
	return out.clone(), nil
}

func (s slot) copyFrom(o slot) {
	switch {
	case s.text != nil:
		*s.text = *o.text
	case s.num != nil:
		*s.num = *o.num
	case s.list != nil:
		*s.list = *o.list
	default:
		*s.flag = *o.flag
	}
}

// clone shares nothing with the original.
func (v Value) clone() Value {
	var out Value
	data, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(data, &out)
	}
	if err != nil {
		return v
	}
	return out
}

// ArchOr gives the architecture, or a default.
func (v Value) ArchOr(def string) string {
	if v.Arch == nil || *v.Arch == "" {
		return def
	}
	return *v.Arch
}
