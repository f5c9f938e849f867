package docs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/cli/store"
	"github.com/scarab-ops/scarab/tests/cluster"
)

const root = "../.."

// bin is the folder of the program under test.
var bin string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	if bin = os.Getenv("SCARAB_BIN"); bin == "" {
		dir, err := os.MkdirTemp("", "scarab-docs-bin-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer func() { _ = os.RemoveAll(dir) }()
		cmd := exec.Command("go", "build", "-o", dir+"/", "../../cmd/scarab")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "cannot build: %v\n%s", err, out)
			return 1
		}
		bin = dir
	}
	return m.Run()
}

// TestPages runs every block that needs no real machine.
func TestPages(t *testing.T) {
	pages, err := Pages(root)
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, page := range pages {
		blocks, err := Blocks(root, page)
		if err != nil {
			t.Error(err)
			continue
		}
		var run []Block
		for _, b := range blocks {
			if !b.Real {
				run = append(run, b)
				ran += len(b.Steps)
			}
		}
		if len(run) > 0 {
			t.Run(filepath.Base(page), func(t *testing.T) { t.Parallel(); runPage(t, run) })
		}
	}
	if ran < 20 {
		t.Errorf("only %d commands of all documents were run", ran)
	}
}

// TestReal keeps the list for real machines readable: every command of it is
// one of the programs that such a bench has.
func TestReal(t *testing.T) {
	blocks, err := Real(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range blocks {
		for _, s := range b.Steps {
			switch first, _, _ := strings.Cut(s.Command, " "); first {
			case "scarab", "make", "sudo", "export", "curl", "go":
			default:
				t.Errorf("%s:%d: %q is no program that readers were told to have", b.File, s.Line, first)
			}
		}
	}
	if len(blocks) == 0 {
		t.Error("there is no block for real machines")
	}
}

func runPage(t *testing.T, blocks []Block) {
	dir := t.TempDir()
	data := filepath.Join(dir, "client")
	c := cluster.Start(t, cluster.Options{Memory: true})
	introduce(t, data, c)
	charms, err := filepath.Abs(filepath.Join(root, "charms"))
	if err != nil {
		t.Fatal(err)
	}
	work := filepath.Join(dir, "here")
	if err := errors.Join(os.Mkdir(work, 0o700), os.Symlink(charms, filepath.Join(work, "charms"))); err != nil {
		t.Fatal(err)
	}
	env := []string{"PATH=" + bin + ":/usr/bin:/bin", "HOME=" + work, "JUJU_DATA=" + data, "TZ=UTC", "LC_ALL=C.UTF-8"}
	for _, b := range blocks {
		for _, s := range b.Steps {
			out, err := run(t, work, env, s.Command)
			at := fmt.Sprintf("%s:%d: %s", b.File, s.Line, s.Command)
			if (err != nil) != s.Fails() {
				t.Fatalf("%s\nended with %v:\n%s", at, err, out)
			}
			if !Matches(s.Output, out) {
				t.Errorf("%s\nthe page shows\n%s\nbut it says\n%s", at, strings.Join(s.Output, "\n"), out)
			}
		}
	}
}

func run(t *testing.T, dir string, env []string, command string) (string, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/bash", "-c", command)
	cmd.Dir, cmd.Env = dir, env
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// introduce writes the client's files of an administrator who has logged in.
func introduce(t *testing.T, dir string, c *cluster.Cluster) {
	t.Helper()
	st, err := store.New(store.Config{Dir: dir, UID: os.Geteuid()})
	if err != nil {
		t.Fatal(err)
	}
	ctx := cluster.Context(t)
	err = errors.Join(
		st.SetController(ctx, "prod", store.Controller{
			UUID: string(cluster.Controller), Endpoints: []string{c.Addr}, CACert: c.CACert, Cloud: "localhost", Region: "localhost",
			Type: "lxd", AgentVersion: "3.6.12", Machines: 1, ActiveMachines: 1,
		}, true),
		st.SetAccount(ctx, "prod", store.Account{
			User: "admin", Password: store.NewPassword(cluster.AdminPassword.Reveal()), Access: "superuser",
		}),
	)
	if err != nil {
		t.Fatal(err)
	}
}

func TestBlocks(t *testing.T) {
	dir := t.TempDir()
	write := func(text string) {
		if err := os.WriteFile(filepath.Join(dir, "p.md"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("# T\n```console\n$ a b\nout\n...\n$ c \\\n  d\n```\n\n```go\n$ not\n```\n```console real\n$ e\nERROR no\n```\n")
	got, err := Blocks(dir, "p.md")
	if err != nil || len(got) != 2 || len(got[0].Steps) != 2 || !got[1].Real {
		t.Fatalf("got %+v, %v", got, err)
	}
	if s := got[0].Steps[1]; s.Command != "c \\\n  d" || s.Line != 6 || len(s.Output) != 0 {
		t.Errorf("the second step is %+v", s)
	}
	if got[0].Steps[0].Fails() || !got[1].Steps[0].Fails() {
		t.Error("which steps fail was read wrongly")
	}
	for _, bad := range []string{"```console later\n$ a\n```\n", "```console\nout\n```\n", "```console\n$ a\n"} {
		write(bad)
		if _, err := Blocks(dir, "p.md"); err == nil {
			t.Errorf("accepted %q", bad)
		}
	}
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		want, got string
		ok        bool
	}{
		{"", "anything", true},
		{"a", "a\n", true},
		{"a", "b", false},
		{"a", "a\nb", false},
		{"a\n...", "a\nb\nc\n", true},
		{"...\nc", "a\nb\nc", true},
		{"a ... c", "a b c", true},
		{"a ... c", "a b", false},
		{"a.c", "abc", false},
	} {
		var want []string
		if c.want != "" {
			want = strings.Split(c.want, "\n")
		}
		if Matches(want, c.got) != c.ok {
			t.Errorf("Matches(%q, %q) is %v", c.want, c.got, !c.ok)
		}
	}
}
