package model

import "testing"

// A Getter says what EffectiveConfig would, for every setting and both set and
// not.
func TestGetterAgreesWithConfig(t *testing.T) {
	for _, set := range []map[string]string{nil, {
		"automatically-retry-hooks": "false", "hook-pids": "7", "hook-timeout": "5s", "hook-memory": "2M",
		"logging-config": "<root>=DEBUG", "development": "nonsense", "net-bond-reconfigure-delay": "nonsense", "no-proxy": "",
	}} {
		g := Getter{set}
		for _, k := range Keys() {
			text := k.Default
			if v, ok := set[k.Name]; ok {
				text = v
			}
			c := Config{k.Name: {k.typed(text), ""}}
			if g.String(k.Name) != c.String(k.Name) || g.Bool(k.Name) != c.Bool(k.Name) || g.Int(k.Name) != c.Int(k.Name) ||
				g.Duration(k.Name) != c.Duration(k.Name) || g.Bytes(k.Name) != c.Bytes(k.Name) {
				t.Errorf("%s: the getter says %q, %v, %d, not what the configuration says: %v", k.Name,
					g.String(k.Name), g.Bool(k.Name), g.Int(k.Name), c[k.Name].Value)
			}
		}
	}
	if g := (Getter{}); g.String("no-such") != "" || g.Bool("no-such") || g.Int("no-such") != 0 {
		t.Error("an unknown setting has a value")
	}
}
