// Package arch holds the rules of the house and the tests that keep them: who
// may import whom (rules.txt), and how large things may grow (budget.txt).
package arch_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/scarab-ops/scarab/"

type pkg struct {
	ImportPath string
	Dir        string
	Imports    []string
	GoFiles    []string
}

func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,GoFiles,Dir", "./...")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("cannot list packages: %v", err)
	}
	var ps []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return ps
		} else if err != nil {
			t.Fatal(err)
		}
		ps = append(ps, p)
	}
}

func match(pattern, path string) bool {
	if pattern == "..." {
		return true
	}
	if base, ok := strings.CutSuffix(pattern, "/..."); ok {
		return path == base || strings.HasPrefix(path, base+"/")
	}
	if base, ok := strings.CutSuffix(pattern, "/*"); ok {
		rest, ok := strings.CutPrefix(path, base+"/")
		return ok && !strings.Contains(rest, "/")
	}
	return pattern == path
}

func matchAny(patterns []string, path string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return match(p, path) })
}

func rules(t *testing.T) (allow, only [][]string) {
	t.Helper()
	f, err := os.Open("rules.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // read only
	for sc := bufio.NewScanner(f); sc.Scan(); {
		line, _, _ := strings.Cut(sc.Text(), "#")
		switch fs := strings.Fields(line); {
		case len(fs) == 0:
		case fs[0] == "only":
			only = append(only, fs[1:])
		default:
			allow = append(allow, fs)
		}
	}
	return allow, only
}

func TestImports(t *testing.T) {
	allow, only := rules(t)
	used := map[string]bool{}
	for _, p := range list(t) {
		self := strings.TrimPrefix(p.ImportPath, module)
		if len(p.GoFiles) == 0 {
			continue // tests alone may import what they need
		}
		i := slices.IndexFunc(allow, func(r []string) bool { return match(r[0], self) })
		if i < 0 {
			t.Errorf("%s has no line in rules.txt", self)
			continue
		}
		used[allow[i][0]] = true
		for _, imp := range p.Imports {
			checkImport(t, self, imp, allow[i], only)
		}
	}
	for _, r := range allow { // a rule nothing needs is a rule nobody reads
		if !used[r[0]] {
			t.Errorf("rules.txt: no package matches %q", r[0])
		}
	}
}

func checkImport(t *testing.T, self, imp string, rule []string, only [][]string) {
	t.Helper()
	if dep, ok := strings.CutPrefix(imp, module); ok {
		if !matchAny(rule[1:], dep) {
			t.Errorf("%s must not import %s (rule: %s)", self, dep, strings.Join(rule, " "))
		}
		testing := strings.HasSuffix(dep, "test")
		if testing && !strings.HasSuffix(self, "test") && !strings.HasPrefix(self, "tests/") && !strings.HasPrefix(self, "bench") {
			t.Errorf("%s must not import %s: it is for tests", self, dep)
		}
	}
	for _, o := range only {
		if match(o[0], imp) && !matchAny(o[1:], self) {
			t.Errorf("%s must not import %s (only %s may)", self, imp, strings.Join(o[1:], " "))
		}
	}
}
