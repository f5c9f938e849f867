package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

// TestGeneratedFilesAreCurrent regenerates everything and compares.
func TestGeneratedFilesAreCurrent(t *testing.T) {
	m, err := load(os.DirFS("../../wire/schema"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := m.generate()
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 40 {
		t.Fatalf("only %d files generated", len(files))
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join("../../wire", name))
		if err != nil {
			t.Errorf("%v: run go generate ./wire", err)
			continue
		}
		if !bytes.Equal(got, want) {
			t.Errorf("wire/%s is stale: run go generate ./wire", name)
		}
	}
	found, err := filepath.Glob("../../wire/*/*.gen.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range found {
		rel, err := filepath.Rel("../../wire", p)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := files[filepath.ToSlash(rel)]; !ok {
			t.Errorf("%s is no longer generated: delete it", p)
		}
	}
}

func TestExported(t *testing.T) {
	for key, want := range map[string]string{
		"application-tag": "ApplicationTag", "model-uuid": "ModelUUID", "NotifyWatcherId": "NotifyWatcherID",
		"historyKind": "HistoryKind", "ConfigYAML": "ConfigYAML", "int": "Int", "subnet-ids": "SubnetIDs", "ca-cert": "CACert",
		"offer-urls": "OfferURLs", "has-vote": "HasVote",
	} {
		if got := exported(key); got != want {
			t.Errorf("exported(%q) = %q, want %q", key, got, want)
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	for name, c := range map[string]struct{ file, text, want string }{
		"undefined": {"A-v1.json", `{"facade":"A","version":1,"methods":{"M":{"params":"X"}},"types":{}}`, "no schema defines"},
		"misnamed":  {"B-v1.json", `{"facade":"A","version":1}`, "should be named A-v1.json"},
		"unknown":   {"A-v1.json", `{"facade":"A","version":1,"other":1}`, "unknown field"},
	} {
		_, err := load(fstest.MapFS{c.file: {Data: []byte(c.text)}})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
	two := fstest.MapFS{
		"A-v1.json": {Data: []byte(`{"facade":"A","version":1,"types":{"T":{"a":"int"}}}`)},
		"B-v1.json": {Data: []byte(`{"facade":"B","version":1,"types":{"T":{"a":"string"}}}`)},
	}
	if _, err := load(two); err == nil || !strings.Contains(err.Error(), "another shape") {
		t.Errorf("two shapes: error %v", err)
	}
}
