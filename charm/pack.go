package charm

import (
	"archive/zip"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"time"

	"github.com/scarab-ops/scarab/charm/internal/ignore"
	"github.com/scarab-ops/scarab/charm/internal/unzip"
)

// PackDir writes the charm in a directory as an archive, and gives what the
// author should be told. The same files always give the same bytes. Files
// that a charmcraft.yaml stands for are made from it if they are missing. The
// revision and version files are the packer's to make, not the directory's.
func PackDir(dir string, w io.Writer) (warnings []string, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot pack charm: %w", err)
	}
	defer root.Close()
	c, err := ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot pack charm: %w", err)
	}
	src, err := openSource(root)
	if err != nil {
		return nil, fmt.Errorf("cannot pack charm: %w", err)
	}
	rules, err := packRules(root)
	if err != nil {
		return nil, fmt.Errorf("cannot pack charm: %w", err)
	}
	p := &packer{
		root: root, rules: rules, hooks: c.Meta.Hooks(), lim: DefaultLimits(),
		zip: zip.NewWriter(w), links: map[string]string{},
	}
	if err := fs.WalkDir(root.FS(), ".", p.visit); err != nil {
		return p.warnings, fmt.Errorf("cannot pack charm: %w", err)
	}
	for _, name := range sortedKeys(src.made) {
		if err := p.create(name, 0o644, src.made[name]); err != nil {
			return p.warnings, fmt.Errorf("cannot pack charm: %w", err)
		}
	}
	for _, name := range sortedKeys(p.links) {
		if why := unzip.FollowLink(p.links, name); why != "" {
			return p.warnings, fmt.Errorf("cannot pack charm: symlink %q links out of charm: %q (it %s)", name, p.links[name], why)
		}
	}
	if err := p.zip.Close(); err != nil {
		return p.warnings, fmt.Errorf("cannot pack charm: %w", err)
	}
	return p.warnings, nil
}

func packRules(root *os.Root) ([]ignore.Rule, error) {
	rules, err := ignore.Parse([]byte(ignore.Builtin))
	if err != nil {
		return nil, err
	}
	text, ok, err := readRooted(root, ignore.File, DefaultLimits().File)
	if err != nil || !ok {
		return rules, err
	}
	own, err := ignore.Parse(text)
	return append(rules, own...), err
}

type packer struct {
	root     *os.Root
	rules    []ignore.Rule
	hooks    map[string]bool
	lim      Limits
	zip      *zip.Writer
	links    map[string]string
	entries  int
	total    int64
	warnings []string
}

func (p *packer) visit(name string, d fs.DirEntry, err error) error {
	if err != nil || name == "." {
		return err
	}
	if ignore.Ignored(p.rules, name, d.IsDir()) {
		if d.IsDir() {
			return fs.SkipDir
		}
		return nil
	}
	if _, err := p.lim.CheckName(name); err != nil {
		return err
	}
	switch d.Type() {
	case fs.ModeDir:
		return p.create(name+"/", fs.ModeDir|0o755, nil)
	case fs.ModeSymlink:
		target, err := p.root.Readlink(name)
		if err != nil {
			return err
		}
		if path.IsAbs(target) {
			return fmt.Errorf("symlink %q is absolute: %q", name, target)
		}
		p.links[name] = target
		return p.create(name, fs.ModeSymlink|0o777, []byte(target))
	case 0:
		return p.file(name, d)
	case fs.ModeNamedPipe:
		return fmt.Errorf("file is a named pipe: %q", name)
	case fs.ModeSocket:
		return fmt.Errorf("file is a socket: %q", name)
	case fs.ModeDevice, fs.ModeDevice | fs.ModeCharDevice:
		return fmt.Errorf("file is a device: %q", name)
	}
	return fmt.Errorf("file is of an unknown kind: %q", name)
}

// file adds a regular file with one of the two modes that charms have.
func (p *packer) file(name string, d fs.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	perm := fs.FileMode(0o644)
	if info.Mode()&0o100 != 0 {
		perm = 0o755
	}
	if dir, base := path.Split(name); dir == hooksDir+"/" && p.hooks[base] && perm == 0o644 {
		p.warnings = append(p.warnings, fmt.Sprintf("making %q executable in charm", name))
		perm = 0o755
	}
	data, ok, err := readRooted(p.root, name, p.lim.Total-p.total)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("cannot read %q: it has gone", name)
	}
	return p.create(name, perm, data)
}

func (p *packer) create(name string, mode fs.FileMode, data []byte) error {
	p.entries++
	p.total += int64(len(data))
	if p.entries > p.lim.Entries || p.total > p.lim.Total {
		return fmt.Errorf("charm has more than %d files or %d bytes; leave out what it does not need with a %s file",
			p.lim.Entries, p.lim.Total, ignore.File)
	}
	h := &zip.FileHeader{Name: name, Method: zip.Deflate, Modified: time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)}
	if len(data) == 0 {
		h.Method = zip.Store
	}
	h.SetMode(mode)
	w, err := p.zip.CreateHeader(h)
	if err != nil {
		return err
	}
	_, err = w.Write(data)
	if mode.IsDir() {
		return nil
	}
	return err
}
