package machine

import (
	"slices"
	"strings"
)

// levels say which records are kept: "<root>=INFO;unit=DEBUG". The longest
// name that is a module's, or one of its parents', counts.
type levels map[string]int

// parseLevels reads a logging configuration. What it cannot read it leaves
// out: a wrong setting must not silence an agent.
func parseLevels(text string) levels {
	l := levels{"": severity("INFO")}
	for _, item := range strings.FieldsFunc(text, func(r rune) bool { return r == ';' || r == ',' }) {
		name, level, ok := strings.Cut(strings.TrimSpace(item), "=")
		n := severity(strings.ToUpper(strings.TrimSpace(level)))
		if !ok || n < 0 || len(l) > 256 {
			continue
		}
		if name = strings.TrimSpace(name); name == "<root>" {
			name = ""
		}
		l[name] = n
	}
	return l
}

func severity(level string) int {
	return slices.Index([]string{"TRACE", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}, level)
}

// keep tells whether a record of that module and level is wanted.
func (l levels) keep(module, level string) bool {
	for name := module; ; {
		if n, ok := l[name]; ok {
			return severity(level) >= n
		}
		if name == "" {
			return true
		}
		name = name[:max(strings.LastIndexByte(name, '.'), 0)]
	}
}
