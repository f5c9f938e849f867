package charms

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "copy what is shared into the charms")

// A charm is whole in its own directory, so what charms share is copied into
// each from shared/, and the copies are the same. A charm holds a copy of what
// it has by that name; -update writes them anew.
func TestSharedFilesAreTheSame(t *testing.T) {
	sources, err := filepath.Glob("shared/*.py")
	if err != nil || len(sources) == 0 {
		t.Fatalf("nothing is shared: %v", err)
	}
	for _, source := range sources {
		want, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		copies, err := filepath.Glob(filepath.Join("*", "lib", filepath.Base(source)))
		if err != nil || len(copies) < 2 {
			t.Errorf("%s is shared by %d charms: keep it in the one that needs it", source, len(copies))
		}
		for _, name := range copies {
			if *update {
				if err := os.WriteFile(name, want, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s is not as %s is: change that one, and run go test ./charms -run TestShared -update (%v)", name, source, err)
			}
		}
	}
	checkOnlyCopies(t)
}

// checkOnlyCopies finds files that two charms have by one name and that are not
// shared.
func checkOnlyCopies(t *testing.T) {
	t.Helper()
	first := map[string]string{}
	files, err := filepath.Glob("*/lib/*.py")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		base := filepath.Base(f)
		if _, err := os.Stat(filepath.Join("shared", base)); err == nil {
			continue
		}
		if other, ok := first[base]; ok {
			t.Errorf("%s and %s have one name: keep it in shared/", other, f)
		}
		first[base] = f
	}
}
