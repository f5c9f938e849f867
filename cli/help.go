package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/scarab-ops/scarab/cli/session"
)

// topics are the help texts that belong to no command.
func topics() map[string]string {
	return map[string]string{
		"basics": `
First steps

  scarab bootstrap localhost prod --add-model dev   a controller on this machine, and a model on it
  scarab deploy ./my-charm                          an application from a charm directory
  scarab integrate my-charm other                   two applications that use each other
  scarab status --watch 2s                          the state, redrawn when it changes
  scarab why my-charm/0                             the causes when something waits
  scarab destroy-controller prod --destroy-all-models   and away with it`,
		"controllers": `
A controller keeps the state of models and tells agents what to do. The client knows controllers by the names in its files. It records
the fingerprint of each one's authority at the first login and refuses another one later.`,
		"models": `
A model is a room for applications and machines. Commands act on the current one (scarab switch) unless -m names another:
[CONTROLLER:][OWNER/]MODEL. The order of choice is: -m, then JUJU_MODEL, then the current model of the current controller.`,
		"files": `
The client's files are in the first of $JUJU_DATA, $XDG_DATA_HOME/juju, ~/.local/share/juju. They are replaced only as a whole, must
belong to you, and nobody else may write to them. A broken one is named with the line, and can be put right with
scarab repair-client-files.`,
		"constraints": `
Constraints choose the machines for an application: KEY=VALUE separated by blanks. Keys: arch, container, cores, cpu-power, mem, root-disk,
root-disk-source, tags, instance-role, instance-type, spaces, virt-type, zones, allocate-public-ip, image-id. Sizes take M, G, T or P.
An empty value means none, over what the model says.`,
		"placement": `
The flag --to says where units go, separated by commas, one for each unit:

  3          machine 3

Without it a clean machine is used, or a new one made. Containers in machines (lxd:3) and zones (zone=az1) are refused: the local
cloud has neither.`,
		"environment": `
JUJU_DATA         directory of the client's files
JUJU_CONTROLLER   controller to act on
JUJU_MODEL        model to act on: [CONTROLLER:][OWNER/]MODEL
JUJU_STATUS_ISO_TIME  times in status as RFC 3339 (true)
NO_COLOR          no colours`,
		"exit-codes": `
0  done
1  the command failed; the line that starts with ERROR says why, the hint what to do
2  the command line is wrong
ssh, scp, exec and run with one target end with the exit code of what they ran.`,
	}
}

func helpCommand(s *session.Session, root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND | TOPIC]", Short: "Show help on a command or a topic", GroupID: "other", SilenceErrors: true, SilenceUsage: true,
		Example: "  scarab help deploy\n  scarab help topics",
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return root.Help()
			}
			all := topics()
			if args[0] == "topics" {
				for _, t := range slices.Sorted(maps.Keys(all)) {
					fmt.Fprintln(s.Stdout, t)
				}
				return nil
			}
			if args[0] == "commands" {
				for _, c := range root.Commands() {
					if !c.Hidden {
						fmt.Fprintf(s.Stdout, "%-24s %s\n", c.Name(), c.Short)
					}
				}
				return nil
			}
			c, rest, err := root.Find(args)
			topic, ok := all[args[0]]
			if err == nil && c != root && len(rest) == 0 {
				if err := c.Help(); err != nil || !ok {
					return err
				}
				fmt.Fprintf(s.Stdout, "\nAbout %s:\n\n", args[0]) // a topic of the same name
			}
			if ok {
				fmt.Fprintln(s.Stdout, strings.TrimSpace(topic))
				return nil
			}
			if _, ok := lacking(args[0]); ok {
				return unknown(root, args[0])
			}
			return session.Advise(&session.Usage{Text: fmt.Sprintf("cannot find help on %q", args[0])}, "see: scarab help commands, scarab help topics")
		},
	}
}
