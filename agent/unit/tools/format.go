package tools

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"gopkg.in/yaml.v3"
)

// output is the pair of flags that every tool with an answer shares.
type output struct {
	format string
	c      *Call
}

func (c *Call) output(f *Flags, initial string, formats ...string) *output {
	o := &output{format: initial, c: c}
	f.opts = append(f.opts, &option{
		names: []string{"format"}, value: initial,
		usage: "Specify output format (" + strings.Join(formats, "|") + ")",
		set: func(s string) error {
			for _, known := range formats {
				if s == known {
					o.format = s
					return nil
				}
			}
			return fmt.Errorf("unknown format %q", s)
		},
	})
	f.String(&c.outFile, "o,output", "Specify an output file")
	return o
}

func (c *Call) smart(f *Flags) *output { return c.output(f, "smart", "json", "smart", "yaml") }

// ignoredFormat accepts --format where it never had a meaning.
func ignoredFormat(c *Call, f *Flags) {
	f.Func("format", "Deprecated format flag, ignored", func(string) error {
		c.Stderr.WriteString("--format flag deprecated for this command\n")
		return nil
	})
}

// write prints a value. legacy, when given, is printed in its place by YAML.
func (o *output) write(v any, legacy ...any) error {
	v = plain(v)
	if o.format == "json" {
		return writeJSON(&o.c.Stdout, v)
	}
	if o.format == "smart" {
		if s, done := smartText(v); done {
			o.c.Stdout.WriteString(s)
			return nil
		}
	}
	if len(legacy) > 0 {
		v = legacy[0]
	}
	b, err := yaml.Marshal(v)
	if err != nil {
		return fmt.Errorf("cannot write YAML: %v", err)
	}
	o.c.Stdout.Write(bytes.TrimRight(b, "\n"))
	o.c.Stdout.WriteByte('\n')
	return nil
}

func writeJSON(b *bytes.Buffer, v any) error {
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("cannot write JSON: %v", err)
	}
	return nil
}

func smartText(v any) (string, bool) {
	switch v := v.(type) {
	case nil:
		return "", true
	case string:
		if v == "" {
			return "", true
		}
		return v + "\n", true
	case bool:
		if v {
			return "True\n", true
		}
		return "False\n", true
	case []string:
		if len(v) == 0 {
			return "", true
		}
		return strings.Join(v, "\n") + "\n", true
	}
	return "", false
}

// plain turns numbers that JSON decoded as floats, or left as text, back into
// the integers they were, so that no charm reads 1e+06.
func plain(v any) any {
	switch v := v.(type) {
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return i
		}
		if f, err := v.Float64(); err == nil {
			return f
		}
		return v.String()
	case float64:
		if i := int64(v); float64(i) == v && i > -(1<<53) && i < 1<<53 {
			return i
		}
		return v
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = plain(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = plain(e)
		}
		return out
	}
	return v
}
