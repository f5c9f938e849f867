package session

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/scarab-ops/scarab/cli/output"
)

// Scope is what a command acts on; it decides which of the flags -m and -c exist.
type Scope int

// The scopes.
const (
	Nothing Scope = iota
	OnController
	OnModel
)

// Spec describes a command.
type Spec struct {
	Use     string
	Aliases []string
	Short   string
	Long    string
	Example string // every command has one
	Group   string
	Scope   Scope
	Min     int
	Max     int // -1: any number
	Hidden  bool
	Names   string // what the arguments name, for completion: "controller", "model", "file", or words to choose from
}

// Command makes a command from its description.
func (s *Session) Command(spec Spec, run func(ctx context.Context, args []string) error) *cobra.Command {
	c := &cobra.Command{
		Use: spec.Use, Aliases: spec.Aliases, Short: spec.Short, Long: strings.TrimSpace(spec.Long),
		Example: indent(spec.Example), GroupID: spec.Group, Hidden: spec.Hidden,
		SilenceErrors: true, SilenceUsage: true, DisableFlagsInUseLine: true,
	}
	c.Args = func(c *cobra.Command, args []string) error {
		s.command = strings.TrimPrefix(c.CommandPath(), c.Root().Name()+" ")
		if len(args) < spec.Min {
			return &Usage{fmt.Sprintf("cannot run %q: it needs more arguments", c.Name())}
		}
		if spec.Max >= 0 && len(args) > spec.Max {
			return &Usage{fmt.Sprintf("cannot run %q: unexpected argument %q", c.Name(), args[spec.Max])}
		}
		return nil
	}
	c.RunE = func(c *cobra.Command, args []string) error { return run(c.Context(), args) }
	c.ValidArgsFunction = s.completeArgs(spec)
	switch spec.Scope {
	case Nothing:
	case OnController:
		c.Flags().StringVarP(&s.controllerFlag, "controller", "c", "", "Controller to act on")
		s.complete(c, "controller", s.knownControllers)
	case OnModel:
		c.Flags().StringVarP(&s.modelFlag, "model", "m", "", "Model to act on: [controller:][owner/]model")
		s.complete(c, "model", s.knownModels)
	}
	return c
}

// complete offers names from the client's own files for a flag; nothing is asked of a controller while a person types.
func (s *Session) complete(c *cobra.Command, flag string, list func() []string) {
	err := c.RegisterFlagCompletionFunc(flag, func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return list(), cobra.ShellCompDirectiveNoFileComp
	})
	if err != nil {
		panic(err) // the flag was added a line above
	}
}

func (s *Session) completeArgs(spec Spec) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		switch {
		case spec.Names == "file":
			return nil, cobra.ShellCompDirectiveDefault
		case spec.Max >= 0 && len(args) >= spec.Max:
			return nil, cobra.ShellCompDirectiveNoFileComp
		case spec.Names == "controller":
			return s.knownControllers(), cobra.ShellCompDirectiveNoFileComp
		case spec.Names == "model":
			return append(s.knownModels(), s.knownControllers()...), cobra.ShellCompDirectiveNoFileComp
		}
		return strings.Fields(spec.Names), cobra.ShellCompDirectiveNoFileComp
	}
}

func (s *Session) knownControllers() []string {
	all, _, err := s.cfg.Store.Controllers()
	if err != nil {
		return nil
	}
	return slices.Sorted(maps.Keys(all))
}

func (s *Session) knownModels() []string {
	name, err := s.ControllerName()
	if err != nil {
		return nil
	}
	all, _, err := s.cfg.Store.Models(name)
	if err != nil {
		return nil
	}
	account, err := s.cfg.Store.Account(name)
	if err != nil {
		return nil
	}
	var out []string
	for _, full := range slices.Sorted(maps.Keys(all)) {
		out = append(out, strings.TrimPrefix(full, account.User+"/")) // one's own need no owner
	}
	return out
}

func indent(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	for i, l := range lines {
		lines[i] = "  " + strings.TrimSpace(l)
	}
	return strings.Join(lines, "\n")
}

// Global adds the flags that every command takes.
func (s *Session) Global(root *cobra.Command) {
	root.PersistentFlags().BoolVarP(&s.quiet, "quiet", "q", false, "Print no progress")
	root.PersistentFlags().BoolVarP(&s.verbose, "verbose", "v", false, "Print more progress")
	// Scripts written for the reference client pass these; here they mean more progress, or nothing.
	root.PersistentFlags().BoolVar(&s.verbose, "debug", false, "The same as --verbose")
	root.PersistentFlags().BoolVar(&s.verbose, "show-log", false, "The same as --verbose")
	root.PersistentFlags().String("logging-config", "", "Without effect")
	root.PersistentFlags().BoolP("no-browser-login", "B", false, "Without effect: logins are by password")
	for _, name := range []string{"debug", "show-log", "logging-config", "no-browser-login"} {
		if f := root.PersistentFlags().Lookup(name); f != nil {
			f.Hidden = true
		}
	}
}

// Format adds --format and -o to a command. The first known format is the default.
func Format(c *cobra.Command, known ...string) *output.Format {
	f := &output.Format{Known: known}
	c.Flags().StringVar(&f.Name, "format", known[0], "Output format ("+strings.Join(known, "|")+")")
	c.Flags().StringVarP(&f.File, "output", "o", "", "Write the output to a file")
	err := c.RegisterFlagCompletionFunc("format", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return known, cobra.ShellCompDirectiveNoFileComp
	})
	if err != nil {
		panic(err) // the flag was added two lines above
	}
	run := c.RunE
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := f.Check(); err != nil {
			return &Usage{err.Error()}
		}
		return run(c, args)
	}
	return f
}

// Lists are the formats of every list.
func Lists(c *cobra.Command) *output.Format { return Format(c, "tabular", "yaml", "json") }

// Print writes a value in the format chosen; table fills the rows for the tabular one.
func (s *Session) Print(f *output.Format, v any, table func(t *output.Table)) error {
	return f.Write(s.Stdout.Raw(), v, func(w ioWriter) error {
		t := output.NewTable(s.Colour() && f.File == "")
		table(t)
		return t.Flush(w)
	})
}

// Info prints a line about what happened, on stderr.
func (s *Session) Info(format string, args ...any) {
	if !s.quiet {
		fmt.Fprintf(s.Stderr, format+"\n", args...)
	}
}

// Verbose prints a line only with --verbose.
func (s *Session) Verbose(format string, args ...any) {
	if s.verbose {
		fmt.Fprintf(s.Stderr, format+"\n", args...)
	}
}
