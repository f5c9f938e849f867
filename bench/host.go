package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/scarab-ops/scarab/client"
	"github.com/scarab-ops/scarab/container"
	"github.com/scarab-ops/scarab/hostd"
	"github.com/scarab-ops/scarab/hostd/hostapi"
	"github.com/scarab-ops/scarab/image"
	"github.com/scarab-ops/scarab/tests/cluster"
)

// runtimeConfig has names and ranges of its own, away from a real local cloud.
func runtimeConfig(dir string) container.Config {
	c := container.Defaults()
	c.Dir, c.RunDir = filepath.Join(dir, "machines"), filepath.Join(dir, "run")
	c.Bridge, c.PortPrefix, c.Table, c.Cgroups = "scbbr0", "scb", "scarabbench", "scarabbench"
	c.Subnet = netip.MustParsePrefix("10.97.0.0/16")
	c.IDBase = 0x7a000000
	c.Log = slog.New(slog.DiscardHandler)
	return c
}

// imageRoot is the unpacked default image, made once.
func imageRoot(ctx context.Context) (string, error) {
	if os.Geteuid() != 0 {
		return "", errors.New("machines are made by root: run as root")
	}
	img, err := (&image.Store{Dir: image.DefaultDir}).Ensure(ctx, image.Default, func(string) {})
	return img.Root, err
}

// A host is a whole local cloud: the supervisor in this process, the
// controller in its own under its own user, and the administrator's login.
type host struct {
	admin  *client.Conn
	api    *hostapi.Client
	cancel context.CancelFunc
	done   chan error
	log    string
}

// newHost bootstraps from nothing but the programs and the image.
func newHost(b *bench) (*host, error) {
	if _, err := imageRoot(b.ctx); err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	dir := b.TempDir()
	bin, data, keys := filepath.Join(dir, "bin"), filepath.Join(dir, "controller"), filepath.Join(dir, "keys")
	installed := make(chan error, 1)
	go func() { installed <- install(b.bin, bin) }() // while the password is hashed, as bootstrap does
	for _, d := range []string{data, keys} {
		if err := errors.Join(os.Mkdir(d, 0o700), os.Lchown(d, hostd.DefaultUID, hostd.DefaultUID)); err != nil {
			return nil, errors.Join(err, <-installed)
		}
	}
	init := filepath.Join(keys, "init.json")
	if err := errors.Join(writeInit(init, ""), <-installed, os.Lchown(init, hostd.DefaultUID, hostd.DefaultUID)); err != nil {
		return nil, err
	}
	id := "c0c0c0c0-0000-4000-8000-0000000000be"
	machines := runtimeConfig(dir)
	cfg := hostd.Config{
		Version: "bench", Socket: filepath.Join(dir, "sock", "host.sock"), ControllerID: id, HostFiles: []string{bin},
		HostTCP: []uint16{uint16(port)}, Machines: &machines, Log: machines.Log, //nolint:gosec // a port fits
		Controller: &hostd.ControllerConfig{
			Argv: []string{
				filepath.Join(bin, "scarab-controller"), "--data-dir", data, "--unseal-key-file", filepath.Join(keys, "unseal.key"),
				"--init-file", init, "--host-socket", filepath.Join(dir, "sock", "host.sock"), "--controller-uuid", id, "--api-port", strconv.Itoa(port),
			},
			Dir: data, UID: hostd.DefaultUID, GID: hostd.DefaultUID, Log: filepath.Join(dir, "controller.log"),
		},
	}
	ctx, cancel := context.WithCancel(b.ctx)
	h := &host{api: hostapi.NewClient(cfg.Socket), cancel: cancel, done: make(chan error, 1), log: cfg.Controller.Log}
	go func() { h.done <- hostd.Run(ctx, cfg) }()
	if err := h.login(b.ctx, data, port); err != nil {
		return nil, errors.Join(err, h.stop())
	}
	return h, nil
}

// login waits until the administrator is let in.
func (h *host) login(ctx context.Context, data string, port int) error {
	return until(ctx, 60*time.Second, func() error {
		select {
		case err := <-h.done:
			h.done <- err
			return fmt.Errorf("the supervisor ended: %w", err)
		default:
		}
		ca, err := os.ReadFile(filepath.Join(data, "ca.crt"))
		if err != nil {
			log, _ := os.ReadFile(h.log) // only to explain
			return fmt.Errorf("%w\n%s", err, log)
		}
		conn, err := client.Dial(ctx, client.Config{
			Addresses: []string{net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}, CACert: string(ca), Model: cluster.AdminModel,
		})
		if err != nil {
			return err
		}
		_, err = conn.Login(ctx, client.Credentials{Tag: cluster.Admin.Tag(), Password: cluster.AdminPassword})
		if err != nil {
			return errors.Join(err, conn.Close())
		}
		h.admin = conn
		return nil
	})
}

// stop removes everything that the host made.
func (h *host) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if h.admin != nil {
		_ = h.admin.Close()
	}
	err := h.api.Shutdown(ctx, func(string) {})
	h.api.Close()
	if err != nil {
		h.cancel()
	}
	return errors.Join(err, <-h.done)
}

// install copies the programs to where machines may see them.
func install(from, to string) error {
	if err := os.Mkdir(to, 0o755); err != nil { //nolint:gosec // programs are for all
		return err
	}
	for _, name := range []string{"scarab-controller", "scarab-agent", "scarab-hooktool"} {
		if err := copyProgram(filepath.Join(from, name), filepath.Join(to, name)); err != nil {
			return err
		}
	}
	return nil
}

func copyProgram(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755) //nolint:gosec // a program
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
