package threats_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/tests/threats/machineparts"
)

// everyPart is every part, of the controllers here and of real machines.
func everyPart() []part {
	out := table()
	for _, p := range machineparts.All() {
		out = append(out, part{row: p.Row, name: p.Name, title: p.Title})
	}
	return out
}

// onMachines tells whether a part, as ROW/NAME, is of real machines.
func onMachines(id string) bool {
	return slices.ContainsFunc(machineparts.All(), func(p machineparts.Part) bool { return p.ID() == id })
}

// machinePrefix is what the names of those files of mutants begin with that are
// built into the programs.
const machinePrefix = "realm-"

// TestMachines runs the parts that need real machines, with the programs as
// they are, as tests/realm does in the short form of all tests. It needs this
// host's ordinary local cloud, so it is of the long form alone.
func TestMachines(t *testing.T) {
	if !long {
		return // tests/realm runs them
	}
	bin := os.Getenv("SCARAB_BIN")
	if bin == "" {
		bin = buildPrograms(t, "")
	}
	out := runRealm(t, buildRealm(t), "SCARAB_BIN="+bin, "SCARAB_LONG=1")
	for _, p := range machineparts.All() {
		t.Run(p.ID(), func(t *testing.T) {
			text, ran, ok := resultOf(out, p.ID())
			if !ran || !ok {
				t.Errorf("%s on real machines: ran: %v\n%s", p.ID(), ran, text)
				return
			}
			passed[p.ID()] = true
		})
	}
	if !strings.Contains(out, "--- PASS: "+machineparts.Test+" ") {
		t.Errorf("the test of the machines failed:\n%s", tail(out))
	}
}

// buildPrograms builds the four programs, with an overlay if it is named.
func buildPrograms(t *testing.T, overlay string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "bin")
	args := []string{"build", "-trimpath", "-ldflags=-s -w", "-o", dir + "/"}
	if overlay != "" {
		args = append(args, "-overlay", overlay)
	}
	cmd := exec.CommandContext(t.Context(), "go", append(args, "../../cmd/...")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("the programs do not build: %v\n%s", err, out)
	}
	return dir
}

// buildRealm builds the test of the machines.
func buildRealm(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "realm.test")
	cmd := exec.CommandContext(t.Context(), "go", "test", "-c", "-ldflags=-s -w", "-o", bin, "../realm")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("the test of the machines does not build: %v\n%s", err, out)
	}
	return bin
}

// runRealm runs it to its end and returns what it said; what it did is there.
func runRealm(t *testing.T, bin string, env ...string) string {
	t.Helper()
	start := time.Now()
	cmd := exec.CommandContext(t.Context(), bin, "-test.run", "^"+machineparts.Test+"$", "-test.v", "-test.timeout", "40m")
	cmd.Dir = "../realm"
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	t.Logf("the machines were in use for %s: %v", time.Since(start).Round(100*time.Millisecond), err)
	if !strings.Contains(string(out), "=== RUN   "+machineparts.Test) {
		t.Fatalf("the test of the machines did not run: %v\n%s", err, tail(string(out)))
	}
	return string(out)
}

// resultOf is what a part said, whether it ran and whether it passed.
func resultOf(out, id string) (text string, ran, ok bool) {
	_, rest, ran := strings.Cut(out, "=== RUN   "+machineparts.Test+"/"+id+"\n")
	if !ran {
		return "", false, false
	}
	// Parts run one after the other; what a part's own subtests say is its own.
	text = rest
	for at := 0; ; {
		i := strings.Index(text[at:], "=== RUN   ")
		if i < 0 {
			break
		}
		at += i
		if !strings.HasPrefix(text[at:], "=== RUN   "+machineparts.Test+"/"+id+"/") {
			text = text[:at]
			break
		}
		at++
	}
	return text, true, strings.Contains(out, "--- PASS: "+machineparts.Test+"/"+id+" (")
}

// runMachineMutants builds the programs without the controls of one file, runs
// all parts on machines of those programs and demands that those named die.
func runMachineMutants(t *testing.T, ms []mutant) {
	t.Helper()
	dir := t.TempDir()
	charms := filepath.Join(dir, "charms")
	if err := os.CopyFS(charms, os.DirFS("../../charms")); err != nil {
		t.Fatal(err)
	}
	code := map[string]string{}
	for file, text := range mutate(t, ms) {
		if strings.HasSuffix(file, ".go") {
			code[file] = text
			continue
		}
		rest, ok := strings.CutPrefix(file, "charms/")
		if !ok {
			t.Fatalf("cannot change %s: it is neither Go nor a sample charm's", file)
		}
		if err := os.WriteFile(filepath.Join(charms, rest), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	bin := buildPrograms(t, overlayOf(t, dir, code))
	out := runRealm(t, buildRealm(t), "SCARAB_BIN="+bin, "SCARAB_REALM_CHARMS="+charms, "SCARAB_LONG=")
	for _, m := range ms {
		for _, k := range m.kills {
			text, ran, ok := resultOf(out, k.part)
			switch {
			case !ran:
				t.Errorf("%s did not run:\n%s", k.part, tail(out))
			case ok:
				t.Errorf("%s passes although its control is removed", k.part)
			case !strings.Contains(text, k.want):
				t.Errorf("%s fails, but without the words %q:\n%s", k.part, k.want, tail(text))
			default:
				t.Logf("%s dies", k.part)
			}
		}
	}
}

// overlayOf writes changed files, and what tells the compiler to take them.
func overlayOf(t *testing.T, dir string, code map[string]string) string {
	t.Helper()
	replace := map[string]string{}
	for file, text := range code {
		changed := filepath.Join(dir, strings.ReplaceAll(file, "/", "_"))
		abs, err := filepath.Abs(filepath.Join("../..", file))
		if err == nil {
			err = os.WriteFile(changed, []byte(text), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		replace[abs] = changed
	}
	overlay := filepath.Join(dir, "overlay.json")
	raw, err := json.Marshal(map[string]any{"Replace": replace})
	if err == nil {
		err = os.WriteFile(overlay, raw, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return overlay
}
