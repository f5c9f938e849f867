// Package schema owns the JSON schemas (draft 4) of actions: which are sound,
// what their defaults are, and whether parameters fit them. It refuses
// references, unknown types and anything nested without bound.
package schema

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"unicode/utf8"
)

// maxSchemaDepth bounds schemas and the values checked against them.
const maxSchemaDepth = 64

// Check refuses schemas that cannot be used: keywords of the wrong
// kind, unknown types, patterns that do not compile, references.
func Check(s map[string]any) error { return checkSchema(s, 0) }

func checkSchema(s map[string]any, depth int) error {
	if depth > maxSchemaDepth {
		return errors.New("schema is nested too deeply")
	}
	for _, key := range sortedKeys(s) {
		if key == "$ref" || key == "$schema" {
			return fmt.Errorf("schema key %q not compatible with this version of juju", key)
		}
		if err := checkKeyword(key, s[key], depth); err != nil {
			return err
		}
	}
	return nil
}

func checkKeyword(key string, v any, depth int) error {
	bad := func(want string) error { return fmt.Errorf("schema key %q must be %s", key, want) }
	switch key {
	case "properties", "patternProperties", "definitions":
		return checkSchemaMap(key, v, depth)
	case "additionalProperties", "additionalItems":
		if _, ok := v.(bool); ok {
			return nil
		}
		return checkSubSchema(key, v, depth)
	case "not":
		return checkSubSchema(key, v, depth)
	case "items":
		if list, ok := v.([]any); ok {
			return checkSchemaList(key, list, depth)
		}
		return checkSubSchema(key, v, depth)
	case "allOf", "anyOf", "oneOf":
		list, ok := v.([]any)
		if !ok || len(list) == 0 {
			return bad("a list of schemas")
		}
		return checkSchemaList(key, list, depth)
	case "required":
		if _, ok := textList(v); !ok {
			return bad("a list of names")
		}
	case "enum":
		if list, ok := v.([]any); !ok || len(list) == 0 {
			return bad("a list of values")
		}
	case "type":
		return checkTypes(v)
	case "pattern":
		return checkPattern(key, v)
	case "minimum", "maximum", "multipleOf":
		if _, ok := number(v); !ok {
			return bad("a number")
		}
	case "minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties":
		if n, ok := number(v); !ok || n < 0 || n != math.Trunc(n) {
			return bad("a whole number of 0 or more")
		}
	case "exclusiveMinimum", "exclusiveMaximum", "uniqueItems":
		if _, ok := v.(bool); !ok {
			return bad("true or false")
		}
	default:
		return refuseReferences(v, depth)
	}
	return nil
}

// refuseReferences looks for references inside of keys that are not ours.
func refuseReferences(v any, depth int) error {
	if depth > maxSchemaDepth {
		return errors.New("schema is nested too deeply")
	}
	switch t := v.(type) {
	case map[string]any:
		for _, key := range sortedKeys(t) {
			if key == "$ref" || key == "$schema" {
				return fmt.Errorf("schema key %q not compatible with this version of juju", key)
			}
			if err := refuseReferences(t[key], depth+1); err != nil {
				return err
			}
		}
	case []any:
		for _, e := range t {
			if err := refuseReferences(e, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkSchemaMap(key string, v any, depth int) error {
	m, ok := v.(map[string]any)
	if !ok {
		return fmt.Errorf("schema key %q must be a map of schemas", key)
	}
	for _, name := range sortedKeys(m) {
		if name == "$ref" || name == "$schema" {
			return fmt.Errorf("schema key %q not compatible with this version of juju", name)
		}
		if key == "patternProperties" {
			if err := checkPattern(key, name); err != nil {
				return err
			}
		}
		if err := checkSubSchema(name, m[name], depth); err != nil {
			return err
		}
	}
	return nil
}

func checkSchemaList(key string, list []any, depth int) error {
	for _, e := range list {
		if err := checkSubSchema(key, e, depth); err != nil {
			return err
		}
	}
	return nil
}

func checkSubSchema(key string, v any, depth int) error {
	m, ok := v.(map[string]any)
	if !ok {
		return fmt.Errorf("schema of %q must be a map", key)
	}
	return checkSchema(m, depth+1)
}

func checkPattern(key string, v any) error {
	p, ok := v.(string)
	if !ok || len(p) > 1024 {
		return fmt.Errorf("schema key %q must be a regular expression of at most 1024 bytes", key)
	}
	if _, err := regexp.Compile(p); err != nil {
		return fmt.Errorf("schema key %q: %w", key, err)
	}
	return nil
}

func checkTypes(v any) error {
	names, ok := textList(v)
	if s, is := v.(string); is {
		names, ok = []string{s}, true
	}
	if !ok || len(names) == 0 {
		return errors.New("schema key \"type\" must be a name or a list of names")
	}
	for _, n := range names {
		switch n {
		case "string", "integer", "number", "boolean", "object", "array", "null":
		default:
			return fmt.Errorf("schema type %q not valid", clip(n))
		}
	}
	return nil
}

func textList(v any) ([]string, bool) {
	list, ok := v.([]any)
	if !ok {
		s, is := v.([]string)
		return s, is
	}
	out := make([]string, len(list))
	for i, e := range list {
		if out[i], ok = e.(string); !ok {
			return nil, false
		}
	}
	return out, true
}

func number(v any) (float64, bool) {
	switch n := v.(type) {
	case int:
		return float64(n), true
	case int64:
		return float64(n), true
	case float64:
		return n, !math.IsNaN(n) && !math.IsInf(n, 0)
	case json.Number:
		f, err := n.Float64()
		return f, err == nil
	}
	return 0, false
}

func sortedKeys(m map[string]any) []string {
	return slices.Sorted(maps.Keys(m))
}

// clip shortens hostile text for an error.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}

// show prints a value for an error: texts quoted, all else plain.
func show(v any) string {
	if s, ok := v.(string); ok {
		return strconv.Quote(clip(s))
	}
	return clip(fmt.Sprint(v))
}

// Fill gives a copy of the parameters with the defaults of the schema in the
// places where they have nothing.
func Fill(schema, params map[string]any) map[string]any {
	full, _ := insertDefaults(schema, copyTree(params), 0).(map[string]any)
	if full == nil {
		full = map[string]any{}
	}
	return full
}

// insertDefaults puts the defaults of a schema's properties where the value
// has nothing, in nested objects too.
func insertDefaults(schema map[string]any, v any, depth int) any {
	props, _ := schema["properties"].(map[string]any)
	obj, isMap := v.(map[string]any)
	if depth > maxSchemaDepth || len(props) == 0 || v != nil && !isMap {
		return v
	}
	for _, name := range sortedKeys(props) {
		sub, ok := props[name].(map[string]any)
		if !ok {
			continue
		}
		cur, has := obj[name]
		if !has {
			cur = copyTree(sub["default"])
		}
		cur = insertDefaults(sub, cur, depth+1)
		if cur == nil && !has {
			continue
		}
		if obj == nil {
			obj = map[string]any{}
		}
		obj[name] = cur
	}
	if obj == nil {
		return v
	}
	return obj
}

func copyTree(v any) any {
	switch t := v.(type) {
	case map[string]any:
		if t == nil {
			return nil
		}
		out := make(map[string]any, len(t))
		for k, e := range t {
			out[k] = copyTree(e)
		}
		return out
	case []any:
		out := make([]any, len(t))
		for i, e := range t {
			out[i] = copyTree(e)
		}
		return out
	}
	return v
}

// equalJSON compares values as JSON does: 1 and 1.0 are the same.
func equalJSON(a, b any) bool {
	x, ok1 := number(a)
	y, ok2 := number(b)
	if ok1 || ok2 {
		return ok1 && ok2 && x == y
	}
	switch t := a.(type) {
	case []any:
		u, ok := b.([]any)
		if !ok || len(t) != len(u) {
			return false
		}
		for i := range t {
			if !equalJSON(t[i], u[i]) {
				return false
			}
		}
		return true
	case map[string]any:
		u, ok := b.(map[string]any)
		if !ok || len(t) != len(u) {
			return false
		}
		for k := range t {
			e, has := u[k]
			if !has || !equalJSON(t[k], e) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(a, b)
}

func jsonType(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case string:
		return "string"
	case bool:
		return "boolean"
	case map[string]any:
		return "object"
	case []any:
		return "array"
	}
	if n, ok := number(v); ok {
		if n == math.Trunc(n) {
			return "integer"
		}
		return "number"
	}
	return "unknown"
}

func textLength(s string) float64 { return float64(utf8.RuneCountInString(s)) }
