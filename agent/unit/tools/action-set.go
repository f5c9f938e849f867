package tools

import (
	"fmt"
	"slices"
	"strings"
)

// maxResults bounds what one action may answer.
const maxResults = 1 << 20

func actionSet() *Tool {
	return &Tool{
		Name: "action-set", Args: "<key>=<value> [<key>=<value> ...]", In: Actions,
		Purpose: "Set the action's results.",
		Doc:     "Dotted keys make nested maps. Later calls add to earlier ones.",
		Setup: func(c *Call, _ *Flags) func([]string) error {
			return func(args []string) error {
				type pair struct {
					path  []string
					value string
				}
				var pairs []pair
				size := c.Task.size
				for _, a := range args {
					k, v, ok := strings.Cut(a, "=")
					if !ok {
						return usagef("argument %q must be of the form key...=value", a)
					}
					path := strings.Split(k, ".")
					if err := checkResultKey(k, path); err != nil {
						return err
					}
					size += len(a)
					pairs = append(pairs, pair{path, v})
				}
				if size > maxResults {
					return fmt.Errorf("cannot set action results: more than %d bytes", maxResults)
				}
				c.Task.size = size
				for _, p := range pairs {
					setNested(&c.Task.Results, p.path, p.value)
				}
				return nil
			}
		},
	}
}

func checkResultKey(key string, path []string) error {
	for _, p := range path {
		if slices.Contains([]string{"stdout", "stdout-encoding", "stderr", "stderr-encoding"}, p) {
			return usagef("cannot set reserved action key %q", p)
		}
		if !resultKeyPart(p) {
			return usagef("key %q must start and end with lowercase alphanumeric, and contain only lowercase alphanumeric, hyphens and periods", key)
		}
	}
	return nil
}

func resultKeyPart(s string) bool {
	for i := range len(s) {
		alnum := s[i] >= 'a' && s[i] <= 'z' || s[i] >= '0' && s[i] <= '9'
		if !alnum && (s[i] != '-' || i == 0 || i == len(s)-1) {
			return false
		}
	}
	return s != ""
}

func setNested(m *map[string]any, path []string, value string) {
	if *m == nil {
		*m = map[string]any{}
	}
	at := *m
	for _, p := range path[:len(path)-1] {
		next, ok := at[p].(map[string]any)
		if !ok {
			next = map[string]any{}
			at[p] = next
		}
		at = next
	}
	at[path[len(path)-1]] = value
}
