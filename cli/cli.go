// Package cli is the client `scarab`: the root command, its groups of commands, help topics and shell completion. The
// commands themselves are in the packages below.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/scarab-ops/scarab/cli/apps"
	"github.com/scarab-ops/scarab/cli/controllers"
	"github.com/scarab-ops/scarab/cli/machines"
	"github.com/scarab-ops/scarab/cli/models"
	"github.com/scarab-ops/scarab/cli/observe"
	"github.com/scarab-ops/scarab/cli/output"
	"github.com/scarab-ops/scarab/cli/session"
	"github.com/scarab-ops/scarab/cli/tasks"
)

// Main runs one command line (without the program's name) and returns the exit code.
func Main(ctx context.Context, cfg session.Config, args []string) int {
	s := session.New(cfg)
	defer s.Close()
	root := Root(s)
	root.SetArgs(args)
	if err := root.ExecuteContext(ctx); err != nil {
		return s.Fail(interrupted(ctx, usage(err)))
	}
	return 0
}

// interrupted marks what failed because it was interrupted: a helper program that the same interrupt ended, or a broken
// connection, tells of something else, which is not the cause. What could not be taken back is told as it is.
func interrupted(ctx context.Context, err error) error {
	var exit *session.ExitError
	if !errors.Is(ctx.Err(), context.Canceled) || errors.As(err, &exit) || strings.HasPrefix(err.Error(), "cannot take back") {
		return err
	}
	return fmt.Errorf("%w: %w", ctx.Err(), err)
}

// usage marks the errors that the flag parser makes as errors of the command line.
func usage(err error) error {
	for _, p := range []string{"unknown command", "unknown flag", "unknown shorthand", "flag needs an argument", "invalid argument", "bad flag syntax"} {
		if strings.HasPrefix(err.Error(), p) {
			text, _, _ := strings.Cut(err.Error(), "\n")
			return session.Advise(&session.Usage{Text: "cannot understand the command line: " + text}, "see: scarab help")
		}
	}
	return err
}

// Root makes the tree of commands.
func Root(s *session.Session) *cobra.Command {
	root := &cobra.Command{
		Use: "scarab", Short: "Deploy, integrate and look after applications",
		Long:          "Scarab runs charms: it deploys applications, integrates them with each other and keeps them in shape.\nStart with: scarab help basics",
		SilenceErrors: true, SilenceUsage: true, Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknown(c, args[0])
			}
			return c.Help()
		},
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.SuggestionsMinimumDistance = 2
	root.SetOut(s.Stdout)
	root.SetErr(s.Stderr)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		wrong := &session.Usage{Text: "cannot understand the command line: " + err.Error()}
		if c == root {
			return session.Advise(wrong, "see: scarab help")
		}
		return session.Advise(wrong, "see the help: scarab help "+strings.TrimPrefix(c.CommandPath(), root.Name()+" "))
	})
	s.Global(root)
	for _, g := range []struct{ id, title string }{
		{"controllers", "Controllers, users, clouds:"},
		{"models", "Models:"},
		{"apps", "Applications:"},
		{"machines", "Machines:"},
		{"tasks", "Running things:"},
		{"observe", "Looking and waiting:"},
		{"other", "Other:"},
	} {
		root.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
	}
	for _, list := range [][]*cobra.Command{
		controllers.Commands(s), models.Commands(s), apps.Commands(s), machines.Commands(s), tasks.Commands(s),
		observe.Commands(s),
		{versionCommand(s), completionCommand(s, root)},
	} {
		root.AddCommand(list...)
	}
	root.SetHelpCommand(helpCommand(s, root))
	root.InitDefaultHelpCmd()
	return root
}

func unknown(root *cobra.Command, name string) error {
	if f, ok := lacking(name); ok {
		err := &session.Usage{Text: fmt.Sprintf("cannot run %q: it is a Juju command that this release does not have; see docs/juju.md", name)}
		if f.Instead == "" {
			return session.Advise(err, "see the commands there are: scarab help")
		}
		return session.Advise(err, "instead: "+f.Instead)
	}
	err := &session.Usage{Text: fmt.Sprintf("cannot find command %q", name)}
	if near := root.SuggestionsFor(name); len(near) > 0 {
		return session.Advise(err, "did you mean: "+strings.Join(near, ", ")+"?")
	}
	return session.Advise(err, "see the commands there are: scarab help")
}

func versionCommand(s *session.Session) *cobra.Command {
	var all bool
	var format *output.Format
	c := s.Command(session.Spec{Use: "version", Short: "Show the version of the client", Group: "other", Example: "scarab version\nscarab version --all --format json"},
		func(context.Context, []string) error {
			doc := struct {
				Version string `yaml:"version" json:"version"`
				Scarab  string `yaml:"scarab" json:"scarab"`
				Go      string `yaml:"go" json:"go"`
			}{s.Version().Juju + "-ubuntu-" + runtime.GOARCH, s.Version().Scarab, runtime.Version()}
			if !all {
				return format.Write(s.Stdout.Raw(), doc.Version, func(w io.Writer) error { _, err := fmt.Fprintln(w, doc.Version); return err })
			}
			return format.Write(s.Stdout.Raw(), doc, func(w io.Writer) error { return output.YAML(w, doc) })
		})
	format = session.Format(c, "smart", "yaml", "json")
	c.Flags().BoolVar(&all, "all", false, "Show the version of the product too")
	return c
}

// bashAlone gives the script what it otherwise takes from the package bash-completion, which a bare system lacks.
const bashAlone = `# completion of scarab, also without the package bash-completion
if ! declare -F _get_comp_words_by_ref >/dev/null 2>&1; then
_get_comp_words_by_ref() {
    # Words that bash cut at = and : are put together again.
    local i glued="" text=()
    for ((i = 0; i < ${#COMP_WORDS[@]}; i++)); do
        if ((i > 0)) && [[ ${#text[@]} -gt 0 && (${COMP_WORDS[i]} == [=:] || $glued == yes) && ${COMP_WORDS[i-1]} != "" ]]; then
            text[${#text[@]}-1]+=${COMP_WORDS[i]}
        else
            text+=("${COMP_WORDS[i]}")
        fi
        glued=""
        [[ ${COMP_WORDS[i]} == [=:] ]] && glued=yes
        ((i == COMP_CWORD)) && cword=$((${#text[@]} - 1))
    done
    words=("${text[@]}")
    cur=${words[cword]}
    prev=${words[cword > 0 ? cword - 1 : 0]}
}
fi
if ! declare -F __ltrim_colon_completions >/dev/null 2>&1; then
__ltrim_colon_completions() {
    [[ $1 == *:* && $COMP_WORDBREAKS == *:* ]] || return 0
    local lead=${1%"${1##*:}"} i
    for ((i = 0; i < ${#COMPREPLY[@]}; i++)); do COMPREPLY[i]=${COMPREPLY[i]#"$lead"}; done
}
fi
`

func completionCommand(s *session.Session, root *cobra.Command) *cobra.Command {
	return s.Command(session.Spec{
		Names: "bash zsh fish", Use: "completion bash|zsh|fish", Short: "Print a shell's completion script", Group: "other", Min: 1, Max: 1,
		Example: "scarab completion bash > /etc/bash_completion.d/scarab\nsource <(scarab completion zsh)",
	}, func(_ context.Context, args []string) error {
		out := s.Stdout.Raw()
		switch args[0] {
		case "bash":
			if _, err := io.WriteString(out, bashAlone); err != nil {
				return err
			}
			return root.GenBashCompletionV2(out, true)
		case "zsh":
			return root.GenZshCompletion(out)
		case "fish":
			return root.GenFishCompletion(out, true)
		}
		return &session.Usage{Text: fmt.Sprintf("cannot complete in %q: choose bash, zsh or fish", args[0])}
	})
}
