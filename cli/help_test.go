package cli_test

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/scarab-ops/scarab/cli"
	"github.com/scarab-ops/scarab/cli/session"
	"github.com/scarab-ops/scarab/cli/store"
)

var update = flag.Bool("update", false, "write the golden help texts")

func bare(t *testing.T, out *bytes.Buffer) session.Config {
	t.Helper()
	st, err := store.New(store.Config{Dir: t.TempDir(), UID: os.Geteuid()})
	if err != nil {
		t.Fatal(err)
	}
	return session.Config{
		Stdin: strings.NewReader(""), Stdout: out, Stderr: out, Getenv: func(string) string { return "" }, Now: now, Store: st,
		Terminal: &terminal{in: strings.NewReader(""), err: out},
	}
}

func walk(c *cobra.Command, path []string, each func(c *cobra.Command, path []string)) {
	for _, sub := range c.Commands() {
		p := append(path[:len(path):len(path)], sub.Name())
		each(sub, p)
		walk(sub, p, each)
	}
}

func TestEveryCommandHasHelp(t *testing.T) {
	root := cli.Root(session.New(bare(t, &bytes.Buffer{})))
	seen := 0
	walk(root, nil, func(c *cobra.Command, path []string) {
		seen++
		name := strings.Join(path, " ")
		if c.Short == "" || !strings.Contains(c.Example, "scarab ") {
			t.Errorf("%s: no summary or no example", name)
		}
		if c.GroupID == "" && len(path) == 1 {
			t.Errorf("%s: no group", name)
		}
		var out bytes.Buffer
		if code := cli.Main(context.Background(), bare(t, &out), append(path, "--help")); code != 0 {
			t.Errorf("%s --help: exit code %d", name, code)
		}
		golden := filepath.Join("testdata", "help", strings.ReplaceAll(name, " ", "_")+".txt")
		if *update {
			if err := os.WriteFile(golden, out.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatalf("%s: %v; write it with -update", name, err)
		}
		if !bytes.Equal(out.Bytes(), want) {
			t.Errorf("%s --help differs from %s; look at it and write it with -update:\n%s", name, golden, out.String())
		}
	})
	if seen < 60 {
		t.Errorf("only %d commands", seen)
	}
}

// TestRequiredCommands holds the names and aliases that scripts written for the reference client use.
func TestRequiredCommands(t *testing.T) {
	root := cli.Root(session.New(bare(t, &bytes.Buffer{})))
	for _, name := range strings.Fields(`bootstrap controllers list-controllers show-controller login logout whoami kill-controller destroy-controller unregister
		add-model models list-models switch show-model destroy-model model-config deploy config integrate relate remove-relation add-unit remove-unit
		remove-application expose unexpose status show-status show-unit show-application machines list-machines show-machine add-machine remove-machine exec
		actions list-actions run show-task show-operation operations list-operations cancel-task ssh scp debug-log resolved resolve trust constraints
		set-constraints model-constraints set-model-constraints wait-for version completion image users list-users change-user-password ssh-keys
		list-ssh-keys add-ssh-key remove-ssh-key clouds list-clouds regions list-regions controller-config show-status-log why help`) {
		if c, _, err := root.Find([]string{name}); err != nil || c == root {
			t.Errorf("no command %q", name)
		}
	}
}

// Every topic that is listed can be read, also one that has the name of a command.
func TestEveryTopicIsShown(t *testing.T) {
	help := func(name string) string {
		var out bytes.Buffer
		if code := cli.Main(context.Background(), bare(t, &out), []string{"help", name}); code != 0 {
			t.Errorf("help %s: code %d", name, code)
		}
		return out.String()
	}
	for name, text := range map[string]string{"constraints": "Sizes take M, G, T or P", "controllers": "refuses another one later", "models": "A model is a room", "placement": "zones (zone=az1) are refused"} {
		if got := help(name); !strings.Contains(got, text) {
			t.Errorf("help %s lacks %q:\n%s", name, text, got)
		}
	}
	if got := help("constraints"); !strings.Contains(got, "Usage:") {
		t.Errorf("help constraints lacks the command:\n%s", got)
	}
	for _, name := range strings.Fields(help("topics")) {
		if len(help(name)) < 40 {
			t.Errorf("topic %s says nothing", name)
		}
	}
}
