package threats_test

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// An openPart is a part of a row that is not built yet, and why.
type openPart struct{ row, name, why string }

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

type matrixRow struct{ id, title string }

func matrix(t *testing.T) []matrixRow {
	t.Helper()
	var out []matrixRow
	for _, l := range readLines(t, "testdata/matrix.txt") {
		id, title, _ := strings.Cut(l, " ")
		out = append(out, matrixRow{id, title})
	}
	return out
}

func openParts(t *testing.T) []openPart {
	t.Helper()
	var out []openPart
	for _, l := range readLines(t, "testdata/open.txt") {
		id, why, _ := strings.Cut(l, ": ")
		row, name, ok := strings.Cut(id, "/")
		if !ok || why == "" {
			t.Fatalf("testdata/open.txt: %q is not ROW/part: reason", l)
		}
		out = append(out, openPart{row, name, why})
	}
	return out
}

const threatsHead = `# Threats

Every row of the threat matrix, with the checks that stand for it. A part is one attack that runs in
` + "`make threats`" + ` (short forms in ` + "`make test`" + `) and is shown to fail when its control is removed, by a mutant in
` + "`tests/threats/mutants`" + `. A row is green when it has no open part and every built part passes.

This file is written by ` + "`go test ./tests/threats -run TestZZThreatsFile -update`" + ` from the table of parts,
` + "`testdata/matrix.txt`" + ` and ` + "`testdata/open.txt`" + `, and a test compares it.

| Row | Threat or promise | Built parts | Open parts |
|---|---|---|---|
`

// TestZZThreatsFile keeps THREATS.md true: every row of the matrix once, every
// part that is built, every part that is open.
func TestZZThreatsFile(t *testing.T) {
	rows := matrix(t)
	if len(rows) != 228 {
		t.Fatalf("the matrix has %d rows, not 228", len(rows))
	}
	known := map[string]bool{}
	var b strings.Builder
	b.WriteString(threatsHead)
	open := openParts(t)
	for _, r := range rows {
		known[r.id] = true
		var built, missing []string
		for _, p := range table() {
			if p.row == r.id {
				built = append(built, fmt.Sprintf("**%s**: %s", p.name, p.title))
			}
		}
		for _, o := range open {
			if o.row == r.id {
				missing = append(missing, fmt.Sprintf("%s: %s", o.name, o.why))
			}
		}
		if len(built)+len(missing) == 0 {
			missing = []string{"all"}
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", r.id, r.title, strings.Join(built, "; "), strings.Join(missing, "; "))
	}
	seen := map[string]bool{}
	for _, p := range table() {
		id := p.row + "/" + p.name
		if !known[p.row] || seen[id] || p.title == "" || p.run == nil {
			t.Errorf("the part %s is of no row, listed twice, or has no title or attack", id)
		}
		seen[id] = true
	}
	for _, o := range open {
		if !known[o.row] || seen[o.row+"/"+o.name] {
			t.Errorf("testdata/open.txt: %s/%s is of no row, or is built", o.row, o.name)
		}
	}
	golden(t, "../../THREATS.md", b.String())
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

// TestZZZMatrix is the last test: it says how much of the matrix is green.
func TestZZZMatrix(t *testing.T) {
	green := 0
	open := openParts(t)
	for _, r := range matrix(t) {
		parts, ok := 0, true
		for _, p := range table() {
			if p.row == r.id {
				parts++
				ok = ok && passed[p.row+"/"+p.name]
			}
		}
		for _, o := range open {
			ok = ok && o.row != r.id
		}
		if ok && parts > 0 {
			green++
		}
	}
	if green == 0 && len(passed) > 0 && !t.Failed() {
		t.Log("no row is complete")
	}
	fmt.Printf("matrix: %d/228 rows green\n", green)
}
