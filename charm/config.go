package charm

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/scarab-ops/scarab/charm/internal/yamltree"
)

// Config is what config.yaml says.
type Config struct {
	Options map[string]Option `json:"options,omitempty"`
}

// Option is one setting. Default is nil, or of the option's Go type: string,
// int64, float64 or bool.
type Option struct {
	Type        string `json:"type"` // string, int, float, boolean, secret
	Description string `json:"description,omitempty"`
	Default     any    `json:"default,omitempty"`
}

// maxOptionValue bounds the text of one setting.
const maxOptionValue = 1 << 20

// ParseConfig reads config.yaml.
func ParseConfig(data []byte) (Config, error) { return parseConfig(data, yamltree.DefaultLimits()) }

func parseConfig(data []byte, lim yamltree.Limits) (Config, error) {
	d, root := yamltree.Open(configFile, "config", data, lim)
	if d.Err != nil {
		return Config{}, d.Err
	}
	options, found := yamltree.Value{}, false
	fields := d.Mapping(root)
	for _, f := range fields {
		if f.Key == "options" && !f.Val.Null() {
			options, found = f.Val, true
		}
	}
	// The public store delivers "{}" for charms without options.
	if !found && d.Err == nil && !(root.IsMap() && len(fields) == 0) {
		d.Fail(root.Bare(), "invalid config: empty configuration")
	}
	c := Config{Options: map[string]Option{}}
	if found {
		for _, f := range d.Mapping(options) {
			c.Options[f.Key] = readOption(d, f)
		}
	}
	if d.Err != nil {
		return Config{}, d.Err
	}
	return c, nil
}

func readOption(d *yamltree.Decoder, f yamltree.Field) Option {
	o := Option{Type: "string"}
	if f.Key == "" || len(f.Key) > maxName {
		d.Fail(f.Val.Bare(), "invalid config: option name %q not valid", clip(f.Key))
	}
	var def any
	for _, g := range d.Mapping(f.Val) {
		switch g.Key {
		case "type":
			o.Type = d.Str(g.Val)
		case "description":
			o.Description = d.Text(g.Val)
		case "default":
			def = d.Any(g.Val)
		}
	}
	switch o.Type {
	case "string", "int", "float", "boolean", "secret":
	default:
		d.Fail(f.Val.Bare(), "invalid config: option %q has unknown type %q", f.Key, clip(o.Type))
		return o
	}
	if def == nil {
		return o
	}
	v, ok := o.coerce(def)
	if !ok {
		d.Fail(f.Val.Bare(), "invalid config default: option %q expected %s, got %s", f.Key, o.Type, show(def))
	}
	o.Default = v
	return o
}

// show prints a value for an error: texts quoted, all else plain.
func show(v any) string {
	if s, ok := v.(string); ok {
		return strconv.Quote(clip(s))
	}
	return clip(fmt.Sprint(v))
}

// coerce turns a typed value into the option's type.
func (o Option) coerce(v any) (any, bool) {
	switch o.Type {
	case "string":
		s, ok := v.(string)
		return s, ok && len(s) <= maxOptionValue
	case "secret":
		s, ok := v.(string)
		return s, ok && (s == "" || validSecretURI(s))
	case "boolean":
		b, ok := v.(bool)
		return b, ok
	case "int":
		return toInt(v)
	case "float":
		return toFloat(v)
	}
	return nil, false
}

// validSecretURI checks the shape of "secret:<id>" and "secret://<model>/<id>".
func validSecretURI(s string) bool {
	rest, ok := strings.CutPrefix(s, "secret:")
	rest = strings.TrimPrefix(rest, "//")
	return ok && rest != "" && len(s) <= 512 && !strings.ContainsAny(rest, " \t\r\n\x00")
}

func toInt(v any) (any, bool) {
	switch n := v.(type) {
	case int:
		return int64(n), true
	case int64:
		return n, true
	case float64:
		// JSON delivers whole numbers as floats; only those that are exact count.
		if n != math.Trunc(n) || math.Abs(n) > 1<<53 {
			return nil, false
		}
		return int64(n), true
	case json.Number:
		i, err := n.Int64()
		return i, err == nil
	}
	return nil, false
}

func toFloat(v any) (any, bool) {
	var f float64
	switch n := v.(type) {
	case int:
		f = float64(n)
	case int64:
		f = float64(n)
	case float64:
		f = n
	case json.Number:
		x, err := n.Float64()
		if err != nil {
			return nil, false
		}
		f = x
	default:
		return nil, false
	}
	return f, !math.IsNaN(f) && !math.IsInf(f, 0)
}

// UnknownOptionError names an option that the charm does not have.
type UnknownOptionError struct{ Key string }

func (e *UnknownOptionError) Error() string { return fmt.Sprintf("unknown option %q", clip(e.Key)) }

// OptionTypeError is a value that does not fit its option.
type OptionTypeError struct {
	Key, Want, Got string
}

func (e *OptionTypeError) Error() string {
	return fmt.Sprintf("option %q expected %s, got %s", clip(e.Key), e.Want, e.Got)
}

// Coerce checks a typed value (from YAML or JSON) for an option and gives it
// in the option's type.
func (c Config) Coerce(key string, v any) (any, error) {
	o, ok := c.Options[key]
	if !ok {
		return nil, &UnknownOptionError{key}
	}
	if v == nil {
		return nil, nil
	}
	out, ok := o.coerce(v)
	if !ok {
		return nil, &OptionTypeError{key, o.Type, show(v)}
	}
	return out, nil
}

// ParseString reads an option's value from text, as a command line gives it.
func (c Config) ParseString(key, text string) (any, error) {
	o, ok := c.Options[key]
	if !ok {
		return nil, &UnknownOptionError{key}
	}
	var v any = text
	var err error
	switch o.Type {
	case "int":
		v, err = strconv.ParseInt(text, 10, 64)
	case "float":
		v, err = strconv.ParseFloat(text, 64)
	case "boolean":
		v, err = strconv.ParseBool(text)
	}
	if err == nil {
		if out, ok := o.coerce(v); ok {
			return out, nil
		}
	}
	return nil, &OptionTypeError{key, o.Type, show(text)}
}

// CoerceAny takes a value of a settings file: text is read as on a command
// line for options that are no text, all else is taken by its type.
func (c Config) CoerceAny(key string, v any) (any, error) {
	if s, ok := v.(string); ok {
		return c.ParseString(key, s)
	}
	return c.Coerce(key, v)
}

// Validate coerces a whole set of typed values. Nil values stay: they reset.
func (c Config) Validate(values map[string]any) (map[string]any, error) {
	out := make(map[string]any, len(values))
	for _, key := range sortedKeys(values) {
		v, err := c.Coerce(key, values[key])
		if err != nil {
			return nil, err
		}
		out[key] = v
	}
	return out, nil
}

// Filter keeps those of an earlier charm's values that still fit; an upgrade
// drops the rest without a word.
func (c Config) Filter(values map[string]any) map[string]any {
	out := map[string]any{}
	for key, v := range values {
		if got, err := c.Coerce(key, v); err == nil && got != nil {
			out[key] = got
		}
	}
	return out
}

// Defaults gives every option's default, nil where there is none.
func (c Config) Defaults() map[string]any {
	out := make(map[string]any, len(c.Options))
	for key, o := range c.Options {
		out[key] = o.Default
	}
	return out
}

// UnmarshalJSON restores an option with its default in the option's own Go
// type, which plain JSON would lose for whole numbers.
func (o *Option) UnmarshalJSON(data []byte) error {
	type plain Option
	var p plain
	dec := json.NewDecoder(strings.NewReader(string(data)))
	dec.UseNumber()
	if err := dec.Decode(&p); err != nil {
		return err
	}
	*o = Option(p)
	if o.Default == nil {
		return nil
	}
	v, ok := o.coerce(o.Default)
	if !ok {
		return fmt.Errorf("cannot read option: default %s is no %s", show(o.Default), o.Type)
	}
	o.Default = v
	return nil
}
