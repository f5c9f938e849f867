package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// maxFile bounds what is read: a client file larger than this was not written by a client.
const maxFile = 16 << 20

// BrokenError names a client file that cannot be used, where it is broken, and the way out.
type BrokenError struct {
	Path   string
	Line   int
	Reason string
	Repair string
}

func (e *BrokenError) Error() string {
	if e.Line > 0 {
		return fmt.Sprintf("cannot use client file %s: line %d: %s", e.Path, e.Line, e.Reason)
	}
	return fmt.Sprintf("cannot use client file %s: %s", e.Path, e.Reason)
}

// Advice is the line that says what to do.
func (e *BrokenError) Advice() string { return e.Repair }

// header is the first line of every file this client writes: with it, a file that lost its end is told from a short one.
var header = regexp.MustCompile(`^# scarab: ([0-9]{1,9}) bytes follow\n`)

// load reads one client file as a YAML mapping. A file that is absent or empty and never was written is an empty mapping.
func (s *Store) load(name string) (*yaml.Node, error) {
	if err := s.checkDir(); err != nil {
		return nil, err
	}
	path := filepath.Join(s.dir, name)
	data, err := s.read(path)
	if errors.Is(err, os.ErrNotExist) {
		if s.hasBackup(name) {
			return nil, s.broken(name, 0, "the file is gone, but this client has written it before")
		}
		return emptyMap(), nil
	}
	if err != nil {
		return nil, err
	}
	body := data
	if m := header.FindSubmatch(data); m != nil {
		body = data[len(m[0]):]
		want, _ := strconv.Atoi(string(m[1]))
		if len(body) < want && s.prefixOfBackup(name, body) {
			return nil, s.broken(name, 0, fmt.Sprintf("the end of the file is missing (%d of %d bytes)", len(body), want))
		}
	} else if len(data) < 32 && s.hasBackup(name) && s.prefixOfBackup(name, data) {
		return nil, s.broken(name, 0, "the end of the file is missing")
	}
	return s.parse(name, body, bytes.Count(data[:len(data)-len(body)], []byte("\n")))
}

// parse reads the text of a file that begins after skipped lines.
func (s *Store) parse(name string, body []byte, skipped int) (*yaml.Node, error) {
	if i := bytes.IndexByte(body, 0); i >= 0 {
		return nil, s.broken(name, skipped+1+bytes.Count(body[:i], []byte("\n")), "it holds NUL bytes, as after a crash of the disk or the machine")
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(body, &doc); err != nil {
		line, reason := yamlPosition(err)
		if line > 0 {
			line += skipped
		}
		return nil, s.broken(name, line, reason)
	}
	if doc.Kind == 0 || len(doc.Content) == 0 {
		return emptyMap(), nil
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return emptyMap(), nil
	}
	if root.Kind != yaml.MappingNode {
		return nil, s.broken(name, root.Line, "it does not hold keys and values")
	}
	return root, nil
}

var lineOf = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

func yamlPosition(err error) (int, string) {
	text := strings.ReplaceAll(err.Error(), "\n", " ")
	m := lineOf.FindStringSubmatch(text)
	if m == nil {
		return 0, text
	}
	line, _ := strconv.Atoi(m[1])
	return line, strings.TrimPrefix(text, m[0])
}

func (s *Store) broken(name string, line int, reason string) error {
	repair := "move the file away and log in again: scarab login HOST:PORT -c NAME"
	if s.hasBackup(name) {
		repair = "put the last good copy back with: scarab repair-client-files"
	}
	return &BrokenError{Path: filepath.Join(s.dir, name), Line: line, Reason: reason, Repair: repair}
}

func (s *Store) read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrPermission) {
		return nil, &BrokenError{Path: path, Reason: "no permission to read it", Repair: "make it yours again: chmod 600 " + path}
	}
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // read only
	if err := s.checkFile(f); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read client file %s: %w", path, err)
	}
	if len(data) > maxFile {
		return nil, &BrokenError{Path: path, Reason: "it is larger than 16 MiB", Repair: "move it away and log in again"}
	}
	return data, nil
}

// save replaces one client file: temporary file, fsync, rename, fsync of the directory; then the copy for repairs.
func (s *Store) save(name string, root *yaml.Node) error {
	var body bytes.Buffer
	enc := yaml.NewEncoder(&body)
	enc.SetIndent(2)
	if err := enc.Encode(root); err != nil {
		return fmt.Errorf("cannot write client file %s: %w", name, err)
	}
	if err := enc.Close(); err != nil {
		return fmt.Errorf("cannot write client file %s: %w", name, err)
	}
	data := append(fmt.Appendf(nil, "# scarab: %d bytes follow\n", body.Len()), body.Bytes()...)
	if err := s.replace(s.dir, name, data); err != nil {
		return err
	}
	backups, err := s.Subdir(backupDir)
	if err != nil {
		return err
	}
	return s.replace(backups, name, data)
}

func (s *Store) replace(dir, name string, data []byte) (err error) {
	path := filepath.Join(dir, name)
	defer func() {
		if err != nil {
			err = fmt.Errorf("cannot write client file %s: %w", path, err)
		}
	}()
	tmp, err := os.CreateTemp(dir, "."+name+".new-*") // CreateTemp makes it 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) //nolint:errcheck // gone once it was renamed
	if _, err = tmp.Write(data); err == nil {
		err = tmp.Sync()
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close() //nolint:errcheck // only synced
	return d.Sync()
}

func emptyMap() *yaml.Node { return &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"} }
