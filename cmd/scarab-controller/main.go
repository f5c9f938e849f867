// Command scarab-controller runs a controller.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/scarab-ops/scarab/app/controller"
)

var commit = "unknown" // set by the linker

func main() {
	cfg, addresses, hostSocket, err := flags(os.Args[1:])
	if err == nil {
		err = run(cfg, addresses, hostSocket)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "ERROR", err)
		os.Exit(1)
	}
}

func flags(args []string) (controller.Config, []string, string, error) {
	fs := flag.NewFlagSet("scarab-controller", flag.ContinueOnError)
	var cfg controller.Config
	self, err := os.Executable()
	if err != nil {
		return cfg, nil, "", fmt.Errorf("cannot find the program's own file: %w", err)
	}
	bin := filepath.Dir(self)
	fs.StringVar(&cfg.DataDir, "data-dir", "/var/lib/scarab/controller", "where everything is kept but the unseal key")
	fs.StringVar(&cfg.UnsealKeyFile, "unseal-key-file", "", "opens what is sealed; outside of the data directory (required)")
	fs.StringVar(&cfg.InitFile, "init-file", "", "what an empty store begins from")
	fs.StringVar(&cfg.AgentBinary, "agent-binary", filepath.Join(bin, "scarab-agent"), "agent for new machines")
	fs.StringVar(&cfg.HookTool, "hook-tool", filepath.Join(bin, "scarab-hooktool"), "hook tool for new machines")
	host := fs.String("host-socket", "", "socket of the local cloud's supervisor; empty for none")
	listen := fs.String("listen", "127.0.0.1:17070", "addresses to listen on, comma separated")
	if err := fs.Parse(args); err != nil {
		os.Exit(2)
	}
	if cfg.UnsealKeyFile == "" {
		return cfg, nil, "", fmt.Errorf("cannot start: --unseal-key-file is required")
	}
	cfg.Commit = commit
	return cfg, strings.Split(*listen, ","), *host, nil
}

func run(cfg controller.Config, addresses []string, hostSocket string) error {
	cfg.Now = time.Now
	cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	for _, a := range addresses {
		l, err := net.Listen("tcp", a)
		if err != nil {
			return fmt.Errorf("cannot listen on %s: %w", a, err)
		}
		cfg.Listeners = append(cfg.Listeners, l)
	}
	clouds, err := controller.LocalClouds(hostSocket)
	if err != nil {
		return err
	}
	cfg.Clouds = clouds
	return controller.Run(ctx, cfg)
}
