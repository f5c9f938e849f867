// Command scarab-hooktool is every hook tool: it sends its name and arguments
// to the unit agent's private socket, prints the answer and exits with the
// answered code. It keeps no state and knows no tool. It opens the files that
// its command line names itself, as the user who runs it, so the agent never
// opens a path for a charm.
//
// It is found by the name of the tool (a symlink), or called as
// "scarab-hooktool TOOL ARGS...".
package main

import (
	"io"
	"os"
	"syscall"

	"github.com/scarab-ops/scarab/agent/unit/toolproto"
)

func main() { os.Exit(run(os.Args)) }

func run(argv []string) int {
	name, args := base(argv[0]), argv[1:]
	if name == "scarab-hooktool" {
		if len(args) == 0 {
			return fail("cannot tell which tool to run: call scarab-hooktool TOOL ARGS")
		}
		name, args = args[0], args[1:]
	}
	req := &toolproto.Request{Command: name, Args: args}
	var address, network string
	for _, v := range []struct {
		name string
		to   *string
	}{{toolproto.EnvContext, &req.ContextID}, {toolproto.EnvAddress, &address}, {toolproto.EnvNetwork, &network}} {
		*v.to = os.Getenv(v.name)
		if *v.to == "" {
			return fail(v.name + " not set")
		}
	}
	if network != "unix" {
		return fail("cannot reach the unit agent: unknown network " + network)
	}
	req.Token = os.Getenv(toolproto.EnvToken)
	dir, err := os.Getwd()
	if err != nil {
		return fail(err.Error())
	}
	req.Dir = dir
	for {
		rep, err := call(address, req)
		if err != nil {
			return fail("cannot reach the unit agent: " + err.Error())
		}
		if !rep.NeedInput || req.HasInput {
			return finish(rep)
		}
		if req.Input, err = read(rep.InputName); err != nil {
			return fail(err.Error())
		}
		req.HasInput, req.InputName = true, rep.InputName
	}
}

func fail(msg string) int {
	_, _ = os.Stderr.WriteString("ERROR " + msg + "\n")
	return toolproto.ExitFailure
}

func base(p string) string {
	for i := len(p) - 1; i >= 0; i-- {
		if p[i] == '/' {
			return p[i+1:]
		}
	}
	return p
}

// conn is a connected socket; package net would triple the binary.
type conn int

func (c conn) Read(p []byte) (int, error) {
	for {
		n, err := syscall.Read(int(c), p)
		if err == syscall.EINTR {
			continue
		}
		if n == 0 && err == nil {
			return 0, io.ErrUnexpectedEOF
		}
		return max(n, 0), err
	}
}

func (c conn) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		n, err := syscall.Write(int(c), p[done:])
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}

func call(address string, req *toolproto.Request) (*toolproto.Reply, error) {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = syscall.Close(fd) }()
	if address[0] != '/' {
		return nil, syscall.EINVAL // never an abstract or relative name
	}
	if err := connect(fd, address); err != nil {
		return nil, err
	}
	if err := toolproto.WriteRequest(conn(fd), req); err != nil {
		return nil, err
	}
	return toolproto.ReadReply(conn(fd))
}

func connect(fd int, address string) error {
	for {
		err := syscall.Connect(fd, &syscall.SockaddrUnix{Name: address})
		if err != syscall.EINTR {
			return err
		}
	}
}

func read(name string) ([]byte, error) {
	f := os.Stdin
	if name != "-" {
		var err error
		if f, err = os.Open(name); err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }()
	}
	b, err := io.ReadAll(io.LimitReader(f, toolproto.MaxInput+1))
	if err == nil && len(b) > toolproto.MaxInput {
		err = toolproto.ErrTooLarge
	}
	return b, err
}

func finish(rep *toolproto.Reply) int {
	if len(rep.Stderr) > 0 {
		_, _ = os.Stderr.Write(rep.Stderr)
	}
	if rep.OutFile != "" {
		if err := os.WriteFile(rep.OutFile, rep.Stdout, 0o644); err != nil { //nolint:gosec // the file is the charm author's to read, as a shell would make it
			return fail(err.Error())
		}
		return rep.Code
	}
	if _, err := os.Stdout.Write(rep.Stdout); err != nil {
		return fail("cannot write output: " + err.Error())
	}
	return rep.Code
}
