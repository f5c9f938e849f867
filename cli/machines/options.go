package machines

import (
	"fmt"
	"strings"

	"github.com/scarab-ops/scarab/cli/session"
)

// Options of ssh and scp that take a value, each a letter.
const (
	sshValues = "BbcDEeFIiJLlmOoPpQRSWw"
	scpValues = "cDFiJloPSX"
)

// programOptions splits what a person gives to ssh or scp itself from the rest, which begins with the first word that is
// no option. Ours come first on the program's command line, and it takes the first of each, so host keys stay checked.
func programOptions(args []string, withValue string) (options, rest []string, err error) {
	for i := 0; i < len(args); i++ {
		a := args[i]
		if a == "--" {
			return options, args[i+1:], nil
		}
		if len(a) < 2 || a[0] != '-' || a[1] == '-' {
			return options, args[i:], nil
		}
		options = append(options, a)
		// Letters may be joined: the first that takes a value ends the word, or takes the next one.
		at := strings.IndexAny(a[1:], withValue)
		if at < 0 || at+2 < len(a) {
			continue
		}
		if i++; i == len(args) {
			return nil, nil, &session.Usage{Text: fmt.Sprintf("cannot use option %q: its value is missing", a)}
		}
		options = append(options, args[i]) //nolint:gosec // the line above ends the loop
	}
	return options, nil, nil
}
