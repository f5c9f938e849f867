package arch_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// TestBanned refuses constructs that the security rules ban (R5, R8): each has
// a safer way that is named here.
func TestBanned(t *testing.T) {
	banned := map[string]string{
		"InsecureSkipVerify":  "verify against the pinned CA (package tlspolicy)",
		"http.DefaultClient":  "use a configured client",
		"http.Get":            "use a configured client",
		"http.ListenAndServe": "use apiserver's listeners",
		"template.HTML":       "no templates on user text",
	}
	for _, p := range list(t) {
		for _, name := range p.GoFiles {
			fset := token.NewFileSet()
			f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			rel := strings.TrimPrefix(p.ImportPath, module) + "/" + name
			ast.Inspect(f, func(x ast.Node) bool {
				var used string
				switch e := x.(type) {
				case *ast.KeyValueExpr:
					if id, ok := e.Key.(*ast.Ident); ok {
						used = id.Name
					}
				case *ast.SelectorExpr:
					if id, ok := e.X.(*ast.Ident); ok {
						used = id.Name + "." + e.Sel.Name
					}
				case *ast.FuncDecl:
					if e.Name.Name == "init" && e.Recv == nil && !strings.HasPrefix(rel, "cmd/") {
						t.Errorf("%s: init functions are for cmd only", rel)
					}
				}
				if why, ok := banned[used]; ok {
					t.Errorf("%s:%d: %s is banned: %s", rel, fset.Position(x.Pos()).Line, used, why)
				}
				return true
			})
		}
	}
}
