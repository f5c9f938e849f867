package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

const backupDir = ".backup"

func (s *Store) backup(name string) ([]byte, error) {
	return s.read(filepath.Join(s.dir, backupDir, name))
}

func (s *Store) hasBackup(name string) bool {
	data, err := s.backup(name)
	return err == nil && len(data) > 0
}

func (s *Store) prefixOfBackup(name string, body []byte) bool {
	data, err := s.backup(name)
	if err != nil {
		return false
	}
	whole := data
	if m := header.Find(data); m != nil {
		data = data[len(m):]
	}
	return bytes.HasPrefix(data, body) && len(body) < len(data) || bytes.HasPrefix(whole, body) && len(body) < len(whole)
}

// Repaired is what Repair did about one file.
type Repaired struct {
	File   string
	Reason string
	Kept   string
}

// Repair puts the last good copy in the place of every broken file, keeping the broken one under a new name.
func (s *Store) Repair(ctx context.Context, now time.Time) ([]Repaired, error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	var done []Repaired
	for _, name := range Files() {
		_, err := s.load(name)
		if err == nil {
			continue
		}
		var broken *BrokenError
		if !errors.As(err, &broken) {
			return done, err
		}
		r, err := s.restore(name, now)
		if err != nil {
			return done, err
		}
		r.Reason = broken.Reason
		done = append(done, r)
	}
	return done, nil
}

func (s *Store) restore(name string, now time.Time) (Repaired, error) {
	data, err := s.backup(name)
	if err != nil {
		return Repaired{}, fmt.Errorf("cannot repair %s: there is no good copy of it; move it away and log in again", name)
	}
	body := data
	if m := header.Find(data); m != nil {
		body = data[len(m):]
	}
	if _, err := s.parse(name, body, 0); err != nil {
		return Repaired{}, fmt.Errorf("cannot repair %s: its copy is broken too; move both away and log in again", name)
	}
	path := filepath.Join(s.dir, name)
	kept := fmt.Sprintf("%s.broken-%s", path, now.UTC().Format("20060102T150405"))
	if err := os.Rename(path, kept); errors.Is(err, os.ErrNotExist) {
		kept = ""
	} else if err != nil {
		return Repaired{}, fmt.Errorf("cannot repair %s: %w", name, err)
	}
	return Repaired{File: path, Kept: kept}, s.replace(s.dir, name, data)
}
