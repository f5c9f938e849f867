package charm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"sort"
	"strconv"
	"strings"
	"syscall"

	"github.com/scarab-ops/scarab/charm/internal/unzip"
)

// Files in the directory that remembers what was deployed.
const (
	deployedFile  = "deployed.json"  // what the last finished deploy put in place
	deployingFile = "deploying.json" // what an unfinished one may have put in place
)

// deployment is the record of one deploy.
type deployment struct {
	Paths []string `json:"paths"`
}

// Extract puts a charm into an empty or missing directory and leaves nothing
// behind if it fails.
func (a *Archive) Extract(dir string) error {
	if err := a.Verify(); err != nil {
		return err
	}
	made := false
	if err := os.Mkdir(dir, 0o755); err == nil {
		made = true
	} else if !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("cannot extract charm: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("cannot extract charm: %w", err)
	}
	defer root.Close()
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return fmt.Errorf("cannot extract charm: %w", err)
	}
	if len(entries) > 0 {
		return fmt.Errorf("cannot extract charm: directory %q is not empty", dir)
	}
	err = a.write(root)
	if err == nil {
		return nil
	}
	for _, m := range a.zip.Members {
		top, _, _ := strings.Cut(m.Name, "/")
		err = errors.Join(err, root.RemoveAll(top))
	}
	err = errors.Join(err, root.RemoveAll(revisionFile))
	if made {
		err = errors.Join(err, os.Remove(dir))
	}
	return err
}

// Deploy puts a charm into dir over whatever version is there: files that the
// earlier version brought and this one lacks are removed, all else stays. What
// was deployed is remembered in stateDir, outside of the charm's reach; a
// deploy that was cut off is made good by calling Deploy again, with this or
// another version. The archive is read to its end before anything is changed.
func (a *Archive) Deploy(dir, stateDir string) error {
	if err := a.Verify(); err != nil {
		return err
	}
	for _, d := range []string{dir, stateDir} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return fmt.Errorf("cannot deploy charm: %w", err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("cannot deploy charm: %w", err)
	}
	defer root.Close()
	state, err := os.OpenRoot(stateDir)
	if err != nil {
		return fmt.Errorf("cannot deploy charm: %w", err)
	}
	defer state.Close()
	return a.deploy(root, state)
}

func (a *Archive) deploy(root, state *os.Root) error {
	stale := map[string]bool{}
	for _, name := range []string{deployedFile, deployingFile} {
		old, err := readDeployment(state, name)
		if err != nil {
			return err
		}
		for _, p := range old.Paths {
			stale[p] = true
		}
	}
	next := deployment{Paths: a.paths()}
	// The marker names what came before too: after a crash, files of the
	// version that was being replaced are still known.
	marker := deployment{Paths: append(sortedKeys(stale), next.Paths...)}
	if err := writeDeployment(state, deployingFile, marker); err != nil {
		return err
	}
	if err := a.write(root); err != nil {
		return err
	}
	for _, p := range next.Paths {
		delete(stale, p)
	}
	if err := removeStale(root, sortedKeys(stale)); err != nil {
		return err
	}
	if err := writeDeployment(state, deployedFile, next); err != nil {
		return err
	}
	if err := state.Remove(deployingFile); err != nil {
		return fmt.Errorf("cannot deploy charm: %w", err)
	}
	return syncDir(state, ".")
}

// paths lists every path that a deploy puts in place, parents included.
func (a *Archive) paths() []string {
	set := map[string]bool{revisionFile: true}
	for _, m := range a.zip.Members {
		for p := m.Name; p != "." && !set[p]; p = path.Dir(p) {
			set[p] = true
		}
	}
	return sortedKeys(set)
}

// write extracts all members and the revision file.
func (a *Archive) write(root *os.Root) error {
	hooks := a.charm.Meta.Hooks()
	fail := func(name string, err error) error { return fmt.Errorf("cannot extract %q: %w", clip(name), err) }
	touched := map[string]bool{".": true}
	for _, m := range a.zip.Members {
		if m.Name == revisionFile {
			continue
		}
		parent := path.Dir(m.Name)
		touched[parent] = true
		if err := makeDirs(root, parent); err != nil {
			return fail(m.Name, err)
		}
		var err error
		switch m.Mode.Type() {
		case fs.ModeDir:
			err = writeDir(root, m.Name, m.Mode.Perm())
		case fs.ModeSymlink:
			err = replace(root, m.Name, func(tmp string) error { return root.Symlink(m.Target, tmp) })
		default:
			perm := m.Mode.Perm()
			if parent == hooksDir && hooks[path.Base(m.Name)] {
				perm |= 0o100
			}
			err = writeFile(root, m.Name, perm, func(w io.Writer) error { return m.CopyTo(w) })
		}
		if err != nil {
			return fail(m.Name, err)
		}
	}
	rev := strconv.Itoa(a.charm.Revision)
	err := writeFile(root, revisionFile, 0o644, func(w io.Writer) error { _, err := io.WriteString(w, rev); return err })
	if err != nil {
		return fail(revisionFile, err)
	}
	for dir := range touched {
		if err := syncDir(root, dir); err != nil {
			return fail(dir, err)
		}
	}
	return nil
}

// makeDirs makes the directories of a path one by one. What is in the way and
// no directory, a symlink above all, is removed: nothing is ever written
// through it.
func makeDirs(root *os.Root, dir string) error {
	if dir == "." {
		return nil
	}
	parts := strings.Split(dir, "/")
	for i := range parts {
		if err := makeDir(root, strings.Join(parts[:i+1], "/"), 0o755); err != nil {
			return err
		}
	}
	return nil
}

func makeDir(root *os.Root, name string, perm fs.FileMode) error {
	info, err := root.Lstat(name)
	if err == nil && info.IsDir() {
		return nil
	}
	if err == nil {
		err = root.Remove(name)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return root.Mkdir(name, perm)
}

// writeDir makes a directory with the archive's bits; the owner can always
// write into it, or the members below it could not be made.
func writeDir(root *os.Root, name string, perm fs.FileMode) error {
	if err := makeDir(root, name, 0o755); err != nil {
		return err
	}
	return root.Chmod(name, perm|0o700)
}

// writeFile makes a file beside its place and then moves it there.
func writeFile(root *os.Root, name string, perm fs.FileMode, fill func(io.Writer) error) error {
	return replace(root, name, func(tmp string) error {
		f, err := root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := fill(f); err != nil {
			return err
		}
		if err := errors.Join(f.Chmod(perm), f.Sync()); err != nil {
			return err
		}
		return f.Close()
	})
}

// replace makes something under a temporary name and moves it over whatever
// has the name it shall have.
func replace(root *os.Root, name string, create func(tmp string) error) error {
	dir, base := path.Split(name)
	if len(base) > 200 {
		base = base[:200]
	}
	tmp := dir + unzip.TempPrefix + base
	if err := root.RemoveAll(tmp); err != nil {
		return err
	}
	err := create(tmp)
	if err == nil {
		if info, statErr := root.Lstat(name); statErr == nil && info.IsDir() {
			err = root.RemoveAll(name)
		}
	}
	if err == nil {
		err = root.Rename(tmp, name)
	}
	if err != nil {
		return errors.Join(err, root.RemoveAll(tmp))
	}
	return nil
}

// removeStale removes what an earlier version left: files always, directories
// only if nothing is left in them. A path that now leads through a symlink is
// not the earlier version's any more and is let alone.
func removeStale(root *os.Root, names []string) error {
	sort.Sort(sort.Reverse(sort.StringSlice(names)))
	for _, name := range names {
		if !plainParents(root, name) {
			continue
		}
		info, err := root.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("cannot remove %q of the earlier charm: %w", clip(name), err)
		}
		if info.IsDir() {
			if left, err := fs.ReadDir(root.FS(), name); err != nil || len(left) > 0 {
				continue
			}
		}
		if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot remove %q of the earlier charm: %w", clip(name), err)
		}
	}
	return nil
}

func plainParents(root *os.Root, name string) bool {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		info, err := root.Lstat(dir)
		if err != nil || !info.IsDir() {
			return false
		}
	}
	return true
}

// maxDeployment bounds the record of a deploy.
const maxDeployment = 64 << 20

func readDeployment(state *os.Root, name string) (deployment, error) {
	var d deployment
	data, ok, err := readRooted(state, name, maxDeployment)
	if err != nil || !ok {
		return d, err
	}
	if err := json.Unmarshal(data, &d); err != nil {
		return d, fmt.Errorf("cannot read %s: %w", name, err)
	}
	for _, p := range d.Paths {
		if !fs.ValidPath(p) || p == "." {
			return d, fmt.Errorf("cannot read %s: it names the path %q", name, clip(p))
		}
	}
	return d, nil
}

func writeDeployment(state *os.Root, name string, d deployment) error {
	data, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", name, err)
	}
	err = writeFile(state, name, 0o600, func(w io.Writer) error { _, err := io.Copy(w, bytes.NewReader(data)); return err })
	if err == nil {
		err = syncDir(state, ".")
	}
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", name, err)
	}
	return nil
}

func syncDir(root *os.Root, name string) error {
	// A pipe that lies there by now must not hold the deploy up.
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
