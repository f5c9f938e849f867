package charm

import (
	"fmt"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/scarab-ops/scarab/charm/internal/yamltree"
)

// splitCharmcraft makes the files of a packed charm from a charmcraft.yaml:
// metadata.yaml, manifest.yaml, config.yaml and actions.yaml, those for which
// it has something to say.
func splitCharmcraft(data []byte) (map[string][]byte, error) {
	d, root := yamltree.Open(charmcraftFile, "charmcraft", data, yamltree.DefaultLimits())
	meta, out := map[string]any{}, map[string]any{}
	var bases []any
	for _, f := range d.Mapping(root) {
		switch f.Key {
		case "name", "title", "summary", "description", "assumes", "charm-user", "containers", "devices", "extra-bindings",
			"peers", "provides", "requires", "resources", "storage", "subordinate", "terms":
			meta[f.Key] = d.Any(f.Val)
		case "links":
			for _, l := range d.Mapping(f.Val) {
				meta[linkKey(l.Key)] = d.Any(l.Val)
			}
		case "config":
			if f.Val.IsMap() {
				out[configFile] = d.Any(f.Val)
			}
		case "actions":
			out[actionsFile] = d.Any(f.Val)
		case "bases":
			for _, b := range d.List(f.Val) {
				bases = append(bases, readBuildBase(d, b)...)
			}
		case "base":
			bases = append(bases, textBase(d, f.Val, d.Str(f.Val)))
		case "platforms":
			bases = append(bases, readPlatforms(d, f.Val)...)
		}
	}
	if d.Err != nil {
		return nil, d.Err
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
func readBuildBase(d *yamltree.Decoder, v yamltree.Value) []any {
	fields := d.Mapping(v)
	short := map[string]any{}
	for _, f := range fields {
		switch f.Key {
		case "run-on":
			var out []any
			for _, b := range d.List(f.Val) {
				out = append(out, d.Any(b))
			}
			return out
		case "name", "channel", "architectures":
			short[f.Key] = d.Any(f.Val)
		}
	}
	if len(short) == 0 {
		return nil
	}
	return []any{short}
}

func textBase(d *yamltree.Decoder, v yamltree.Value, text string) any {
	name, channel, ok := strings.Cut(text, "@")
	if !ok {
		d.Fail(v, "base %q not valid, expected name@channel", clip(text))
	}
	return map[string]any{"name": name, "channel": channel}
}

// readPlatforms reads "platforms": keys are architectures, or "base:arch".
// Without "base:" they only narrow the base named elsewhere.
func readPlatforms(d *yamltree.Decoder, v yamltree.Value) []any {
	var out []any
	for _, f := range d.Mapping(v) {
		base, arch, ok := strings.Cut(f.Key, ":")
		if !ok {
			if known, isArch := NormaliseArch(f.Key); isArch {
				out = append(out, map[string]any{"architectures": []any{known}})
			}
			continue
		}
		b, _ := textBase(d, f.Val, base).(map[string]any)
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
