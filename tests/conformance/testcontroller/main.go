// Command testcontroller is a controller over a cloud of files, as a process
// of its own that a test can kill.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/scarab-ops/scarab/app/controller"
	"github.com/scarab-ops/scarab/provider"
	"github.com/scarab-ops/scarab/tests/conformance/filecloud"
)

// config is the one argument, as JSON.
type config struct{ Addr, DataDir, KeyDir, CloudDir string }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "ERROR", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	var c config
	if err := json.Unmarshal([]byte(os.Args[1]), &c); err != nil {
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Addr)
	if err != nil {
		return err
	}
	return controller.Run(ctx, controller.Config{
		DataDir: c.DataDir, UnsealKeyFile: filepath.Join(c.KeyDir, "unseal.key"), InitFile: filepath.Join(c.KeyDir, "init.json"),
		Listeners: []net.Listener{l}, Clouds: map[string]provider.Instances{"localhost": &filecloud.Cloud{Dir: c.CloudDir}},
		Log: slog.New(slog.NewTextHandler(os.Stderr, nil)), Now: time.Now,
		Ready: func(ca string) {
			out, err := json.Marshal(ca)
			if err == nil {
				fmt.Println(string(out))
			}
		},
	})
}
