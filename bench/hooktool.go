package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/scarab-ops/scarab/agent/unit/toolproto"
	"github.com/scarab-ops/scarab/agent/unit/toolserver"
)

// hookTool compares one call of a hook tool, answered by a unit agent's
// socket, with a Go program that does nothing, and with /bin/true.
func hookTool(b *bench) ([]line, error) {
	nothing := filepath.Join(b.TempDir(), "nothing")
	build := exec.CommandContext(b.ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", nothing, "./bench/nothing")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("cannot build the program that does nothing: %w\n%s", err, out)
	}
	srv, err := toolserver.Open(toolserver.Config{
		Dir: b.TempDir(), UID: os.Getuid(), GID: os.Getgid(), Unit: "web/0", Hook: "start",
		Handle: func(context.Context, *toolproto.Request) *toolproto.Reply {
			return &toolproto.Reply{Stdout: []byte("web/0\n")}
		},
	})
	if err != nil {
		return nil, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		srv.Serve(b.ctx)
	}()
	defer func() {
		srv.Close()
		<-done
	}()
	tool := program(append(os.Environ(), srv.Env()...), filepath.Join(b.bin, "scarab-hooktool"), "config-get", "title")
	var lines []line
	for _, x := range []struct {
		what   string
		target float64
		path   string
	}{
		{"hook tool call over a Go program that does nothing", 1.5, nothing},
		{"hook tool call over /bin/true", 0, "/bin/true"},
	} {
		l, err := b.pair(x.what, x.target, 20, 40*b.runs, tool, program(os.Environ(), x.path))
		if err != nil {
			return lines, err
		}
		lines = append(lines, l)
	}
	return lines, nil
}

func program(env []string, name string, args ...string) side {
	return timed(func() error {
		cmd := exec.Command(name, args...)
		cmd.Env = env
		return cmd.Run()
	})
}
