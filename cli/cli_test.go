package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/scarab-ops/scarab/cli"
	"github.com/scarab-ops/scarab/cli/clitest"
	"github.com/scarab-ops/scarab/cli/connect"
	"github.com/scarab-ops/scarab/cli/session"
	"github.com/scarab-ops/scarab/cli/store"
)

func TestMain(m *testing.M) {
	os.Setenv("TZ", "UTC")
	os.Exit(m.Run())
}

// now is the time in every script.
func now() time.Time { return time.Date(2025, 2, 3, 4, 11, 12, 0, time.UTC) }

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata", UpdateScripts: os.Getenv("UPDATE_SCRIPTS") != "", RequireUniqueNames: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("JUJU_DATA", filepath.Join(e.WorkDir, "data"))
			e.Setenv("HOME", e.WorkDir)
			e.Values["fake"] = &fake{}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"fake": startFake, "scarab": runScarab, "calls": showCalls, "code": checkCode, "bytes": writeBytes,
		},
	})
}

// fake is the controller of a script and the exit code of the last command.
type fake struct {
	server *clitest.Server
	code   int
	away   bool // it runs on another host
}

func of(ts *testscript.TestScript) *fake { return ts.Value("fake").(*fake) }

// fake [answers.json] starts a controller, and with the first one writes client files that know it as prod.
func startFake(ts *testscript.TestScript, _ bool, args []string) {
	f := of(ts)
	answers := map[string]json.RawMessage{}
	known := true
	for _, a := range args {
		if a == "-unknown" || a == "-away" {
			known, f.away = known && a != "-unknown", a == "-away"
			continue
		}
		if err := json.Unmarshal([]byte(ts.ReadFile(a)), &answers); err != nil {
			ts.Fatalf("%s: %v", a, err)
		}
	}
	if f.server != nil {
		f.server.Answer(answers)
		return
	}
	s, err := clitest.Start(answers)
	ts.Check(err)
	f.server = s
	ts.Defer(func() { ts.Check(s.Close()) })
	ts.Setenv("ADDRESS", s.Address)
	fp, err := store.Fingerprint(s.CA)
	ts.Check(err)
	ts.Setenv("FINGERPRINT", fp)
	if known {
		ts.Check(introduce(ts.Getenv("JUJU_DATA"), s))
	}
}

func introduce(dir string, s *clitest.Server) error {
	st, err := store.New(store.Config{Dir: dir, UID: os.Geteuid()})
	if err != nil {
		return err
	}
	ctx := context.Background()
	return errors.Join(
		st.SetController(ctx, "prod", store.Controller{
			UUID: clitest.ControllerUUID, Endpoints: []string{s.Address}, CACert: s.CA, Cloud: "localhost", Region: "localhost",
			Type: "lxd", AgentVersion: "3.6.12", Machines: 1, ActiveMachines: 1,
		}, true),
		st.SetAccount(ctx, "prod", store.Account{User: "admin", Password: store.NewPassword(clitest.Password), Access: "superuser"}),
		st.SetModel(ctx, "prod", "admin/controller", store.Model{UUID: clitest.AdminModelUUID, Type: "iaas"}, false),
		st.SetModel(ctx, "prod", "admin/dev", store.Model{UUID: clitest.ModelUUID, Type: "iaas"}, true),
	)
}

func runScarab(ts *testscript.TestScript, neg bool, args []string) {
	f := of(ts)
	st, err := store.New(store.Config{Dir: ts.Getenv("JUJU_DATA"), UID: os.Geteuid()})
	ts.Check(err)
	in := strings.NewReader(strings.ReplaceAll(ts.Getenv("ANSWER"), "|", "\n"))
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	f.code = cli.Main(ctx, session.Config{
		Stdin: in, Stdout: ts.Stdout(), Stderr: ts.Stderr(), Getenv: ts.Getenv, Now: now, Dir: ts.MkAbs("."), Store: st,
		Dial: connect.New(connect.Config{Version: "3.6.12"}), Terminal: &terminal{in: in, err: ts.Stderr()}, Programs: programs{ts.Stdout()},
		Version: session.Versions{Juju: "3.6.12", Scarab: "0.1.0"}, Bootstrap: &boot{f}, Images: images{},
	}, args)
	if neg != (f.code != 0) {
		ts.Fatalf("exit code %d", f.code)
	}
}

func showCalls(ts *testscript.TestScript, _ bool, _ []string) {
	for _, c := range of(ts).server.Calls() {
		fmt.Fprintln(ts.Stdout(), c)
	}
}

func checkCode(ts *testscript.TestScript, _ bool, args []string) {
	if want, _ := strconv.Atoi(args[0]); of(ts).code != want {
		ts.Fatalf("exit code %d, want %d", of(ts).code, want)
	}
}

// bytes FILE N[:MODE] truncates a file to N bytes, or fills it with NUL for N < 0.
func writeBytes(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[0])
	data, err := os.ReadFile(path)
	ts.Check(err)
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	if n < 0 {
		data = make([]byte, len(data))
	} else {
		data = data[:n]
	}
	ts.Check(os.WriteFile(path, data, 0o600))
}

// terminal reads answers from the script and is no terminal.
type terminal struct {
	in  *strings.Reader
	err io.Writer
}

func (*terminal) StdinIsTerminal() bool  { return false }
func (*terminal) StdoutIsTerminal() bool { return false }
func (*terminal) StderrIsTerminal() bool { return false }
func (*terminal) Size() (int, int)       { return 80, 24 }

func (t *terminal) ReadPassword(string) (string, error) { return t.ReadLine("") }

func (t *terminal) ReadLine(prompt string) (string, error) {
	if prompt != "" {
		fmt.Fprintln(t.err, prompt)
	}
	var line bytes.Buffer
	for {
		b, err := t.in.ReadByte()
		if err != nil {
			if line.Len() > 0 {
				return line.String(), nil
			}
			return "", io.EOF
		}
		if b == '\n' {
			return line.String(), nil
		}
		line.WriteByte(b)
	}
}

// programs prints what would be started.
type programs struct{ out io.Writer }

func (programs) Find(name string) (string, error) { return "/usr/bin/" + name, nil }

func (p programs) Run(_ context.Context, path string, args []string) (int, error) {
	hosts := ""
	for _, a := range args {
		if file, ok := strings.CutPrefix(a, "UserKnownHostsFile="); ok {
			data, err := os.ReadFile(file)
			if err != nil {
				return 0, err
			}
			hosts = string(data)
		}
	}
	fmt.Fprintf(p.out, "%s %s\n%s", path, strings.Join(args, " "), hosts)
	return 7, nil
}

// left is an undo that failed.
type left struct{}

func (l left) Error() string    { return l.Unfinished() }
func (left) Unfinished() string { return "cannot take back what was begun: a machine is busy" }

// boot hands out the fake controller as the one that was started.
type boot struct{ f *fake }

func (b *boot) Start(_ context.Context, r session.BootstrapRequest, report func(session.Step)) (session.Bootstrapped, error) {
	if r.Name == "broken" {
		report(session.Step{Name: "start the host agent", Err: errors.New("no rights")})
		return session.Bootstrapped{}, errors.New("cannot start the host agent: run as root")
	}
	switch r.Name {
	case "taken":
		return session.Bootstrapped{}, &session.RunningError{UUID: clitest.ControllerUUID, Address: "127.0.0.1:17070", Err: errors.New("cannot bootstrap: this host already runs the controller " + clitest.ControllerUUID)}
	case "halfway":
		return session.Bootstrapped{}, errors.Join(context.Canceled, left{})
	}
	report(session.Step{Name: "start the host agent"})
	report(session.Step{Name: "start the host agent", Done: true})
	return session.Bootstrapped{
		ControllerUUID: clitest.ControllerUUID, ControllerModelUUID: clitest.AdminModelUUID, Addresses: []string{b.f.server.Address},
		CACert: b.f.server.CA, User: "admin", Password: store.NewPassword(clitest.Password), CloudType: "lxd", Version: "3.6.12",
	}, nil
}

func (b *boot) Destroy(_ context.Context, r session.DestroyRequest, report func(session.Step)) error {
	report(session.Step{Name: "stop the controller " + r.ControllerUUID, Done: true})
	return nil
}

func (b *boot) Here(uuid string) (bool, error) {
	return uuid == clitest.ControllerUUID && !b.f.away, nil
}

func (b *boot) Asleep(_ context.Context, uuid string) string {
	if uuid != clitest.ControllerUUID || b.f.away {
		return ""
	}
	return "/bin/agent host --start"
}

type images struct{}

func (images) List(context.Context) ([]session.Image, error) {
	return []session.Image{{Name: "ubuntu@24.04", Arch: "amd64", Digest: "sha256:0123456789abcdef0123", Size: 200 << 20, Source: "tarball", Created: now()}}, nil
}

func (images) Add(_ context.Context, name, tarball string, report func(session.Step)) (session.Image, error) {
	report(session.Step{Name: "take " + filepath.Base(tarball), Done: true})
	return session.Image{Name: name, Size: 1 << 20}, nil
}

func (images) Remove(_ context.Context, name string) error {
	if name == "ubuntu@24.04" {
		return errors.New("cannot remove image ubuntu@24.04: machines use it")
	}
	return nil
}
