// Command scarab-controller runs a controller:
//
//	scarab-controller [options]
//	scarab-controller audit-verify [--data-dir DIR] [--key FILE] [--reaches NUMBER:HASH]
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/scarab-ops/scarab/app/controller"
)

var commit = "unknown" // set by the linker

func main() {
	// A login's hash takes 64 MiB for a moment. Collecting sooner keeps that
	// from doubling what the process holds between logins.
	debug.SetGCPercent(40)
	if len(os.Args) > 1 && os.Args[1] == "audit-verify" {
		if err := controller.AuditVerify(os.Args[2:], time.Now(), os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "ERROR", err)
			os.Exit(1)
		}
		return
	}
	// The store's snapshots get what the umask leaves, and whoever ran bootstrap
	// may have had none.
	syscall.Umask(0o077)
	fs := flag.NewFlagSet("scarab-controller", flag.ExitOnError)
	cfg := controller.Config{Now: time.Now, Commit: commit, InitWait: 20 * time.Second}
	local := controller.Local{}
	fs.StringVar(&cfg.DataDir, "data-dir", "/var/lib/scarab/controller", "where everything is kept but the unseal key")
	fs.StringVar(&cfg.UnsealKeyFile, "unseal-key-file", "", "opens what is sealed; outside of the data directory (required)")
	fs.StringVar(&cfg.InitFile, "init-file", "", "what an empty store begins from")
	fs.StringVar(&local.Socket, "host-socket", "", "socket of the local cloud's supervisor; empty for no local cloud")
	fs.StringVar(&local.ControllerID, "controller-uuid", "", "the controller's UUID, as the supervisor knows it")
	fs.IntVar(&local.Port, "api-port", 17070, "port of the API, on loopback and on the machines' network")
	_ = fs.Parse(os.Args[1:]) // it exits by itself
	if self, err := os.Executable(); err == nil {
		cfg.AgentBinary = filepath.Join(filepath.Dir(self), "scarab-agent")
		cfg.HookTool = filepath.Join(filepath.Dir(self), "scarab-hooktool")
	}
	cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := controller.RunLocal(ctx, cfg, local); err != nil {
		fmt.Fprintln(os.Stderr, "ERROR", err)
		os.Exit(1)
	}
}
