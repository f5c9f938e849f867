package machine

import (
	"bufio"
	"context"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/scarab-ops/scarab/wire/agentapi"
)

// observe looks at the machine once.
func observe(ctx context.Context, isolation string, marked bool) agentapi.MachineObserved {
	o := agentapi.MachineObserved{
		Cores: runtime.NumCPU(), Arch: runtime.GOARCH, State: "ready", Isolation: isolation,
		HostKeys: hostKeys("/etc/ssh"), MemMiB: memory(), DiskMiB: disk("/"),
	}
	if marked { // else it cannot have booted, and has better to do than to answer
		o.State = bootState(ctx)
	}
	o.Hostname, _ = os.Hostname() // empty is what we know then
	o.Interfaces = interfaces()
	for _, i := range o.Interfaces {
		o.Addresses = append(o.Addresses, i.Addresses...)
	}
	return o
}

func interfaces() []agentapi.Interface {
	list, err := net.Interfaces()
	if err != nil {
		return nil
	}
	var out []agentapi.Interface
	for _, n := range list {
		if n.Flags&net.FlagLoopback != 0 || n.Flags&net.FlagUp == 0 {
			continue
		}
		addrs, err := n.Addrs()
		if err != nil {
			continue
		}
		i := agentapi.Interface{Name: n.Name, MAC: n.HardwareAddr.String()}
		for _, a := range addrs {
			p, err := netip.ParsePrefix(a.String())
			if err != nil || p.Addr().IsLinkLocalUnicast() || p.Addr().IsLoopback() {
				continue
			}
			i.Addresses = append(i.Addresses, address(p))
		}
		if len(i.Addresses) > 0 {
			out = append(out, i)
		}
	}
	return out
}

func address(p netip.Prefix) agentapi.Address {
	a := agentapi.Address{Value: p.Addr().String(), Type: "ipv6", Scope: "public", CIDR: p.Masked().String()}
	if p.Addr().Is4() {
		a.Type = "ipv4"
	}
	if p.Addr().IsPrivate() {
		a.Scope = "local-cloud"
	}
	return a
}

// hostKeys are the machine's public keys for SSH; the private ones are never
// opened.
func hostKeys(dir string) []string {
	names, err := filepath.Glob(filepath.Join(dir, "ssh_host_*_key.pub"))
	if err != nil {
		return nil
	}
	out := []string{}
	for _, n := range names {
		if data, err := os.ReadFile(n); err == nil && len(data) < 16<<10 {
			out = append(out, strings.TrimSpace(string(data)))
		}
	}
	slices.Sort(out)
	return out
}

func memory() int {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer func() { _ = f.Close() }()
	for s := bufio.NewScanner(f); s.Scan(); {
		if v, ok := strings.CutPrefix(s.Text(), "MemTotal:"); ok {
			n, err := strconv.Atoi(strings.Fields(v)[0])
			if err != nil {
				return 0
			}
			return n / 1024
		}
	}
	return 0
}

func disk(path string) int {
	var s syscall.Statfs_t
	if err := syscall.Statfs(path, &s); err != nil {
		return 0
	}
	return int(s.Blocks * uint64(s.Bsize) >> 20) //nolint:gosec // block sizes are positive
}

// bootState is "booted" once the init system says that it runs, "ready"
// before; a machine without systemd has nothing more to wait for.
func bootState(ctx context.Context) string {
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return "booted"
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "systemctl", "is-system-running")
	cmd.Env = []string{"PATH=" + systemPath, "LC_ALL=C"}
	out, _ := cmd.Output() // "degraded" comes with an exit code
	switch strings.TrimSpace(string(out)) {
	case "running", "degraded":
		return "booted"
	}
	return "ready"
}

// bootID differs after every boot, of a container too: its first process is
// another one.
func bootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	stat, err := os.ReadFile("/proc/1/stat")
	if err != nil {
		return strings.TrimSpace(string(id))
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	f := strings.Fields(rest)
	if len(f) < 20 {
		return strings.TrimSpace(string(id))
	}
	return strings.TrimSpace(string(id)) + "/" + f[19] // start time
}
