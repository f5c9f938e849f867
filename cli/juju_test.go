package cli_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/scarab-ops/scarab/cli"
	"github.com/scarab-ops/scarab/cli/session"
)

const (
	page  = "../docs/juju.md"
	begin = "<!-- written by: go test ./cli -run TestJujuPage -update -->\n"
)

// The page that says what there is of Juju, and what is not, is what the command table says.
func TestJujuPage(t *testing.T) {
	root := cli.Root(session.New(bare(t, &bytes.Buffer{})))
	have := map[string]bool{}
	var b strings.Builder
	b.WriteString("\n## Commands that there are\n\n| group | commands |\n|---|---|\n")
	for _, g := range root.Groups() {
		var list []string
		for _, c := range root.Commands() {
			have[c.Name()] = true
			for _, a := range c.Aliases {
				have[a] = true
			}
			if c.GroupID == g.ID && !c.Hidden {
				list = append(list, "`"+c.Name()+"`")
			}
		}
		fmt.Fprintf(&b, "| %s | %s |\n", strings.TrimSuffix(g.Title, ":"), strings.Join(list, " "))
	}
	b.WriteString("\n## Commands of Juju 3.6 that this release does not have\n\n| what | in its place | commands |\n|---|---|---|\n")
	for _, f := range cli.Features() {
		var list []string
		for _, c := range f.Commands {
			if have[c] {
				t.Errorf("%s is there, and said to be lacking", c)
			}
			list = append(list, "`"+c+"`")
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", f.Name, f.Instead, strings.Join(list, " "))
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	head, tail, ok := strings.Cut(string(text), begin)
	if !ok {
		t.Fatalf("%s has no line %q", page, begin)
	}
	if *update {
		if err := os.WriteFile(page, []byte(head+begin+b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if tail != b.String() {
		t.Errorf("%s is not what the commands say; write it with -update", page)
	}
}

func TestLackingCommandsAreTold(t *testing.T) {
	told := 0
	for _, f := range cli.Features() {
		for _, name := range f.Commands {
			var out bytes.Buffer
			if code := cli.Main(context.Background(), bare(t, &out), []string{name, "x"}); code != 2 ||
				!strings.Contains(out.String(), fmt.Sprintf("%q: it is a Juju command that this release does not have; see docs/juju.md\nhint: ", name)) {
				t.Errorf("%s: code %d: %s", name, code, out.String())
			}
			told++
		}
	}
	for _, name := range strings.Fields("refresh debug-hooks storage secrets offer consume add-cloud enable-ha") {
		var out bytes.Buffer
		if cli.Main(context.Background(), bare(t, &out), []string{"help", name}); !strings.Contains(out.String(), "Juju command") {
			t.Errorf("help %s: %s", name, out.String())
		}
	}
	if told < 100 {
		t.Errorf("only %d commands", told)
	}
}
