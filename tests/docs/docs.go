// Package docs runs the command blocks of the documents in docs/. It owns how
// such a block is read and how its output is compared; it knows no command.
//
// A block that begins with ```console holds lines that begin with "$ ", the
// commands, each followed by the output it must give, if any is shown. In the
// output, "..." stands for any text, and a line of nothing else for any lines.
// A command whose output shows a line that begins with ERROR must fail, every
// other one must succeed. Blocks of a page run in order, in one folder, against
// one controller.
//
// Blocks marked ```console real need real machines; this package only lists
// them (see Real), for a bench that has such machines.
package docs

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// A Step is one command and the output it must give; no output means any.
type Step struct {
	Line    int
	Command string
	Output  []string
}

// Fails tells whether the command must fail.
func (s Step) Fails() bool {
	return slices.ContainsFunc(s.Output, func(l string) bool { return strings.HasPrefix(l, "ERROR") })
}

// A Block is one fenced block of a page.
type Block struct {
	File  string // relative to the repository
	Line  int
	Real  bool // needs real machines
	Steps []Step
}

const fence = "```"

// Blocks returns the console blocks of one page, in order. It refuses blocks
// whose mark it does not know, and output before the first command.
func Blocks(root, file string) ([]Block, error) {
	f, err := os.Open(filepath.Join(root, file))
	if err != nil {
		return nil, fmt.Errorf("cannot read page: %w", err)
	}
	defer func() { _ = f.Close() }()
	var out []Block
	var at *Block
	inside, n := false, 0
	for sc := bufio.NewScanner(f); sc.Scan(); {
		n++
		line := sc.Text()
		if mark, ok := strings.CutPrefix(line, fence); ok {
			if inside {
				inside, at = false, nil
				continue
			}
			inside = true
			kind, rest, _ := strings.Cut(mark, " ")
			if kind != "console" {
				continue
			}
			if rest != "" && rest != "real" {
				return nil, fmt.Errorf("cannot read %s:%d: a console block is marked real or not at all, not %q", file, n, rest)
			}
			out = append(out, Block{File: file, Line: n, Real: rest == "real"})
			at = &out[len(out)-1]
			continue
		}
		if at == nil {
			continue
		}
		if err := at.add(line, n); err != nil {
			return nil, fmt.Errorf("cannot read %s:%d: %w", file, n, err)
		}
	}
	if inside {
		return nil, fmt.Errorf("cannot read %s: its last block does not end", file)
	}
	return out, nil
}

func (b *Block) add(line string, n int) error {
	if c, ok := strings.CutPrefix(line, "$ "); ok {
		b.Steps = append(b.Steps, Step{Line: n, Command: c})
		return nil
	}
	if len(b.Steps) == 0 {
		return fmt.Errorf("output %q stands before the first command", line)
	}
	s := &b.Steps[len(b.Steps)-1]
	if strings.HasSuffix(s.Command, `\`) {
		s.Command += "\n" + line
		return nil
	}
	s.Output = append(s.Output, line)
	return nil
}

// Pages lists the pages of a repository that have blocks to run.
func Pages(root string) ([]string, error) {
	found, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil || len(found) == 0 {
		return nil, fmt.Errorf("cannot find pages in %s: %w", root, err)
	}
	var out []string
	for _, p := range found {
		out = append(out, filepath.Join("docs", filepath.Base(p)))
	}
	return out, nil
}

// Real lists the blocks that need real machines, for those who have some.
func Real(root string) ([]Block, error) {
	pages, err := Pages(root)
	if err != nil {
		return nil, err
	}
	var out []Block
	for _, p := range pages {
		all, err := Blocks(root, p)
		if err != nil {
			return nil, err
		}
		for _, b := range all {
			if b.Real {
				out = append(out, b)
			}
		}
	}
	return out, nil
}

// Matches tells whether a command's output is what the page shows.
func Matches(want []string, got string) bool {
	if len(want) == 0 {
		return true
	}
	var re strings.Builder
	re.WriteString(`\A`)
	for _, line := range want {
		if strings.TrimSpace(line) == "..." {
			re.WriteString(`(?:.*\n)*?`)
			continue
		}
		parts := strings.Split(strings.TrimRight(line, " "), "...")
		for i := range parts {
			parts[i] = regexp.QuoteMeta(parts[i])
		}
		re.WriteString(strings.Join(parts, `.*`) + ` *\n`)
	}
	re.WriteString(`\z`)
	ok, err := regexp.MatchString(re.String(), strings.TrimRight(got, "\n")+"\n")
	return err == nil && ok
}
