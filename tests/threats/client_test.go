package threats_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/cli/output"
	"github.com/scarab-ops/scarab/cli/store"
	"github.com/scarab-ops/scarab/pki"
	"github.com/scarab-ops/scarab/tests/cluster"
)

func clientParts() []part {
	return []part{
		{"A-CLIENT-A", "kill", "the client killed at random points while it writes: every file stays whole, and no other controller's entry is lost", killedClient},
		{"A-CLIENT-A", "corrupt", "cut, zeroed and unreadable files are named with the repair, which brings the last good ones back", corruptFiles},
		{"A-CLIENT-I", "authority", "another CA under the same controller id is refused", changedAuthority},
		{"A-CLIENT-I", "modes", "files and directories that others may write or own are refused, with an explanation", looseFiles},
		{"A-CLIENT-I", "escapes", "no byte of a server's answer steers the terminal", escapes},
	}
}

func clientStore(t *testing.T) (*store.Store, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	st, err := store.New(store.Config{Dir: dir, UID: os.Geteuid()})
	if err != nil {
		t.Fatal(err)
	}
	return st, dir
}

func precious(t *testing.T, st *store.Store) store.Controller {
	t.Helper()
	ca := must[*pki.Authority](t)(pki.New(pki.Config{Controller: cluster.Controller, Now: time.Now}))
	c := store.Controller{UUID: string(cluster.Controller), Endpoints: []string{"10.0.0.1:17070"}, CACert: string(ca.CertPEM()), Cloud: "localhost"}
	ctx := context.Background()
	err := errors.Join(st.SetController(ctx, "precious", c, true), st.SetAccount(ctx, "precious", store.Account{User: "admin", Password: store.NewPassword("pw")}),
		st.SetModel(ctx, "precious", "admin/m", store.Model{UUID: "u"}, true), st.CheckTrust(ctx, "precious", c))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func killedClient(t *testing.T, _ *env) {
	st, dir := clientStore(t)
	precious(t, st)
	for i := range count(15, 500) {
		cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
		cmd.Env = append(os.Environ(), "THREATS_WRITE="+dir)
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
			t.Fatalf("the writer: %q %v", line, err)
		}
		time.Sleep(time.Duration(i*7%30) * time.Millisecond) // a point in time to kill at
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		c, err := st.Controller("precious")
		if err != nil || c.UUID != string(cluster.Controller) {
			t.Fatalf("after kill %d: %+v %v", i, c, err)
		}
		if a, err := st.Account("precious"); err != nil || a.Password.Reveal() != "pw" {
			t.Fatalf("after kill %d: %v", i, err)
		}
		if _, _, err := st.Models("precious"); err != nil {
			t.Fatal(err)
		}
	}
}

func corruptFiles(t *testing.T, _ *env) {
	ctx := context.Background()
	damages := map[string]func(string) error{
		"cut": func(f string) error {
			fi, err := os.Stat(f)
			if err != nil {
				return err
			}
			return os.Truncate(f, fi.Size()*2/3)
		},
		"zeroed": func(f string) error {
			fi, err := os.Stat(f)
			if err != nil {
				return err
			}
			return os.WriteFile(f, make([]byte, fi.Size()), 0o600)
		},
		"garbage": func(f string) error { return os.WriteFile(f, []byte("\x00[{:::\n\t- x"), 0o600) },
	}
	for what, damage := range damages {
		for _, name := range []string{"controllers.yaml", "accounts.yaml", "models.yaml"} {
			st, dir := clientStore(t)
			precious(t, st)
			other := store.Controller{UUID: "other", Endpoints: []string{"10.0.0.2:17070"}, Cloud: "x"}
			if err := st.SetController(ctx, "other", other, false); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(dir, name)
			if err := damage(file); err != nil {
				t.Fatal(err)
			}
			_, err := st.Controller("precious")
			if err == nil {
				_, err = st.Account("precious")
			}
			if err == nil {
				_, _, err = st.Models("precious")
			}
			var broken *store.BrokenError
			if err != nil && (!errors.As(err, &broken) || broken.Path != file || broken.Advice() == "") {
				t.Errorf("%s %s: %v", name, what, err)
			}
			if err == nil && what != "cut" {
				t.Errorf("%s %s was believed", name, what)
			}
			if err := st.SetController(ctx, "third", other, false); err == nil && name == "controllers.yaml" && what != "cut" {
				t.Errorf("%s %s was written over", name, what)
			}
			if _, err := st.Repair(ctx, time.Now()); err != nil {
				t.Fatal(err)
			}
			if _, err := st.Controller("precious"); err != nil {
				t.Errorf("%s %s, repaired: %v", name, what, err)
			}
		}
	}
}

func changedAuthority(t *testing.T, _ *env) {
	st, _ := clientStore(t)
	ctx := context.Background()
	c := precious(t, st)
	evil := must[*pki.Authority](t)(pki.New(pki.Config{Controller: cluster.Controller, Now: time.Now}))
	c.CACert = string(evil.CertPEM())
	if err := st.SetController(ctx, "precious", c, true); err != nil { // as one who can write the file
		t.Fatal(err)
	}
	read, err := st.Controller("precious")
	if err != nil {
		t.Fatal(err)
	}
	var changed *store.ChangedAuthorityError
	if err := st.CheckTrust(ctx, "precious", read); !errors.As(err, &changed) || changed.Advice() == "" {
		t.Errorf("another authority under the same id: %v", err)
	}
	if err := st.CheckTrust(ctx, "precious", read); !errors.As(err, &changed) {
		t.Errorf("asked twice, another authority is believed: %v", err)
	}
}

func looseFiles(t *testing.T, _ *env) {
	for what, change := range map[string]func(dir string) error{
		"a file that the group may write": func(d string) error { return os.Chmod(filepath.Join(d, "controllers.yaml"), 0o620) },
		"a file that anybody may write":   func(d string) error { return os.Chmod(filepath.Join(d, "controllers.yaml"), 0o602) },
		"a file of another user":          func(d string) error { return os.Chown(filepath.Join(d, "controllers.yaml"), 65534, 65534) },
		"a directory that anybody writes": func(d string) error { return os.Chmod(d, 0o777) },
		"a directory of another user":     func(d string) error { return os.Chown(d, 65534, 65534) },
		"a link to another user's file": func(d string) error {
			f, evil := filepath.Join(d, "controllers.yaml"), filepath.Join(filepath.Dir(d), "evil.yaml")
			return errors.Join(os.Rename(f, evil), os.Chown(evil, 65534, 65534), os.Symlink(evil, f))
		},
	} {
		st, dir := clientStore(t)
		precious(t, st)
		if err := change(dir); err != nil {
			t.Fatal(err)
		}
		_, err := st.Controller("precious")
		var unsafeErr *store.UnsafeError
		if err == nil || errors.As(err, &unsafeErr) && unsafeErr.Advice() == "" {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func escapes(t *testing.T, _ *env) {
	evil := []string{
		"\x1b[2J\x1b[1;1Hok", "\x1b]0;title\x07", "\x1b]52;c;ZXZpbA==\x07", "a\rb", "a\x08\x08b", "\u009b2J", "\u202egnp.exe", "\u2066x", "\x00", "\x7f", "\xff\xfe",
		"line\nfeed", "tab\there", "\x1bP+q544e\x1b\\",
	}
	for _, s := range evil {
		var b bytes.Buffer
		tb := output.NewTable(true)
		tb.Head("A", "B")
		tb.Cells(output.Text(s), output.Styled(s, output.Plain))
		if err := tb.Flush(&b); err != nil {
			t.Fatal(err)
		}
		safe := output.NewSafe(&b)
		for i := range len(s) { // byte by byte
			if _, err := safe.Write([]byte{s[i]}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := fmt.Fprintln(safe); err != nil {
			t.Fatal(err)
		}
		out := strings.TrimSuffix(b.String(), "\n")
		for _, r := range strings.ReplaceAll(out, "\n", "") {
			if r < 0x20 && r != '\t' || r == 0x7f || r >= 0x80 && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0xfffd {
				if r == 0x1b && strings.Contains(out, "\x1b[1m") {
					continue // our own heading
				}
				t.Errorf("%q came out as %q", s, out)
				break
			}
		}
		if strings.Contains(out, "\x1b[2J") || strings.Contains(out, "\x1b]") {
			t.Errorf("%q steers the terminal: %q", s, out)
		}
	}
}
