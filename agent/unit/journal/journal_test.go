package journal

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/scarab-ops/scarab/agent/unit/decide"
	"github.com/scarab-ops/scarab/wire/agentapi"
)

func open(t *testing.T, dir string) (*Journal, Entry) {
	t.Helper()
	j, e, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j, e
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestSteps(t *testing.T) {
	dir := t.TempDir()
	op := decide.Op{Kind: decide.Hook, Hook: decide.Install, RelationID: -1}
	j, e := open(t, dir)
	if e.Step != None {
		t.Fatalf("fresh journal has %+v", e)
	}
	must(t, j.Begin(Entry{ID: "1", Op: op}))
	if _, e = open(t, dir); e.Step != Begun || e.Op.Hook != decide.Install {
		t.Fatalf("after Begin: %+v", e)
	}
	must(t, j.Ran(Entry{ID: "1", Op: op, Commit: &agentapi.CommitArgs{OpID: "1"}}))
	if _, e = open(t, dir); e.Step != Ran || e.Commit == nil || e.Commit.OpID != "1" {
		t.Fatalf("after Ran: %+v", e)
	}
	must(t, j.Save(decide.Done(decide.Local{}, op), "1", true))
	j2, e := open(t, dir)
	if e.Step != None || !j2.State().Local.Installed || !j2.State().StatusSet {
		t.Fatalf("after Save: %+v %+v", e, j2.State())
	}
	must(t, j.Save(j.State().Local, "", false))
	if s := j.State(); s.Last != "1" || !s.StatusSet {
		t.Fatalf("a save without an operation lost %+v", s)
	}
}

// TestTornTail cuts the journal at every byte: never an error, and never more
// than what was whole.
func TestTornTail(t *testing.T) {
	dir := t.TempDir()
	op := decide.Op{Kind: decide.Hook, Hook: decide.Start, RelationID: -1}
	j, _ := open(t, dir)
	must(t, j.Begin(Entry{ID: "1", Op: op}))
	path := filepath.Join(dir, journalFile)
	first, err := os.ReadFile(path)
	must(t, err)
	must(t, j.Ran(Entry{ID: "1", Op: op}))
	whole, err := os.ReadFile(path)
	must(t, err)
	for n := range whole {
		must(t, os.WriteFile(path, whole[:n], 0o600))
		want := None
		if n >= len(first) {
			want = Begun
		}
		if _, e := open(t, dir); e.Step != want {
			t.Fatalf("cut at %d of %d: %q, want %q", n, len(whole), e.Step, want)
		}
		bad := append([]byte{}, whole...)
		bad[n] ^= 0x40
		must(t, os.WriteFile(path, bad, 0o600))
		if _, e := open(t, dir); e.Step == Ran {
			t.Fatalf("a damaged byte at %d was believed", n)
		}
	}
}

func TestDamagedStateIsRefused(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, stateFile), []byte("{"), 0o600))
	if _, _, err := Open(Config{Dir: dir}); err == nil {
		t.Fatal("a damaged state was taken for a new unit")
	}
}
