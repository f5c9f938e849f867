package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"github.com/scarab-ops/scarab/app/controller"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/password"
	"github.com/scarab-ops/scarab/tests/cluster"
)

// start compares a whole bootstrap, up to the first login, with the start of
// the bare store in a process of its own. The base image is there already.
func start(b *bench) ([]line, error) {
	ours := func() (time.Duration, error) {
		begun := time.Now()
		h, err := newHost(b)
		if err != nil {
			return 0, err
		}
		took := time.Since(begun)
		return took, h.stop()
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
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
		took := time.Since(begun)
		_ = in.Close()
		return took, errors.Join(err, cmd.Wait())
	}
	l, err := b.pair("bootstrap to first login over a bare start of the store", 3, 1, b.runs, ours, floor)
	return []line{l}, err
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
