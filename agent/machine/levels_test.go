package machine

import "testing"

func TestLevels(t *testing.T) {
	for _, c := range []struct {
		config, module, level string
		want                  bool
	}{
		{"", "unit.a/0.install", "DEBUG", false},
		{"", "unit.a/0.install", "INFO", true},
		{"<root>=WARNING", "agent.unit", "INFO", false},
		{"<root>=WARNING;unit=DEBUG", "unit.a/0.install", "DEBUG", true},
		{"<root>=WARNING;unit=DEBUG", "unit.a/0.install", "TRACE", false},
		{"<root>=WARNING;unit=DEBUG", "units", "INFO", false},
		{"unit=LOUD;nonsense", "unit.a/0.install", "INFO", true},
		{"unit.a/0.install=ERROR;unit=DEBUG", "unit.a/0.install", "WARNING", false},
	} {
		if got := parseLevels(c.config).keep(c.module, c.level); got != c.want {
			t.Errorf("%q keeps %s %s: %v", c.config, c.module, c.level, got)
		}
	}
}
