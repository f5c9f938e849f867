package cli

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/scarab-ops/scarab/cli/connect"
	"github.com/scarab-ops/scarab/cli/session"
	"github.com/scarab-ops/scarab/cli/store"
)

// Parts are what a program gives the client beyond the process itself.
type Parts struct {
	Version   session.Versions
	Bootstrap session.Bootstrapper
	Images    session.Images
}

// Process runs the client over the process's arguments, streams and environment and returns the exit code. An interrupt
// ends what runs in good order; a second one ends the process.
func Process(p Parts) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // after the first signal the next one has its ordinary effect
	dir, err := store.DataDir(os.Getenv)
	var st *store.Store
	if err == nil {
		st, err = store.New(store.Config{Dir: dir, UID: os.Geteuid()})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "ERROR", err)
		return 1
	}
	command := ""
	if len(os.Args) > 1 {
		command = os.Args[1] // the name alone: arguments may hold secrets
	}
	return Main(ctx, session.Config{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv, Now: time.Now, Store: st,
		Dial:     connect.New(connect.Config{Version: p.Version.Juju, Command: command}),
		Terminal: NewTerminal(ctx, os.Stdin, os.Stdout, os.Stderr), Programs: NewPrograms(os.Stdin, os.Stdout, os.Stderr),
		Version: p.Version, Bootstrap: p.Bootstrap, Images: p.Images,
	}, os.Args[1:])
}
