package charm_test

import (
	"bytes"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/scarab-ops/scarab/charm"
	"github.com/scarab-ops/scarab/charm/charmtest"
)

func open(t *testing.T, data []byte) *charm.Archive {
	t.Helper()
	a, err := charm.OpenArchive(bytes.NewReader(data), int64(len(data)), charm.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// build makes a charm of "path=contents" members; contents "->x" is a symlink.
func build(t *testing.T, members ...string) *charm.Archive {
	t.Helper()
	list := []charmtest.Entry{{Name: "metadata.yaml", Data: charmtest.Metadata}}
	for _, m := range members {
		name, data, _ := strings.Cut(m, "=")
		e := charmtest.Entry{Name: name, Data: data}
		if to, ok := strings.CutPrefix(data, "->"); ok {
			e.Data, e.Mode = to, charmtest.TypeSymlink|0o777
		}
		list = append(list, e)
	}
	return open(t, charmtest.Build(charmtest.Tail{}, list...))
}

func tree(t *testing.T, dir string) string {
	t.Helper()
	var out []string
	err := filepath.Walk(dir, func(p string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		text, _ := os.ReadFile(p)
		if info.Mode()&os.ModeSymlink != 0 {
			to, _ := os.Readlink(p)
			text = []byte("->" + to)
		}
		if rel != "metadata.yaml" && rel != "revision" {
			out = append(out, rel+"="+string(text))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(out)
	return strings.Join(out, " ")
}

func TestDeploy(t *testing.T) {
	dir, state := t.TempDir(), t.TempDir()
	steps := []struct {
		name   string
		before func()
		charm  *charm.Archive
		want   string
	}{
		{"first", func() {}, build(t, "a=1", "lib/b=1", "old/x=1", "l=->a"), "a=1 l=->a lib/b=1 old/x=1"},
		{"upgrade keeps run-time files, drops old ones", func() {
			put(t, dir, "lib/runtime", "r")
			put(t, dir, "own", "r")
		}, build(t, "a=2", "lib/c=2"), "a=2 lib/c=2 lib/runtime=r own=r"},
		{"file becomes directory", func() {}, build(t, "a/x=3", "lib/c=3"), "a/x=3 lib/c=3 lib/runtime=r own=r"},
		{"directory becomes file", func() {}, build(t, "a=4"), "a=4 lib/runtime=r own=r"},
		{"symlink in the way", func() {
			remove(t, dir, "lib")
			symlink(t, "/tmp", filepath.Join(dir, "lib"))
		}, build(t, "a=5", "lib/d=5"), "a=5 lib/d=5 own=r"},
	}
	for _, s := range steps {
		s.before()
		if err := s.charm.Deploy(dir, state); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		if got := tree(t, dir); got != s.want {
			t.Errorf("%s: have %q, want %q", s.name, got, s.want)
		}
	}
}

// TestDeployAfterCrash cuts a deploy off by a state directory that shows an
// unfinished one, and deploys a third version.
func TestDeployAfterCrash(t *testing.T) {
	dir, state := t.TempDir(), t.TempDir()
	if err := build(t, "a=1").Deploy(dir, state); err != nil {
		t.Fatal(err)
	}
	put(t, dir, "half", "2")
	put(t, state, "deploying.json", `{"paths":["a","half","metadata.yaml"]}`)
	if err := build(t, "c=3").Deploy(dir, state); err != nil {
		t.Fatal(err)
	}
	if got := tree(t, dir); got != "c=3" {
		t.Errorf("have %q, want only c", got)
	}
	if _, err := os.Stat(filepath.Join(state, "deploying.json")); !os.IsNotExist(err) {
		t.Errorf("marker is still there: %v", err)
	}
}

// TestDeployNeverThroughSymlinks has run-time symlinks lie where members go
// and where old ones were.
func TestDeployNeverThroughSymlinks(t *testing.T) {
	outside := t.TempDir()
	put(t, outside, "b", "keep")
	dir, state := t.TempDir(), t.TempDir()
	if err := build(t, "lib/b=1", "f=1").Deploy(dir, state); err != nil {
		t.Fatal(err)
	}
	remove(t, dir, "lib")
	symlink(t, outside, filepath.Join(dir, "lib"))
	remove(t, dir, "f")
	symlink(t, filepath.Join(outside, "b"), filepath.Join(dir, "f"))
	if err := build(t, "f=2").Deploy(dir, state); err != nil {
		t.Fatal(err)
	}
	if got := tree(t, outside); got != "b=keep" {
		t.Errorf("outside has %q", got)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "f")); err != nil || string(text) != "2" {
		t.Errorf("f: %q, %v", text, err)
	}
}

func TestPackRoundTrip(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "charmcraft.yaml", "type: charm\nname: packed\nsummary: s\ndescription: d\nbase: ubuntu@24.04\nplatforms: {arm64: }\n"+
		"config: {options: {port: {type: int, default: 80}}}\nactions: {go: {params: {n: {type: integer, default: 3}}}}\nlinks: {website: x}\n")
	put(t, dir, "hooks/install", "#!/bin/sh\n")
	put(t, dir, ".git/config", "x")
	put(t, dir, "keep/a.log", "x")
	put(t, dir, "drop/a.log", "x")
	put(t, dir, "build/x", "x")
	put(t, dir, ".jujuignore", "# logs\n*.log\n!/keep/*.log\n")
	symlink(t, "install", filepath.Join(dir, "hooks", "start"))
	var one, two bytes.Buffer
	warnings, err := charm.PackDir(dir, &one)
	if err != nil {
		t.Fatal(err)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], "hooks/install") {
		t.Errorf("warnings %v", warnings)
	}
	if _, err := charm.PackDir(dir, &two); err != nil || !bytes.Equal(one.Bytes(), two.Bytes()) {
		t.Errorf("packing twice gives other bytes, %v", err)
	}
	a := open(t, one.Bytes())
	c := a.Charm()
	if c.Meta.Name != "packed" || c.Config.Options["port"].Default != int64(80) || c.Actions.Specs["go"].Params == nil {
		t.Errorf("charm is %+v", c)
	}
	if len(c.Manifest.Bases) != 1 || c.Manifest.Bases[0].String() != "ubuntu@24.04" || c.Manifest.Bases[0].Architectures[0] != "arm64" {
		t.Errorf("bases are %+v", c.Manifest.Bases)
	}
	out := filepath.Join(t.TempDir(), "out")
	if err := a.Extract(out); err != nil {
		t.Fatal(err)
	}
	got := tree(t, out)
	for _, want := range []string{"hooks/start=->install", "keep/a.log=x", "hooks/install="} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in %s", want, got)
		}
	}
	for _, no := range []string{".git", "drop/", "build/", ".jujuignore"} {
		if strings.Contains(got, no) {
			t.Errorf("%s was packed: %s", no, got)
		}
	}
}

func TestPackRefuses(t *testing.T) {
	for name, c := range map[string]struct{ target, want string }{
		"absolute": {"/etc/passwd", `symlink "l" is absolute: "/etc/passwd"`},
		"out":      {"../x", `symlink "l" links out of charm: "../x"`},
	} {
		dir := t.TempDir()
		put(t, dir, "metadata.yaml", charmtest.Metadata)
		symlink(t, c.target, filepath.Join(dir, "l"))
		var b bytes.Buffer
		if _, err := charm.PackDir(dir, &b); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

func put(t *testing.T, dir, name, text string) {
	t.Helper()
	p := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

func symlink(t *testing.T, target, name string) {
	t.Helper()
	if err := os.Symlink(target, name); err != nil {
		t.Fatal(err)
	}
}
