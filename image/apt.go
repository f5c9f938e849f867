package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"
)

// Apt is how packages are reached. It comes from the host, as settings of a
// model, and is written into machines at their start.
type Apt struct {
	Mirror   string // of the release and its updates
	Security string // of the security updates; empty if there are none
	Options  []string
}

const debianKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// passedOptions are apt's settings that say how to reach a mirror and how old
// its lists may be. Others of the host are nobody's business.
var passedOptions = regexp.MustCompile(`^Acquire::(http::Proxy|https::Proxy|Check-Valid-Until|Check-Date) "[^"\n\\;]*";$`)

var mirrorPattern = regexp.MustCompile(`^https?://[A-Za-z0-9.:\[\]_~/+-]+$`)

// HostApt reads how the host itself reaches Debian's packages.
func HostApt(ctx context.Context) (Apt, error) {
	files, _ := filepath.Glob("/etc/apt/sources.list.d/*.sources")
	lists, _ := filepath.Glob("/etc/apt/sources.list.d/*.list")
	var a Apt
	for _, name := range append(append([]string{"/etc/apt/sources.list"}, lists...), files...) {
		data, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		for _, src := range parseSources(string(data), strings.HasSuffix(name, ".sources")) {
			a.take(src)
		}
	}
	if a.Mirror == "" {
		return a, errors.New("cannot find a mirror of Debian in the host's apt sources: set apt-mirror")
	}
	out, err := exec.CommandContext(ctx, "apt-config", "dump", "Acquire").Output()
	if err != nil {
		return a, fmt.Errorf("cannot read the host's apt settings: %w", err)
	}
	for line := range strings.Lines(string(out)) {
		if line = strings.TrimSpace(line); passedOptions.MatchString(line) {
			a.Options = append(a.Options, line)
		}
	}
	return a, nil
}

// source is one mirror as apt describes it.
type source struct{ uri, suite, signedBy string }

func (a *Apt) take(s source) {
	uri := strings.TrimRight(s.uri, "/")
	if !mirrorPattern.MatchString(uri) || s.signedBy != "" && s.signedBy != debianKeyring {
		return // somebody else's packages
	}
	switch {
	case strings.HasSuffix(s.suite, "-security"):
		if a.Security == "" && strings.HasSuffix(uri, "debian-security") {
			a.Security = uri
		}
	case a.Mirror == "" && strings.HasSuffix(uri, "/debian"):
		a.Mirror = uri
	}
}

// parseSources reads both forms of apt's source lists.
func parseSources(text string, deb822 bool) []source {
	var out []source
	if deb822 {
		for stanza := range strings.SplitSeq(text, "\n\n") {
			out = append(out, parseStanza(stanza)...)
		}
		return out
	}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 3 || fields[0] != "deb" {
			continue
		}
		s := source{}
		fields = fields[1:]
		for strings.HasPrefix(fields[0], "[") || s.signedBy == "[" {
			opts := strings.Trim(fields[0], "[]")
			if v, ok := strings.CutPrefix(opts, "signed-by="); ok {
				s.signedBy = v
			}
			done := strings.HasSuffix(fields[0], "]")
			if fields = fields[1:]; done || len(fields) == 0 {
				break
			}
		}
		if len(fields) >= 2 {
			s.uri, s.suite = fields[0], fields[1]
			out = append(out, s)
		}
	}
	return out
}

func parseStanza(stanza string) []source {
	fields := map[string]string{}
	for line := range strings.Lines(stanza) {
		if k, v, ok := strings.Cut(line, ":"); ok && !strings.HasPrefix(line, "#") {
			fields[strings.ToLower(k)] = strings.TrimSpace(v)
		}
	}
	if !slices.Contains(strings.Fields(fields["types"]), "deb") || strings.EqualFold(fields["enabled"], "no") {
		return nil
	}
	var out []source
	for _, uri := range strings.Fields(fields["uris"]) {
		for _, suite := range strings.Fields(fields["suites"]) {
			out = append(out, source{uri, suite, fields["signed-by"]})
		}
	}
	return out
}

// Check refuses what could say more to apt than an address and an option.
func (a *Apt) Check() error {
	if !mirrorPattern.MatchString(a.Mirror) || a.Security != "" && !mirrorPattern.MatchString(a.Security) {
		return fmt.Errorf("cannot use apt mirror %q: it is no http address", a.Mirror)
	}
	for _, o := range a.Options {
		if !passedOptions.MatchString(o) {
			return fmt.Errorf("cannot use apt option %q: it is not one of those allowed", o)
		}
	}
	return nil
}

// Sources is the source list of a release.
func (a *Apt) Sources(suite string) string {
	lines := []string{
		"Types: deb\nURIs: " + a.Mirror + "\nSuites: " + suite + " " + suite + "-updates\nComponents: main\nSigned-By: " + debianKeyring + "\n",
	}
	if a.Security != "" {
		lines = append(lines, "Types: deb\nURIs: "+a.Security+"\nSuites: "+suite+"-security\nComponents: main\nSigned-By: "+debianKeyring+"\n")
	}
	return strings.Join(lines, "\n")
}

// Conf is apt's configuration for the options.
func (a *Apt) Conf() string {
	opts := slices.Clone(a.Options)
	sort.Strings(opts)
	if len(opts) == 0 {
		return ""
	}
	return strings.Join(opts, "\n") + "\n"
}
