package arch_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/scarab-ops/scarab/agent/unit/tools"
	"github.com/scarab-ops/scarab/cli"
	"github.com/scarab-ops/scarab/cli/session"
	"github.com/scarab-ops/scarab/cli/store"
	"github.com/scarab-ops/scarab/domain/model"
)

// files lists what is, or would be, in the repository.
func files(t *testing.T) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", "ls-files", "-co", "--exclude-standard", "-z")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("cannot list the repository: %v", err)
	}
	var all []string
	for f := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
		if fi, err := os.Lstat(filepath.Join("..", f)); err == nil && fi.Mode().IsRegular() {
			all = append(all, f)
		}
	}
	return all
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", file))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// documents are the pages that readers are sent to. THREATS.md is generated
// and compared by tests/threats.
func documents(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, f := range files(t) {
		if strings.HasSuffix(f, ".md") && f != "THREATS.md" {
			out[f] = read(t, f)
		}
	}
	for _, f := range []string{"README.md", "ARCHITECTURE.md", "CHANGES.md", "SECURITY.md", "STYLE.md", "CONTRIBUTING.md", "docs/index.md"} {
		if out[f] == "" {
			t.Errorf("%s is missing or empty", f)
		}
	}
	return out
}

var (
	span     = regexp.MustCompile("`([^`\n]+)`")
	fenced   = regexp.MustCompile("(?ms)^```([^\n]*)\n(.*?)^```$")
	link     = regexp.MustCompile(`\]\(([^)#:\s]+)\)`)
	openName = regexp.MustCompile(`<[^>]+>`)
	pathLike = regexp.MustCompile(`^[A-Za-z0-9_.@*/-]+$`)
)

// TestPathsExist checks every path and link that a document names. A name in
// angle brackets stands for any.
func TestPathsExist(t *testing.T) {
	top := map[string]bool{}
	for _, f := range files(t) {
		first, _, deep := strings.Cut(f, "/")
		top[first] = deep
	}
	named := 0
	for doc, text := range documents(t) {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join("..", filepath.Dir(doc), m[1])); err != nil {
				t.Errorf("%s: the link to %s leads nowhere", doc, m[1])
			}
		}
		for _, m := range span.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
			p := strings.TrimSuffix(openName.ReplaceAllString(m[1], "*"), "/")
			first, _, deep := strings.Cut(p, "/")
			isDir, known := top[first]
			if !known || !pathLike.MatchString(p) || (deep && !isDir) || (!deep && isDir && !strings.HasSuffix(m[1], "/")) {
				continue
			}
			named++
			if found, err := filepath.Glob(filepath.Join("..", p)); err != nil || len(found) == 0 {
				t.Errorf("%s names %s, which does not exist", doc, m[1])
			}
		}
	}
	if named < 100 {
		t.Errorf("only %d paths were found in the documents; the test reads them wrongly", named)
	}
}

// clientTree is the client's tree of commands.
func clientTree(t *testing.T) *cobra.Command {
	t.Helper()
	st, err := store.New(store.Config{Dir: t.TempDir(), UID: os.Geteuid()})
	if err != nil {
		t.Fatal(err)
	}
	return cli.Root(session.New(session.Config{
		Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard, Getenv: func(string) string { return "" }, Store: st,
	}))
}

var (
	// call finds commands of the client, in blocks and in the text.
	call   = regexp.MustCompile(`(?:^|[\s(|;&])(?:\S*/)?scarab ([a-z][a-z-]*(?: [^|;&()\n]*)?)`)
	target = regexp.MustCompile(`\bmake ([a-z][a-z-]*)`)
	agents = regexp.MustCompile(`scarab-agent ([a-z]+)(?: (--[a-z-]+))?`)
)

// code is what a document sets as code: blocks and spans.
func code(text string) []string {
	var out []string
	for _, m := range fenced.FindAllStringSubmatch(text, -1) {
		if lang, _, _ := strings.Cut(m[1], " "); lang != "text" && lang != "js" {
			for line := range strings.Lines(m[2]) {
				line, _, _ = strings.Cut(line, " # ")
				out = append(out, strings.TrimSpace(line))
			}
		}
	}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "    scarab ") {
			line, _, _ = strings.Cut(line, "  #")
			out = append(out, strings.TrimSpace(line))
		}
	}
	for _, m := range span.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
		out = append(out, m[1])
	}
	return out
}

// TestCommandsExist checks every command and flag of the client, every make
// target and every word of the agent that a document or script names.
func TestCommandsExist(t *testing.T) {
	root := clientTree(t)
	makefile := read(t, "Makefile")
	checked := 0
	check := func(where, line string) {
		for _, m := range call.FindAllStringSubmatch(line, -1) {
			checked++
			checkCall(t, root, where, strings.Fields(m[1]))
		}
		for _, m := range target.FindAllStringSubmatch(line, -1) {
			if !strings.Contains(makefile, "\n"+m[1]+":") {
				t.Errorf("%s: there is no target %q in the Makefile", where, m[1])
			}
		}
		for _, m := range agents.FindAllStringSubmatch(line, -1) {
			if !slices.Contains([]string{"machine", "host", "version"}, m[1]) || m[2] == "--destroy" {
				t.Errorf("%s: scarab-agent knows no %q", where, m[0])
			}
		}
	}
	for doc, text := range documents(t) {
		for _, line := range code(text) {
			check(doc, line)
		}
	}
	for _, f := range files(t) {
		if strings.HasSuffix(f, ".sh") {
			for line := range strings.Lines(read(t, f)) {
				check(f, strings.ReplaceAll(line, "scarab_ ", "scarab "))
			}
		}
	}
	if checked < 60 {
		t.Errorf("only %d commands were found in the documents; the test reads them wrongly", checked)
	}
}

func checkCall(t *testing.T, root *cobra.Command, where string, words []string) {
	t.Helper()
	if words[0] == "help" {
		return // its words are topics too
	}
	c, _, err := root.Find(words)
	if err != nil || c == root {
		t.Errorf("%s: there is no command %q", where, strings.Join(words, " "))
		return
	}
	for _, w := range words[1:] {
		if w == "--" {
			break // what follows is for another program
		}
		name, long := strings.CutPrefix(w, "--")
		name, _, _ = strings.Cut(name, "=")
		if !long || name == "" {
			continue
		}
		has := func(fs *pflag.FlagSet) bool { return fs.Lookup(strings.Trim(name, "`.,;\"'")) != nil }
		if name != "help" && !has(c.Flags()) && !has(c.InheritedFlags()) && !has(c.PersistentFlags()) {
			t.Errorf("%s: the command %s has no flag --%s", where, c.Name(), name)
		}
	}
}

// rows returns the names that stand in the first column of the table under a
// heading of a page.
func rows(t *testing.T, doc, heading string) []string {
	t.Helper()
	_, text, ok := strings.Cut(read(t, doc), heading)
	if !ok {
		t.Fatalf("%s has no part %q", doc, heading)
	}
	var out []string
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "|") {
			if len(out) > 0 {
				break
			}
			continue
		}
		cell, _, _ := strings.Cut(line[1:], "|")
		for _, m := range span.FindAllStringSubmatch(cell, -1) {
			out = append(out, m[1])
		}
	}
	return out
}

// TestTablesAreTrue compares the tables of the pages with the program.
func TestTablesAreTrue(t *testing.T) {
	var names []string
	for _, tool := range tools.All() {
		names = append(names, tool.Name)
	}
	if got := rows(t, "docs/charm-authors.md", "## Hook tools"); !slices.Equal(got, names) {
		t.Errorf("docs/charm-authors.md lists the tools\n%v\nand there are\n%v", got, names)
	}
	known := map[string]bool{}
	for _, k := range model.Keys() {
		known[k.Name] = true
	}
	shown := rows(t, "docs/operate.md", "These have an effect:")
	if len(shown) < 10 {
		t.Errorf("docs/operate.md shows only %d settings", len(shown))
	}
	for _, k := range shown {
		if !known[k] {
			t.Errorf("docs/operate.md: there is no model setting %q", k)
		}
	}
}

// TestNothingUnfinished refuses words that mark unfinished work, and places
// that exist on one machine only: its folders, its mirrors.
func TestNothingUnfinished(t *testing.T) {
	words := regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|X` + `XX|T` + `BD|HA` + `CK)\b|lorem ` + `ipsum|coming ` + `soon`)
	places := regexp.MustCompile(`(?:^|[^A-Za-z0-9_./-])(/wo` + `rk|/home/[a-z]+/src)(?:/|\b)`)
	roots := regexp.MustCompile(`(?:^|[^A-Za-z0-9_./=-])/ro` + `ot(?:/|\b)`)
	hosts := mirrors(t)
	for _, f := range files(t) {
		raw, err := os.ReadFile(filepath.Join("..", f))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.IndexByte(raw[:min(len(raw), 8000)], 0) >= 0 {
			continue // not a text
		}
		n := 0
		for line := range strings.Lines(string(raw)) {
			n++
			if m := words.FindString(line); m != "" {
				t.Errorf("%s:%d: %q marks something unfinished", f, n, m)
			}
			if m := places.FindStringSubmatch(line); m != nil {
				t.Errorf("%s:%d: %s is a folder of one machine", f, n, m[1])
			}
			if isText(f) && roots.MatchString(line) {
				t.Errorf("%s:%d: names root's home, which is not the reader's", f, n)
			}
			for _, h := range hosts {
				if strings.Contains(line, h) {
					t.Errorf("%s:%d: %s is a mirror of this machine", f, n, h)
				}
			}
		}
	}
}

func isText(f string) bool {
	return strings.HasSuffix(f, ".md") || strings.HasSuffix(f, ".sh") || f == "Makefile" || strings.HasPrefix(f, ".ci/")
}

// mirrors are the hosts that this machine gets packages from, the public ones
// aside: whatever they are called, they belong in no file.
func mirrors(t *testing.T) []string {
	t.Helper()
	public := []string{
		"deb.debian.org", "security.debian.org", "proxy.golang.org", "sum.golang.org", "registry.npmjs.org", "pypi.org",
		"archive.ubuntu.com", "security.ubuntu.com", "localhost", "127.0.0.1", "github.com",
	}
	var text strings.Builder
	for _, v := range []string{"GOPROXY", "GOSUMDB", "PIP_INDEX_URL", "npm_config_registry", "NPM_CONFIG_REGISTRY", "http_proxy", "https_proxy"} {
		text.WriteString(os.Getenv(v) + "\n")
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if out, err := exec.CommandContext(ctx, "go", "env", "GOPROXY", "GOSUMDB").Output(); err == nil {
		text.Write(out)
	}
	home, _ := os.UserHomeDir() //nolint:errcheck // a machine without one has no files there
	for _, pattern := range []string{
		"/etc/apt/sources.list", "/etc/apt/sources.list.d/*", "/etc/apt/apt.conf.d/*proxy*", "/etc/pip.conf", "/etc/npmrc",
		filepath.Join(home, ".npmrc"), filepath.Join(home, ".config/pip/pip.conf"),
	} {
		found, _ := filepath.Glob(pattern) //nolint:errcheck // the patterns are sound
		for _, f := range found {
			if b, err := os.ReadFile(f); err == nil {
				text.Write(b)
			}
		}
	}
	var out []string
	for _, m := range regexp.MustCompile(`https?://(?:[^/@\s]*@)?([A-Za-z0-9.-]+)`).FindAllStringSubmatch(text.String(), -1) {
		if !slices.Contains(public, m[1]) && !slices.Contains(out, m[1]) && strings.Contains(m[1], ".") {
			out = append(out, m[1])
		}
	}
	return out
}
