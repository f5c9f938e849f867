package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/scarab-ops/scarab/app/controller"
	"github.com/scarab-ops/scarab/bootstrap"
	"github.com/scarab-ops/scarab/client"
	"github.com/scarab-ops/scarab/hostd"
	"github.com/scarab-ops/scarab/image"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/password"
	"github.com/scarab-ops/scarab/tests/cluster"
)

// start compares a whole bootstrap, until the controller's API serves, with
// the start of the bare store in a process of its own. The base image is there
// already. For information, it goes on to the administrator's first login,
// which takes a password's hash.
func start(b *bench) ([]line, error) {
	if _, err := imageRoot(b.ctx); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	var logins []time.Duration
	ours := func() (time.Duration, error) {
		ready, login, err := bootstrapped(b, self)
		logins = append(logins, login)
		return ready, err
	}
	var bare []time.Duration
	floor := func() (time.Duration, error) {
		cmd := exec.CommandContext(b.ctx, self, roleArg, "store", filepath.Join(b.TempDir(), "store"))
		cmd.Stderr = os.Stderr
		in, err := cmd.StdinPipe()
		if err != nil {
			return 0, err
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			return 0, err
		}
		begun := time.Now()
		if err := cmd.Start(); err != nil {
			return 0, err
		}
		_, err = bufio.NewReader(out).ReadString('\n')
		bare = append(bare, time.Since(begun))
		_ = in.Close()
		return bare[len(bare)-1], errors.Join(err, cmd.Wait())
	}
	l, err := b.pair("bootstrap to ready over a bare start of the store", 3, 1, b.runs, ours, floor)
	if err != nil {
		return nil, err
	}
	login, store := median(logins[1:]), median(bare[1:])
	return []line{l, {
		what: "the same to the end of the first login", value: float64(login) / float64(store), unit: "x",
		detail: fmt.Sprintf("%s over %s", round(login), round(store)),
	}}, nil
}

// bootstrapped bootstraps as a client does, but for a supervisor that keeps
// away from a local cloud of this host, and logs in.
func bootstrapped(b *bench, self string) (ready, login time.Duration, err error) {
	port, err := freePort()
	if err != nil {
		return 0, 0, err
	}
	dir := b.TempDir()
	paths := bootstrap.Paths{
		Lib: filepath.Join(dir, "lib"), Run: filepath.Join(dir, "run"), Log: filepath.Join(dir, "log"), Cache: filepath.Dir(image.DefaultDir),
		Programs: b.bin, Supervisor: []string{self, roleArg, "host"},
	}
	say := func(string, bool, error) {}
	begun := time.Now()
	if os.Getenv("STEPS") != "" {
		say = func(n string, d bool, _ error) { fmt.Fprintln(os.Stderr, time.Since(begun), n, d) }
	}
	c, err := bootstrap.Start(b.ctx, paths, bootstrap.Request{Name: "bench", APIPort: port}, say)
	ready = time.Since(begun)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, bootstrap.Destroy(context.WithoutCancel(b.ctx), paths, c.UUID, say)) }()
	conn, err := client.Dial(b.ctx, client.Config{Addresses: c.Addresses, CACert: c.CACert, Model: c.ModelUUID})
	if err != nil {
		return 0, 0, err
	}
	_, err = conn.Login(b.ctx, client.Credentials{Tag: c.Admin.Tag(), Password: c.Password})
	return ready, time.Since(begun), errors.Join(err, conn.Close())
}

// hostRole is the supervisor of a host, but for the names and ranges that it
// uses.
func hostRole(args []string) error {
	if len(args) != 2 || args[0] != "--config" {
		return errors.New("want --config FILE")
	}
	cfg, err := hostd.LoadConfig(args[1])
	if err != nil {
		return err
	}
	machines := runtimeConfig(cfg.Dir)
	cfg.Machines = &machines
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	return hostd.Run(ctx, cfg)
}

// storeRole is the bare store: it says when it serves and ends with its input.
func storeRole(dir string) error {
	_, stop, err := bareStore(dir)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	_, _ = os.Stdin.Read(make([]byte, 1))
	stop()
	return nil
}

// writeInit writes what an empty controller begins from.
func writeInit(file string, gateway string) error {
	h, err := password.Of(password.NewSecret(cluster.AdminPassword.Reveal()))
	if err != nil {
		return err
	}
	in := controller.Init{
		Name: "bench", UUID: names.ControllerID(uuid.NewString()), ModelUUID: cluster.AdminModel, Admin: cluster.Admin, Verifier: string(h),
		APIAddresses: []string{"127.0.0.1:17070"}, ModelConfig: map[string]string{"resolvers": "192.0.2.53", "apt-mirror": "http://192.0.2.1/debian"},
	}
	if gateway != "" {
		in.AgentAddresses = []string{gateway}
	}
	text, err := json.Marshal(in)
	if err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o600)
}
