// Package multiwatch holds the objects that travel in the deltas of an
// AllWatcher or AllModelWatcher. It is pure data, written by hand because the
// facades' schemas leave the objects open. Clients fail on a kind that is not
// listed here, so nothing else may be sent.
package multiwatch

import (
	"time"

	"github.com/scarab-ops/scarab/wire"
)

// Kinds of delta.
const (
	KindModel             = "model"
	KindMachine           = "machine"
	KindApplication       = "application"
	KindUnit              = "unit"
	KindRelation          = "relation"
	KindCharm             = "charm"
	KindAnnotation        = "annotation"
	KindAction            = "action"
	KindRemoteApplication = "remoteApplication"
	KindApplicationOffer  = "applicationOffer"
	KindBlock             = "block"
	KindBranch            = "branch"
)

// StatusInfo is a status within a delta. FullStatus uses other names.
type StatusInfo struct {
	Current string         `json:"current"`
	Message string         `json:"message"`
	Since   *time.Time     `json:"since,omitempty"`
	Version string         `json:"version"`
	Data    map[string]any `json:"data,omitempty"`
	Err     *wire.Error    `json:"err,omitempty"`
}

// SLA is a model's support level: always "unsupported" here.
type SLA struct {
	Level string `json:"level"`
	Owner string `json:"owner"`
}

// Model describes a model. Config must be present, if only as {}.
type Model struct {
	ModelUUID      string         `json:"model-uuid"`
	Name           string         `json:"name"`
	Life           string         `json:"life"`
	Owner          string         `json:"owner"` // bare user, no tag
	ControllerUUID string         `json:"controller-uuid"`
	IsController   bool           `json:"is-controller"`
	Config         map[string]any `json:"config"`
	Status         StatusInfo     `json:"status"`
	Constraints    wire.Value     `json:"constraints"`
	SLA            SLA            `json:"sla"`
	Type           string         `json:"type"` // iaas, caas
	Cloud          string         `json:"cloud"`
	CloudRegion    string         `json:"cloud-region"`
	Version        string         `json:"version"`
}

// Hardware is what a machine has; the core count is "cpu-cores" here.
type Hardware struct {
	Arch             string   `json:"arch,omitempty"`
	Mem              int      `json:"mem,omitempty"`       // MiB
	RootDisk         int      `json:"root-disk,omitempty"` // MiB
	RootDiskSource   string   `json:"root-disk-source,omitempty"`
	CPUCores         int      `json:"cpu-cores,omitempty"`
	CPUPower         int      `json:"cpu-power,omitempty"`
	Tags             []string `json:"tags,omitempty"`
	AvailabilityZone string   `json:"availability-zone,omitempty"`
	VirtType         string   `json:"virt-type,omitempty"`
}

// Machine describes a machine. Addresses and SupportedContainers may be null.
type Machine struct {
	ModelUUID                string         `json:"model-uuid"`
	ID                       string         `json:"id"`
	InstanceID               string         `json:"instance-id"`
	AgentStatus              StatusInfo     `json:"agent-status"`
	InstanceStatus           StatusInfo     `json:"instance-status"`
	Life                     string         `json:"life"`
	Config                   map[string]any `json:"config,omitempty"`
	Base                     string         `json:"base"` // ubuntu@22.04
	ContainerType            string         `json:"container-type"`
	SupportedContainers      []string       `json:"supported-containers"`
	SupportedContainersKnown bool           `json:"supported-containers-known"`
	HardwareCharacteristics  *Hardware      `json:"hardware-characteristics,omitempty"`
	CharmProfiles            []string       `json:"charm-profiles,omitempty"`
	Jobs                     []string       `json:"jobs"` // JobHostUnits, JobManageModel
	Addresses                []wire.Address `json:"addresses"`
	HasVote                  bool           `json:"has-vote"`
	WantsVote                bool           `json:"wants-vote"`
	Hostname                 string         `json:"hostname,omitempty"`
}

// Application describes an application. Status.Current is "unset" while the
// charm has not set one.
type Application struct {
	ModelUUID       string         `json:"model-uuid"`
	Name            string         `json:"name"`
	Exposed         bool           `json:"exposed"`
	CharmURL        string         `json:"charm-url"`
	OwnerTag        string         `json:"owner-tag"`
	Life            string         `json:"life"`
	MinUnits        int            `json:"min-units"`
	Constraints     wire.Value     `json:"constraints"`
	Config          map[string]any `json:"config,omitempty"` // explicitly set values
	Subordinate     bool           `json:"subordinate"`
	Status          StatusInfo     `json:"status"`
	WorkloadVersion string         `json:"workload-version"`
}

// Port is one opened port of a unit.
type Port struct {
	Protocol string `json:"protocol"`
	Number   int    `json:"number"`
}

// PortRange is one opened range of a unit.
type PortRange struct {
	FromPort int    `json:"from-port"`
	ToPort   int    `json:"to-port"`
	Protocol string `json:"protocol"`
}

// Unit describes a unit. Ports and PortRanges may be null.
type Unit struct {
	ModelUUID      string      `json:"model-uuid"`
	Name           string      `json:"name"`
	Application    string      `json:"application"`
	Base           string      `json:"base"`
	CharmURL       string      `json:"charm-url"`
	Life           string      `json:"life"`
	PublicAddress  string      `json:"public-address"`
	PrivateAddress string      `json:"private-address"`
	MachineID      string      `json:"machine-id"`
	Ports          []Port      `json:"ports"`
	PortRanges     []PortRange `json:"port-ranges"`
	Principal      string      `json:"principal"` // unit name or empty
	Subordinate    bool        `json:"subordinate"`
	WorkloadStatus StatusInfo  `json:"workload-status"`
	AgentStatus    StatusInfo  `json:"agent-status"`
}

// CharmRelation is one endpoint as its charm declares it.
type CharmRelation struct {
	Name      string `json:"name"`
	Role      string `json:"role"` // provider, requirer, peer
	Interface string `json:"interface"`
	Optional  bool   `json:"optional"`
	Limit     int    `json:"limit"`
	Scope     string `json:"scope"` // global, container
}

// Endpoint is one side of a relation.
type Endpoint struct {
	ApplicationName string        `json:"application-name"`
	Relation        CharmRelation `json:"relation"`
}

// Relation describes a relation.
type Relation struct {
	ModelUUID string     `json:"model-uuid"`
	Key       string     `json:"key"` // "wp:db mysql:server"
	ID        int        `json:"id"`
	Endpoints []Endpoint `json:"endpoints"`
}

// Profile is a charm's machine profile.
type Profile struct {
	Config      map[string]string            `json:"config,omitempty"`
	Description string                       `json:"description,omitempty"`
	Devices     map[string]map[string]string `json:"devices,omitempty"`
}

// Charm describes a charm. Profile may be null.
type Charm struct {
	ModelUUID    string         `json:"model-uuid"`
	CharmURL     string         `json:"charm-url"`
	CharmVersion string         `json:"charm-version"`
	Life         string         `json:"life"`
	Profile      *Profile       `json:"profile"`
	Config       map[string]any `json:"config,omitempty"` // defaults
}

// Annotation holds the annotations of one entity.
type Annotation struct {
	ModelUUID   string            `json:"model-uuid"`
	Tag         string            `json:"tag"`
	Annotations map[string]string `json:"annotations"`
}

// Action describes a task, without its parameters and results.
type Action struct {
	ModelUUID string    `json:"model-uuid"`
	ID        string    `json:"id"`
	Receiver  string    `json:"receiver"` // unit name
	Name      string    `json:"name"`
	Status    string    `json:"status"`
	Message   string    `json:"message"`
	Enqueued  time.Time `json:"enqueued"`
	Started   time.Time `json:"started"`
	Completed time.Time `json:"completed"`
}

// RemoteApplication describes an application of another model.
type RemoteApplication struct {
	ModelUUID string     `json:"model-uuid"`
	Name      string     `json:"name"`
	OfferURL  string     `json:"offer-url"`
	Life      string     `json:"life"`
	Status    StatusInfo `json:"status"`
}

// ApplicationOffer describes an offer.
type ApplicationOffer struct {
	ModelUUID            string `json:"model-uuid"`
	OfferName            string `json:"offer-name"`
	OfferUUID            string `json:"offer-uuid"`
	ApplicationName      string `json:"application-name"`
	CharmName            string `json:"charm-name"`
	TotalConnectedCount  int    `json:"total-connected-count"`
	ActiveConnectedCount int    `json:"active-connected-count"`
}

// Block describes a disabled command set.
type Block struct {
	ModelUUID string `json:"model-uuid"`
	ID        string `json:"id"`
	Type      string `json:"type"` // BlockDestroy, BlockRemove, BlockChange
	Message   string `json:"message"`
	Tag       string `json:"tag"`
}

// Branch describes a model branch.
type Branch struct {
	ModelUUID     string              `json:"model-uuid"`
	ID            string              `json:"id"`
	Name          string              `json:"name"`
	AssignedUnits map[string][]string `json:"assigned-units"`
	CharmConfig   map[string][]any    `json:"charm-config"`
	Created       int64               `json:"created"`
	CreatedBy     string              `json:"created-by"`
	Completed     int64               `json:"completed"`
	CompletedBy   string              `json:"completed-by"`
	GenerationID  int                 `json:"generation-id"`
}

// Changed makes a delta that reports v as it is now.
func Changed(kind string, v any) wire.Delta { return wire.Delta{Kind: kind, Entity: v} }

// Removed makes a delta that reports the last known v as gone.
func Removed(kind string, v any) wire.Delta { return wire.Delta{Kind: kind, Removed: true, Entity: v} }
