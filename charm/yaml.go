package charm

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// yamlLimits bounds one YAML file before and after it is parsed.
type yamlLimits struct {
	bytes int // size of the text
	marks int // bytes of the text that can begin a node: bounds what the parser allocates
	nodes int // nodes with every alias expanded
	depth int // nesting with every alias expanded
}

func defaultYAMLLimits() yamlLimits {
	return yamlLimits{bytes: 1 << 20, marks: 60_000, nodes: 60_000, depth: 64}
}

// SyntaxError is a fault in one of a charm's YAML files.
type SyntaxError struct {
	File string
	Line int // 0 if unknown
	Text string
}

func (e *SyntaxError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s (%s)", e.Text, e.File)
	}
	return fmt.Sprintf("%s (%s line %d)", e.Text, e.File, e.Line)
}

// value is a node with the path that leads to it.
type value struct {
	n    *yaml.Node
	path string
}

type field struct {
	key string
	val value
}

// decoder reads values of a YAML tree and keeps the first error, so that
// callers check once at the end.
type decoder struct {
	file string
	err  error
}

// openYAML parses one file within its limits. The root's path is name, which
// errors begin with. An empty file gives a null root.
func openYAML(file, name string, data []byte, lim yamlLimits) (*decoder, value) {
	d := &decoder{file: file}
	root := value{n: &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Line: 1}, path: name + ": "}
	if err := prescan(data, lim); err != nil {
		d.err = &SyntaxError{File: file, Text: name + ": " + err.Error()}
		return d, root
	}
	var doc yaml.Node
	if err := yaml.NewDecoder(bytes.NewReader(data)).Decode(&doc); err != nil {
		if err.Error() == "EOF" {
			return d, root
		}
		d.err = &SyntaxError{File: file, Text: name + ": " + strings.TrimPrefix(err.Error(), "yaml: ")}
		return d, root
	}
	if doc.Kind == yaml.DocumentNode && len(doc.Content) == 1 {
		root.n = doc.Content[0]
	}
	m := &measure{lim: lim, open: map[*yaml.Node]bool{}}
	if err := m.walk(root.n, 0); err != nil {
		d.fail(root, "%v", err)
	}
	return d, root
}

// prescan bounds what the parser will allocate: no node begins without one of
// these marks before it.
func prescan(data []byte, lim yamlLimits) error {
	if len(data) > lim.bytes {
		return fmt.Errorf("file has %d bytes, the limit is %d", len(data), lim.bytes)
	}
	if !utf8.Valid(data) {
		return errors.New("file is not UTF-8 text")
	}
	marks, flow := 0, 0
	for i, c := range data {
		switch c {
		case '\n', ',', '&', '*', '!', '#':
			marks++
		case '[', '{':
			marks++
			flow++
		case ']', '}':
			flow = max(0, flow-1)
		case ':', '-', '?':
			if i+1 == len(data) || strings.IndexByte(" \t\r\n,[]{}", data[i+1]) >= 0 {
				marks++
			}
		case 0:
			return errors.New("file holds a NUL byte")
		}
		if flow > 1000 {
			return errors.New("nesting is too deep")
		}
		if marks > lim.marks {
			return fmt.Errorf("file has too many parts, the limit is %d", lim.marks)
		}
	}
	return nil
}

// measure counts what a tree would be with its aliases expanded, without
// expanding them. It visits as many nodes as it counts, so the limits bound
// its own work too.
type measure struct {
	lim   yamlLimits
	nodes int
	text  int
	open  map[*yaml.Node]bool
}

func (m *measure) walk(n *yaml.Node, depth int) error {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	switch {
	case n == nil || m.open[n]:
		return errors.New("an alias contains itself")
	case depth > m.lim.depth:
		return fmt.Errorf("nesting is deeper than %d", m.lim.depth)
	}
	m.nodes++
	m.text += len(n.Value)
	if m.nodes > m.lim.nodes || m.text > 2*m.lim.bytes {
		return fmt.Errorf("file has too many parts with its aliases expanded, the limit is %d", m.lim.nodes)
	}
	if len(n.Content) == 0 {
		return nil
	}
	m.open[n] = true
	defer delete(m.open, n)
	for _, c := range n.Content {
		if err := m.walk(c, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// fail records an error at a value, unless there is one already. A value
// without a path gives the bare text.
func (d *decoder) fail(v value, format string, args ...any) {
	if d.err != nil {
		return
	}
	prefix := v.path
	if prefix != "" && !strings.HasSuffix(prefix, ": ") {
		prefix += ": "
	}
	d.err = &SyntaxError{File: d.file, Line: v.n.Line, Text: prefix + fmt.Sprintf(format, args...)}
}

func (d *decoder) mismatch(v value, want string) {
	d.fail(v, "expected %s, got %s", want, describe(v.n))
}

// describe prints a node as type(value), for error texts.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "map"
	case yaml.SequenceNode:
		return "list"
	}
	if n.ShortTag() == "!!null" {
		return "nothing"
	}
	text := n.Value
	if len(text) > 60 {
		text = text[:60] + "..."
	}
	return fmt.Sprintf("%s(%q)", strings.TrimPrefix(n.ShortTag(), "!!"), text)
}

func (v value) resolve() value {
	for v.n.Kind == yaml.AliasNode {
		v.n = v.n.Alias
	}
	return v
}

func (v value) null() bool {
	v = v.resolve()
	return v.n.Kind == yaml.ScalarNode && v.n.ShortTag() == "!!null"
}

func (v value) isMap() bool { return v.resolve().n.Kind == yaml.MappingNode }

func (v value) child(key string) value {
	if strings.HasSuffix(v.path, ": ") || v.path == "" {
		return value{path: v.path + key}
	}
	return value{path: v.path + "." + key}
}

// mapping reads a mapping's fields in their order. Null is an empty mapping;
// a key given twice, or one that is no text, is refused.
func (d *decoder) mapping(v value) []field {
	v = v.resolve()
	if d.err != nil || v.null() {
		return nil
	}
	if v.n.Kind != yaml.MappingNode {
		d.mismatch(v, "map")
		return nil
	}
	var out []field
	seen := map[string]int{}
	for i := 0; i+1 < len(v.n.Content); i += 2 {
		k, c := v.n.Content[i], v.n.Content[i+1]
		if k.ShortTag() == "!!merge" {
			out = append(out, d.merged(v, c)...)
			continue
		}
		key := value{n: k, path: v.path}.resolve()
		if key.n.Kind != yaml.ScalarNode || key.n.ShortTag() == "!!null" {
			d.fail(key, "expected a text as key, got %s", describe(key.n))
			return nil
		}
		name := key.n.Value
		if _, dup := seen[name]; dup {
			d.fail(key, "key %q is given twice", name)
			return nil
		}
		f := field{key: name, val: v.child(name)}
		f.val.n = c
		f.val = f.val.resolve()
		seen[name] = len(out)
		out = append(out, f)
	}
	return dropShadowed(out, seen)
}

// merged reads the value of a merge key: a mapping or a list of them.
func (d *decoder) merged(v value, c *yaml.Node) []field {
	from := value{n: c, path: v.path}.resolve()
	if from.n.Kind != yaml.SequenceNode {
		return d.mapping(from)
	}
	var out []field
	for _, item := range from.n.Content {
		out = append(out, d.mapping(value{n: item, path: v.path})...)
	}
	return out
}

// dropShadowed removes merged fields that the mapping itself, or an earlier
// merge, gives too.
func dropShadowed(fields []field, own map[string]int) []field {
	out := fields[:0:0]
	seen := map[string]bool{}
	for i, f := range fields {
		if at, ok := own[f.key]; ok && at != i || seen[f.key] {
			continue
		}
		seen[f.key] = true
		out = append(out, f)
	}
	return out
}

func (d *decoder) list(v value) []value {
	v = v.resolve()
	if d.err != nil || v.null() {
		return nil
	}
	if v.n.Kind != yaml.SequenceNode {
		d.mismatch(v, "list")
		return nil
	}
	out := make([]value, len(v.n.Content))
	for i, c := range v.n.Content {
		out[i] = value{n: c, path: fmt.Sprintf("%s[%d]", v.path, i)}.resolve()
	}
	return out
}

// str reads a text, and nothing that only looks like one.
func (d *decoder) str(v value) string {
	v = v.resolve()
	if d.err != nil {
		return ""
	}
	switch tag := v.n.ShortTag(); {
	case v.n.Kind == yaml.ScalarNode && (tag == "!!str" || tag == "!!timestamp"):
		return v.n.Value
	}
	d.mismatch(v, "string")
	return ""
}

// text reads a text that may be null, or look like a number.
func (d *decoder) text(v value) string {
	v = v.resolve()
	if d.err != nil || v.null() {
		return ""
	}
	if v.n.Kind != yaml.ScalarNode {
		d.mismatch(v, "string")
		return ""
	}
	return v.n.Value
}

func (d *decoder) strings(v value) []string {
	var out []string
	for _, e := range d.list(v) {
		out = append(out, d.str(e))
	}
	return out
}

func (d *decoder) stringMap(v value) map[string]string {
	out := map[string]string{}
	for _, f := range d.mapping(v) {
		out[f.key] = d.text(f.val)
	}
	return out
}

func (d *decoder) boolean(v value) bool {
	v = v.resolve()
	if d.err != nil {
		return false
	}
	var b bool
	if v.n.Kind != yaml.ScalarNode || v.n.Decode(&b) != nil || v.null() {
		d.mismatch(v, "bool")
	}
	return b
}

func (d *decoder) integer(v value) int {
	v = v.resolve()
	if d.err != nil {
		return 0
	}
	var i int64
	if v.n.Kind != yaml.ScalarNode || v.n.ShortTag() != "!!int" || v.n.Decode(&i) != nil || i > math.MaxInt32 || i < math.MinInt32 {
		d.mismatch(v, "int")
		return 0
	}
	return int(i)
}

// any reads a tree of maps with text keys, lists and scalars (string, bool,
// int64, float64, nil): what JSON can hold.
func (d *decoder) any(v value) any {
	v = v.resolve()
	if d.err != nil {
		return nil
	}
	switch v.n.Kind {
	case yaml.MappingNode:
		out := map[string]any{}
		for _, f := range d.mapping(v) {
			out[f.key] = d.any(f.val)
		}
		return out
	case yaml.SequenceNode:
		out := []any{}
		for _, e := range d.list(v) {
			out = append(out, d.any(e))
		}
		return out
	}
	return d.scalar(v)
}

func (d *decoder) scalar(v value) any {
	switch v.n.ShortTag() {
	case "!!null":
		return nil
	case "!!bool":
		return d.boolean(v)
	case "!!int":
		var i int64
		if err := v.n.Decode(&i); err == nil {
			return i
		}
		d.fail(v, "number %.40q does not fit 64 bits", v.n.Value)
		return nil
	case "!!float":
		var f float64
		if err := v.n.Decode(&f); err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			d.fail(v, "%.40q is not a finite number", v.n.Value)
			return nil
		}
		return f
	case "!!str", "!!timestamp":
		return v.n.Value
	}
	d.fail(v, "values of type %s are not supported", v.n.ShortTag())
	return nil
}
