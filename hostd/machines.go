package hostd

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/scarab-ops/scarab/container"
	"github.com/scarab-ops/scarab/container/firewall"
	"github.com/scarab-ops/scarab/hostd/hostapi"
	"github.com/scarab-ops/scarab/image"
	"github.com/scarab-ops/scarab/provider"
)

// Settings of a model that the local cloud reads. HostSettings gives the
// host's own values for them.
const (
	SettingMirror     = "apt-mirror"
	SettingSecurity   = "apt-security-mirror"
	SettingHTTPProxy  = "apt-http-proxy"
	SettingHTTPSProxy = "apt-https-proxy"
	SettingOptions    = "apt-options" // lines of apt configuration, from an allowed list
	SettingResolvers  = "resolvers"   // comma separated addresses
)

// HostSettings reads from the host what machines need to reach packages and
// names, as settings of a model.
func HostSettings(ctx context.Context) (map[string]string, error) {
	out := map[string]string{}
	if rs := HostResolvers(); len(rs) > 0 {
		out[SettingResolvers] = strings.Join(rs, ",")
	}
	apt, err := image.HostApt(ctx)
	if err != nil {
		return out, err
	}
	out[SettingMirror] = apt.Mirror
	if apt.Security != "" {
		out[SettingSecurity] = apt.Security
	}
	if len(apt.Options) > 0 {
		out[SettingOptions] = strings.Join(apt.Options, "\n")
	}
	return out, nil
}

// HostResolvers are the host's name servers that machines can reach too.
func HostResolvers() []string {
	var out []string
	for _, name := range []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"} {
		f, err := os.Open(name)
		if err != nil {
			continue
		}
		for sc := bufio.NewScanner(f); sc.Scan(); {
			fields := strings.Fields(sc.Text())
			if len(fields) < 2 || fields[0] != "nameserver" {
				continue
			}
			a, err := netip.ParseAddr(fields[1])
			if err == nil && a.Is4() && !a.IsLoopback() && len(out) < 3 && !slices.Contains(out, a.String()) {
				out = append(out, a.String())
			}
		}
		_ = f.Close()
	}
	return out
}

// meta is what the runtime keeps for us with a machine.
type meta struct {
	ModelUUID string        `json:"model-uuid,omitempty"`
	MachineID string        `json:"machine-id,omitempty"`
	Base      provider.Base `json:"base"`
	Note      string        `json:"note,omitempty"`
	Image     string        `json:"image"`
}

func (s *server) startMachine(ctx context.Context, spec *provider.StartSpec) (provider.Instance, error) {
	if err := checkSpec(spec); err != nil {
		return provider.Instance{}, err
	}
	if s.rung.kind == container.IsolationProcess {
		return s.startProcess(ctx, spec)
	}
	img, note, err := s.pickImage(ctx, spec.Base)
	if err != nil {
		return provider.Instance{}, err
	}
	name, channel, _ := strings.Cut(img.Name, "@")
	m := meta{spec.ModelUUID, spec.MachineID, provider.Base{Name: name, Channel: channel}, note, img.Digest[:12]}
	data, err := json.Marshal(m)
	if err != nil {
		return provider.Instance{}, fmt.Errorf("cannot describe the machine: %w", err)
	}
	own, resolvers, err := s.ownFiles(ctx, spec, img.Name)
	if err != nil {
		return provider.Instance{}, err
	}
	limits, err := limitsOf(&spec.Constraints, hostMemory())
	if err != nil {
		return provider.Instance{}, err
	}
	c := container.Spec{
		Key: spec.Key, Controller: spec.ControllerID, Hostname: spec.Hostname, Root: img.Root,
		Profile: s.profile(), Files: own, Start: spec.Start, Resolvers: resolvers, Meta: data, Limits: limits,
	}
	for _, f := range spec.Files {
		c.Files = append(c.Files, container.File{Path: f.Path, Mode: f.Mode, Data: f.Data, Host: f.Host})
	}
	return s.create(ctx, c)
}

// hostReserve is the memory that machines without a constraint leave to the
// host, in MiB: what the controller and its supervisor need with room to spare.
const hostReserve = 512

// limitsOf are the limits of a machine on a host with so much memory; 0 is a
// host that does not tell. A machine that asks for no memory may still not take
// all there is: then the kernel would end processes of the host as well.
func limitsOf(c *provider.Constraints, hostMiB int64) (container.Limits, error) {
	l := container.Limits{Cores: c.Cores, MemMiB: c.MemMiB, DiskMiB: c.RootDiskMiB}
	if hostMiB > 0 && l.MemMiB > hostMiB {
		return l, fmt.Errorf("cannot make a machine: mem=%dM is wanted, this host has %dM: ask for less: %w", l.MemMiB, hostMiB, provider.ErrBadSpec)
	}
	if l.MemMiB == 0 && hostMiB > 0 {
		l.MemMiB = max(hostMiB-hostReserve, hostMiB/2)
	}
	return l, nil
}

// profile is plain where systemd would have no control groups.
func (s *server) profile() container.Profile {
	if s.rung.kind == container.IsolationContainer {
		return container.ProfileSystem
	}
	return container.ProfilePlain
}

// startProcess makes a machine of the host's own programs.
func (s *server) startProcess(ctx context.Context, spec *provider.StartSpec) (provider.Instance, error) {
	base := hostBase()
	note := ""
	if spec.Base.Name != "" && hostapi.ImageOf(spec.Base) != hostapi.ImageOf(base) {
		note = fmt.Sprintf("charm asked for %s, runs on the host's own programs", hostapi.ImageOf(spec.Base))
	}
	data, err := json.Marshal(meta{spec.ModelUUID, spec.MachineID, base, note, ""})
	if err != nil {
		return provider.Instance{}, fmt.Errorf("cannot describe the machine: %w", err)
	}
	c := container.Spec{
		Key: spec.Key, Controller: spec.ControllerID, Hostname: spec.Hostname, Root: "/",
		Profile: container.ProfilePlain, Start: spec.Start, Meta: data,
	}
	for _, f := range spec.Files {
		c.Files = append(c.Files, container.File{Path: f.Path, Mode: f.Mode, Data: f.Data, Host: f.Host})
	}
	return s.create(ctx, c)
}

// hostBase is the release that the host itself runs.
func hostBase() provider.Base {
	b := provider.Base{Name: "linux", Channel: "unknown"}
	data, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return b
	}
	for line := range strings.Lines(string(data)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch value = strings.Trim(value, `"`); key {
		case "ID":
			b.Name = value
		case "VERSION_ID":
			b.Channel = value + "/stable"
		}
	}
	return b
}

func (s *server) create(ctx context.Context, c container.Spec) (provider.Instance, error) {
	made, err := s.machines.Create(ctx, c)
	switch {
	case errors.Is(err, container.ErrBadSpec):
		return provider.Instance{}, fmt.Errorf("%w: %w", err, provider.ErrBadSpec)
	case errors.Is(err, container.ErrFull):
		return provider.Instance{}, fmt.Errorf("%w: %w", err, provider.ErrQuota)
	case err != nil:
		return provider.Instance{}, err
	}
	return instanceOf(&made), nil
}

func checkSpec(spec *provider.StartSpec) error {
	if spec.Constraints.Arch != "" && spec.Constraints.Arch != runtime.GOARCH {
		return fmt.Errorf("cannot make a machine: arch %s is wanted, this host is %s: %w", spec.Constraints.Arch, runtime.GOARCH, provider.ErrBadSpec)
	}
	if len(spec.Constraints.Zones) > 0 || spec.Placement != "" {
		return fmt.Errorf("cannot make a machine: this cloud has no zones and no placements: %w", provider.ErrBadSpec)
	}
	return nil
}

// pickImage gives the image of a base, or the default one with a note.
func (s *server) pickImage(ctx context.Context, b provider.Base) (image.Image, string, error) {
	want, note := s.cfg.DefaultImage, ""
	if b.Name != "" {
		name := hostapi.ImageOf(b)
		if s.images.Has(name) {
			want = name
		} else if name != want {
			note = fmt.Sprintf("charm asked for %s, runs on %s", name, want)
		}
	}
	img, err := s.images.Ensure(ctx, want, func(string) {})
	return img, note, err
}

// ownFiles are the files that place a machine in its surroundings: apt's
// sources and an identity of its own.
func (s *server) ownFiles(ctx context.Context, spec *provider.StartSpec, imageName string) ([]container.File, []string, error) {
	settings := spec.Settings
	if settings[SettingMirror] == "" {
		host, err := s.hostSettings(ctx)
		if err != nil {
			s.cfg.Log.Warn("machines will have no package sources", "error", err)
		}
		for key, value := range settings {
			if value != "" {
				host[key] = value
			}
		}
		settings = host
	}
	get := func(key string) string { return settings[key] }
	id := make([]byte, 16)
	if _, err := rand.Read(id); err != nil {
		return nil, nil, fmt.Errorf("cannot make an identity: %w", err)
	}
	files := []container.File{{Path: "/etc/machine-id", Mode: 0o444, Data: []byte(hex.EncodeToString(id) + "\n")}}
	if suite := image.Suite(imageName); suite != "" && get(SettingMirror) != "" {
		apt := image.Apt{Mirror: get(SettingMirror), Security: get(SettingSecurity)}
		for line := range strings.Lines(get(SettingOptions)) {
			apt.Options = append(apt.Options, strings.TrimSpace(line))
		}
		for key, proxy := range map[string]string{"http": get(SettingHTTPProxy), "https": get(SettingHTTPSProxy)} {
			if proxy != "" {
				apt.Options = append(apt.Options, "Acquire::"+key+"::Proxy "+strconv.Quote(proxy)+";")
			}
		}
		if err := apt.Check(); err != nil {
			return nil, nil, fmt.Errorf("%w: %w", err, provider.ErrBadSpec)
		}
		files = append(files, container.File{Path: "/etc/apt/sources.list.d/debian.sources", Mode: 0o644, Data: []byte(apt.Sources(suite))},
			container.File{Path: "/etc/apt/apt.conf.d/30scarab", Mode: 0o644, Data: []byte(apt.Conf())})
	}
	return files, resolversOf(get(SettingResolvers)), nil
}

func resolversOf(setting string) []string {
	var list []string
	for r := range strings.SplitSeq(setting, ",") {
		if r = strings.TrimSpace(r); r != "" {
			list = append(list, r)
		}
	}
	if len(list) == 0 {
		return HostResolvers()
	}
	return list
}

// hostSettings are read once: asking apt takes longer than making a machine.
func (s *server) hostSettings(ctx context.Context) (map[string]string, error) {
	s.hostOnce.Lock()
	defer s.hostOnce.Unlock()
	if s.host == nil {
		host, err := HostSettings(ctx)
		if err != nil {
			return host, err
		}
		s.host = host
	}
	return maps.Clone(s.host), nil
}

// instanceOf says what the controller sees of a machine.
func instanceOf(m *container.Machine) provider.Instance {
	var extra meta
	_ = json.Unmarshal(m.Meta, &extra) // ours; a damaged one loses its notes only
	status := map[container.State]string{
		container.StateCreating: "pending", container.StateRunning: "running",
		container.StateStopped: "stopped", container.StateRemoving: "stopped",
	}[m.State]
	hw := provider.Hardware{Arch: runtime.GOARCH, Cores: m.Limits.Cores, MemMiB: m.Limits.MemMiB, RootDiskMiB: m.Limits.DiskMiB}
	if hw.Cores == 0 || hw.Cores > runtime.NumCPU() {
		hw.Cores = runtime.NumCPU()
	}
	if hw.MemMiB == 0 {
		hw.MemMiB = hostMemory()
	}
	return provider.Instance{
		ID: provider.InstanceID(m.ID), Key: m.Key, Status: status, Message: message(m),
		Addresses: []string{m.Address.String()}, Hardware: hw, Isolation: string(m.Isolation),
		BaseNote: extra.Note, Base: extra.Base, Ready: m.Ready, ImageShort: extra.Image,
	}
}

// message tells the state of a machine's own init.
func message(m *container.Machine) string {
	switch {
	case m.Message != "":
		return m.Message
	case m.State == container.StateRunning && m.Profile == container.ProfileSystem && m.Booted.IsZero():
		return "booting"
	case m.State == container.StateRunning && !m.Booted.IsZero():
		return fmt.Sprintf("booted in %.1f s", m.Booted.Sub(m.Ready).Seconds())
	}
	return ""
}

func hostMemory() int64 {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == "MemTotal:" {
			kib, _ := strconv.ParseInt(f[1], 10, 64)
			return kib >> 10
		}
	}
	return 0
}

// rulesOf checks rules; peers must be machines of the same controller.
func (s *server) rulesOf(controller string, rules []provider.Rule) ([]firewall.Rule, error) {
	out := make([]firewall.Rule, 0, len(rules))
	for _, r := range rules {
		f := firewall.Rule{Protocol: r.Protocol, From: r.From, To: r.To, Sources: r.Sources}
		for _, p := range r.Peers {
			// The id of a machine that is not there yet cannot be forged into
			// another controller's: Get and compare when it is.
			if m, err := s.machines.Get(string(p)); err == nil && m.Controller != controller {
				continue
			}
			f.Peers = append(f.Peers, string(p))
		}
		out = append(out, f)
	}
	if err := firewall.Check(out); err != nil {
		return nil, fmt.Errorf("%w: %w", err, provider.ErrBadSpec)
	}
	return out, nil
}
