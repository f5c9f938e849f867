// Package provider says what a cloud must do, may do, and which plain values
// cross between a cloud and the controller. A provider gets a credential for
// each Open, keeps none, and cannot reach state.
package provider

import (
	"context"
	"errors"
	"time"
)

// Classes of errors. Providers wrap one of them; workers decide what to do.
var (
	ErrNotFound   = errors.New("not found")
	ErrTryAgain   = errors.New("try again")
	ErrQuota      = errors.New("quota exceeded")
	ErrCredential = errors.New("credential not valid")
	ErrBadSpec    = errors.New("specification cannot be met")
)

// InstanceID is a cloud's own name of a machine.
type InstanceID string

// StartSpec asks for one machine. It holds no secret but the one-time,
// machine-bound enrolment token inside Files.
type StartSpec struct {
	// Key makes Start idempotent: the same key gives the same machine. It is
	// "<model uuid>/<machine id>".
	Key          string
	ControllerID string
	ModelUUID    string
	ModelName    string
	MachineID    string // "0"
	Hostname     string // e.g. "scarab-1a2b3c-0"
	Base         Base   // wanted base; empty is the cloud's default
	Constraints  Constraints
	Placement    string // provider directive, e.g. "zone=a"
	// Files are written into the machine before its first process starts.
	Files []File
	// Start is the command run in the machine once its network is up
	// (absolute path and arguments); restarted by the machine's init.
	Start []string
	// Settings are the model settings a cloud may need: "apt-mirror",
	// "apt-http-proxy", "resolvers" (comma separated).
	Settings map[string]string
}

// Base is an operating system release, e.g. {"debian","12"}.
type Base struct{ Name, Channel string }

// File is one file of a new machine.
type File struct {
	Path string // absolute
	Mode uint32 // permission bits
	Data []byte
	// Host names a file of the controller's host to hard-link or bind
	// read-only instead of Data, e.g. the agent binary. Only clouds on the
	// controller's own host honour it.
	Host string
}

// Constraints are the limits asked for. Zero means unset.
type Constraints struct {
	Arch        string
	Cores       int
	MemMiB      int64
	RootDiskMiB int64
	Zones       []string
}

// Instance is a machine as the cloud sees it.
type Instance struct {
	ID         InstanceID
	Key        string
	Status     string // pending, running, error, stopped
	Message    string
	Addresses  []string
	Hardware   Hardware
	Isolation  string    // container, rootless, process; empty on ordinary clouds
	BaseNote   string    // e.g. "charm asked for ubuntu@22.04, runs on debian@12"
	Base       Base      // what it really runs
	Ready      time.Time // first process up and network ready
	ImageShort string    // digest prefix of the base image
}

// Hardware is what a machine really has.
type Hardware struct {
	Arch        string
	Cores       int
	MemMiB      int64
	RootDiskMiB int64
	Zone        string
}

// Instances is what every cloud can do. Implementations pass
// providertest.Run.
type Instances interface {
	// Start makes the machine of s.Key, or returns the one that is there.
	Start(ctx context.Context, s StartSpec) (Instance, error)
	// Stop ends machines; the unknown is no error.
	Stop(ctx context.Context, ids ...InstanceID) error
	// List returns the machines this controller owns.
	List(ctx context.Context) ([]Instance, error)
	Close() error
}

// Watcher is for clouds that can tell when machines changed.
type Watcher interface {
	// Watch calls f whenever the list may have changed, until ctx ends.
	Watch(ctx context.Context, f func()) error
}

// Rule lets packets in to a machine.
type Rule struct {
	Protocol string   // tcp, udp, icmp
	From, To int      // port range; 0,0 with icmp; 1-65535 for all
	Sources  []string // CIDRs
	// Peers are machines whose address may connect, by instance id.
	Peers []InstanceID
}

// Firewall is for clouds that can filter what reaches a machine. Everything
// that no rule lets in is refused.
type Firewall interface {
	// SetRules replaces all rules of one machine.
	SetRules(ctx context.Context, id InstanceID, rules []Rule) error
}

// Progress is for clouds whose first machine needs long work (an image).
type Progress interface {
	// Prepare makes what the first machine needs; report gets each step.
	Prepare(ctx context.Context, report func(step string)) error
}
