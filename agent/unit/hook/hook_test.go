package hook

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/scarab-ops/scarab/wire/agentapi"
)

func write(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"), mode); err != nil {
		t.Fatal(err)
	}
}

func TestScript(t *testing.T) {
	dir := t.TempDir()
	if _, err := Script(dir, "hooks/install"); err == nil || err.Error() != "charm missing from disk" {
		t.Errorf("empty directory: %v", err)
	}
	write(t, filepath.Join(dir, "metadata.yaml"), 0o644)
	if _, err := Script(dir, "hooks/install"); !errors.Is(err, ErrMissing) {
		t.Errorf("missing hook: %v", err)
	}
	write(t, filepath.Join(dir, "hooks/install"), 0o644)
	if _, err := Script(dir, "hooks/install"); err == nil || errors.Is(err, ErrMissing) {
		t.Errorf("hook that is not executable: %v", err)
	}
	write(t, filepath.Join(dir, "hooks/start"), 0o755)
	if p, err := Script(dir, "hooks/start"); err != nil || p != filepath.Join(dir, "hooks/start") {
		t.Errorf("hook: %q %v", p, err)
	}
	if _, err := Script(dir, "actions/../../x"); err == nil || errors.Is(err, ErrMissing) {
		t.Errorf("path out of the charm: %v", err)
	}
	write(t, filepath.Join(dir, "dispatch"), 0o755)
	if p, err := Script(dir, "hooks/anything"); err != nil || p != filepath.Join(dir, "dispatch") {
		t.Errorf("dispatch: %q %v", p, err)
	}
}

func TestEnv(t *testing.T) {
	pic := &agentapi.HookContext{Proxies: map[string]string{"http": "p"}, LegacyProxies: map[string]string{"no": "n"}}
	f := Facts{
		CharmDir: "/c", Hook: "install", DispatchPath: "hooks/install", ToolsDir: "/t", Path: "/bin", RelationID: -1, Picture: pic,
		Want: agentapi.Want{Unit: "a/0", APIAddresses: []string{"x:1", "y:2"}},
	}
	got := Env(f)
	for _, want := range []string{
		"JUJU_HOOK_NAME=install", "JUJU_DISPATCH_PATH=hooks/install", "PATH=/t:/bin", "JUJU_API_ADDRESSES=x:1 y:2",
		"JUJU_CHARM_HTTP_PROXY=p", "JUJU_CHARM_FTP_PROXY=", "no_proxy=n", "NO_PROXY=n", "JUJU_PRINCIPAL_UNIT=", "LANG=C.UTF-8",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("no %s in %v", want, got)
		}
	}
	for _, e := range got {
		for _, no := range []string{"HOME=", "JUJU_RELATION", "JUJU_REMOTE", "JUJU_ACTION", "http_proxy="} {
			if strings.HasPrefix(e, no) {
				t.Errorf("unexpected %s", e)
			}
		}
	}
	f.RelationID, f.Endpoint, f.RemoteApp = 4, "db", "pg"
	got = Env(f)
	if !slices.Contains(got, "JUJU_RELATION_ID=db:4") || !slices.Contains(got, "JUJU_REMOTE_UNIT=") || slices.Contains(got, "JUJU_DEPARTING_UNIT=") {
		t.Errorf("relation hook: %v", got)
	}
}

func TestLinesAreBounded(t *testing.T) {
	var got []string
	l := NewLines(func(s string) { got = append(got, s) }, true)
	for _, p := range []string{"one\ntw", "o\r\n", strings.Repeat("x", MaxLine+3), "\nlast"} {
		if n, err := l.Write([]byte(p)); n != len(p) || err != nil {
			t.Fatal(n, err)
		}
	}
	if c := l.Close(); !strings.HasPrefix(string(c), "one\ntwo") {
		t.Errorf("captured %q", c[:10])
	}
	want := []string{"one", "two", strings.Repeat("x", MaxLine), "xxx", "last"}
	if !slices.Equal(got, want) {
		t.Errorf("got %d lines", len(got))
	}
	got = nil
	l = NewLines(func(s string) { got = append(got, s) }, true)
	chunk := []byte(strings.Repeat("y", 1023) + "\n")
	for range 1 << 16 { // 64 MiB
		if _, err := l.Write(chunk); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(l.Close()); n != MaxCapture {
		t.Errorf("captured %d bytes", n)
	}
	if len(got) > MaxOutput/1024+1 || !strings.Contains(got[len(got)-1], "output cut") {
		t.Errorf("%d lines, last %q", len(got), got[len(got)-1])
	}
}
