package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/term"
)

// Terminal is the terminal of the process.
type Terminal struct {
	in, out, err *os.File
	lines        *bufio.Reader
}

// NewTerminal returns the terminal over the process's streams.
func NewTerminal(in, out, err *os.File) *Terminal {
	return &Terminal{in: in, out: out, err: err, lines: bufio.NewReader(in)}
}

// StdinIsTerminal implements session.Terminal.
func (t *Terminal) StdinIsTerminal() bool { return term.IsTerminal(int(t.in.Fd())) }

// StdoutIsTerminal implements session.Terminal.
func (t *Terminal) StdoutIsTerminal() bool { return term.IsTerminal(int(t.out.Fd())) }

// StderrIsTerminal implements session.Terminal.
func (t *Terminal) StderrIsTerminal() bool { return term.IsTerminal(int(t.err.Fd())) }

// Size implements session.Terminal.
func (t *Terminal) Size() (int, int) {
	w, h, err := term.GetSize(int(t.out.Fd()))
	if err != nil {
		return 80, 24
	}
	return w, h
}

// ReadLine implements session.Terminal.
func (t *Terminal) ReadLine(prompt string) (string, error) {
	if _, err := io.WriteString(t.err, prompt); err != nil {
		return "", err
	}
	line, err := t.lines.ReadString('\n')
	if err != nil && (line == "" || !errors.Is(err, io.EOF)) {
		return "", err
	}
	return strings.TrimRight(line, "\r\n"), nil
}

// ReadPassword implements session.Terminal: without echo on a terminal, one line of input elsewhere.
func (t *Terminal) ReadPassword(prompt string) (string, error) {
	if !t.StdinIsTerminal() {
		return t.ReadLine("")
	}
	if _, err := io.WriteString(t.err, prompt); err != nil {
		return "", err
	}
	p, err := term.ReadPassword(int(t.in.Fd()))
	if _, werr := io.WriteString(t.err, "\n"); err == nil {
		err = werr
	}
	return string(p), err
}

// Programs starts other programs on the terminal of the process.
type Programs struct{ in, out, err *os.File }

// NewPrograms returns programs over the process's streams.
func NewPrograms(in, out, err *os.File) *Programs { return &Programs{in, out, err} }

// Find implements session.Programs: the system's own directories first, so that a file in the working directory is never taken.
func (p *Programs) Find(name string) (string, error) {
	for _, dir := range []string{"/usr/bin", "/bin", "/usr/local/bin"} {
		path := dir + "/" + name
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", err
	}
	if !strings.HasPrefix(path, "/") {
		return "", fmt.Errorf("%s is not in an absolute directory of PATH", name)
	}
	return path, nil
}

// Run implements session.Programs.
func (p *Programs) Run(ctx context.Context, path string, args []string) (int, error) {
	c := exec.CommandContext(ctx, path, args...)
	c.Stdin, c.Stdout, c.Stderr = p.in, p.out, p.err
	err := c.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, err
}
