package arch_test

import (
	"bufio"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// The hard budgets. What is over them stands in budget.txt with its size, and
// that list may only shrink.
const (
	maxFunction  = 100  // lines
	maxFile      = 800  // lines
	maxPackage   = 3000 // lines, tests and generated files aside
	maxInterface = 8    // methods
)

func exceptions(t *testing.T) map[string]int {
	t.Helper()
	f, err := os.Open("budget.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // read only
	out := map[string]int{}
	for sc := bufio.NewScanner(f); sc.Scan(); {
		line, _, _ := strings.Cut(sc.Text(), "#")
		fs := strings.Fields(line)
		if len(fs) != 2 {
			continue
		}
		n, err := strconv.Atoi(fs[1])
		if err != nil {
			t.Fatalf("budget.txt: %v", err)
		}
		out[fs[0]] = n
	}
	return out
}

func TestBudgets(t *testing.T) {
	over := map[string]int{}
	for _, p := range list(t) {
		lines := 0
		for _, name := range p.GoFiles {
			if strings.HasSuffix(name, ".gen.go") {
				continue
			}
			lines += measure(t, filepath.Join(p.Dir, name), strings.TrimPrefix(p.ImportPath, module), over)
		}
		if lines > maxPackage {
			over["package:"+strings.TrimPrefix(p.ImportPath, module)] = lines
		}
	}
	allowed := exceptions(t)
	for what, n := range over {
		switch a, ok := allowed[what]; {
		case !ok:
			t.Errorf("%s has %d: over the budget", what, n)
		case n > a:
			t.Errorf("%s has grown to %d; budget.txt allows %d", what, n, a)
		}
	}
	for what := range allowed {
		if _, ok := over[what]; !ok {
			t.Errorf("budget.txt: %s is within the budget now: take it off the list", what)
		}
	}
}

func measure(t *testing.T, path, pkg string, over map[string]int) int {
	t.Helper()
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	n := fset.File(f.Pos()).LineCount()
	if n > maxFile {
		over[fmt.Sprintf("file:%s/%s", pkg, filepath.Base(path))] = n
	}
	ast.Inspect(f, func(x ast.Node) bool {
		switch d := x.(type) {
		case *ast.FuncDecl:
			if size := fset.Position(d.End()).Line - fset.Position(d.Pos()).Line + 1; size > maxFunction {
				over[fmt.Sprintf("func:%s.%s", pkg, d.Name.Name)] = size
			}
		case *ast.TypeSpec:
			if i, ok := d.Type.(*ast.InterfaceType); ok && i.Methods.NumFields() > maxInterface {
				over[fmt.Sprintf("interface:%s.%s", pkg, d.Name.Name)] = i.Methods.NumFields()
			}
		}
		return true
	})
	return n
}
