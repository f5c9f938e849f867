package controller

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/audit"
	"github.com/scarab-ops/scarab/state"
)

// chain writes n records and signs the first ones.
func chain(t *testing.T, signed, n int) (dir string, written time.Time) {
	t.Helper()
	st, err := state.Open(t.Context(), state.NewMem())
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	dir, written = t.TempDir(), time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	s, err := audit.Open(audit.Config{
		Store: st, Dir: filepath.Join(dir, "audit"), Key: key, Now: func() time.Time { return written },
		Alarm: func(err error) { t.Errorf("alarm: %v", err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		r := audit.Record{ID: audit.ID(written, fmt.Sprintf("%04d", i)), Time: written, Actor: fmt.Sprint("user-bob", i), Facade: "Client", Method: "Get", Outcome: audit.OK}
		err := errors.Join(st.Update(t.Context(), func(tx *state.Tx) error { return audit.Put(tx, r) }), s.Step(t.Context()))
		if i+1 == signed {
			err = errors.Join(err, s.Sign())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, written
}

func change(t *testing.T, dir string, how func(lines []string) []string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "audit", "audit-*.jsonl"))
	if err != nil || len(names) != 1 {
		t.Fatalf("%v, %v", names, err)
	}
	raw, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(names[0], []byte(strings.Join(how(strings.SplitAfter(string(raw), "\n")), "")), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestAuditVerify(t *testing.T) {
	none := func(l []string) []string { return l }
	for name, c := range map[string]struct {
		how    func([]string) []string
		signed int
		later  time.Duration
		args   []string
		want   string
	}{
		"whole":             {none, 5, time.Hour, nil, "signed       up to record 5"},
		"young tail":        {none, 3, time.Minute, nil, "signed       up to record 3"},
		"old unsigned tail": {none, 3, time.Hour, nil, "cannot vouch for records 4 to 5"},
		"changed":           {func(l []string) []string { l[1] = strings.Replace(l[1], "bob1", "eve1", 1); return l }, 5, 0, nil, "record 2"},
		"dropped":           {func(l []string) []string { return append(l[:1], l[2:]...) }, 5, 0, nil, "a record is missing"},
		"reordered":         {func(l []string) []string { l[1], l[2] = l[2], l[1]; return l }, 5, 0, nil, "a record is missing"},
		"cut off": {
			func(l []string) []string { return l[:4] }, 3, 0,
			[]string{"--reaches", "5:" + strings.Repeat("ab", 48)},
			"records up to 5 are missing at the end",
		},
		"another history": {none, 5, 0, []string{"--reaches", "5:" + strings.Repeat("ab", 48)}, "the chain was rewritten"},
		"bad head":        {none, 5, 0, []string{"--reaches", "5"}, "cannot read --reaches"},
		"no key":          {none, 5, 0, []string{"--key", "/absent"}, "cannot read the public key"},
		"not a key":       {none, 5, 0, []string{"--key", "/etc/passwd"}, "it is not PEM"},
		"a word too many": {none, 5, 0, []string{"here"}, "--data-dir"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, written := chain(t, c.signed, 5)
			change(t, dir, c.how)
			var out bytes.Buffer
			if err := AuditVerify(append([]string{"--data-dir", dir}, c.args...), written.Add(c.later), &out); err != nil {
				fmt.Fprintln(&out, err)
			}
			if !strings.Contains(out.String(), c.want) {
				t.Errorf("got %s, want %q", out.String(), c.want)
			}
		})
	}
}

// Checkpoints of somebody else are found with a key that was kept elsewhere, and
// a head that was printed can be asked for again.
func TestAuditVerifyAgainstWhatWasKept(t *testing.T) {
	dir, now := chain(t, 5, 5)
	key := filepath.Join(t.TempDir(), "kept.pem")
	pem, err := os.ReadFile(filepath.Join(dir, "audit", audit.KeyFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(key, pem, 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := AuditVerify([]string{"--data-dir", dir, "--key", key}, now, &out); err != nil {
		t.Fatal(err)
	}
	_, head, _ := strings.Cut(out.String(), "head ")
	head = strings.Fields(head)[0]
	if err := AuditVerify([]string{"--data-dir", dir, "--reaches", head}, now, &out); err != nil {
		t.Errorf("the head that was printed is not found: %v", err)
	}
	forged, now := chain(t, 5, 5)
	if err := AuditVerify([]string{"--data-dir", forged, "--key", key}, now, &out); err == nil || !strings.Contains(err.Error(), "wrong signature") {
		t.Errorf("another's chain: %v", err)
	}
	if raw, err := json.Marshal(out.String()); err != nil || strings.Contains(string(raw), "bob") {
		t.Errorf("what is recorded is shown: %s", raw)
	}
}
