package model

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
)

// A Key declares one model setting.
type Key struct {
	Name      string
	Type      string // string, bool, int, duration
	Default   string
	Immutable bool
	Secret    bool
	Help      string
	// Check refuses bad values; nil accepts all of the type.
	Check func(string) error
}

// Keys is every model setting, sorted by name. Defaults and names are those
// clients know; the hook-*, apt-mirror and resolvers keys are ours.
func Keys() []Key { return slices.Clone(keys[:]) }

var keys = [...]Key{
	{Name: "agent-metadata-url"},
	{Name: "agent-stream", Default: "released"},
	{Name: "agent-version", Immutable: true},
	{Name: "apt-ftp-proxy"},
	{Name: "apt-http-proxy"},
	{Name: "apt-https-proxy"},
	{Name: "apt-mirror", Help: "package mirror for machines, read from the host at bootstrap"},
	{Name: "apt-no-proxy"},
	{Name: "apt-options", Help: "apt settings of machines, from an allowed list; read from the host at bootstrap"},
	{Name: "apt-security-mirror", Help: "mirror of security updates; read from the host at bootstrap"},
	{Name: "authorized-keys"},
	{Name: "automatically-retry-hooks", Type: "bool", Default: "true"},
	{Name: "backup-dir"},
	{Name: "charmhub-url", Default: "https://api.charmhub.io", Immutable: true},
	{Name: "cloudinit-userdata"},
	{Name: "container-image-metadata-defaults-disabled", Type: "bool", Default: "false"},
	{Name: "container-image-metadata-url"},
	{Name: "container-image-stream", Default: "released"},
	{Name: "container-inherit-properties"},
	{Name: "container-networking-method"},
	{Name: "default-base"},
	{Name: "default-space"},
	{Name: "development", Type: "bool", Default: "false"},
	{Name: "disable-network-management", Type: "bool", Default: "false"},
	{Name: "disable-telemetry", Type: "bool", Default: "false"},
	{Name: "egress-subnets"},
	{Name: "enable-os-refresh-update", Type: "bool", Default: "true"},
	{Name: "enable-os-upgrade", Type: "bool", Default: "true"},
	{Name: "extra-info"},
	{Name: "fan-config"},
	{Name: "firewall-mode", Default: "instance", Immutable: true, Check: oneOf("instance", "global", "none")},
	{Name: "ftp-proxy"},
	{Name: "hook-memory", Default: "1G", Check: isSize, Help: "most memory one hook may use"},
	{Name: "hook-pids", Type: "int", Default: "1024", Help: "most processes one hook may have"},
	{Name: "hook-timeout", Type: "duration", Default: "1h", Help: "a hook that runs longer is ended and fails"},
	{Name: "http-proxy"},
	{Name: "https-proxy"},
	{Name: "ignore-machine-addresses", Type: "bool", Default: "false"},
	{Name: "image-metadata-defaults-disabled", Type: "bool", Default: "false"},
	{Name: "image-metadata-url"},
	{Name: "image-stream", Default: "released"},
	{Name: "juju-ftp-proxy"},
	{Name: "juju-http-proxy"},
	{Name: "juju-https-proxy"},
	{Name: "juju-no-proxy", Default: "127.0.0.1,localhost,::1"},
	{Name: "logforward-enabled", Type: "bool", Default: "false"},
	{Name: "logging-config", Default: "<root>=INFO"},
	{Name: "logging-output"},
	{Name: "lxd-snap-channel", Default: "5.0/stable"},
	{Name: "max-action-results-age", Type: "duration", Default: "336h"},
	{Name: "max-action-results-size", Default: "5G", Check: isSize},
	{Name: "max-status-history-age", Type: "duration", Default: "336h"},
	{Name: "max-status-history-size", Default: "5G", Check: isSize},
	{Name: "mode", Default: "requires-prompts"},
	{Name: "name", Immutable: true},
	{Name: "net-bond-reconfigure-delay", Type: "int", Default: "17"},
	{Name: "no-proxy", Default: "127.0.0.1,localhost,::1"},
	{Name: "num-container-provision-workers", Type: "int", Default: "4"},
	{Name: "num-provision-workers", Type: "int", Default: "16"},
	{Name: "provisioner-harvest-mode", Default: "destroyed", Check: oneOf("none", "unknown", "destroyed", "all")},
	{Name: "proxy-ssh", Type: "bool", Default: "false"},
	{Name: "resolvers", Help: "name servers of machines, comma separated; read from the host at bootstrap"},
	{Name: "resource-tags"},
	{Name: "saas-ingress-allow", Default: "0.0.0.0/0,::/0"},
	{Name: "secret-backend", Default: "auto"},
	{Name: "snap-http-proxy"},
	{Name: "snap-https-proxy"},
	{Name: "snap-store-assertions"},
	{Name: "snap-store-proxy"},
	{Name: "snap-store-proxy-url"},
	{Name: "ssh-allow", Default: "0.0.0.0/0,::/0"},
	{Name: "ssl-hostname-verification", Type: "bool", Default: "true"},
	{Name: "storage-default-block-source"},
	{Name: "storage-default-filesystem-source"},
	{Name: "syslog-ca-cert"},
	{Name: "syslog-client-cert"},
	{Name: "syslog-client-key", Secret: true},
	{Name: "syslog-host"},
	{Name: "test-mode", Type: "bool", Default: "false"},
	{Name: "transmit-vendor-metrics", Type: "bool", Default: "false"},
	{Name: "type", Immutable: true},
	{
		Name: "update-status-hook-interval", Type: "duration", Default: "5m",
		Check: durationBetween(time.Minute, time.Hour),
	},
	{Name: "uuid", Immutable: true},
}

func oneOf(values ...string) func(string) error {
	return func(v string) error {
		if !slices.Contains(values, v) {
			return fmt.Errorf("%q is none of %s", v, strings.Join(values, ", "))
		}
		return nil
	}
}

func durationBetween(low, high time.Duration) func(string) error {
	return func(v string) error {
		if d, err := time.ParseDuration(v); err != nil || d < low || d > high {
			return fmt.Errorf("%q is not between %s and %s", v, low, high)
		}
		return nil
	}
}

func isSize(v string) error { _, err := ParseSize(v); return err }

// ParseSize reads a number with a suffix M, G or T (MiB without) as bytes.
func ParseSize(v string) (int64, error) {
	unit := int64(1 << 20)
	digits := v
	switch {
	case strings.HasSuffix(v, "M"):
		digits = v[:len(v)-1]
	case strings.HasSuffix(v, "G"):
		digits, unit = v[:len(v)-1], 1<<30
	case strings.HasSuffix(v, "T"):
		digits, unit = v[:len(v)-1], 1<<40
	}
	n, err := strconv.ParseInt(digits, 10, 32)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%q is not a size such as 512M or 2G", v)
	}
	return n * unit, nil
}

func key(name string) (Key, bool) {
	i, ok := slices.BinarySearchFunc(keys[:], name, func(k Key, n string) int { return strings.Compare(k.Name, n) })
	if !ok {
		return Key{}, false
	}
	return keys[i], true
}

// maxValue bounds one setting's text.
const maxValue = 64 << 10

// ValidateConfig refuses unknown keys and values that are not of their type.
func ValidateConfig(attrs map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(attrs)) {
		k, ok := key(name)
		if !ok {
			return fmt.Errorf("cannot set model config: unknown option %q", name)
		}
		if err := k.check(attrs[name]); err != nil {
			return fmt.Errorf("cannot set model config %q: %w", name, err)
		}
	}
	return nil
}

func (k Key) check(v string) error {
	if len(v) > maxValue {
		return fmt.Errorf("value is longer than %d bytes", maxValue)
	}
	if v == "" {
		return nil
	}
	var err error
	switch k.Type {
	case "bool":
		_, err = strconv.ParseBool(v)
	case "int":
		_, err = strconv.Atoi(v)
	case "duration":
		_, err = time.ParseDuration(v)
	}
	if err != nil {
		return fmt.Errorf("%q is not of type %s", v, k.Type)
	}
	if k.Check != nil {
		return k.Check(v)
	}
	return nil
}

// A Value is one effective setting.
type Value struct {
	Value  any    // string, bool or int64
	Source string // default or model
}

// Config is a model's effective configuration.
type Config map[string]Value

// EffectiveConfig merges what is set over the defaults.
func EffectiveConfig(r state.Reader, row Row) (Config, error) {
	set, err := ConfigTable.Get(r, ScopeOf(row.UUID), "config")
	if err != nil {
		return nil, err
	}
	out := Config{}
	for _, k := range keys {
		text, source := k.Default, "default"
		if v, ok := set.Attrs[k.Name]; ok {
			text, source = v, "model"
		}
		out[k.Name] = Value{k.typed(text), source}
	}
	out["name"] = Value{row.Name, "model"}
	out["uuid"] = Value{string(row.UUID), "model"}
	out["type"] = Value{"lxd", "model"}
	out["agent-version"] = Value{row.AgentVersion, "model"}
	return out, nil
}

func (k Key) typed(text string) any {
	switch k.Type {
	case "bool":
		b, err := strconv.ParseBool(text)
		return err == nil && b
	case "int":
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return int64(0)
		}
		return n
	}
	return text
}

// A Getter looks settings up one by one, for those who need few of them often.
// It shares what it reads with the view: it is for reading only.
type Getter struct{ set map[string]string }

// Settings returns a model's settings.
func Settings(r state.Reader, m names.Model) (Getter, error) {
	row, err := ConfigTable.Get(r, ScopeOf(m), "config")
	return Getter{row.Attrs}, err
}

// text returns a setting as it was set, or its default, and its type.
func (g Getter) text(name string) (text, kind string) {
	k, ok := key(name)
	if !ok {
		return "", ""
	}
	if text, ok := g.set[name]; ok {
		return text, k.Type
	}
	return k.Default, k.Type
}

// String returns a text setting.
func (g Getter) String(name string) string {
	text, kind := g.text(name)
	if kind == "bool" || kind == "int" {
		return ""
	}
	return text
}

// Bool returns a boolean setting.
func (g Getter) Bool(name string) bool {
	text, kind := g.text(name)
	b, err := strconv.ParseBool(text)
	return kind == "bool" && err == nil && b
}

// Int returns an integer setting.
func (g Getter) Int(name string) int {
	text, kind := g.text(name)
	n, err := strconv.ParseInt(text, 10, 64)
	if kind != "int" || err != nil {
		return 0
	}
	return int(n)
}

// Duration returns a duration setting.
func (g Getter) Duration(name string) time.Duration { return duration(g.String(name)) }

// Bytes returns a size setting in bytes.
func (g Getter) Bytes(name string) int64 { return size(g.String(name)) }

func duration(text string) time.Duration {
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0
	}
	return d
}

func size(text string) int64 {
	n, err := ParseSize(text)
	if err != nil {
		return 0
	}
	return n
}

// String returns a text setting.
func (c Config) String(name string) string { s, _ := c[name].Value.(string); return s }

// Bool returns a boolean setting.
func (c Config) Bool(name string) bool { b, _ := c[name].Value.(bool); return b }

// Int returns an integer setting.
func (c Config) Int(name string) int { n, _ := c[name].Value.(int64); return int(n) }

// Duration returns a duration setting.
func (c Config) Duration(name string) time.Duration { return duration(c.String(name)) }

// Bytes returns a size setting in bytes.
func (c Config) Bytes(name string) int64 { return size(c.String(name)) }

// SetConfig changes settings; Unset returns them to their defaults.
func SetConfig(tx *state.Tx, row Row, set map[string]string, unset []string) error {
	if err := ValidateConfig(set); err != nil {
		return err
	}
	cur, err := ConfigTable.Get(tx, ScopeOf(row.UUID), "config")
	if err != nil {
		return err
	}
	if cur.Attrs == nil {
		cur.Attrs = map[string]string{}
	}
	effective, err := EffectiveConfig(tx, row)
	if err != nil {
		return err
	}
	for name, v := range set {
		if k, _ := key(name); k.Immutable && fmt.Sprint(effective[name].Value) != v {
			return fmt.Errorf("cannot change %q: it is fixed when the model is created", name)
		} else if k.Immutable {
			continue
		}
		cur.Attrs[name] = v
	}
	for _, name := range unset {
		k, ok := key(name)
		if !ok {
			return fmt.Errorf("cannot reset model config: unknown option %q", name)
		}
		if k.Immutable {
			return fmt.Errorf("cannot reset %q: it is fixed when the model is created", name)
		}
		delete(cur.Attrs, name)
	}
	return ConfigTable.Put(tx, ScopeOf(row.UUID), cur)
}
