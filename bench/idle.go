package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/state/etcdstate"
)

const mib = 1 << 20

// sizes shows how large the programs are.
func sizes(b *bench) ([]line, error) {
	var lines []line
	for name, target := range map[string]float64{"scarab-hooktool": 5} {
		fi, err := os.Stat(filepath.Join(b.bin, name))
		if err != nil {
			return nil, err
		}
		lines = append(lines, line{what: "size of " + name, value: float64(fi.Size()) / mib, target: target, unit: "MiB"})
	}
	return lines, nil
}

// simulated is how many units the growth is measured with.
const simulated = 1000

// idle measures the memory of a controller process that has nothing to do,
// and what it grows by with each unit that it knows.
func idle(b *bench) ([]line, error) {
	dir := b.TempDir()
	if err := writeInit(filepath.Join(dir, "init.json"), ""); err != nil {
		return nil, err
	}
	empty, err := controllerMemory(b, dir)
	if err != nil {
		return nil, err
	}
	lines := []line{{what: "memory of an idle controller", value: float64(empty) / mib, target: 100, unit: "MiB"}}
	if empty, err = controllerMemory(b, dir); err != nil { // started again, as the next one
		return lines, err
	}
	lines = append(lines, line{what: "memory of an idle controller that was started again", value: float64(empty) / mib, target: 100, unit: "MiB"})
	if err := simulateOnDisk(b.ctx, filepath.Join(dir, "data", "store")); err != nil {
		return lines, err
	}
	full, err := controllerMemory(b, dir)
	if err != nil {
		return lines, err
	}
	grown := float64(full-empty) / simulated / 1024
	return append(lines, line{
		what: fmt.Sprintf("growth with each of %d units and their machines", simulated), value: grown, unit: "KiB",
		detail: fmt.Sprintf("%.1f MiB, then %.1f", float64(empty)/mib, float64(full)/mib),
	}), nil
}

func simulateOnDisk(ctx context.Context, dir string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	backend, err := etcdstate.Open(ctx, etcdstate.Config{Dir: dir})
	if err != nil {
		return err
	}
	defer func() { _ = backend.Close() }()
	st, err := state.Open(ctx, backend)
	if err != nil {
		return err
	}
	return simulate(ctx, st, simulated)
}

// settle is how long a controller is left alone before it is weighed.
const settle = 8 * time.Second

// controllerMemory runs a controller without a cloud and weighs it.
func controllerMemory(b *bench, dir string) (int64, error) {
	port, err := freePort()
	if err != nil {
		return 0, err
	}
	data := filepath.Join(dir, "data")
	_ = os.Remove(filepath.Join(data, "ca.crt")) // it tells when the API serves
	cmd := exec.CommandContext(b.ctx, filepath.Join(b.bin, "scarab-controller"), "--data-dir", data,
		"--unseal-key-file", filepath.Join(dir, "unseal.key"), "--init-file", filepath.Join(dir, "init.json"), "--api-port", strconv.Itoa(port))
	var log strings.Builder
	cmd.Stderr = &log
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	err = until(b.ctx, 30*time.Second, func() error {
		_, err := os.Stat(filepath.Join(data, "ca.crt"))
		return err
	})
	var n int64
	if err == nil {
		select {
		case <-time.After(settle):
			n, err = resident(cmd.Process.Pid)
		case err = <-done:
			return 0, fmt.Errorf("the controller ended: %w\n%s", err, log.String())
		}
	}
	_ = cmd.Process.Signal(os.Interrupt)
	if werr := <-done; err == nil {
		err = werr
	}
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, log.String())
	}
	return n, err
}

// resident is the memory that a process occupies.
func resident(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	return fieldKiB(string(text), "VmRSS:")
}

func fieldKiB(text, field string) (int64, error) {
	_, rest, ok := strings.Cut(text, field)
	words := strings.Fields(rest)
	if !ok || len(words) == 0 {
		return 0, fmt.Errorf("there is no %s in %.100q", field, text)
	}
	n, err := strconv.ParseInt(words[0], 10, 64)
	return n << 10, err
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// until asks f every 2 ms until it holds or the time is over.
func until(ctx context.Context, patience time.Duration, f func() error) error {
	return untilEvery(ctx, 2*time.Millisecond, patience, f)
}

// untilEvery is for questions that cost what is measured: they are asked less.
func untilEvery(ctx context.Context, every, patience time.Duration, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-tick.C:
		}
	}
}
