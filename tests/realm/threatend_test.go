package realm

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// statusOf is what the kernel says of a process of the host, by fields.
func statusOf(t *testing.T, pid int) [][]string {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	var out [][]string
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 1 {
			out = append(out, f)
		}
	}
	return out
}

// charmKeys is P4-06.
func (w *world) charmKeys(t *testing.T) {
	found := map[string]string{}
	for _, k := range []struct {
		machine, path, dir string
	}{
		{w.stream.Machine, "/etc/stream-agent/tls/tls.key", "750"},
		{w.ca.Machine, "/var/lib/self-signed-certificates/ca.key", "700"},
	} {
		r := host.inside(t, k.machine, fmt.Sprintf("stat -c %%a %s $(dirname %s); openssl pkey -in %s -noout -text | head -1; cat %s", k.path, k.path, k.path, k.path))
		lines := strings.Split(r.out, "\n")
		if r.code != 0 || len(lines) < 10 {
			t.Fatal("cannot read ", k.path)
		}
		if lines[0] != "600" || lines[1] != k.dir {
			t.Errorf("%s has mode %s in a folder of mode %s", k.path, lines[0], lines[1])
		}
		if !strings.Contains(lines[2], "4096 bit") {
			t.Errorf("%s is not of 4096 bits: %s", k.path, lines[2])
		}
		found[k.path] = lines[8] // inside of the key
	}
	if found["/etc/stream-agent/tls/tls.key"] == found["/var/lib/self-signed-certificates/ca.key"] {
		t.Error("both charms have the same key")
	}
	for where, text := range map[string]string{
		"show-unit": host.ok(t, "show-unit", "stream/0", "ca/0"), "the log": host.ok(t, "debug-log", "--replay", "--no-tail"),
		"the other machine": host.inside(t, w.site.Machine, "grep -rl 'PRIVATE KEY-----' /var /run /tmp /root /home | grep -v -e agent.conf -e /usr/; true").out,
	} {
		for path, mark := range found {
			if len(mark) < 40 || strings.Contains(text, mark) || strings.Contains(text, "PRIVATE KEY") {
				t.Errorf("%s holds a private key, maybe of %s", where, path)
			}
		}
	}
	if out := host.ok(t, "show-unit", "stream/0"); !strings.Contains(out, "CERTIFICATE") {
		t.Error("the relation's data is not shown: the test looks in the wrong place")
	}
	files := 0
	for _, root := range []string{"/var/lib/scarab", "/var/log/scarab"} {
		err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
			if err != nil || filepath.Dir(name) == "/var/lib/scarab/machines" {
				return fs.SkipDir
			}
			if !d.Type().IsRegular() {
				return nil
			}
			data, err := os.ReadFile(name)
			if err != nil {
				return nil //nolint:nilerr // it went meanwhile
			}
			files++
			for path, mark := range found {
				if strings.Contains(string(data), mark) {
					t.Errorf("%s of the host holds the key %s", name, path)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if files < 5 {
		t.Errorf("only %d files of the controller were read", files)
	}
}

// prober calls the workload again and again, over new connections and one that
// stays, and writes what came of it when it is told to stop.
const prober = `import json, os, socket, time
def dial():
    s = socket.create_connection(("%s", %d), 2)
    s.settimeout(2)
    return s
def ask(s):
    s.sendall(b"here\n")
    return s.recv(100) == b"here\n"
good, bad, stays = 0, [], dial()
while not os.path.exists("/run/prober-stop"):
    for s, close in ((dial, True), (lambda: stays, False)):
        try:
            c = s()
            if not ask(c):
                raise OSError("no answer")
            good += 1
            if close:
                c.close()
        except OSError as e:
            bad.append(f"{time.time():.2f} {'new' if close else 'held'} {e}")
            time.sleep(0.2)
    time.sleep(0.02)
with open("/run/prober.new", "w") as f:
    json.dump({"good": good, "bad": bad[:20]}, f)
os.rename("/run/prober.new", "/run/prober.json")
`

// outage is A-WL-A.
func (w *world) outage(t *testing.T) {
	w.relate(t)
	const script = "/run/prober.py"
	r := host.inside(t, w.guest.Machine, "rm -f /run/prober-stop /run/prober.json; cat >"+script+" <<'END'\n"+fmt.Sprintf(prober, w.site.Address, echoPort)+
		"END\nsystemd-run -q --collect --unit prober python3 "+script)
	if r.code != 0 {
		t.Fatal(r)
	}
	workload := host.inside(t, w.site.Machine, fmt.Sprintf("systemctl show -p MainPID --value echo-%d", echoPort)).out
	hooks := completed(t, w.site.Machine)
	before := supervisor(t)
	pid := supervisorPid(t)
	kill(t, pid)
	eventually(t, 5*time.Second, "the supervisor is gone", func() bool { return supervisorPid(t) != pid })
	kill(t, before.ControllerPid)
	gone := time.Now()
	away := time.Duration(times(4, 120)) * time.Second
	<-time.After(away) // that nothing happens can only be waited for
	if len(open(gateway(t), []int{apiPort})) > 0 && supervisorPid(t) == 0 {
		t.Error("the controller is not away")
	}
	startSupervisor(t)
	eventually(t, 30*time.Second, "the controller serves again", func() bool { return host.run("models").code == 0 })
	t.Logf("controller and supervisor were away for %s", time.Since(gone).Round(100*time.Millisecond))
	for _, u := range []string{"site/0", "spy/0", "guest/0", "ca/0"} {
		eventually(t, 60*time.Second, "the agent of "+u+" is back", func() bool {
			return host.run("exec", "--wait", "5s", "--unit", u, "--", "true").code == 0
		})
	}
	var told struct {
		Good int
		Bad  []string
	}
	eventually(t, 20*time.Second, "the prober tells", func() bool {
		out := host.inside(t, w.guest.Machine, "touch /run/prober-stop; cat /run/prober.json").out
		return json.Unmarshal([]byte(out), &told) == nil
	})
	if len(told.Bad) > 0 {
		t.Errorf("the workload did not answer: %v", told.Bad)
	}
	if told.Good < int(away/time.Second)*10 {
		t.Errorf("only %d calls in %s", told.Good, away)
	}
	if now := host.inside(t, w.site.Machine, fmt.Sprintf("systemctl show -p MainPID --value echo-%d", echoPort)).out; now != workload || strings.TrimSpace(now) == "0" {
		t.Errorf("the workload is process %s, was %s", now, workload)
	}
	if now := completed(t, w.site.Machine); now["install"] != hooks["install"] || now["start"] != hooks["start"] {
		t.Errorf("hooks that had completed ran again: %v, before %v", now, hooks)
	}
	for id, m := range host.status(t).Machines {
		if m.Status.Current != "started" {
			t.Errorf("machine %s is %s", id, m.Status.Current)
		}
	}
}

// links is K-TLS: all that was recorded since before bootstrap.
func (w *world) links(t *testing.T) {
	w.wire.mu.Lock()
	defer w.wire.mu.Unlock()
	for _, c := range w.wire.clear {
		t.Errorf("without TLS: %s", c)
	}
	const wanted = "version 0304 suite 1302"
	for suite, n := range w.wire.suites {
		if suite != wanted {
			t.Errorf("%d connections with the controller have %q, not %q", n, suite, wanted)
		}
	}
	if w.wire.suites[wanted] < 20 {
		t.Errorf("only %d connections with the controller were recorded: %v", w.wire.suites[wanted], w.wire.suites)
	}
	gw := gateway(t)
	for c := range w.wire.opened {
		if !w.declared(c, gw) {
			t.Errorf("on the machines' network somebody has a connection that is not declared: %s", c)
		}
	}
	if len(w.wire.opened) < 4 {
		t.Errorf("only these connections of machines were recorded: %v", w.wire.opened)
	}
	_, dialled := w.ports.seen()
	port := fmt.Sprintf(":%04X", apiPort)
	api := 0
	for _, d := range dialled {
		f := strings.Fields(d)
		if len(f) != 4 || !strings.HasSuffix(f[2], port) && !strings.HasSuffix(f[3], port) {
			t.Errorf("a process of ours has a connection that is not declared: %s", d)
		} else {
			api++
		}
	}
	if api < 3 {
		t.Errorf("our processes were seen with %d connections: %v", api, dialled)
	}
	t.Logf("%d packets; connections with the controller: %v; on the machines' network: %v", w.wire.packets, w.wire.suites, slices.Sorted(maps.Keys(w.wire.opened)))
}

// declared are the links of this cloud beside the controller's: from the host
// to a machine's ssh; to a workload's port; and, out of a machine, to
// repositories of packages, which carry signatures of their own.
func (w *world) declared(link, gw string) bool {
	from, to, _ := strings.Cut(link, " -> ")
	i := strings.LastIndex(to, ":")
	address, port := to[:i], to[i+1:]
	machines := []string{w.site.Address, w.guest.Address, w.ca.Address}
	switch {
	case address == gw && port == strconv.Itoa(apiPort):
		return slices.Contains(machines, from) || from == gw // and their suite is known
	case slices.Contains(machines, address) && port == strconv.Itoa(echoPort):
		return true
	case slices.Contains(machines, address) && port == "22":
		return from == gw
	case !slices.Contains(machines, address) && slices.Contains(machines, from):
		return port == "80" || port == "443" || port == "53"
	}
	return false
}

// filesInside is K-FSPERM of the agents and of what keeps them.
func (w *world) filesInside(t *testing.T) {
	for _, u := range []statusUnit{w.site, w.guest, w.ca} {
		testModesInside(t, u.Machine)
	}
	testModes(t)
}

// filesOfClient is K-FSPERM of the client; all its runs here had umask 0.
func (w *world) filesOfClient(t *testing.T) {
	seen := 0
	err := filepath.WalkDir(host.data, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		seen++
		want := fs.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		}
		if info.Mode().Perm() != want || !d.IsDir() && !info.Mode().IsRegular() {
			t.Errorf("the client's %s has mode %s", name, info.Mode())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen < 6 {
		t.Errorf("the client has only %d files", seen)
	}
	// Folders and files that somebody else can write to, or that lead elsewhere.
	whole := host.data
	defer func() { host.data = whole }()
	for what, spoil := range map[string]func(dir string) error{
		"a folder that all can write to": func(dir string) error { return os.Chmod(dir, 0o777) },
		"a file that all can write to":   func(dir string) error { return os.Chmod(filepath.Join(dir, "controllers.yaml"), 0o666) },
		"a link to another user's file": func(dir string) error {
			file, other := filepath.Join(dir, "accounts.yaml"), dir+".elsewhere"
			return errors.Join(os.Rename(file, other), os.Symlink(other, file), os.Chown(other, 65534, 65534))
		},
		"another user's folder": func(dir string) error { return os.Chown(dir, 65534, 65534) },
	} {
		dir := filepath.Join(t.TempDir(), "client")
		if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
			t.Fatal(err)
		}
		err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				return os.Chmod(name, 0o700)
			}
			if err == nil {
				return os.Chmod(name, 0o600)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		host.data = dir
		if r := host.run("models"); r.code != 0 {
			t.Fatalf("a copy of the client's files does not work:\n%s", r)
		}
		if err := spoil(dir); err != nil {
			t.Fatal(err)
		}
		if r := host.run("models"); r.code == 0 || !strings.Contains(r.err, "ERROR") {
			t.Errorf("the client went on with %s:\n%s", what, r)
		}
	}
}
