// Command scarab-agent runs on every machine, and on the host of a local
// cloud:
//
//	scarab-agent machine   the agent of a machine and its units
//	scarab-agent host      the supervisor of a local cloud's machines
//	scarab-agent version
//	scarab-agent help
//
// Two more words are its own: under them the binary becomes a part of a
// machine that is being made, or the helper that confines a hook.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/scarab-ops/scarab/agent/sandbox"
	app "github.com/scarab-ops/scarab/app/agent"
	"github.com/scarab-ops/scarab/container"
	"github.com/scarab-ops/scarab/hostd"
)

// version is our own; what clients are told is another.
const version = "0.1.0"

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/snap/bin"

// usage is what the agent says about itself.
const usage = `The agent of Scarab's machines. Nobody has to run it by hand, but for one case: on a host without systemd the supervisor of
the local cloud is not started again after a reboot, or when it was killed.

Usage:
  scarab-agent host --start   start the supervisor of this host in the background, if it does not run; machines run on
  scarab-agent host           run it in the foreground
  scarab-agent machine        the agent of a machine and its units; machines start it themselves
  scarab-agent version        print the version

Flags of a command: scarab-agent host --help
`

func main() {
	if container.IsInit(os.Args) {
		container.InitMain()
	}
	if len(os.Args) > 1 && os.Args[1] == sandbox.HelperArg {
		os.Exit(sandbox.HelperMain(os.Args[2:]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "ERROR", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("cannot tell what to run: say machine, host, version or help")
	}
	switch args[0] {
	case "machine":
		return machine(ctx, args[1:])
	case "host":
		return host(ctx, args[1:])
	case "version":
		fmt.Println(version)
		return nil
	case "help", "-h", "-help", "--help":
		fmt.Print(usage)
		return nil
	}
	return fmt.Errorf("cannot run %q: say machine, host, version or help", args[0])
}

func machine(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("machine", flag.ContinueOnError)
	cfg := app.Config{Path: os.Getenv("PATH")}
	// On the local cloud's lower rungs a machine's place is told by whoever made it.
	root, isolation, runDir := os.Getenv(container.EnvMachineDir), or(os.Getenv(container.EnvIsolation), "container"), "/run/scarab-agent"
	f.StringVar(&cfg.Machine, "machine", "0", "`id` of the machine")
	f.StringVar(&cfg.DataDir, "data-dir", "/var/lib/scarab", "`directory` of agents, charms and tools")
	f.StringVar(&cfg.RunDir, "run-dir", runDir, "`directory` of hook tool sockets")
	f.StringVar(&cfg.LogDir, "log-dir", "/var/log/scarab", "`directory` of logs")
	f.StringVar(&cfg.LoginHome, "login-home", "/home/ubuntu", "home `directory` whose authorised keys are kept")
	f.StringVar(&cfg.BootMark, "boot-mark", os.Getenv(container.EnvBootMark), "`file` that appears once the machine's services can be relied on; hooks wait for it")
	f.StringVar(&cfg.Isolation, "isolation", isolation, "how the machine is held: container, rootless or process")
	if err := f.Parse(args); err != nil {
		return err
	}
	if root != "" {
		for _, dir := range []*string{&cfg.DataDir, &cfg.LogDir, &cfg.LoginHome} {
			*dir = filepath.Join(root, *dir)
		}
		cfg.RunDir = or(os.Getenv(container.EnvMachineRun), filepath.Join(root, cfg.RunDir))
	}
	if cfg.Path == "" {
		cfg.Path = defaultPath
	}
	return app.RunMachine(ctx, cfg)
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func host(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("host", flag.ContinueOnError)
	file := f.String("config", hostd.DefaultFile, "configuration `file` of the host")
	begin := f.Bool("start", false, "start the supervisor in the background, if it does not run, and wait until it answers")
	inside := f.Bool(strings.TrimLeft(hostd.InsideArg, "-"), false, "be the half in a user namespace, begun by the other one")
	if err := f.Parse(args); err != nil {
		return err
	}
	cfg, err := hostd.LoadConfig(*file)
	if err != nil {
		return err
	}
	if *begin {
		return hostd.Start(ctx, cfg.Installation(*file))
	}
	if *inside {
		return hostd.RunInside(ctx, cfg)
	}
	return hostd.Run(ctx, cfg)
}
