package observe

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/scarab-ops/scarab/cli/output"
)

type ioWriter = io.Writer

// printChains draws each chain as an indented list, every cause below what it caused.
func printChains(w io.Writer, chains [][]cause, now time.Time, colour bool) error {
	var b strings.Builder
	for i, chain := range chains {
		if i > 0 {
			b.WriteByte('\n')
		}
		for depth, c := range chain {
			lead := ""
			if depth > 0 {
				lead = strings.Repeat("   ", depth-1) + "└─ "
			}
			line := output.Paint(c.Entity, output.Strong, colour) + ": " + output.Escape(c.State)
			if c.Because != "" {
				line += " - " + output.Escape(c.Because)
			}
			if c.Since != nil && !c.Since.IsZero() {
				line += output.Paint(fmt.Sprintf(" (for %s)", output.Short(max(0, now.Sub(*c.Since)))), output.Dim, colour)
			}
			b.WriteString(lead + line + "\n")
			under := strings.Repeat("   ", depth)
			if c.Ended != "" {
				b.WriteString(under + "it ended with: " + output.Escape(c.Ended) + "\n")
			}
			if c.Said != "" {
				b.WriteString(under + "it said last: " + output.Escape(c.Said) + "\n")
			}
			if c.Next != "" {
				b.WriteString(under + "→ " + output.Escape(c.Next) + "\n")
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
