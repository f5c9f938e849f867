package threats_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// A mutant is a control removed: what it changes, and which parts must fail for
// it, with which words. Mutants of one file are built together.
type mutant struct {
	file   string // of the mutants
	kills  []kill
	change []change
}

type kill struct{ part, want string }

type change struct{ file, old, new string }

// mutants reads tests/threats/mutants/*.txt:
//
//	== what is removed
//	kills: ROW/part: words that the failure holds
//	file: path
//	--- old
//	text
//	--- new
//	text
//
// with as many kills, and as many files with old and new, as are needed. Files
// named realm-* are built into the programs, and their parts run on machines.
func mutants(t *testing.T) map[string][]mutant {
	t.Helper()
	names, err := filepath.Glob("mutants/*.txt")
	if err != nil || len(names) == 0 {
		t.Fatalf("no mutants: %v", err)
	}
	out := map[string][]mutant{}
	for _, name := range names {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var ms []mutant
		into := ""
		for line := range strings.Lines(string(raw)) {
			if strings.HasPrefix(line, "== ") {
				ms, into = append(ms, mutant{file: name}), ""
				continue
			}
			if len(ms) == 0 {
				continue // a heading
			}
			m := &ms[len(ms)-1]
			into = m.take(t, strings.TrimSuffix(line, "\n"), into)
		}
		out[name] = ms
	}
	return out
}

func (m *mutant) take(t *testing.T, line, into string) string {
	t.Helper()
	if rest, ok := strings.CutPrefix(line, "kills: "); ok {
		part, want, ok := strings.Cut(rest, ": ")
		if !ok || len(want) < 6 {
			t.Fatalf("%s: %q is not ROW/part: words", m.file, line)
		}
		m.kills = append(m.kills, kill{part, want})
		return ""
	}
	if rest, ok := strings.CutPrefix(line, "file: "); ok {
		m.change = append(m.change, change{file: rest})
		return ""
	}
	if line == "--- old" || line == "--- new" {
		if line == "--- old" && m.change[len(m.change)-1].old != "" { // again in the same file
			m.change = append(m.change, change{file: m.change[len(m.change)-1].file})
		}
		return line
	}
	switch into {
	case "--- old":
		m.change[len(m.change)-1].old += line + "\n"
	case "--- new":
		m.change[len(m.change)-1].new += line + "\n"
	}
	return into
}

// mutate returns the changed content of every file of the mutants.
func mutate(t *testing.T, ms []mutant) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, m := range ms {
		for _, c := range m.change {
			text, ok := out[c.file]
			if !ok {
				b, err := os.ReadFile(filepath.Join("../..", c.file))
				if err != nil {
					t.Errorf("%s: %v", m.file, err)
					continue
				}
				text = string(b)
			}
			old := strings.TrimRight(c.old, "\n")
			if n := strings.Count(text, old); old == "" || n != 1 {
				t.Errorf("%s: %s holds this text %d times, want once:\n%s", m.file, c.file, n, c.old)
				continue
			}
			out[c.file] = strings.Replace(text, old, strings.TrimRight(c.new, "\n"), 1)
		}
	}
	return out
}

// TestMutantsAreThere: every part has a mutant that must kill it, and every
// mutant fits the code as it is.
func TestMutantsAreThere(t *testing.T) {
	killed := map[string]bool{}
	for _, ms := range mutants(t) {
		mutate(t, ms)
		for _, m := range ms {
			for _, k := range m.kills {
				killed[k.part] = true
				if onMachines(k.part) != strings.HasPrefix(filepath.Base(m.file), machinePrefix) {
					t.Errorf("%s: %s is run by the other kind of mutants", m.file, k.part)
				}
			}
			if len(m.kills) == 0 || len(m.change) == 0 {
				t.Errorf("%s: a mutant without kills or changes", m.file)
			}
		}
	}
	for _, p := range everyPart() {
		if !killed[p.row+"/"+p.name] {
			t.Errorf("%s/%s has no mutant: nothing shows that it can fail", p.row, p.name)
		}
		delete(killed, p.row+"/"+p.name)
	}
	for id := range killed {
		t.Errorf("a mutant kills %s, which is no part", id)
	}
}

// TestMutants removes each control and demands that the part which stands for
// it fails, for the right reason. It is long; no file of the tree is changed.
func TestMutants(t *testing.T) {
	if !long {
		return // TestMutantsAreThere holds them to the code in the short form
	}
	for name, ms := range mutants(t) {
		run := runMutants
		if strings.HasPrefix(filepath.Base(name), machinePrefix) {
			run = runMachineMutants
		}
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) { run(t, ms) })
	}
}

func runMutants(t *testing.T, ms []mutant) {
	t.Helper()
	dir := t.TempDir()
	overlay := overlayOf(t, dir, mutate(t, ms))
	bin := filepath.Join(dir, "threats.test")
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-ldflags=-s -w", "-overlay", overlay, "-o", bin, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("the mutants do not build: %v\n%s", err, out)
	}
	slots := make(chan struct{}, 2)
	var wg sync.WaitGroup
	for _, m := range ms {
		for _, k := range m.kills {
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				mustDie(t, bin, k)
			})
		}
	}
	wg.Wait()
}

func mustDie(t *testing.T, bin string, k kill) {
	row, name, _ := strings.Cut(k.part, "/")
	start := time.Now()
	cmd := exec.CommandContext(t.Context(), bin, "-test.run", "^TestThreat$/^"+row+"$/^"+name+"$", "-test.v", "-test.timeout", "3m")
	cmd.Env = append(os.Environ(), "SCARAB_LONG=")
	out, err := cmd.CombinedOutput()
	switch {
	case !strings.Contains(string(out), "=== RUN   TestThreat/"+k.part):
		t.Errorf("%s did not run: %v\n%s", k.part, err, tail(string(out)))
	case err == nil:
		t.Errorf("%s passes although its control is removed", k.part)
	case !strings.Contains(string(out), k.want):
		t.Errorf("%s fails, but without the words %q:\n%s", k.part, k.want, tail(string(out)))
	default:
		t.Logf("%s dies in %s", k.part, time.Since(start).Round(100*time.Millisecond))
	}
}
