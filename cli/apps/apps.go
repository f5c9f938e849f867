// Package apps holds the commands that act on applications and their units: deploying, configuring, relating, scaling,
// exposing and removing. It refuses what cannot be right before anything is sent, and says what a removal will take away.
package apps

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/scarab-ops/scarab/cli/session"
	"github.com/scarab-ops/scarab/names"
)

const group = "apps"

// Commands are the commands of this package.
func Commands(s *session.Session) []*cobra.Command {
	return []*cobra.Command{
		deployCommand(s), configCommand(s), integrateCommand(s), removeRelationCommand(s), addUnitCommand(s), removeUnitCommand(s),
		removeApplicationCommand(s), exposeCommand(s), unexposeCommand(s), resolvedCommand(s), trustCommand(s), constraintsCommand(s),
		setConstraintsCommand(s),
	}
}

func checkApp(name string) error {
	if !names.ValidApplication(name) {
		return &session.Usage{Text: fmt.Sprintf("cannot use %q: it is no application name", name)}
	}
	return nil
}

func checkUnit(name string) error {
	if !names.ValidUnit(name) {
		return &session.Usage{Text: fmt.Sprintf("cannot use %q: it is no unit, write application/number", name)}
	}
	return nil
}

// maxValue bounds one file named on the command line as a value.
const maxValue = 8 << 20

// readFile reads a file named on the command line; "-" is the input.
func readFile(s *session.Session) func(string) ([]byte, error) {
	return func(name string) ([]byte, error) {
		if name == "" {
			return nil, errors.New("a file name is missing after @")
		}
		in := s.Stdin()
		if name != "-" {
			f, err := os.Open(s.Path(name))
			if err != nil {
				return nil, err
			}
			defer f.Close() //nolint:errcheck // read only
			in = f
		}
		data, err := io.ReadAll(io.LimitReader(in, maxValue+1))
		if err == nil && len(data) > maxValue {
			return nil, fmt.Errorf("%s is larger than %d MiB", name, maxValue>>20)
		}
		return data, err
	}
}
