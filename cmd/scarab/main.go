// Command scarab is the client.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/scarab-ops/scarab/cli"
	"github.com/scarab-ops/scarab/cli/connect"
	"github.com/scarab-ops/scarab/cli/session"
	"github.com/scarab-ops/scarab/cli/store"
)

const (
	protocolVersion = "3.6.12"
	productVersion  = "0.1.0"
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir, err := store.DataDir(os.Getenv)
	if err != nil {
		fmt.Fprintln(os.Stderr, "ERROR", err)
		return 1
	}
	st, err := store.New(store.Config{Dir: dir, UID: os.Geteuid()})
	if err != nil {
		fmt.Fprintln(os.Stderr, "ERROR", err)
		return 1
	}
	command := ""
	if len(os.Args) > 1 {
		command = os.Args[1] // the name alone: arguments may hold secrets
	}
	return cli.Main(ctx, session.Config{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv, Now: time.Now, Store: st,
		Dial:     connect.New(connect.Config{Version: protocolVersion, Command: command}),
		Terminal: cli.NewTerminal(os.Stdin, os.Stdout, os.Stderr), Programs: cli.NewPrograms(os.Stdin, os.Stdout, os.Stderr),
		Version: session.Versions{Juju: protocolVersion, Scarab: productVersion},
	}, os.Args[1:])
}
