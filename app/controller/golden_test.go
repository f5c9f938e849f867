package controller

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/scarab-ops/scarab/state/migrate"
	"github.com/scarab-ops/scarab/worker/engine"
)

var update = flag.Bool("update", false, "rewrite golden files")

// golden compares text with a file that only changes on purpose.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s has changed; look at the difference and write it with -update\n--- got\n%s", name, got)
	}
}

// TestSchema keeps the stored schema: a field that changes needs a migration,
// or a reason in review why not.
func TestSchema(t *testing.T) {
	golden(t, "schema.golden", fmt.Sprintf("version %d\n\n", len(steps()))+migrate.Describe(rows()))
}

// TestWorkerGraph keeps who reads and writes what: kind -> worker -> kind.
func TestWorkerGraph(t *testing.T) {
	p := &parts{}
	specs := p.specs(nil)
	if err := engine.Check(specs); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, s := range specs {
		fmt.Fprintf(&b, "%s\n", s.Name)
		for _, kinds := range [][]string{s.Reads, s.Writes, s.Shared} {
			slices.Sort(kinds)
		}
		fmt.Fprintf(&b, "  reads  %s\n  writes %s\n  shares %s\n",
			strings.Join(s.Reads, " "), strings.Join(s.Writes, " "), strings.Join(s.Shared, " "))
	}
	golden(t, "workers.golden", b.String())
}

// TestWorkersNameKnownKinds finds a kind that is misspelt: nothing would ever
// wake its worker.
func TestWorkersNameKnownKinds(t *testing.T) {
	known := rows()
	for _, s := range (&parts{}).specs(nil) {
		for _, k := range slices.Concat(s.Reads, s.Writes, s.Shared) {
			if _, ok := known[k]; !ok && k != "fence" {
				t.Errorf("worker %s names the kind %q, which nothing stores", s.Name, k)
			}
		}
	}
}
