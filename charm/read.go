package charm

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"strconv"
	"strings"

	"github.com/scarab-ops/scarab/charm/internal/yamltree"
)

// reader gives one file at the root of a charm; the second result is false if
// there is none.
type reader func(name string) ([]byte, bool, error)

// readCharm reads a charm's files in the order that error texts depend on.
func readCharm(read reader) (*Charm, error) {
	c := &Charm{Config: Config{Options: map[string]Option{}}, Actions: Actions{Specs: map[string]ActionSpec{}}}
	lim := yamltree.DefaultLimits()
	data, ok, err := read(metadataFile)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("%s is missing", metadataFile)
	}
	if c.Meta, err = parseMeta(data, lim); err != nil {
		return nil, err
	}
	steps := []struct {
		file  string
		parse func([]byte) error
	}{
		{manifestFile, func(b []byte) (err error) { c.Manifest, err = parseManifest(b, lim); return }},
		{configFile, func(b []byte) (err error) { c.Config, err = parseConfig(b, lim); return }},
		{actionsFile, func(b []byte) (err error) { c.Actions, err = parseActions(b, lim); return }},
		{revisionFile, func(b []byte) (err error) { c.Revision, err = parseRevision(b); return }},
		{lxdProfileFile, func(b []byte) (err error) { c.LXDProfile, err = parseLXDProfile(b, lim); return }},
		{versionFile, func(b []byte) error { c.Version = firstLine(b); return nil }},
	}
	for _, s := range steps {
		data, ok, err := read(s.file)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		if err := s.parse(data); err != nil {
			return nil, err
		}
	}
	return c, c.Check()
}

func parseRevision(data []byte) (int, error) {
	words := strings.Fields(string(data[:min(len(data), 4096)]))
	if len(words) == 0 {
		return 0, errors.New("invalid revision file")
	}
	n, err := strconv.Atoi(words[0])
	if err != nil || n < 0 || n > math.MaxInt32 {
		return 0, errors.New("invalid revision file")
	}
	return n, nil
}

// firstLine gives printable text of at most 256 bytes.
func firstLine(data []byte) string {
	line, _, _ := strings.Cut(string(data[:min(len(data), 4096)]), "\n")
	line = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == 0xfffd {
			return -1
		}
		return r
	}, line)
	return strings.ToValidUTF8(line[:min(len(line), maxName)], "")
}

// ReadDir reads the charm in a directory. A charm that keeps everything in
// charmcraft.yaml is read as if it had been packed.
func ReadDir(dir string) (*Charm, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot open charm directory: %w", err)
	}
	defer root.Close()
	src, err := openSource(root)
	if err != nil {
		return nil, err
	}
	c, err := readCharm(src.read)
	if err != nil {
		return nil, err
	}
	info, err := root.Stat(dispatchFile)
	c.HasDispatch = err == nil && info.Mode().IsRegular()
	return c, nil
}

// source reads a directory's files, with those split from charmcraft.yaml
// standing in for missing ones.
type source struct {
	root *os.Root
	made map[string][]byte
}

func openSource(root *os.Root) (*source, error) {
	s := &source{root: root}
	data, ok, err := readRooted(root, charmcraftFile, DefaultLimits().File)
	if err != nil || !ok {
		return s, err
	}
	made, err := splitCharmcraft(data)
	if err != nil {
		return nil, err
	}
	s.made = map[string][]byte{}
	for name, text := range made {
		if _, err := root.Lstat(name); errors.Is(err, fs.ErrNotExist) {
			s.made[name] = text
		}
	}
	return s, nil
}

func (s *source) read(name string) ([]byte, bool, error) {
	if text, ok := s.made[name]; ok {
		return text, true, nil
	}
	return readRooted(s.root, name, DefaultLimits().File)
}

// readRooted reads one regular file of at most limit bytes below a root.
func readRooted(root *os.Root, name string, limit int64) ([]byte, bool, error) {
	info, err := root.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("cannot read %s: %w", name, err)
	}
	if !info.Mode().IsRegular() {
		return nil, false, fmt.Errorf("cannot read %s: it is not a regular file", name)
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, false, fmt.Errorf("cannot read %s: %w", name, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, false, fmt.Errorf("cannot read %s: %w", name, err)
	}
	if int64(len(data)) > limit {
		return nil, false, fmt.Errorf("cannot read %s: it has more than %d bytes", name, limit)
	}
	return data, true, nil
}
