package migrate

import (
	"encoding"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

const maxDepth = 12

// Describe writes down the stored schema: for each kind, with a value of its row
// type, a line for each field with its Go name, JSON tag and type. A test
// compares it with a golden file, so that no stored field changes unnoticed: who
// changes one also writes a Step, or says in review why none is needed.
func Describe(rows map[string]any) string {
	var b strings.Builder
	for _, kind := range slices.Sorted(maps.Keys(rows)) {
		t := reflect.TypeOf(rows[kind])
		fmt.Fprintf(&b, "%s %s\n", kind, shape(t))
		describe(&b, "  ", t, nil)
	}
	return b.String()
}

func describe(b *strings.Builder, indent string, t reflect.Type, above []reflect.Type) {
	t = element(t)
	if t == nil || t.Kind() != reflect.Struct || opaque(t) {
		return
	}
	if slices.Contains(above, t) || len(above) == maxDepth {
		fmt.Fprintf(b, "%s(as above)\n", indent)
		return
	}
	above = append(slices.Clone(above), t)
	for f := range t.Fields() {
		tag := f.Tag.Get("json")
		if tag == "-" || !f.IsExported() && !f.Anonymous {
			continue
		}
		line := indent + f.Name + " " + shape(f.Type)
		if tag != "" {
			line += fmt.Sprintf(" json:%q", tag)
		}
		b.WriteString(line + "\n")
		describe(b, indent+"  ", f.Type, above)
	}
}

// element strips pointers, slices, arrays and map values.
func element(t reflect.Type) reflect.Type {
	for t != nil && !opaque(t) {
		switch t.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
			t = t.Elem()
		default:
			return t
		}
	}
	return t
}

// opaque types say themselves how they are stored.
func opaque(t reflect.Type) bool {
	for _, i := range []reflect.Type{reflect.TypeFor[json.Marshaler](), reflect.TypeFor[encoding.TextMarshaler]()} {
		if t.Implements(i) || reflect.PointerTo(t).Implements(i) {
			return true
		}
	}
	return false
}

// shape is the type as JSON sees it: named types of basic kinds also say what
// they are made of.
func shape(t reflect.Type) string {
	switch {
	case t == nil:
		return "any"
	case opaque(t):
		return t.String() + " (encodes itself)"
	case t.Name() != "" && t.Kind() != reflect.Struct && t.PkgPath() != "":
		return t.String() + " = " + underlying(t)
	case t.Name() != "":
		return t.String()
	}
	return underlying(t)
}

func underlying(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return "*" + shape(t.Elem())
	case reflect.Slice:
		return "[]" + shape(t.Elem())
	case reflect.Array:
		return fmt.Sprintf("[%d]%s", t.Len(), shape(t.Elem()))
	case reflect.Map:
		return "map[" + shape(t.Key()) + "]" + shape(t.Elem())
	case reflect.Struct:
		return "struct"
	}
	return t.Kind().String()
}
