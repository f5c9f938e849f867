// Package yamltree reads YAML of strangers: within limits of bytes, parts,
// depth and expanded aliases, with errors that name file, line and path. It
// refuses keys given twice and values of a kind that was not asked for.
package yamltree

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// Limits bounds one YAML file before and after it is parsed.
type Limits struct {
	bytes int // size of the text
	marks int // bytes of the text that can begin a node: bounds what the parser allocates
	nodes int // nodes with every alias expanded
	depth int // nesting with every alias expanded
}

func DefaultLimits() Limits {
	return Limits{bytes: 1 << 20, marks: 60_000, nodes: 60_000, depth: 64}
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
type Value struct {
	N    *yaml.Node
	path string
}

type Field struct {
	Key string
	Val Value
}

// Decoder reads values of a YAML tree and keeps the first error, so that
// callers check once at the end.
type Decoder struct {
	file string
	Err  error
}

// Open parses one file within its limits. The root's path is name, which
// errors begin with. An empty file gives a null root.
func Open(file, name string, data []byte, lim Limits) (*Decoder, Value) {
	d := &Decoder{file: file}
	root := Value{N: &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Line: 1}, path: name + ": "}
	if err := prescan(data, lim); err != nil {
		d.Err = &SyntaxError{File: file, Text: name + ": " + err.Error()}
		return d, root
	}
	var doc yaml.Node
	if err := yaml.NewDecoder(bytes.NewReader(data)).Decode(&doc); err != nil {
		if err.Error() == "EOF" {
			return d, root
		}
		d.Err = &SyntaxError{File: file, Text: name + ": " + strings.TrimPrefix(err.Error(), "yaml: ")}
		return d, root
	}
	if doc.Kind == yaml.DocumentNode && len(doc.Content) == 1 {
		root.N = doc.Content[0]
	}
	m := &measure{lim: lim, open: map[*yaml.Node]bool{}}
	if err := m.walk(root.N, 0); err != nil {
		d.Fail(root, "%v", err)
	}
	return d, root
}

// prescan bounds what the parser will allocate: no node begins without one of
// these marks before it.
func prescan(data []byte, lim Limits) error {
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
	lim   Limits
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
func (d *Decoder) Fail(v Value, format string, args ...any) {
	if d.Err != nil {
		return
	}
	prefix := v.path
	if prefix != "" && !strings.HasSuffix(prefix, ": ") {
		prefix += ": "
	}
	d.Err = &SyntaxError{File: d.file, Line: v.N.Line, Text: prefix + fmt.Sprintf(format, args...)}
}

func (d *Decoder) Mismatch(v Value, want string) {
	d.Fail(v, "expected %s, got %s", want, describe(v.N))
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

func (v Value) Resolve() Value {
	for v.N.Kind == yaml.AliasNode {
		v.N = v.N.Alias
	}
	return v
}

func (v Value) Null() bool {
	v = v.Resolve()
	return v.N.Kind == yaml.ScalarNode && v.N.ShortTag() == "!!null"
}

func (v Value) IsMap() bool { return v.Resolve().N.Kind == yaml.MappingNode }

// Bare is the value without its path: errors at it begin with their own text.
func (v Value) Bare() Value { return Value{N: v.N} }

// Describe prints a value as type(value), for error texts.
func (v Value) Describe() string { return describe(v.N) }

func (v Value) child(key string) Value {
	if strings.HasSuffix(v.path, ": ") || v.path == "" {
		return Value{path: v.path + key}
	}
	return Value{path: v.path + "." + key}
}

// mapping reads a mapping's fields in their order. Null is an empty mapping;
// a key given twice, or one that is no text, is refused.
func (d *Decoder) Mapping(v Value) []Field {
	v = v.Resolve()
	if d.Err != nil || v.Null() {
		return nil
	}
	if v.N.Kind != yaml.MappingNode {
		d.Mismatch(v, "map")
		return nil
	}
	var out []Field
	seen := map[string]int{}
	for i := 0; i+1 < len(v.N.Content); i += 2 {
		k, c := v.N.Content[i], v.N.Content[i+1]
		if k.ShortTag() == "!!merge" {
			out = append(out, d.merged(v, c)...)
			continue
		}
		key := Value{N: k, path: v.path}.Resolve()
		if key.N.Kind != yaml.ScalarNode || key.N.ShortTag() == "!!null" {
			d.Fail(key, "expected a text as key, got %s", describe(key.N))
			return nil
		}
		name := key.N.Value
		if _, dup := seen[name]; dup {
			d.Fail(key, "key %q is given twice", name)
			return nil
		}
		f := Field{Key: name, Val: v.child(name)}
		f.Val.N = c
		f.Val = f.Val.Resolve()
		seen[name] = len(out)
		out = append(out, f)
	}
	return dropShadowed(out, seen)
}

// merged reads the value of a merge key: a mapping or a list of them.
func (d *Decoder) merged(v Value, c *yaml.Node) []Field {
	from := Value{N: c, path: v.path}.Resolve()
	if from.N.Kind != yaml.SequenceNode {
		return d.Mapping(from)
	}
	var out []Field
	for _, item := range from.N.Content {
		out = append(out, d.Mapping(Value{N: item, path: v.path})...)
	}
	return out
}

// dropShadowed removes merged fields that the mapping itself, or an earlier
// merge, gives too.
func dropShadowed(fields []Field, own map[string]int) []Field {
	out := fields[:0:0]
	seen := map[string]bool{}
	for i, f := range fields {
		if at, ok := own[f.Key]; ok && at != i || seen[f.Key] {
			continue
		}
		seen[f.Key] = true
		out = append(out, f)
	}
	return out
}

func (d *Decoder) List(v Value) []Value {
	v = v.Resolve()
	if d.Err != nil || v.Null() {
		return nil
	}
	if v.N.Kind != yaml.SequenceNode {
		d.Mismatch(v, "list")
		return nil
	}
	out := make([]Value, len(v.N.Content))
	for i, c := range v.N.Content {
		out[i] = Value{N: c, path: fmt.Sprintf("%s[%d]", v.path, i)}.Resolve()
	}
	return out
}

// str reads a text, and nothing that only looks like one.
func (d *Decoder) Str(v Value) string {
	v = v.Resolve()
	if d.Err != nil {
		return ""
	}
	switch tag := v.N.ShortTag(); {
	case v.N.Kind == yaml.ScalarNode && (tag == "!!str" || tag == "!!timestamp"):
		return v.N.Value
	}
	d.Mismatch(v, "string")
	return ""
}

// text reads a text that may be null, or look like a number.
func (d *Decoder) Text(v Value) string {
	v = v.Resolve()
	if d.Err != nil || v.Null() {
		return ""
	}
	if v.N.Kind != yaml.ScalarNode {
		d.Mismatch(v, "string")
		return ""
	}
	return v.N.Value
}

func (d *Decoder) Strings(v Value) []string {
	var out []string
	for _, e := range d.List(v) {
		out = append(out, d.Str(e))
	}
	return out
}

func (d *Decoder) StringMap(v Value) map[string]string {
	out := map[string]string{}
	for _, f := range d.Mapping(v) {
		out[f.Key] = d.Text(f.Val)
	}
	return out
}

func (d *Decoder) Boolean(v Value) bool {
	v = v.Resolve()
	if d.Err != nil {
		return false
	}
	var b bool
	if v.N.Kind != yaml.ScalarNode || v.N.Decode(&b) != nil || v.Null() {
		d.Mismatch(v, "bool")
	}
	return b
}

func (d *Decoder) Integer(v Value) int {
	v = v.Resolve()
	if d.Err != nil {
		return 0
	}
	var i int64
	if v.N.Kind != yaml.ScalarNode || v.N.ShortTag() != "!!int" || v.N.Decode(&i) != nil || i > math.MaxInt32 || i < math.MinInt32 {
		d.Mismatch(v, "int")
		return 0
	}
	return int(i)
}

// any reads a tree of maps with text keys, lists and scalars (string, bool,
// int64, float64, nil): what JSON can hold.
func (d *Decoder) Any(v Value) any {
	v = v.Resolve()
	if d.Err != nil {
		return nil
	}
	switch v.N.Kind {
	case yaml.MappingNode:
		out := map[string]any{}
		for _, f := range d.Mapping(v) {
			out[f.Key] = d.Any(f.Val)
		}
		return out
	case yaml.SequenceNode:
		out := []any{}
		for _, e := range d.List(v) {
			out = append(out, d.Any(e))
		}
		return out
	}
	return d.scalar(v)
}

func (d *Decoder) scalar(v Value) any {
	switch v.N.ShortTag() {
	case "!!null":
		return nil
	case "!!bool":
		return d.Boolean(v)
	case "!!int":
		var i int64
		if err := v.N.Decode(&i); err == nil {
			return i
		}
		d.Fail(v, "number %.40q does not fit 64 bits", v.N.Value)
		return nil
	case "!!float":
		var f float64
		if err := v.N.Decode(&f); err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			d.Fail(v, "%.40q is not a finite number", v.N.Value)
			return nil
		}
		return f
	case "!!str", "!!timestamp":
		return v.N.Value
	}
	d.Fail(v, "values of type %s are not supported", v.N.ShortTag())
	return nil
}
