package charm

import (
	"fmt"
	"strings"

	"gopkg.in/yaml.v3"
)

// splitCharmcraft makes the files of a packed charm from a charmcraft.yaml:
// metadata.yaml, manifest.yaml, config.yaml and actions.yaml, those for which
// it has something to say.
func splitCharmcraft(data []byte) (map[string][]byte, error) {
	d, root := openYAML(charmcraftFile, "charmcraft", data, defaultYAMLLimits())
	meta, out := map[string]any{}, map[string]any{}
	var bases []any
	for _, f := range d.mapping(root) {
		switch f.key {
		case "name", "title", "summary", "description", "assumes", "charm-user", "containers", "devices", "extra-bindings",
			"peers", "provides", "requires", "resources", "storage", "subordinate", "terms":
			meta[f.key] = d.any(f.val)
		case "links":
			for _, l := range d.mapping(f.val) {
				meta[linkKey(l.key)] = d.any(l.val)
			}
		case "config":
			if f.val.isMap() {
				out[configFile] = d.any(f.val)
			}
		case "actions":
			out[actionsFile] = d.any(f.val)
		case "bases":
			for _, b := range d.list(f.val) {
				bases = append(bases, readBuildBase(d, b)...)
			}
		case "base":
			bases = append(bases, textBase(d, f.val, d.str(f.val)))
		case "platforms":
			bases = append(bases, readPlatforms(d, f.val)...)
		}
	}
	if d.err != nil {
		return nil, d.err
	}
	if _, ok := meta["name"]; ok {
		out[metadataFile] = meta
	}
	if bases = mergeBases(bases); len(bases) > 0 {
		out[manifestFile] = map[string]any{"bases": bases}
	}
	files := map[string][]byte{}
	for name, tree := range out {
		text, err := yaml.Marshal(tree)
		if err != nil {
			return nil, fmt.Errorf("cannot write %s from %s: %w", name, charmcraftFile, err)
		}
		files[name] = text
	}
	return files, nil
}

func linkKey(key string) string {
	switch key {
	case "contact":
		return "maintainers"
	case "documentation":
		return "docs"
	}
	return key
}

// readBuildBase reads an entry of "bases": short, or with run-on.
func readBuildBase(d *decoder, v value) []any {
	fields := d.mapping(v)
	short := map[string]any{}
	for _, f := range fields {
		switch f.key {
		case "run-on":
			var out []any
			for _, b := range d.list(f.val) {
				out = append(out, d.any(b))
			}
			return out
		case "name", "channel", "architectures":
			short[f.key] = d.any(f.val)
		}
	}
	if len(short) == 0 {
		return nil
	}
	return []any{short}
}

func textBase(d *decoder, v value, text string) any {
	name, channel, ok := strings.Cut(text, "@")
	if !ok {
		d.fail(v, "base %q not valid, expected name@channel", clip(text))
	}
	return map[string]any{"name": name, "channel": channel}
}

// readPlatforms reads "platforms": keys are architectures, or "base:arch".
// Without "base:" they only narrow the base named elsewhere.
func readPlatforms(d *decoder, v value) []any {
	var out []any
	for _, f := range d.mapping(v) {
		base, arch, ok := strings.Cut(f.key, ":")
		if !ok {
			if known, isArch := NormaliseArch(f.key); isArch {
				out = append(out, map[string]any{"architectures": []any{known}})
			}
			continue
		}
		b, _ := textBase(d, f.val, base).(map[string]any)
		b["architectures"] = []any{arch}
		out = append(out, b)
	}
	return out
}

// mergeBases joins the architectures of entries for the same base; entries
// without a name belong to the base that has no architectures of its own.
func mergeBases(list []any) []any {
	var out []any
	index := map[string]map[string]any{}
	var loose []any
	for _, e := range list {
		b, ok := e.(map[string]any)
		if !ok {
			continue
		}
		arches, _ := b["architectures"].([]any)
		if b["name"] == nil {
			loose = append(loose, arches...)
			continue
		}
		key := fmt.Sprint(b["name"], "@", b["channel"])
		if have, dup := index[key]; dup {
			old, _ := have["architectures"].([]any)
			have["architectures"] = append(old, arches...)
			continue
		}
		index[key] = b
		out = append(out, b)
	}
	for _, e := range out {
		b, _ := e.(map[string]any)
		if a, _ := b["architectures"].([]any); len(a) == 0 {
			if len(loose) == 0 {
				loose = []any{"amd64"}
			}
			b["architectures"] = loose
		}
	}
	return out
}
