package threats_test

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/scarab-ops/scarab/tests/threats/machineparts"
)

// An openPart is a part of a row that is not built, and why. What it attacks is
// there, unless it waits for a feature.
type openPart struct{ row, name, waits, why string }

func readLines(t *testing.T, file string) []string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	in := bufio.NewScanner(bytes.NewReader(b))
	for in.Scan() {
		if line := strings.TrimSpace(in.Text()); line != "" && !strings.HasPrefix(line, "#") {
			out = append(out, line)
		}
	}
	return out
}

// openParts are the attacks that are not written, and those that wait.
func openParts(t *testing.T) []openPart {
	t.Helper()
	var out []openPart
	for _, l := range readLines(t, "testdata/open.txt") {
		id, why, _ := strings.Cut(l, ": ")
		row, name, ok := strings.Cut(id, "/")
		if !ok || why == "" {
			t.Fatalf("testdata/open.txt: %q is not ROW/part: reason", l)
		}
		out = append(out, openPart{row: row, name: name, why: why})
	}
	features := features(t)
	for _, l := range readLines(t, "testdata/waits.txt") {
		if strings.Contains(l, " = ") {
			continue
		}
		f := strings.SplitN(l, ": ", 3)
		row, name, ok := strings.Cut(f[0], "/")
		if !ok || len(f) != 3 || features[f[1]] == "" {
			t.Fatalf("testdata/waits.txt: %q is not ROW/part: feature: attack", l)
		}
		out = append(out, openPart{row, name, f[1], f[2]})
	}
	return out
}

// features are what is not built yet, by name.
func features(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, l := range readLines(t, "testdata/waits.txt") {
		if name, what, ok := strings.Cut(l, " = "); ok {
			out[name] = what
		}
	}
	return out
}

// A row of the matrix with all that stands for it.
type row struct {
	id, title string
	built     []part
	open      []openPart
}

// State of a row, if its built parts pass.
const (
	green    = "green"        // every part is built
	greenYet = "green so far" // the parts that are not built wait for features
	begun    = "open"         // something could be attacked and is not
	untold   = "not begun"    // nobody has said which attacks it needs
)

func (r row) state() string {
	switch {
	case len(r.built)+len(r.open) == 0:
		return untold
	case slices.ContainsFunc(r.open, func(o openPart) bool { return o.waits == "" }):
		return begun
	case len(r.built) == 0:
		return begun // nothing stands for it
	case len(r.open) > 0:
		return greenYet
	}
	return green
}

func matrix(t *testing.T) []row {
	t.Helper()
	parts, open := everyPart(), openParts(t)
	var out []row
	for _, l := range readLines(t, "testdata/matrix.txt") {
		id, title, _ := strings.Cut(l, " ")
		r := row{id: id, title: title}
		for _, p := range parts {
			if p.row == id {
				r.built = append(r.built, p)
			}
		}
		for _, o := range open {
			if o.row == id {
				r.open = append(r.open, o)
			}
		}
		out = append(out, r)
	}
	if len(out) != 228 {
		t.Fatalf("the matrix has %d rows, not 228", len(out))
	}
	return out
}

const threatsHead = `# Threats

Every row of the threat matrix, with the checks that stand for it. A part is one attack that runs in
` + "`make threats`" + ` (short forms in ` + "`make test`" + `) and is shown to fail when its control is removed, by a mutant in
` + "`tests/threats/mutants`" + `. The attacks of parts on real machines are in ` + "`tests/realm`" + `. A row that reaches past what is built is split into parts, each a check of its own.

| State | It means, as long as the built parts pass | Rows |
|---|---|---|
| green | every part of the row is built | %d |
| green so far | every part is built that can be; the others attack features that do not exist yet | %d |
| open | something that exists could be attacked in a way that no part does | %d |
| not begun | no part stands for the row; whatever protects against it is not shown by an attack | %d |

Only green rows are called green elsewhere: a row that is green so far is no promise about the feature it waits for.
`

const threatsMiddle = `
This file is written by ` + "`go test ./tests/threats -run TestZZThreatsFile -update`" + ` from the table of parts and the files
` + "`matrix.txt`, `open.txt` and `waits.txt` in `tests/threats/testdata`" + `, and a test compares it.

| Row | State | Threat or promise | Built parts | Parts that are not built |
|---|---|---|---|---|
`

// threatsFile is the text of THREATS.md.
func threatsFile(t *testing.T) string {
	t.Helper()
	n := map[string]int{}
	waiting := map[string]int{}
	var rows strings.Builder
	for _, r := range matrix(t) {
		n[r.state()]++
		var built, missing []string
		for _, p := range r.built {
			built = append(built, fmt.Sprintf("**%s**: %s", p.name, p.title))
		}
		for _, o := range r.open {
			if o.waits == "" {
				missing = append(missing, fmt.Sprintf("%s: %s", o.name, o.why))
				continue
			}
			waiting[o.waits]++
			missing = append(missing, fmt.Sprintf("%s (waits for %s): %s", o.name, o.waits, o.why))
		}
		fmt.Fprintf(&rows, "| %s | %s | %s | %s | %s |\n", r.id, r.state(), r.title, strings.Join(built, "; "), strings.Join(missing, "; "))
	}
	var b strings.Builder
	fmt.Fprintf(&b, threatsHead, n[green], n[greenYet], n[begun], n[untold])
	b.WriteString("\nParts wait for these features:\n\n")
	for _, l := range readLines(t, "testdata/waits.txt") {
		if name, what, ok := strings.Cut(l, " = "); ok {
			fmt.Fprintf(&b, "- %s: %s (%d)\n", name, what, waiting[name])
		}
	}
	return b.String() + threatsMiddle + rows.String()
}

// TestZZThreatsFile keeps THREATS.md true: every row of the matrix once, every
// part that is built, every part that is not.
func TestZZThreatsFile(t *testing.T) {
	known := map[string]bool{}
	for _, r := range matrix(t) {
		known[r.id] = true
	}
	seen := map[string]bool{}
	for _, p := range everyPart() {
		id := p.row + "/" + p.name
		if !known[p.row] || seen[id] || p.title == "" || p.run == nil && !onMachines(id) {
			t.Errorf("the part %s is of no row, listed twice, or has no title or attack", id)
		}
		seen[id] = true
	}
	for _, o := range openParts(t) {
		id := o.row + "/" + o.name
		if !known[o.row] || seen[id] {
			t.Errorf("testdata: %s is of no row, is built, or is listed twice", id)
		}
		seen[id] = true
	}
	golden(t, "../../THREATS.md", threatsFile(t))
}

// golden compares text with a file, or writes it with -update.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) == got {
		return
	}
	w, g := strings.Split(string(want), "\n"), strings.Split(got, "\n")
	for _, l := range g {
		if !slices.Contains(w, l) {
			t.Errorf("%s lacks: %s", file, l)
		}
	}
	for _, l := range w {
		if !slices.Contains(g, l) {
			t.Errorf("%s has and should not: %s", file, l)
		}
	}
	t.Errorf("%s is not what it should be; look at the difference, then run with -update", file)
}

// TestZZZMatrix is the last test: it says how much of the matrix is green. A
// row counts only if its built parts passed in this run; in the short form those
// on real machines run in tests/realm, and the line says that they are not
// counted here.
func TestZZZMatrix(t *testing.T) {
	n := map[string]int{}
	built, away := 0, ""
	if !long {
		away = fmt.Sprintf("; %d on real machines are for tests/realm to pass", len(machineparts.All()))
	}
	for _, r := range matrix(t) {
		here := slices.DeleteFunc(slices.Clone(r.built), func(p part) bool { return !long && onMachines(p.row+"/"+p.name) })
		built += len(here)
		s := r.state()
		if s != untold && slices.ContainsFunc(here, func(p part) bool { return !passed[p.row+"/"+p.name] }) {
			s = begun
		}
		n[s]++
	}
	if len(passed) == built && n[green] == 0 {
		t.Error("every part passed and no row is green: the counting is broken")
	}
	fmt.Printf("matrix: %d/228 rows green; %d more green so far (the rest of them waits for features that do not exist); %d open, %d not begun; %d of %d parts passed%s\n",
		n[green], n[greenYet], n[begun], n[untold], len(passed), built, away)
}
