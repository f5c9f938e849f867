package cli_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/cli"
)

// TestBashCompletionAlone runs the script in a bash that has nothing else, as on a bare system. What the client answers is
// played; see completion.txtar for that side.
func TestBashCompletionAlone(t *testing.T) {
	var script bytes.Buffer
	if code := cli.Main(context.Background(), bare(t, &script), []string{"completion", "bash"}); code != 0 {
		t.Fatalf("exit code %d: %s", code, script.String())
	}
	script.WriteString(`
compopt() { :; } # works in a running completion only
scarab() { echo "$*" >>"$ASKED"; printf '%s\n' status switch prod:admin/dev :4; }
try() {
    COMP_LINE=$1 COMP_POINT=${#1} COMP_TYPE=9 COMPREPLY=()
    shift
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
    __start_scarab
    echo "=> ${COMPREPLY[*]}"
}
try 'scarab st' scarab st
try 'scarab switch prod:a' scarab switch prod : a
try 'scarab status --format=j' scarab status --format = j
`)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "--norc", "--noprofile")
	asked := filepath.Join(t.TempDir(), "asked")
	cmd.Stdin, cmd.Env = &script, []string{"PATH=/usr/bin:/bin", "ASKED=" + asked}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	questions, err := os.ReadFile(asked)
	if err != nil {
		t.Fatal(err)
	}
	out = append(out, questions...)
	for _, want := range []string{"__complete st\n", "=> status\n", "__complete switch prod:a\n", "=> admin/dev\n", "__complete status --format=j\n"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
}
