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
	ctx          context.Context //nolint:containedctx // of the process: questions end with it
	in, out, err *os.File
	lines        *bufio.Reader
}

// NewTerminal returns the terminal over the process's streams. Questions end when ctx does.
func NewTerminal(ctx context.Context, in, out, err *os.File) *Terminal {
	return &Terminal{ctx: ctx, in: in, out: out, err: err, lines: bufio.NewReader(in)}
}

// answer waits for an answer or for the end of the process. A read from a terminal cannot be called off: its goroutine
// stays behind and ends with the process, which is what follows.
func (t *Terminal) answer(read func() (string, error)) (string, error) {
	type result struct {
		text string
		err  error
	}
	got := make(chan result, 1)
	go func() {
		text, err := read()
		got <- result{text, err}
	}()
	select {
	case r := <-got:
		return r.text, r.err
	case <-t.ctx.Done():
		return "", t.ctx.Err()
	}
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
	line, err := t.answer(func() (string, error) { return t.lines.ReadString('\n') })
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
	before, err := term.GetState(int(t.in.Fd()))
	if err != nil {
		return "", err
	}
	p, err := t.answer(func() (string, error) {
		p, err := term.ReadPassword(int(t.in.Fd()))
		return string(p), err
	})
	if t.ctx.Err() != nil {
		err = errors.Join(err, term.Restore(int(t.in.Fd()), before)) // the echo is back even after an interrupt
	}
	if _, werr := io.WriteString(t.err, "\n"); err == nil {
		err = werr
	}
	return p, err
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
