package charms

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/scarab-ops/scarab/charm"
)

var samples = []string{"self-signed-certificates", "nats", "stream-agent"}

func TestCharmsPack(t *testing.T) {
	for _, name := range samples {
		c, err := charm.ReadDir(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if c.Meta.Name != name || len(c.Manifest.Bases) == 0 {
			t.Errorf("%s: is named %q and has bases %v", name, c.Meta.Name, c.Manifest.Bases)
		}
		if c.HasDispatch == (name == "nats") {
			t.Errorf("%s: dispatch is %v; the samples show both ways", name, c.HasDispatch)
		}
		var packed bytes.Buffer
		warnings, err := charm.PackDir(name, &packed)
		if err != nil || len(warnings) > 0 {
			t.Errorf("%s: %v, warnings %v", name, err, warnings)
			continue
		}
		a, err := charm.OpenArchive(bytes.NewReader(packed.Bytes()), int64(packed.Len()), charm.DefaultLimits())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		out := filepath.Join(t.TempDir(), name)
		if err := a.Extract(out); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		checkExecutables(t, out, c)
		if _, err := os.Stat(filepath.Join(name, "README.md")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// checkExecutables looks at every hook and action of an extracted charm.
func checkExecutables(t *testing.T, dir string, c *charm.Charm) {
	t.Helper()
	hooks := c.Meta.Hooks()
	for _, pattern := range []string{"dispatch", "hooks/*", "actions/*"} {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			info, err := os.Stat(f)
			if err != nil || info.Mode()&0o100 == 0 {
				t.Errorf("%s is not executable: %v", f, err)
			}
			base := filepath.Base(f)
			if strings.HasPrefix(pattern, "hooks/") && base != "hook" && !hooks[base] {
				t.Errorf("%s: no such hook", f)
			}
			if _, ok := c.Actions.Specs[base]; strings.HasPrefix(pattern, "actions/") && !ok {
				t.Errorf("%s: no such action", f)
			}
		}
	}
}

// TestSharedFiles keeps the copies of what the charms share the same: a charm
// carries all that it needs.
func TestSharedFiles(t *testing.T) {
	for file, in := range map[string][]string{
		"lib/hooktools.py":  samples,
		"lib/certs.py":      {"nats", "stream-agent"},
		"lib/natsclient.py": {"nats", "stream-agent"},
	} {
		first, err := os.ReadFile(filepath.Join(in[0], file))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range in[1:] {
			text, err := os.ReadFile(filepath.Join(name, file))
			if err != nil || !bytes.Equal(text, first) {
				t.Errorf("%s of %s differs from that of %s, %v", file, name, in[0], err)
			}
		}
	}
}
