package output

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// YAML writes a value as YAML with two blanks of indent. The encoder quotes control bytes by itself.
func YAML(w io.Writer, v any) error {
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("cannot write YAML: %w", err)
	}
	if err := enc.Close(); err != nil {
		return fmt.Errorf("cannot write YAML: %w", err)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// JSON writes a value as one line of JSON.
func JSON(w io.Writer, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("cannot write JSON: %w", err)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// Format is the pair of flags --format and -o of a command.
type Format struct {
	Name  string
	File  string
	Known []string
}

// Check says whether the chosen format exists.
func (f *Format) Check() error {
	if !slices.Contains(f.Known, f.Name) {
		return fmt.Errorf("cannot use format %q: choose one of %s", f.Name, strings.Join(f.Known, ", "))
	}
	return nil
}

// Write prints v as YAML or JSON when that is the format, or calls other for every other format. With -o the text goes
// to a new file of mode 0600 that replaces an older one only when it is complete.
func (f *Format) Write(stdout io.Writer, v any, other func(w io.Writer) error) error {
	if f.File == "" || f.File == "-" {
		return f.write(stdout, v, other)
	}
	var b bytes.Buffer
	if err := f.write(&b, v, other); err != nil {
		return err
	}
	return replaceFile(f.File, b.Bytes())
}

func (f *Format) write(w io.Writer, v any, other func(w io.Writer) error) error {
	switch f.Name {
	case "yaml":
		return YAML(w, v)
	case "json":
		return JSON(w, v)
	}
	return other(w)
}

func replaceFile(path string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".scarab-out-*")
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	defer os.Remove(tmp.Name()) //nolint:errcheck // gone once it was renamed
	_, err = tmp.Write(data)
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	return nil
}

// Numbers turns numbers as they came from JSON into ordinary ones, all through maps and lists, so that YAML shows whole
// numbers as such.
func Numbers(v any) any {
	switch x := v.(type) {
	case json.Number:
		if n, err := x.Int64(); err == nil {
			return n
		}
		if f, err := x.Float64(); err == nil {
			return f
		}
		return x.String()
	case map[string]any:
		return NumbersIn(x)
	case []any:
		out := make([]any, len(x))
		for i := range x {
			out[i] = Numbers(x[i])
		}
		return out
	}
	return v
}

// NumbersIn is Numbers for a map.
func NumbersIn(m map[string]any) map[string]any {
	if m == nil {
		return nil
	}
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[k] = Numbers(v)
	}
	return out
}
