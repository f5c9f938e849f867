package charm

import (
	"fmt"
	"io"
	"io/fs"
	"slices"
)

// Files lists the archive's regular files, sorted.
func (a *Archive) Files() []string {
	names := make([]string, 0, len(a.zip.Members))
	for _, m := range a.zip.Members {
		if m.Mode.IsRegular() {
			names = append(names, m.Name)
		}
	}
	slices.Sort(names)
	return names
}

// Has tells whether the archive has a regular file of that name.
func (a *Archive) Has(name string) bool {
	m, ok := a.zip.Find(name)
	return ok && m.Mode.IsRegular()
}

// CopyFile writes one regular file of the archive to w, checked for size and
// sum. Links are not followed.
func (a *Archive) CopyFile(w io.Writer, name string) error {
	m, ok := a.zip.Find(name)
	if !ok || !m.Mode.IsRegular() {
		return fmt.Errorf("cannot read %q from the charm: %w", clip(name), fs.ErrNotExist)
	}
	return m.CopyTo(w)
}
