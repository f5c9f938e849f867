package threats_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/app/controller"
	"github.com/scarab-ops/scarab/client"
	"github.com/scarab-ops/scarab/domain/agentcred"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/user"
	"github.com/scarab-ops/scarab/password"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/tests/cluster"
	"github.com/scarab-ops/scarab/tests/threats/bench"
	wireclient "github.com/scarab-ops/scarab/wire/client"
)

func storeParts() []part {
	return []part{
		{"A-DB-C", "ports", "one controller listens on its API port alone; no database socket, no abstract name", onlyOnePort},
		{"A-DB-C", "disk", "the files of the store hold no password, token or key in any form", storeOnDisk},
		{"F-CTRL-DB-C", "single", "the path to the database is memory: no socket to sniff", onlyOnePort},
		{"F-CTRL-DB-I", "single", "the path to the database is memory: no socket to tamper with, none dialled", onlyOnePort},
		{"P3-10", "single", "exactly the declared port is open, over TCP and UDP, IPv4 and IPv6", onlyOnePort},
		{"P3-12", "single", "one controller has no database or peer port", onlyOnePort},
		{"P3-13", "single", "one controller has no port for controllers", onlyOnePort},
		{"F-CTRL-DB-A", "single", "thousands of expensive reads and a slow disk: calls are bounded and typed, honest work goes on", overwhelm},
		{"K-NOPLAIN", "dump", "equal passwords store differently, with algorithm and cost; cost is by policy; old hashes rise at login", passwordsAtRest},
		{"K-FSPERM", "controller", "under umask 0 and with loose directories there before, every file is 0600 and every directory 0700", filePermissions},
	}
}

// listening returns this process's listening and UDP sockets by inode.
func listening(t *testing.T) map[string]string {
	t.Helper()
	mine := map[string]bool{}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && strings.HasPrefix(to, "socket:[") {
			mine[strings.Trim(to[len("socket:"):], "[]")] = true
		}
	}
	out := map[string]string{}
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6"} {
		raw, err := os.ReadFile("/proc/self/net/" + table)
		if err != nil {
			continue // no IPv6 here
		}
		for _, l := range strings.Split(string(raw), "\n")[1:] {
			f := strings.Fields(l)
			if len(f) > 9 && mine[f[9]] && (f[3] == "0A" || strings.HasPrefix(table, "udp")) {
				out[f[9]] = table + " " + f[1]
			}
		}
	}
	raw, err := os.ReadFile("/proc/self/net/unix")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range strings.Split(string(raw), "\n")[1:] {
		f := strings.Fields(l)
		if len(f) > 7 && mine[f[6]] && f[3] == "00010000" {
			out[f[6]] = "unix " + f[7]
		}
	}
	return out
}

// onlyOnePort compares all sockets before a controller starts and while it
// works; the parts that ask for it share one look.
func onlyOnePort(t *testing.T, e *env) {
	e.ports.Do(func() { e.open = openPorts(t) })
	for _, what := range e.open {
		t.Errorf("the controller also has %s open", what)
	}
}

// openPorts starts a controller and returns what it has open beside its port.
func openPorts(t *testing.T) (also []string) {
	t.Helper()
	before := listening(t)
	w := bench.New(t, bench.Options{Empty: true})
	conn := w.Login(t, cluster.Admin, cluster.AdminPassword, cluster.AdminModel)
	if err := conn.Ping(cluster.Context(t)); err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(w.Addr)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for inode, what := range listening(t) {
		if _, old := before[inode]; old {
			continue
		}
		if strings.HasPrefix(what, "tcp") && strings.HasSuffix(what, fmt.Sprintf(":%04X", n)) {
			found++
			continue
		}
		also = append(also, what)
	}
	if found != 1 {
		t.Errorf("the API port was found %d times", found)
	}
	return also
}

func storeOnDisk(t *testing.T, _ *env) {
	w := bench.New(t, bench.Options{})
	a, host := w.Unit(t, bench.M1, "a/0"), w.Machine(t, bench.M1, "0")
	if _, err := host.Connect(t, w.Cluster).Machine().UnitToken(cluster.Context(t), "b/0"); err != nil {
		t.Fatal(err)
	}
	fresh := enrolToken(t, w, "a/1")
	markers := map[string][]byte{
		"an administrator's password": []byte(cluster.AdminPassword.Reveal()),
		"a person's password":         []byte(bench.Password(bench.Writer).Reveal()),
		"a unit's password":           []byte(a.Password.Reveal()),
		"a machine's password":        []byte(host.Password.Reveal()),
		"a token not used yet":        []byte(fresh),
		"a machine's token":           []byte(w.Conf(t, bench.M1, "2").Token),
	}
	w.Halt(t)
	bench.NoLeakOnDisk(t, w.Dir, markers)
}

func enrolToken(t *testing.T, w *bench.World, u string) string {
	t.Helper()
	host := w.Machine(t, bench.M1, "1")
	token, err := host.Connect(t, w.Cluster).Machine().UnitToken(cluster.Context(t), "a/1")
	if err != nil {
		t.Fatalf("%s: %v", u, err)
	}
	return token.Reveal()
}

func overwhelm(t *testing.T, e *env) {
	w := e.world()
	readers := count(4, 40)
	each := count(40, 250)
	conns := make([]*client.Conn, readers)
	for i := range conns {
		conns[i] = w.Login(t, cluster.Admin, cluster.AdminPassword, bench.M1)
	}
	writer := w.Unit(t, bench.M1, "a/0").Connect(t, w.Cluster)
	w.Delay.Set(time.Duration(count(60, 150)) * time.Millisecond)
	defer w.Delay.Set(0)
	var done, failed atomic.Int64
	var untyped atomic.Value
	var mem runtime.MemStats
	w.Alive(t, 20*time.Second, func() {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		var wg sync.WaitGroup
		for _, c := range conns {
			for range 4 {
				wg.Go(func() {
					for range each / 4 {
						_, err := c.FullStatus(ctx, wireclient.StatusParams{})
						done.Add(1)
						if err != nil {
							failed.Add(1)
							if client.Code(err) == "" {
								untyped.Store(err.Error())
							}
						}
					}
				})
			}
		}
		for i := range 40 {
			wg.Go(func() {
				if err := writer.Unit().SetWorkloadVersion(ctx, strconv.Itoa(i)); err != nil {
					failed.Add(1)
				}
			})
		}
		wg.Wait()
		runtime.ReadMemStats(&mem)
		if ctx.Err() != nil {
			t.Error("the calls did not come back in 2 minutes")
		}
	})
	if got := untyped.Load(); got != nil {
		t.Errorf("a failure without a type: %v", got)
	}
	if done.Load() == 0 || failed.Load() > done.Load()/10 {
		t.Errorf("%d of %d calls failed", failed.Load(), done.Load())
	}
	inFlight(t, w)
}

// inFlight sends more calls at once than a connection may have: those past the
// limit are refused by type and the connection lives.
func inFlight(t *testing.T, w *bench.World) {
	t.Helper()
	r := w.AsAgent(t, w.Unit(t, bench.M1, "a/0"))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	w.Delay.Set(2 * time.Second)
	const n = 900
	for i := range n {
		frame := fmt.Sprintf(`{"request-id":%d,"type":"UnitAgent","version":1,"request":"SetWorkloadVersion","params":{"version":"x%d"}}`, i+100, i)
		if err := r.Send(ctx, []byte(frame)); err != nil {
			t.Fatalf("the connection ended after %d calls: %v", i, err)
		}
	}
	refused := 0
	for refused == 0 {
		b, err := r.Receive(ctx)
		if err != nil {
			t.Fatalf("no call of %d was refused: %v", n, err)
		}
		if bytes.Contains(b, []byte(`"try again"`)) {
			refused++
		} else if bytes.Contains(b, []byte(fmt.Sprintf(`"request-id":%d,`, n+99))) {
			break
		}
	}
	w.Delay.Set(0)
	if refused == 0 {
		t.Errorf("%d calls at once on one connection, none was refused", n)
	}
	r.Close()
}

func passwordsAtRest(t *testing.T, _ *env) {
	w := bench.New(t, bench.Options{})
	madeByTheAPI(t, w)
	v := w.Store.View()
	people := 0
	for u, err := range user.Table.All(v, state.Controller) {
		if err != nil {
			t.Fatal(err)
		}
		if u.Name != bench.Stray && !strings.HasPrefix(string(u.Name), "twin") {
			continue // the bench put them there itself
		}
		people++
		checkHash(t, string(u.Name), u.Verifier, "argon2id")
	}
	w.Unit(t, bench.M1, "a/0")
	agents := 0
	cluster.Eventually(t, "the unit's credential", func() bool {
		agents = 0
		for a, err := range agentcred.Table.All(w.Store.View(), model.ScopeOf(bench.M1)) {
			if err != nil {
				t.Fatal(err)
			}
			if a.Verifier != "" {
				agents++
				checkHash(t, a.Tag, a.Verifier, "hmac-sha512")
			}
			if a.TokenVerifier != "" {
				checkHash(t, a.Tag, a.TokenVerifier, "hmac-sha512")
			}
		}
		return agents >= 2
	})
	if people != 3 {
		t.Errorf("%d people", people)
	}
	same := password.NewSecret("one and the same password 0123456789")
	seen := map[string]bool{}
	for range 2 {
		for _, f := range []func(password.Secret) (password.Hash, error){password.Of, password.OfAgent} {
			start := time.Now()
			h := must[password.Hash](t)(f(same))
			if seen[string(h)] {
				t.Error("two equal passwords are stored alike")
			}
			seen[string(h)] = true
			if strings.HasPrefix(string(h), "$argon2id") && time.Since(start) < 20*time.Millisecond {
				t.Errorf("a person's hash took only %s", time.Since(start))
			}
		}
	}
	rises(t, w)
}

// madeByTheAPI adds people with one password, and gives it to another: what is
// stored of them was hashed by the controller itself.
func madeByTheAPI(t *testing.T, w *bench.World) {
	t.Helper()
	const same = "one and the same password"
	admin := w.AsUser(t, cluster.Admin, "")
	ctx := cluster.Context(t)
	for _, u := range []string{"twin1", "twin2"} {
		args := map[string]any{"users": []map[string]string{{"username": u, "display-name": u, "password": same}}}
		if b, err := admin.Call(ctx, "UserManager", 3, "AddUser", "", args); err != nil || bytes.Contains(b, []byte(`"error"`)) {
			t.Fatalf("cannot add %s: %v %s", u, err, b)
		}
	}
	args := map[string]any{"changes": []map[string]string{{"tag": bench.Stray.Tag().String(), "password": same}}}
	if b, err := admin.Call(ctx, "UserManager", 3, "SetPassword", "", args); err != nil || bytes.Contains(b, []byte(`"error"`)) {
		t.Fatalf("cannot set a password: %v %s", err, b)
	}
	seen := map[string]bool{}
	cluster.Eventually(t, "they are stored", func() bool {
		clear(seen)
		for _, u := range []string{"twin1", "twin2", string(bench.Stray)} {
			if row, err := user.Table.Get(w.Store.View(), state.Controller, u); err == nil && strings.HasPrefix(row.Verifier, "$argon2id$") {
				seen[row.Verifier] = true
			}
		}
		return len(seen) == 3 // were two alike, this would never come
	})
}

func checkHash(t *testing.T, who, h, scheme string) {
	t.Helper()
	parts := strings.Split(strings.Trim(h, "$"), "$")
	if len(parts) < 4 || parts[0] != scheme {
		t.Errorf("%s is stored as %.20s..., want scheme, parameters, salt and key", who, h)
	}
	if scheme == "argon2id" && !strings.Contains(h, "m=65536") {
		t.Errorf("%s is stored with less than the policy's cost: %.30s", who, h)
	}
}

// rises logs in with a hash of a lesser cost than today's: it is made anew.
func rises(t *testing.T, w *bench.World) {
	t.Helper()
	old := oldHash(bench.Password(bench.Writer).Reveal())
	w.Do(t, func(tx *state.Tx) error {
		row, err := user.Table.Get(tx, state.Controller, string(bench.Writer))
		if err != nil {
			return err
		}
		row.Verifier = old
		return user.Table.Put(tx, state.Controller, row)
	})
	_ = w.Login(t, bench.Writer, bench.Password(bench.Writer), "").Close()
	cluster.Eventually(t, "the hash has risen", func() bool {
		row, err := user.Table.Get(w.Store.View(), state.Controller, string(bench.Writer))
		return err == nil && row.Verifier != old && strings.Contains(row.Verifier, "m=65536")
	})
	_ = w.Login(t, bench.Writer, bench.Password(bench.Writer), "").Close()
}

func filePermissions(t *testing.T, _ *env) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	w := bench.New(t, bench.Options{Change: func(cfg *controller.Config) {
		for _, dir := range []string{cfg.DataDir, filepath.Join(cfg.DataDir, "blobs"), filepath.Join(cfg.DataDir, "logs"), filepath.Join(cfg.DataDir, "audit")} {
			if os.MkdirAll(dir, 0o777) != nil || os.Chmod(dir, 0o777) != nil {
				t.Fatal(dir)
			}
		}
	}})
	w.Unit(t, bench.M1, "a/0")
	sink, err := w.Unit(t, bench.M1, "a/0").Connect(t, w.Cluster).OpenLogSink(cluster.Context(t))
	if err == nil {
		_ = sink.Close()
	}
	entries := 0
	for _, dir := range []string{w.Dir, filepath.Join(w.KeyDir, "unseal.key")} {
		err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			if err != nil {
				return nil //nolint:nilerr // it is gone by now
			}
			fi, err := d.Info()
			if err != nil {
				return nil //nolint:nilerr // it is gone by now
			}
			entries++
			if fi.Mode().Perm()&0o077 != 0 || fi.Mode()&(fs.ModeSetuid|fs.ModeSetgid) != 0 {
				t.Errorf("%s has mode %s", p, fi.Mode())
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if entries < 10 {
		t.Errorf("only %d files", entries)
	}
	asStranger(t, w.Dir)
	hostileLink(t)
}

// asStranger walks the controller's files as an unprivileged user.
func asStranger(t *testing.T, dir string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("this attack needs root, to become another user")
	}
	// The way there is open, so that only the directory's own mode can refuse.
	for p := filepath.Dir(dir); p != "/"; p = filepath.Dir(p) {
		if fi, err := os.Stat(p); err == nil && fi.Mode().Perm()&0o001 == 0 {
			if err := os.Chmod(p, fi.Mode().Perm()|0o011); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, sub := range []string{"", "store", "blobs", "logs", "audit"} {
		out, err := as65534(t, "ls", "-la", filepath.Join(dir, sub))
		if err == nil || !bytes.Contains(out, []byte("Permission denied")) {
			t.Errorf("a stranger listed %q: %v\n%s", sub, err, out)
		}
	}
}

// as65534 runs a program as an unprivileged user.
func as65534(t *testing.T, name string, args ...string) ([]byte, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	return cmd.CombinedOutput()
}

// hostileLink plants a symlink in the place of the init file's owner-only file:
// a loose one is not read at all.
func hostileLink(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	in := must[[]byte](t)(json.Marshal(controller.Init{Name: "x"}))
	loose := filepath.Join(dir, "init.json")
	if err := os.WriteFile(loose, in, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(loose, 0o666); err != nil {
		t.Fatal(err)
	}
	err := controller.Run(cluster.Context(t), controller.Config{
		DataDir: filepath.Join(dir, "data"), UnsealKeyFile: filepath.Join(dir, "key"), InitFile: loose, Backend: state.NewMem(),
		Now: time.Now, Log: discard(),
	})
	if err == nil || !strings.Contains(err.Error(), "others may read it") {
		t.Errorf("a controller began from a file that anybody may write: %v", err)
	}
}
