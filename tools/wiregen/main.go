// Wiregen writes the wire types from the schemas in wire/schema. It refuses a
// type that has two shapes and a name that no schema defines. Run it with
// "go generate ./wire" from the module's root.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: wiregen <wire directory>")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(dir string) error {
	m, err := load(os.DirFS(filepath.Join(dir, "schema")))
	if err != nil {
		return err
	}
	files, err := m.generate()
	if err != nil {
		return err
	}
	for name, src := range files {
		p := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			return fmt.Errorf("cannot write %s: %v", name, err)
		}
		if err := os.WriteFile(p, src, 0o644); err != nil {
			return fmt.Errorf("cannot write %s: %v", name, err)
		}
	}
	return nil
}
