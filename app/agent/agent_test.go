package agent

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestCheckAction(t *testing.T) {
	dir := t.TempDir()
	if _, err := checkAction(filepath.Join(dir, "none"), "x", nil); err == nil || err.Error() != "charm missing from disk" {
		t.Errorf("no charm: %v", err)
	}
	if _, err := checkAction(dir, "x", nil); err == nil || err.Error() != "not defined" {
		t.Errorf("no actions: %v", err)
	}
	text := "backup:\n  params:\n    level: {type: integer, default: 3}\n    to: {type: string}\n  required: [to]\n"
	if err := os.WriteFile(filepath.Join(dir, "actions.yaml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := checkAction(dir, "restore", nil); err == nil || err.Error() != "not defined" {
		t.Errorf("unknown action: %v", err)
	}
	if _, err := checkAction(dir, "backup", map[string]any{"to": 5}); err == nil || !strings.HasPrefix(err.Error(), "validation failed: ") {
		t.Errorf("wrong type: %v", err)
	}
	got, err := checkAction(dir, "backup", map[string]any{"to": "here"})
	if err != nil || fmt.Sprint(got) != "map[level:3 to:here]" {
		t.Errorf("got %v, %v", got, err)
	}
	if err := os.Remove(filepath.Join(dir, "actions.yaml")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "actions.yaml")); err != nil {
		t.Fatal(err)
	}
	if _, err := checkAction(dir, "backup", nil); err == nil || err.Error() != "not defined" {
		t.Errorf("a link out of the charm: %v", err)
	}
}

// A pipe in place of actions.yaml does not hold the agent up.
func TestCheckActionDoesNotWaitForACharm(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(dir, "actions.yaml"), 0o600); err != nil {
		t.Fatal(err)
	}
	end := make(chan error, 1)
	go func() {
		_, err := checkAction(dir, "backup", nil)
		end <- err
	}()
	select {
	case err := <-end:
		if err == nil || !strings.Contains(err.Error(), "not a plain file") {
			t.Errorf("got %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the agent waits for the charm")
	}
}

func TestUnpackKeepsWhatTheCharmMade(t *testing.T) {
	dir := t.TempDir()
	charm, state := filepath.Join(dir, "charm"), filepath.Join(dir, "state")
	for _, extra := range []string{"hooks/old", "hooks/new"} {
		if err := unpack(pack(t, dir, extra), charm, state); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(charm, ".unit-state.db"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, there := range map[string]bool{"hooks/old": false, "hooks/new": true, ".unit-state.db": true, "metadata.yaml": true} {
		if _, err := os.Stat(filepath.Join(charm, name)); errors.Is(err, fs.ErrNotExist) == there {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func pack(t *testing.T, dir, extra string) string {
	t.Helper()
	f, err := os.CreateTemp(dir, "*.charm")
	if err != nil {
		t.Fatal(err)
	}
	z := zip.NewWriter(f)
	for name, text := range map[string]string{"metadata.yaml": "name: app\nsummary: s\ndescription: d\n", extra: "#!/bin/sh\n"} {
		w, err := z.Create(name)
		if err == nil {
			_, err = w.Write([]byte(text))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(z.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

func TestBadMachine(t *testing.T) {
	if err := RunMachine(context.Background(), Config{Machine: "../0"}); err == nil || !strings.Contains(err.Error(), "no machine") {
		t.Errorf("got %v", err)
	}
}
