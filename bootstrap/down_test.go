package bootstrap

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestQuickstartDown: the script takes down what is named quickstart, by the
// client's record or the host's, and nothing else.
func TestQuickstartDown(t *testing.T) {
	const kill = "kill-controller --no-prompt "
	for name, c := range map[string]struct {
		known string // the client's list
		mark  *Mark
		calls string // but for looks at the list
		says  string
	}{
		"nothing":         {calls: "", says: "Nothing of the quickstart is left"},
		"ours":            {known: `{"quickstart":{}}`, mark: &Mark{Name: "quickstart", UUID: one, Ready: true}, calls: kill + "quickstart\n"},
		"half made":       {mark: &Mark{Name: "quickstart", UUID: one}, calls: kill + string(one) + "\n"},
		"files lost":      {mark: &Mark{Name: "quickstart", UUID: one, Ready: true}, calls: kill + string(one) + "\n"},
		"another":         {known: `{"prod":{}}`, mark: &Mark{Name: "prod", UUID: other, Ready: true}, says: "To remove that one: scarab kill-controller " + string(other)},
		"another, unmade": {mark: &Mark{Name: "prod", UUID: other}, says: "prod, " + string(other) + ", which the quickstart did not make: it is left"},
		"gone, on record": {known: `{"quickstart":{}}`, mark: &Mark{Name: "prod", UUID: other, Ready: true}, calls: kill + "quickstart\n", says: "it is left"},
	} {
		t.Run(name, func(t *testing.T) {
			p := host(t)
			if c.mark != nil {
				if err := p.mark(*c.mark); err != nil {
					t.Fatal(err)
				}
			}
			calls := filepath.Join(p.Programs, "calls")
			// A kill of what is here removes its record, as the real one does.
			fake := "#!/bin/sh\nif [ \"$1\" = controllers ]; then echo '" + c.known + "'; exit 0; fi\necho \"$@\" >>" + calls +
				"\ncase \"$3 $(cat " + p.markFile() + ")\" in quickstart*'\"quickstart\"'*|" + string(one) + "*) rm " + p.markFile() + ";; esac\n"
			if err := os.WriteFile(filepath.Join(p.Programs, "scarab"), []byte(fake), 0o755); err != nil { //nolint:gosec // a program
				t.Fatal(err)
			}
			cmd := exec.Command("../tools/quickstart/down.sh")
			cmd.Env = append(os.Environ(), "SCARAB_BIN="+p.Programs, "SCARAB_LIB="+p.Lib)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			got, err := os.ReadFile(calls)
			if err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			if string(got) != c.calls {
				t.Errorf("it ran %q, want %q", got, c.calls)
			}
			if !strings.Contains(string(out), c.says) {
				t.Errorf("no %q in %s", c.says, out)
			}
		})
	}
}

// TestMarks: what a killed bootstrap left is told from the data of a
// controller, which a bootstrap never removes.
func TestMarks(t *testing.T) {
	p := host(t)
	if err := os.MkdirAll(p.data(), 0o700); err != nil {
		t.Fatal(err)
	}
	precious := filepath.Join(p.data(), "store")
	write(t, precious, "x")
	if err := p.mark(Mark{Name: "prod", UUID: one, Ready: true}); err != nil {
		t.Fatal(err)
	}
	_, err := Start(t.Context(), p, Request{Name: "x", APIPort: freePort(t)}, quiet)
	if err == nil || !strings.Contains(err.Error(), "scarab kill-controller "+string(one)) {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(precious); err != nil {
		t.Fatalf("a bootstrap removed a controller's data: %v", err)
	}
	if err := Destroy(t.Context(), p, other, quiet); err == nil || !strings.Contains(err.Error(), "holds the controller "+string(one)) {
		t.Errorf("the destruction of another: %v", err)
	}
	if _, err := os.Stat(precious); err != nil {
		t.Fatalf("the destruction of another removed a controller's data: %v", err)
	}
	write(t, p.markFile(), "{")
	if _, err := Start(t.Context(), p, Request{Name: "x", APIPort: freePort(t)}, quiet); err == nil {
		t.Error("a broken mark was believed")
	}
	if _, err := os.Stat(precious); err != nil {
		t.Fatal("a broken mark cost a controller's data")
	}
	// One that was not finished is removed, and only then is it looked further.
	if err := p.mark(Mark{Name: "prod", UUID: one}); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(p.Programs, "scarab-agent")); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(t.Context(), p, Request{Name: "x", APIPort: freePort(t)}, quiet); err == nil || !strings.Contains(err.Error(), "is not beside scarab") {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(p.data()); !os.IsNotExist(err) {
		t.Errorf("what a killed bootstrap left is still there: %v", err)
	}
}
