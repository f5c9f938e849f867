package tools

import (
	"fmt"
	"slices"
	"strings"
)

func jujuLog() *Tool {
	return &Tool{
		Name: "juju-log", Args: "<message>", In: Anywhere, Effect: AtOnce,
		Purpose: "Write a message to the log.",
		Setup: func(c *Call, f *Flags) func([]string) error {
			level, debug := "INFO", false
			f.String(&level, "l,log-level", "Send log message at the given level")
			f.Bool(&debug, "debug", "Send log message at debug level")
			ignoredFormat(c, f)
			return func(args []string) error {
				if len(args) == 0 {
					return usagef("no message specified")
				}
				lv, ok := parseLevel(level)
				if !ok {
					fmt.Fprintf(&c.Stderr, "WARNING log level %q is not valid, using INFO\n", level)
				}
				if debug {
					lv = "DEBUG"
				}
				prefix := ""
				if c.Hook != "" && c.RelationID >= 0 {
					prefix = c.relationName(c.RelationID) + ": "
				}
				c.Log(lv, "juju-log", prefix+strings.Join(args, " "))
				return nil
			}
		},
	}
}

func parseLevel(s string) (string, bool) {
	s = strings.ToUpper(s)
	if s == "WARN" {
		s = "WARNING"
	}
	if !slices.Contains([]string{"TRACE", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}, s) {
		return "INFO", false
	}
	return s, true
}
