// Package ignore owns the rules that say which files of a charm's directory
// are not packed. It reads text and compares paths, nothing else.
package ignore

import (
	"bufio"
	"bytes"
	"fmt"
	"regexp"
	"strings"
)

// Builtin is what no charm carries: the droppings of version control,
// editors and builds.
const Builtin = `
.git
.svn
CVS
.bzr
.bzrignore
.hg
.hgignore
.gitignore
.gitattributes
.gitmodules
.jujuignore
.idea
.vscode
.tox
.venv
__pycache__
*.pyc
*~
.#*
\#*#
.*.sw?
.DS_Store
/build/
/revision
/version
*.charm
`

// Rule is one line of an ignore file.
type Rule struct {
	keep    bool // "!": what matches stays
	dirOnly bool
	pattern *regexp.Regexp
}

// maxRules bounds an ignore file.
const maxRules = 2000

// File is the name of the file with a charm's own rules.
const File = ".jujuignore"

func Parse(text []byte) ([]Rule, error) {
	var rules []Rule
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimRight(lines.Text(), " \t\r")
		if line == "" || line[0] == '#' {
			continue
		}
		if len(rules) >= maxRules || len(line) > 1024 {
			return nil, fmt.Errorf("cannot read %s: more than %d rules, or one too long", File, maxRules)
		}
		r := Rule{}
		if line[0] == '!' {
			r.keep, line = true, line[1:]
		}
		if strings.HasSuffix(line, "/") {
			r.dirOnly, line = true, strings.TrimRight(line, "/")
		}
		if line == "" {
			continue
		}
		re, err := regexp.Compile(globPattern(line))
		if err != nil {
			return nil, fmt.Errorf("cannot read %s: line %d: %q is no pattern", File, n, line)
		}
		r.pattern = re
		rules = append(rules, r)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", File, err)
	}
	return rules, nil
}

// globPattern turns a pattern into a regular expression over paths without a
// leading slash. Patterns without a slash match at any depth.
func globPattern(glob string) string {
	anchored := strings.Contains(glob, "/")
	glob = strings.TrimPrefix(glob, "/")
	var b strings.Builder
	b.WriteString("^")
	if !anchored {
		b.WriteString("(?:.*/)?")
	}
	for i := 0; i < len(glob); i++ {
		switch c := glob[i]; {
		case strings.HasPrefix(glob[i:], "**/"):
			b.WriteString("(?:.*/)?")
			i += 2
		case strings.HasPrefix(glob[i:], "**"):
			b.WriteString(".*")
			i++
		case c == '*':
			b.WriteString("[^/]*")
		case c == '?':
			b.WriteString("[^/]")
		case c == '[' && strings.IndexByte(glob[i:], ']') > 1:
			end := i + strings.IndexByte(glob[i:], ']')
			set := glob[i+1 : end]
			b.WriteString("[")
			if set[0] == '!' {
				b.WriteString("^")
				set = set[1:]
			}
			b.WriteString(strings.ReplaceAll(strings.ReplaceAll(set, `\`, `\\`), "[", `\[`) + "]")
			i = end
		case c == '\\' && i+1 < len(glob):
			i++
			b.WriteString(regexp.QuoteMeta(glob[i : i+1]))
		default:
			b.WriteString(regexp.QuoteMeta(glob[i : i+1]))
		}
	}
	b.WriteString("$")
	return b.String()
}

// Ignored says whether the last rule that matches a path drops it.
func Ignored(rules []Rule, name string, dir bool) bool {
	drop := false
	for _, r := range rules {
		if (!r.dirOnly || dir) && r.pattern.MatchString(name) {
			drop = !r.keep
		}
	}
	return drop
}
