// Package session is what a command of the client has in its hands: streams, client files, connections to controllers,
// flags shared by many commands, questions to the person, and progress on long work.
// It owns the choice of controller and model, and the way errors are shown. It refuses to connect to a controller whose
// recorded authority changed, and to ask questions when nobody can answer.
package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/scarab-ops/scarab/cli/output"
	"github.com/scarab-ops/scarab/cli/store"
)

// Config is everything a Session takes from outside.
type Config struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Getenv         func(string) string
	Now            func() time.Time
	Dir            string // working directory, for files named on the command line
	Store          *store.Store
	Dial           Dialer
	Terminal       Terminal
	Programs       Programs
	Bootstrap      Bootstrapper // nil: this build cannot bootstrap
	Images         Images       // nil: this build has no local images
	Version        Versions
}

// Versions are the two versions that a client reports.
type Versions struct{ Juju, Scarab string }

// Session is one run of the client.
type Session struct {
	cfg            Config
	Stdout, Stderr *output.Safe
	controllerFlag string
	modelFlag      string
	command        string // that runs, as it is typed
	quiet, verbose bool
	noColor        bool
	forceColor     bool
	conns          []Conn
}

// New returns a session over its surroundings.
func New(cfg Config) *Session {
	return &Session{cfg: cfg, Stdout: output.NewSafe(cfg.Stdout), Stderr: output.NewSafe(cfg.Stderr)}
}

// Store is the client's files.
func (s *Session) Store() *store.Store { return s.cfg.Store }

// Now is the time of day.
func (s *Session) Now() time.Time { return s.cfg.Now() }

// Getenv reads the environment.
func (s *Session) Getenv(k string) string { return s.cfg.Getenv(k) }

// Stdin is where answers and piped values come from.
func (s *Session) Stdin() io.Reader { return s.cfg.Stdin }

// Version are the versions of this build.
func (s *Session) Version() Versions { return s.cfg.Version }

// Programs starts other programs (ssh, an editor).
func (s *Session) Programs() Programs { return s.cfg.Programs }

// Term is the terminal.
func (s *Session) Term() Terminal { return s.cfg.Terminal }

// Bootstrapper starts and destroys controllers, or fails in a build that cannot.
func (s *Session) Bootstrapper() (Bootstrapper, error) {
	if s.cfg.Bootstrap == nil {
		return nil, errors.New("cannot bootstrap: this client was built without a local cloud")
	}
	return s.cfg.Bootstrap, nil
}

// Images manages base images of the local cloud, or fails in a build that cannot.
func (s *Session) Images() (Images, error) {
	if s.cfg.Images == nil {
		return nil, errors.New("cannot reach the images of the local cloud: this client was built without one")
	}
	return s.cfg.Images, nil
}

// Close ends every connection of the run.
func (s *Session) Close() {
	for _, c := range s.conns {
		c.Close() //nolint:errcheck // the process ends, nothing was left to say
	}
	s.conns = nil
}

// Colour says whether output is coloured.
func (s *Session) Colour() bool {
	if s.forceColor {
		return true
	}
	return !s.noColor && s.cfg.Getenv("NO_COLOR") == "" && s.cfg.Getenv("TERM") != "dumb" && s.cfg.Terminal.StdoutIsTerminal()
}

// SetColour applies the flags --color and --no-color.
func (s *Session) SetColour(force, never bool) { s.forceColor, s.noColor = force, never }

// Path makes a file name of the command line absolute.
func (s *Session) Path(p string) string {
	if strings.HasPrefix(p, "/") || s.cfg.Dir == "" {
		return p
	}
	return s.cfg.Dir + "/" + p
}

// Terminal asks people and reads their terminal.
type Terminal interface {
	StdinIsTerminal() bool
	StdoutIsTerminal() bool
	StderrIsTerminal() bool
	Size() (width, height int)
	ReadPassword(prompt string) (string, error)
	ReadLine(prompt string) (string, error)
}

// Programs runs other programs with a list of arguments, never through a shell.
type Programs interface {
	// Run starts a program on the terminal of the client and returns its exit code.
	Run(ctx context.Context, path string, args []string) (int, error)
	// Find returns the path of a program.
	Find(name string) (string, error)
}

// Usage marks an error of the command line itself: it ends with exit code 2.
type Usage struct{ Text string }

func (e *Usage) Error() string { return e.Text }

// Advised is an error together with what to do about it.
type Advised struct {
	Err  error
	Hint string
}

func (e *Advised) Error() string { return e.Err.Error() }

// Unwrap gives the error below.
func (e *Advised) Unwrap() error { return e.Err }

// Advice is the line that says what to do.
func (e *Advised) Advice() string { return e.Hint }

// Advise attaches advice to an error.
func Advise(err error, hint string) error {
	if err == nil {
		return nil
	}
	return &Advised{Err: err, Hint: hint}
}

// Because puts what was wanted before the cause, unless the cause begins by saying it.
func Because(what string, err error) error {
	if err == nil || strings.HasPrefix(err.Error(), what) {
		return err
	}
	return fmt.Errorf("%s: %w", what, err)
}

// ExitError ends the client with the exit code of something it ran, with at most one line of its own.
type ExitError struct {
	Code int
	Text string
}

func (e *ExitError) Error() string { return e.Text }
