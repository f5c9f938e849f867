package charm

import (
	"fmt"
	"io"
	"io/fs"
	"slices"
)

// Files lists the archive's regular files, sorted.
func (a *Archive) Files() []string {
	names := make([]string, 0, len(a.members))
	for _, m := range a.members {
		if m.mode.IsRegular() {
			names = append(names, m.name)
		}
	}
	slices.Sort(names)
	return names
}

// Has tells whether the archive has a regular file of that name.
func (a *Archive) Has(name string) bool {
	at, ok := a.byName[name]
	return ok && a.members[at].mode.IsRegular()
}

// CopyFile writes one regular file of the archive to w, checked for size and
// sum. Links are not followed.
func (a *Archive) CopyFile(w io.Writer, name string) error {
	if !a.Has(name) {
		return fmt.Errorf("cannot read %q from the charm: %w", clip(name), fs.ErrNotExist)
	}
	return copyMember(w, a.members[a.byName[name]].file)
}
