package controller

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/scarab-ops/scarab/hostd/hostapi"
	"github.com/scarab-ops/scarab/provider"
	"github.com/scarab-ops/scarab/provider/localhost"
)

// Local says how a controller lives on a host of the local cloud.
type Local struct {
	Socket       string // of the host's supervisor; empty for no local cloud
	ControllerID string
	Port         int
}

// RunLocal runs a controller that listens on loopback and, with a local cloud,
// on the machines' network: nowhere else. The CA's certificate is left beside
// the data for whoever may read there.
func RunLocal(ctx context.Context, cfg Config, l Local) error {
	if cfg.UnsealKeyFile == "" {
		return errors.New("cannot start: --unseal-key-file is required")
	}
	hosts := []string{"127.0.0.1"}
	if l.Socket != "" {
		gateway, relayed, cloud, err := openLocal(ctx, l)
		if err != nil {
			return err
		}
		if !relayed { // else the host brings it to loopback
			hosts = append(hosts, gateway)
		}
		cfg.Clouds = map[string]provider.Instances{"localhost": cloud}
		cfg.AgentAddresses = []string{net.JoinHostPort(gateway, strconv.Itoa(l.Port))}
	}
	for _, h := range hosts {
		a := net.JoinHostPort(h, strconv.Itoa(l.Port))
		ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", a)
		if err != nil {
			return fmt.Errorf("cannot listen on %s: %w", a, err)
		}
		cfg.Listeners = append(cfg.Listeners, ln)
	}
	file := filepath.Join(cfg.DataDir, "ca.crt")
	cfg.Ready = func(ca string) {
		err := os.WriteFile(file+".new", []byte(ca), 0o600)
		if err == nil { // whole or not at all: others wait for it
			err = os.Rename(file+".new", file)
		}
		if err != nil {
			cfg.Log.Error("cannot write the CA's certificate", "error", err)
		}
	}
	return Run(ctx, cfg)
}

func openLocal(ctx context.Context, l Local) (gateway string, relayed bool, cloud *localhost.Cloud, err error) {
	host := hostapi.NewClient(l.Socket)
	defer host.Close()
	st, err := host.Status(ctx)
	if err != nil {
		return "", false, nil, err
	}
	cloud, err = localhost.New(localhost.Config{Socket: l.Socket, ControllerID: l.ControllerID})
	return st.Gateway, st.Relayed, cloud, err
}
