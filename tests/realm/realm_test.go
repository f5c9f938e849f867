package realm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/hostd/hostapi"
	"github.com/scarab-ops/scarab/provider"
)

// hostFile is there exactly while this host runs a controller.
const hostFile = "/var/lib/scarab/host.json"

// long tells whether the long form is wanted.
func long() bool { return os.Getenv("SCARAB_LONG") != "" }

// A bench is this host with the programs and one client's files.
type bench struct {
	root string // of the repository
	bin  string
	data string // JUJU_DATA
	tmp  string // TMPDIR of what is run; must be empty in the end

	quick  sync.Once
	output string        // of the quickstart
	took   time.Duration // by the quickstart
	failed error
}

var host *bench

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	if os.Getenv("REALM_METADATA") != "" {
		return metadataService()
	}
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "ERROR cannot test on real machines: making them needs root")
		return 1
	}
	if _, err := os.Stat(hostFile); err == nil {
		fmt.Fprintln(os.Stderr, "ERROR cannot test on this host: it runs a controller; take it down first with: make quickstart-down")
		return 1
	}
	dir, err := os.MkdirTemp("", "realm-")
	if err == nil {
		defer func() { _ = os.RemoveAll(dir) }()
		host, err = newBench(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "ERROR", err)
		return 1
	}
	code := m.Run()
	if _, err := os.Stat(hostFile); err == nil { // a part failed, or the last one was not asked for
		if out, err := host.script("down.sh").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "ERROR cannot clean up: %v\n%s", err, out)
			return 1
		}
	}
	return code
}

func newBench(dir string) (*bench, error) {
	root, err := filepath.Abs("../..")
	if err != nil {
		return nil, err
	}
	b := &bench{root: root, bin: os.Getenv("SCARAB_BIN"), data: filepath.Join(dir, "client"), tmp: filepath.Join(dir, "tmp")}
	if err := os.Mkdir(b.tmp, 0o700); err != nil {
		return nil, err
	}
	if b.bin != "" {
		return b, nil
	}
	b.bin = filepath.Join(dir, "bin")
	cmd := exec.Command("go", "build", "-o", b.bin+"/", "./cmd/...")
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("cannot build the programs: %w\n%s", err, out)
	}
	return b, nil
}

func (b *bench) env() []string {
	return append(os.Environ(), "JUJU_DATA="+b.data, "TMPDIR="+b.tmp, "SCARAB_BIN="+b.bin, "NO_COLOR=1",
		"JUJU_MODEL=", "JUJU_CONTROLLER=")
}

func (b *bench) script(name string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(b.root, "tools/quickstart", name))
	cmd.Env = b.env()
	return cmd
}

// A result is what one run of the client came to.
type result struct {
	args     []string
	out, err string
	code     int
	took     time.Duration
}

func (r result) String() string {
	return fmt.Sprintf("$ scarab %s\n%s%s(exit code %d after %s)", strings.Join(r.args, " "), r.out, r.err, r.code, r.took.Round(time.Millisecond))
}

// command makes a run of the client in a process group of its own.
func (b *bench) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(b.bin, "scarab"), args...)
	cmd.Env, cmd.Dir = b.env(), b.root
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// finish runs a command to its end.
func finish(cmd *exec.Cmd) result { return finishStarted(cmd, make(chan struct{})) }

// finishStarted tells when the command has started, too.
func finishStarted(cmd *exec.Cmd, started chan<- struct{}) result {
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	began := time.Now()
	err := cmd.Start()
	close(started)
	if err == nil {
		err = cmd.Wait()
	}
	r := result{args: cmd.Args[1:], out: out.String(), err: errs.String(), took: time.Since(began)}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		r.code = exit.ExitCode()
	case err != nil:
		r.code, r.err = -1, r.err+err.Error()
	}
	return r
}

// run runs the client; it has two minutes.
func (b *bench) run(args ...string) result {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	return finish(b.command(ctx, args...))
}

// ok runs the client, which must succeed, and returns its output.
func (b *bench) ok(t *testing.T, args ...string) string {
	t.Helper()
	r := b.run(args...)
	if r.code != 0 {
		t.Fatal(r)
	}
	return r.out
}

// checkRefusal holds a failed run against the house's rule: one line that
// begins with ERROR, at most one hint, nothing that looks like a crash.
func checkRefusal(t *testing.T, r result, code int, want ...string) {
	t.Helper()
	errors, hints := 0, 0
	for line := range strings.Lines(r.err) {
		switch {
		case strings.HasPrefix(line, "ERROR "):
			errors++
		case strings.HasPrefix(line, "hint: "):
			hints++
		}
	}
	if r.code != code || errors != 1 || hints > 1 {
		t.Errorf("want exit code %d and one ERROR line:\n%s", code, r)
	}
	for _, bad := range []string{"panic", "goroutine ", "<nil>", "%!", "0xc0"} {
		if strings.Contains(r.err, bad) {
			t.Errorf("it says %q:\n%s", bad, r)
		}
	}
	for _, w := range want {
		if !strings.Contains(r.err, w) {
			t.Errorf("it does not say %q:\n%s", w, r)
		}
	}
}

// eventually waits until f holds.
func eventually(t *testing.T, within time.Duration, what string, f func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		if time.Since(began) > within {
			t.Fatalf("not within %s: %s", within, what)
		}
		<-tick.C
	}
	return time.Since(began)
}

// A model is what status --format json says, as far as tests look.
type model struct {
	Machines map[string]struct {
		Status   state  `json:"juju-status"`
		Instance string `json:"instance-id"`
		Machine  state  `json:"machine-status"`
		Address  string `json:"dns-name"`
	} `json:"machines"`
	Applications map[string]struct {
		Status state                 `json:"application-status"`
		Units  map[string]statusUnit `json:"units"`
	} `json:"applications"`
}

type state struct {
	Current string `json:"current"`
	Message string `json:"message"`
}

type statusUnit struct {
	Workload state  `json:"workload-status"`
	Agent    state  `json:"juju-status"`
	Machine  string `json:"machine"`
	Address  string `json:"public-address"`
}

func (b *bench) status(t *testing.T, more ...string) model {
	t.Helper()
	var m model
	text := b.ok(t, append([]string{"status", "--format", "json"}, more...)...)
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		t.Fatalf("cannot read the status: %v\n%s", err, text)
	}
	return m
}

// unit returns a unit, empty if there is none.
func (m model) unit(name string) statusUnit {
	app, _, _ := strings.Cut(name, "/")
	return m.Applications[app].Units[name]
}

// settled tells whether all units are active and idle, of the applications
// named or of all.
func (m model) settled(apps ...string) bool {
	for name, a := range m.Applications {
		if len(apps) > 0 && !slices.Contains(apps, name) {
			continue
		}
		for _, u := range a.Units {
			if u.Workload.Current != "active" || u.Agent.Current != "idle" {
				return false
			}
		}
	}
	return true
}

// count is the number of units of the applications named.
func (m model) count(apps ...string) int {
	n := 0
	for _, a := range apps {
		n += len(m.Applications[a].Units)
	}
	return n
}

// settle waits until applications have so many units, all active and idle.
func (b *bench) settle(t *testing.T, units int, apps ...string) {
	t.Helper()
	var last model
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(90 * time.Second); last.count(apps...) != units || !last.settled(apps...); last = b.status(t) {
		if time.Now().After(deadline) {
			t.Fatalf("%v do not settle:\n%s", apps, b.run("status"))
		}
		<-tick.C
	}
}

// demo are the applications of the quickstart.
func demo() []string { return []string{"ca", "nats", "stream-agent"} }

// inside runs a shell script as root of a machine, as somebody who took it
// over would: past its agent.
func (b *bench) inside(t *testing.T, machine, script string) result {
	t.Helper()
	r, err := b.tryInside(t, machine, script)
	if err != nil {
		t.Fatalf("cannot run a script in machine %s: %v", machine, err)
	}
	return r
}

// tryInside is inside for a machine that may be down at the moment.
func (b *bench) tryInside(t *testing.T, machine, script string) (result, error) {
	t.Helper()
	id := b.status(t).Machines[machine].Instance
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := hostapi.NewClient(hostapi.Socket)
	defer c.Close()
	began := time.Now()
	out, code, err := c.Exec(ctx, provider.InstanceID(id), []string{"/bin/bash", "-c", script})
	return result{args: []string{"(in machine", machine + ")", script}, out: out, code: code, took: time.Since(began)}, err
}

// TestRealm is all parts in their order. A part that needs the quickstart's
// model runs it if no earlier part did.
func TestRealm(t *testing.T) {
	before := take(t)
	t.Run("Unmade", testUnmade)
	t.Run("Interrupt", testInterrupt)
	t.Run("Clean", func(t *testing.T) { compare(t, before, take(t)) })
	t.Run("Quickstart", testQuickstart)
	t.Run("Outside", testOutside)
	t.Run("Input", testInput)
	t.Run("Life", testLife)
	t.Run("Down", func(t *testing.T) { testDown(t, before) })
	t.Run("Ends", testEnds)
	t.Run("Bare", func(t *testing.T) { compare(t, before, take(t)) })
}

// quickstart runs the quickstart once.
func (b *bench) quickstart(t *testing.T) {
	t.Helper()
	b.quick.Do(func() {
		began := time.Now()
		out, err := b.script("run.sh").CombinedOutput()
		b.output, b.failed, b.took = string(out), err, time.Since(began)
	})
	if b.failed != nil {
		t.Fatalf("the quickstart failed: %v\n%s", b.failed, b.output)
	}
}
