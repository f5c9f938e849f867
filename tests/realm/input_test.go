package realm

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// testInput are mistakes on a model that runs; none of them changes it.
func testInput(t *testing.T) {
	host.quickstart(t)
	before := slices.Sorted(maps.Keys(host.status(t).Applications))
	t.Run("Names", testNames)
	t.Run("Charms", testCharms)
	t.Run("Client", testClientFiles)
	t.Run("DiskFull", testBlobsFull)
	t.Run("Interrupt", testInterruptDeploy)
	if after := slices.Sorted(maps.Keys(host.status(t).Applications)); !slices.Equal(before, after) {
		t.Errorf("there were the applications %v, there are %v", before, after)
	}
	host.settle(t, 5, demo()...)
	checkRefusal(t, host.run("bootstrap", "localhost", "second"), 1, "this host already runs")
	checkRefusal(t, host.run("bootstrap", "localhost", "quickstart"), 1, "choose another name")
}

func testNames(t *testing.T) {
	for _, c := range []struct {
		code int
		want string
		args []string
	}{
		{1, "no such file", []string{"deploy", "./no-such-charm"}},
		{1, "store", []string{"deploy", "no-such-charm"}},
		{1, `"nats"`, []string{"deploy", "./charms/nats"}},
		{1, "nope", []string{"deploy", "./charms/nats", "fresh", "--config", "nope=1"}},
		{1, "client-port", []string{"deploy", "./charms/nats", "fresh", "--config", "client-port=abc"}},
		{1, "mars", []string{"deploy", "./charms/nats", "fresh", "--base", "mars@1"}},
		{1, "nope", []string{"config", "nats", "nope=1"}},
		{1, "client-port", []string{"config", "nats", "client-port=abc"}},
		{1, "nosuch", []string{"config", "nosuch"}},
		{1, "nosuch", []string{"add-unit", "nosuch"}},
		{1, "nosuch", []string{"expose", "nosuch"}},
		{1, "nosuch", []string{"integrate", "nats:client", "nosuch"}},
		{1, "nats/77", []string{"remove-unit", "nats/77", "--no-prompt"}},
		{1, "nosuch", []string{"remove-application", "nosuch", "--no-prompt"}},
		{1, "77", []string{"remove-machine", "77", "--no-prompt"}},
		{1, "nats/77", []string{"ssh", "nats/77", "--", "true"}},
		{1, "77", []string{"ssh", "77", "--", "true"}},
		{1, "nosuch", []string{"status", "-m", "nosuch"}},
		{1, "demo", []string{"add-model", "demo"}},
		{2, "mem", []string{"add-machine", "--constraints", "mem=lots"}},
		{2, "--nope", []string{"status", "--nope"}},
		{2, "more arguments", []string{"deploy"}},
		{2, "Bad/Name", []string{"remove-unit", "Bad/Name", "--no-prompt"}},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) { checkRefusal(t, host.run(c.args...), c.code, c.want) })
	}
}

// testCharms deploys charms that are broken; the file and line are named.
func testCharms(t *testing.T) {
	for name, c := range map[string]struct{ file, text, want string }{
		"yaml":   {"metadata.yaml", "name: probe\nsummary: x\n  description: [\n", "line 3"},
		"config": {"config.yaml", "options:\n  port:\n    type: whatever\n", "port"},
		"noname": {"metadata.yaml", "summary: x\n", "name"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "probe")
			if err := os.CopyFS(dir, os.DirFS(filepath.Join(host.root, "tests/realm/testdata/probe"))); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, c.file), []byte(c.text), 0o644); err != nil {
				t.Fatal(err)
			}
			checkRefusal(t, host.run("deploy", dir, "fresh"), 1, c.want, c.file)
		})
	}
}

// testClientFiles spoils a copy of the client's files.
func testClientFiles(t *testing.T) {
	for name, c := range map[string]struct{ file, pattern, by, want string }{
		"WrongPassword": {"accounts.yaml", `password: [^,}\n]+`, "password: wrong", "scarab login"},
		"ForeignCA":     {"controllers.yaml", `ca-cert: ("[^"]+"|\|\n( {6}.*\n)+)`, "ca-cert: " + strconv.Quote(foreignCA(t)) + "\n", "authority"},
		"Down":          {"controllers.yaml", `127\.0\.0\.1:17070`, "127.0.0.1:9", "127.0.0.1:9"},
		"Broken":        {"controllers.yaml", `controllers:`, "controllers: [", "repair-client-files"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "client")
			if err := os.CopyFS(dir, os.DirFS(host.data)); err != nil {
				t.Fatal(err)
			}
			for _, f := range []string{"", c.file} {
				if err := os.Chmod(filepath.Join(dir, f), map[bool]os.FileMode{true: 0o700, false: 0o600}[f == ""]); err != nil {
					t.Fatal(err)
				}
			}
			path := filepath.Join(dir, c.file)
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			changed := regexp.MustCompile(c.pattern).ReplaceAllLiteral(text, []byte(c.by))
			if string(changed) == string(text) {
				t.Fatalf("nothing to spoil in %s:\n%s", c.file, text)
			}
			if err := os.WriteFile(path, changed, 0o600); err != nil {
				t.Fatal(err)
			}
			other := &bench{root: host.root, bin: host.bin, data: dir, tmp: host.tmp}
			r := other.run("status")
			checkRefusal(t, r, 1, c.want)
			if r.took > 30*time.Second {
				t.Errorf("it took %s to say so", r.took)
			}
		})
	}
}

// foreignCA makes a certificate of an authority that nobody here knows.
func foreignCA(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "foreign"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// testBlobsFull takes the room for charms away from a running controller.
func testBlobsFull(t *testing.T) {
	charm := filepath.Join(t.TempDir(), "bulky") // one that is not there yet
	if err := os.CopyFS(charm, os.DirFS(filepath.Join(host.root, "tests/realm/testdata/probe"))); err != nil {
		t.Fatal(err)
	}
	bulk := make([]byte, 1<<20)
	if _, err := rand.Read(bulk); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(charm, "bulk"), bulk, 0o644); err != nil {
		t.Fatal(err)
	}
	dir := blobDir(t)
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k,mode=0700,uid=64789,gid=64789"); err != nil {
		t.Fatal(err)
	}
	renew(t) // it holds the folder open
	r := host.run("deploy", charm, "crowded")
	if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	renew(t)
	checkRefusal(t, r, 1, "space")
	if _, there := host.status(t).Applications["crowded"]; there {
		t.Error("half an application is left behind")
	}
	host.ok(t, "deploy", charm, "crowded", "-n", "0") // with room again
	host.ok(t, "remove-application", "crowded", "--no-prompt")
}

// renew kills the controller and waits for the one that its supervisor starts.
func renew(t *testing.T) {
	t.Helper()
	before := supervisor(t).ControllerPid
	kill(t, before)
	eventually(t, 20*time.Second, "a new controller serves", func() bool {
		now := supervisor(t).ControllerPid
		return now != 0 && now != before && host.run("models").code == 0
	})
}

// blobDir finds where the controller keeps charms.
func blobDir(t *testing.T) string {
	t.Helper()
	list, err := filepath.Glob("/var/lib/scarab/controller/blob*")
	if err != nil || len(list) != 1 {
		t.Fatalf("cannot find the controller's store of charms: %v %v", list, err)
	}
	return list[0]
}

// testInterruptDeploy interrupts deploy at points spread over all it does: the
// application is there, whole, or it is not.
func testInterruptDeploy(t *testing.T) {
	const span = 1500 * time.Millisecond
	points := 8
	if long() {
		points = 40
	}
	made := 0
	for i := range points {
		name := fmt.Sprintf("cut%c%c", 'a'+i/20, 'a'+i%20)
		after := span * time.Duration(i) / time.Duration(points)
		r, _ := interrupt(t, after, "deploy", "./tests/realm/testdata/probe", name, "-n", "0")
		if r.code == 1 {
			checkRefusal(t, r, 1, "interrupted")
		}
		_, there := host.status(t).Applications[name]
		if r.code == 0 && !there {
			t.Errorf("deploy said it is done, but there is no application:\n%s", r)
		}
		if there {
			made++
			host.ok(t, "config", name)
			host.ok(t, "remove-application", name, "--no-prompt")
			continue
		}
		if i == points/2 {
			host.ok(t, "deploy", "./tests/realm/testdata/probe", name, "-n", "0")
			host.ok(t, "remove-application", name, "--no-prompt")
		}
	}
	t.Logf("%d of %d were deployed all the same", made, points)
	eventually(t, 20*time.Second, "the applications are gone", func() bool {
		for name := range host.status(t).Applications {
			if strings.HasPrefix(name, "cut") {
				return false
			}
		}
		return true
	})
}
