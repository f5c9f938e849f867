package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// method names the types a method takes and gives; empty means none.
type method struct {
	Params string `json:"params"`
	Result string `json:"result"`
}

// schema is one file of wire/schema.
type schema struct {
	Facade  string                       `json:"facade"`
	Version int                          `json:"version"`
	Methods map[string]method            `json:"methods"`
	Types   map[string]map[string]string `json:"types"`
}

// field is one key of a type.
type field struct {
	Key      string
	Type     string
	Optional bool
}

// object is one type: its keys in order and the facades that use it.
type object struct {
	Name    string
	Fields  []field
	Facades map[string]bool
}

// model is everything that is generated from.
type model struct {
	Schemas []schema // sorted by facade, highest version first
	Types   map[string]*object
	Facades []string
}

// builtin types are written by hand in package wire.
var builtin = []string{"Macaroon", "Number", "ExpressionTree", "Delta"}

// load reads every schema in dir and refuses types with two shapes and names
// that nothing defines.
func load(dir fs.FS) (*model, error) {
	names, err := fs.Glob(dir, "*.json")
	if err != nil {
		return nil, fmt.Errorf("cannot list schemas: %v", err)
	}
	m := &model{Types: map[string]*object{}}
	facades := map[string]bool{}
	for _, name := range names {
		b, err := fs.ReadFile(dir, name)
		if err != nil {
			return nil, fmt.Errorf("cannot read schema: %v", err)
		}
		var s schema
		d := json.NewDecoder(bytes.NewReader(b))
		d.DisallowUnknownFields()
		if err := d.Decode(&s); err != nil {
			return nil, fmt.Errorf("cannot decode %s: %v", name, err)
		}
		if want := fmt.Sprintf("%s-v%d.json", s.Facade, s.Version); want != path.Base(name) {
			return nil, fmt.Errorf("cannot use %s: it should be named %s", name, want)
		}
		if err := m.add(s); err != nil {
			return nil, fmt.Errorf("cannot use %s: %v", name, err)
		}
		facades[s.Facade] = true
	}
	m.Facades = slices.Sorted(maps.Keys(facades))
	slices.SortFunc(m.Schemas, func(a, b schema) int {
		if c := strings.Compare(a.Facade, b.Facade); c != 0 {
			return c
		}
		return b.Version - a.Version
	})
	return m, m.resolve()
}

func (m *model) add(s schema) error {
	m.Schemas = append(m.Schemas, s)
	for name, keys := range s.Types {
		fields := make([]field, 0, len(keys))
		for k, t := range keys {
			key, optional := strings.CutSuffix(k, "?")
			fields = append(fields, field{key, t, optional})
		}
		slices.SortFunc(fields, func(a, b field) int { return strings.Compare(a.Key, b.Key) })
		old := m.Types[name]
		if old == nil {
			m.Types[name] = &object{Name: name, Fields: fields, Facades: map[string]bool{s.Facade: true}}
			continue
		}
		if !slices.Equal(old.Fields, fields) {
			return fmt.Errorf("type %s has another shape elsewhere: give it another name", name)
		}
		old.Facades[s.Facade] = true
	}
	return nil
}

// resolve marks each type with every facade that reaches it, and checks that
// every name is defined.
func (m *model) resolve() error {
	for _, s := range m.Schemas {
		for name, me := range s.Methods {
			for _, t := range []string{me.Params, me.Result} {
				if t == "" {
					continue
				}
				if err := m.reach(t, s.Facade, map[string]bool{}); err != nil {
					return fmt.Errorf("cannot resolve %s.%s: %v", s.Facade, name, err)
				}
			}
		}
	}
	return nil
}

func (m *model) reach(expr, facade string, seen map[string]bool) error {
	name := baseName(expr)
	if scalar(name) || slices.Contains(builtin, name) || seen[name] {
		return nil
	}
	seen[name] = true
	o := m.Types[name]
	if o == nil {
		return fmt.Errorf("no schema defines type %q", name)
	}
	o.Facades[facade] = true
	for _, f := range o.Fields {
		if err := m.reach(f.Type, facade, seen); err != nil {
			return err
		}
	}
	return nil
}

func scalar(t string) bool {
	switch t {
	case "string", "int", "int(ns)", "bool", "time", "base64", "any":
		return true
	}
	return false
}

// baseName strips pointers, lists and maps.
func baseName(t string) string {
	for {
		switch {
		case strings.HasPrefix(t, "*"):
			t = t[1:]
		case strings.HasPrefix(t, "[") && strings.HasSuffix(t, "]"):
			t = t[1 : len(t)-1]
		case strings.HasPrefix(t, "map<") && strings.HasSuffix(t, ">"):
			t = t[4 : len(t)-1]
		default:
			return t
		}
	}
}
