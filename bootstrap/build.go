package bootstrap

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/scarab-ops/scarab/client"
	"github.com/scarab-ops/scarab/hostd"
	"github.com/scarab-ops/scarab/hostd/hostapi"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/password"
)

// builder makes one controller. What takes long and waits for nothing runs
// beside the steps: the password's hash, a look at the host's settings. The
// controller starts before its first record is written, and waits for it.
type builder struct {
	paths    Paths
	req      Request
	report   Report
	secret   password.Secret
	hash     func() (password.Hash, error)     // of secret
	settings func() (map[string]string, error) // of the host
	weakness func() (weakness, error)          // of machines here
	aside    sync.WaitGroup                    // of what runs beside the steps
	c        Controller
}

func (b *builder) step(name string, f func() error) error {
	b.report(name, false, nil)
	err := f()
	b.report(name, true, err)
	return err
}

func programs() []string { return []string{"scarab-controller", "scarab-agent", "scarab-hooktool"} }

// beside runs f at once, beside its caller, and gives a way to its outcome.
func beside[T any](b *builder, f func() (T, error)) func() (T, error) {
	once := sync.OnceValues(f)
	b.aside.Go(func() { _, _ = once() })
	return once
}

func (b *builder) build(ctx context.Context) (Controller, error) {
	b.c = Controller{
		UUID: names.ControllerID(uuid.NewString()), ModelUUID: names.Model(uuid.NewString()), Admin: b.req.Admin,
		Addresses: []string{net.JoinHostPort("127.0.0.1", strconv.Itoa(b.req.APIPort))},
	}
	b.secret = password.NewSecret(rand.Text())
	b.c.Password = client.NewSecret(b.secret.Reveal())
	b.hash = beside(b, func() (password.Hash, error) {
		password.LargePages(1)
		return password.Of(b.secret)
	})
	b.settings = beside(b, func() (map[string]string, error) { return hostd.HostSettings(ctx) })
	host := hostapi.NewClient(b.paths.socket())
	defer host.Close()
	for _, s := range []struct {
		name string
		do   func() error
	}{
		{"install programs", b.install},
		{"start the host's supervisor and the controller", func() error { return b.start(ctx) }},
		{"write the controller's first record", b.writeInit},
		{"prepare the base image", func() error {
			return host.Prepare(ctx, func(s string) { b.report("prepare the base image: "+s, false, nil) })
		}},
		{"wait for the API", func() error { return b.await(ctx, host) }},
	} {
		if err := b.step(s.name, s.do); err != nil {
			return b.c, b.room(err)
		}
		if err := context.Cause(ctx); err != nil {
			return b.c, fmt.Errorf("cannot bootstrap: %w", err)
		}
	}
	if err := os.Remove(b.paths.reserve()); err != nil {
		return b.c, fmt.Errorf("cannot bootstrap: %w", err)
	}
	return b.c, b.paths.mark(Mark{Name: b.req.Name, UUID: b.c.UUID, Ready: true})
}

// room says what to do about a full disk. What could not even write why it
// ended says so by what is free.
func (b *builder) room(err error) error {
	full := errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, errDiskFull)
	for _, dir := range []string{b.paths.Lib, b.paths.Log, b.paths.Run} {
		if left, ferr := free(dir); ferr == nil && (left < nearlyFull || full && left < minFree) {
			return fmt.Errorf("%w; %s is on a disk that is full: free at least %d MiB and bootstrap again", err, dir, int64(minFree)>>20)
		}
	}
	if full {
		return fmt.Errorf("%w; free at least %d MiB below %s, or raise its quota, and bootstrap again", err, int64(minFree)>>20, b.paths.Lib)
	}
	return err
}

const (
	nearlyFull  = 8 << 20
	reserveSize = 4 << 20
)

// free is what may still be written to the file system of dir.
func free(dir string) (int64, error) {
	var fs unix.Statfs_t
	err := unix.Statfs(dir, &fs)
	return int64(fs.Bavail) * fs.Bsize, err //nolint:gosec // no disk is that large
}

// reserve takes the room that undoing needs, while there is some.
func (b *builder) reserve() error {
	f, err := os.OpenFile(b.paths.reserve(), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("cannot install: %w", err)
	}
	err = unix.Fallocate(int(f.Fd()), 0, 0, reserveSize)
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = nil // this file system cannot promise room
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("cannot install: %w", err)
	}
	return nil
}

func (b *builder) install() error {
	if err := b.paths.mark(Mark{Name: b.req.Name, UUID: b.c.UUID}); err != nil {
		return err
	}
	uid, gid := controllerUser()
	for dir, m := range map[string]os.FileMode{b.paths.Lib: 0o711, b.paths.bin(): 0o755, b.paths.Log: 0o711} {
		m = mode(m)
		if err := os.MkdirAll(dir, m); err != nil {
			return fmt.Errorf("cannot install: %w", err)
		}
		if err := os.Chmod(dir, m); err != nil {
			return fmt.Errorf("cannot install: %w", err)
		}
	}
	for _, dir := range []string{b.paths.keys(), b.paths.data()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("cannot install: %w", err)
		}
		if err := os.Lchown(dir, uid, gid); err != nil {
			return fmt.Errorf("cannot install: %w", err)
		}
	}
	if err := b.reserve(); err != nil {
		return err
	}
	var wg sync.WaitGroup
	errs := make([]error, len(programs()))
	for i, p := range programs() {
		wg.Go(func() { errs[i] = copyProgram(filepath.Join(b.paths.Programs, p), filepath.Join(b.paths.bin(), p)) })
	}
	wg.Wait()
	for _, err := range errs { // the first says enough
		if err != nil {
			return err
		}
	}
	b.warn()
	return nil
}

// copyProgram makes a program of our own out of one that its owner may change
// at any time: never a link to it. Where the file system can, the kernel lets
// both share what they have in common.
func copyProgram(from, to string) error {
	err := func() error {
		in, err := os.Open(from)
		if err != nil {
			return err
		}
		defer func() { _ = in.Close() }()
		out, err := os.OpenFile(to+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o755) //nolint:gosec // a program
		if err != nil {
			return err
		}
		_, err = io.Copy(out, in) // by copy_file_range
		if err = errors.Join(err, out.Close()); err != nil {
			return err
		}
		return os.Rename(to+".new", to)
	}()
	if err != nil {
		return fmt.Errorf("cannot install %s: %w", filepath.Base(to), err)
	}
	return nil
}

// start installs the host's supervisor, which runs the controller.
func (b *builder) start(ctx context.Context) error {
	data := b.paths.data()
	uid, gid := controllerUser()
	return hostd.Install(ctx, b.paths.installation(), hostd.Config{
		Version: Version, Socket: b.paths.socket(), Images: b.paths.images(),
		Dir: b.paths.Lib, RunDir: filepath.Join(b.paths.Run, "machines"),
		ControllerID: string(b.c.UUID), HostFiles: []string{b.paths.bin()}, HostTCP: []uint16{uint16(b.req.APIPort)},
		Controller: &hostd.ControllerConfig{
			Argv: []string{
				filepath.Join(b.paths.bin(), "scarab-controller"), "--data-dir", data,
				"--unseal-key-file", filepath.Join(b.paths.keys(), "unseal.key"), "--init-file", b.paths.init(),
				"--host-socket", b.paths.socket(), "--controller-uuid", string(b.c.UUID),
				"--api-port", strconv.Itoa(b.req.APIPort),
			},
			Dir: data, UID: uid, GID: gid, Log: b.paths.controllerLog(),
		},
	})
}

// initFile is what the controller begins from; see app/controller.Init.
type initFile struct {
	Name        string             `json:"name"`
	UUID        names.ControllerID `json:"uuid"`
	ModelUUID   names.Model        `json:"model-uuid"`
	Admin       names.User         `json:"admin"`
	Verifier    string             `json:"verifier"`
	ModelConfig map[string]string  `json:"model-config"`
	Config      map[string]string  `json:"config"`
	APIAddr     []string           `json:"api-addresses"`
	AgentAddr   []string           `json:"agent-addresses"`
	RSA         bool               `json:"rsa,omitempty"`
}

func (b *builder) writeInit() error {
	h, err := b.hash()
	if err != nil {
		return err
	}
	config, err := b.settings()
	if err != nil && b.req.ModelConfig[hostd.SettingMirror] == "" {
		return fmt.Errorf("%w; or give one with: --config apt-mirror=ADDRESS", err)
	}
	maps.Copy(config, b.req.ModelConfig)
	raw, err := json.Marshal(initFile{
		Name: b.req.Name, UUID: b.c.UUID, ModelUUID: b.c.ModelUUID, Admin: b.c.Admin, Verifier: string(h),
		ModelConfig: config, Config: b.req.Config, APIAddr: b.c.Addresses, RSA: b.req.RSA,
	})
	if err == nil {
		err = b.handOver(raw)
	}
	if err != nil {
		return fmt.Errorf("cannot write the init file: %w", err)
	}
	return nil
}

// handOver puts the init file where the controller waits for it, whole and the
// controller's own. The folder is the controller's, who runs already: no name
// in it is trusted.
func (b *builder) handOver(raw []byte) error {
	tmp := b.paths.init() + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	uid, gid := controllerUser()
	_, err = f.Write(raw)
	if err = errors.Join(err, f.Chown(uid, gid), f.Close()); err != nil {
		return err
	}
	return os.Rename(tmp, b.paths.init())
}

// awaitFor bounds the wait for a controller that was started.
const awaitFor = 60 * time.Second

var (
	errNotStarted = errors.New("the controller has not started yet")
	errDiskFull   = errors.New("the disk is full")
)

// await waits until the controller serves: its API answers with a certificate
// of its own authority, so the store is open and the first record in it.
func (b *builder) await(ctx context.Context, host *hostapi.Client) error {
	ctx, cancel := context.WithTimeout(ctx, awaitFor)
	defer cancel()
	looked := time.Now()
	for {
		err := b.dial(ctx)
		if err == nil {
			return nil
		}
		if time.Since(looked) > 250*time.Millisecond {
			looked = time.Now()
			if st, serr := host.Status(ctx); serr == nil && st.Restarts > 0 {
				return fmt.Errorf("cannot start the controller, it ended: %w", b.said())
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("cannot reach the new controller: %w; %w", errors.Join(err, context.Cause(ctx)), b.said())
		case <-time.After(2 * time.Millisecond):
		}
	}
}

func (b *builder) dial(ctx context.Context) error {
	ca, err := os.ReadFile(filepath.Join(b.paths.data(), "ca.crt"))
	if err != nil {
		return errNotStarted
	}
	b.c.CACert = string(ca)
	conn, err := client.Dial(ctx, client.Config{Addresses: b.c.Addresses, CACert: b.c.CACert, Model: b.c.ModelUUID})
	if err != nil {
		return err
	}
	return conn.Close()
}

// said is why the controller ended, in its own words: its log goes with all
// the rest.
func (b *builder) said() error {
	line := lastLine(b.paths.controllerLog())
	if strings.Contains(line, unix.ENOSPC.Error()) || strings.Contains(line, unix.EDQUOT.Error()) {
		return fmt.Errorf("it says: %s: %w", line, errDiskFull)
	}
	return fmt.Errorf("it says: %s", line)
}

// says tells whether a line of the controller's log gives a reason: its own, or
// of the store's when it could not go on.
func says(line string) bool {
	return strings.HasPrefix(line, "ERROR") || strings.HasPrefix(line, "panic: ")
}

// lastLine is the last line of a log that tells of an error, or of anything.
func lastLine(name string) string {
	f, err := os.Open(name)
	if err != nil {
		return "nothing"
	}
	defer func() { _ = f.Close() }()
	const tail = 16 << 10
	if fi, err := f.Stat(); err == nil && fi.Size() > tail {
		if _, err := f.Seek(-tail, io.SeekEnd); err != nil {
			return "nothing"
		}
	}
	raw, err := io.ReadAll(io.LimitReader(f, tail))
	if err != nil {
		return "nothing"
	}
	last := "nothing"
	for line := range strings.Lines(string(raw)) {
		line = strings.TrimSpace(line)
		if line != "" && (says(line) || !says(last)) {
			last = line
		}
	}
	return fmt.Sprintf("%.600s", strings.TrimPrefix(last, "ERROR "))
}
