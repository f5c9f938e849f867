package container

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/scarab-ops/scarab/container/cgroup"
	"github.com/scarab-ops/scarab/container/firewall"
)

// Bounds of one machine's specification.
const (
	maxFiles     = 256
	maxFileBytes = 16 << 20
	maxAllBytes  = 32 << 20
	maxArgs      = 64
	maxMeta      = 64 << 10
)

// Isolation says how strongly a machine is kept apart.
type Isolation string

// The rungs of the ladder, strongest first.
const (
	IsolationContainer Isolation = "container"
	IsolationRootless  Isolation = "rootless"
	IsolationProcess   Isolation = "process"
)

// Profile is one of the two sets of privileges inside a machine.
type Profile string

// The two profiles; see profile_system.go and profile_plain.go.
const (
	ProfileSystem Profile = "system"
	ProfilePlain  Profile = "plain"
)

// Limits of one machine. Zero is unlimited, save Pids, which has a default.
type Limits = cgroup.Limits

// File is one file of a new machine, owned by its root.
type File struct {
	Path string `json:"path"`
	Mode uint32 `json:"mode"`
	Data []byte `json:"data,omitempty"`
	// Host is a file of the host to show read-only at Path instead of Data.
	Host string `json:"host,omitempty"`
	// Link makes a symbolic link with this target instead of a file.
	Link string `json:"link,omitempty"`
}

// Spec asks for one machine.
type Spec struct {
	Key        string // with Controller: what makes Create idempotent
	Controller string
	Hostname   string
	Root       string // the image's unpacked root folder, shared read-only
	Profile    Profile
	Limits     Limits
	Files      []File
	Start      []string // system: run as a service; plain: the main process
	Resolvers  []string
	Meta       json.RawMessage // kept with the machine, not looked into
}

// Machine is what is known of one machine.
type Machine struct {
	ID         string          `json:"id"`
	Key        string          `json:"key"`
	Controller string          `json:"controller"`
	State      State           `json:"state"`
	Message    string          `json:"message,omitempty"`
	Isolation  Isolation       `json:"isolation"`
	Profile    Profile         `json:"profile"`
	Hostname   string          `json:"hostname"`
	Root       string          `json:"root"`
	Address    netip.Addr      `json:"address"`
	IDBase     int             `json:"id-base"`
	Limits     Limits          `json:"limits"`
	Start      []string        `json:"start,omitempty"`
	HostFiles  []File          `json:"host-files,omitempty"`
	Resolvers  []string        `json:"resolvers,omitempty"`
	Rules      []firewall.Rule `json:"rules,omitempty"`
	Meta       json.RawMessage `json:"meta,omitempty"`

	Pid      int       `json:"pid"`
	PidStart uint64    `json:"pid-start"` // clock ticks since boot
	BootID   string    `json:"boot-id"`   // of the host, when Pid was seen
	Created  time.Time `json:"created"`
	Ready    time.Time `json:"ready"`
	Booted   time.Time `json:"booted"`
	Restarts int       `json:"restarts,omitempty"`
}

// State of a machine's life.
type State string

// The states. Creating and removing machines found at start are removed.
const (
	StateCreating State = "creating"
	StateRunning  State = "running"
	StateStopped  State = "stopped"
	StateRemoving State = "removing"
)

var (
	hostnamePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	idPattern       = regexp.MustCompile(`^sc[0-9a-f]{12}$`)
)

// MachineID is the id of the machine of a key: the same key of the same
// controller always gives the same id, so a repeated request cannot make a
// second machine.
func MachineID(controller, key string) string {
	sum := sha256.Sum256([]byte(controller + "\x00" + key))
	return "sc" + hex.EncodeToString(sum[:6])
}

func (s *Spec) validate() error {
	if s.Key == "" || len(s.Key) > 256 || len(s.Controller) > 128 {
		return fmt.Errorf("cannot make a machine: its key must have 1 to 256 bytes")
	}
	if !hostnamePattern.MatchString(s.Hostname) {
		return fmt.Errorf("cannot make a machine: host name %q is not valid", s.Hostname)
	}
	if s.Profile != ProfileSystem && s.Profile != ProfilePlain {
		return fmt.Errorf("cannot make a machine: profile %q is not known", s.Profile)
	}
	if !path.IsAbs(s.Root) {
		return fmt.Errorf("cannot make a machine: image root %q is not absolute", s.Root)
	}
	l := s.Limits
	if l.Cores < 0 || l.Cores > 4096 || l.MemMiB < 0 || l.DiskMiB < 0 || l.Pids < 0 || l.MemMiB > 1<<40 || l.DiskMiB > 1<<30 {
		return fmt.Errorf("cannot make a machine: its limits are out of range")
	}
	if l.MemMiB > 0 && l.MemMiB < 16 || l.DiskMiB > 0 && l.DiskMiB < 64 {
		return fmt.Errorf("cannot make a machine: it needs at least 16 MiB of memory and 64 MiB of disk")
	}
	if len(s.Meta) > maxMeta || len(s.Start) > maxArgs || len(s.Files) > maxFiles || len(s.Resolvers) > 8 {
		return fmt.Errorf("cannot make a machine: its specification is too large")
	}
	for _, r := range s.Resolvers {
		if _, err := netip.ParseAddr(r); err != nil {
			return fmt.Errorf("cannot make a machine: resolver %q is no address", r)
		}
	}
	if len(s.Start) > 0 && !path.IsAbs(s.Start[0]) {
		return fmt.Errorf("cannot make a machine: command %q is not an absolute path", s.Start[0])
	}
	return validateFiles(s.Files)
}

func validateFiles(files []File) error {
	total := 0
	for _, f := range files {
		if !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path || f.Path == "/" || strings.ContainsRune(f.Path, 0) || len(f.Path) > 1024 {
			return fmt.Errorf("cannot make a machine: file path %q is not clean and absolute", f.Path)
		}
		if f.Mode > 0o777 {
			return fmt.Errorf("cannot make a machine: mode %o of %q has more than permission bits", f.Mode, f.Path)
		}
		if len(f.Data) > maxFileBytes {
			return fmt.Errorf("cannot make a machine: file %q is larger than %d bytes", f.Path, maxFileBytes)
		}
		if f.Host != "" && (!path.IsAbs(f.Host) || path.Clean(f.Host) != f.Host) {
			return fmt.Errorf("cannot make a machine: host file %q is not clean and absolute", f.Host)
		}
		total += len(f.Data)
	}
	if total > maxAllBytes {
		return fmt.Errorf("cannot make a machine: its files are larger than %d bytes", maxAllBytes)
	}
	return nil
}
