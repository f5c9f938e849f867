package charm

import (
	"sort"
)

// Role is the part that an endpoint plays in a relation.
type Role string

// The roles.
const (
	RoleProvider Role = "provider"
	RoleRequirer Role = "requirer"
	RolePeer     Role = "peer"
)

// Scope says which units see each other in a relation.
type Scope string

// The scopes.
const (
	ScopeGlobal    Scope = "global"
	ScopeContainer Scope = "container"
)

// Meta is what metadata.yaml says.
type Meta struct {
	Name          string               `json:"name"`
	Summary       string               `json:"summary"`
	Description   string               `json:"description"`
	Subordinate   bool                 `json:"subordinate,omitempty"`
	Provides      map[string]Relation  `json:"provides,omitempty"`
	Requires      map[string]Relation  `json:"requires,omitempty"`
	Peers         map[string]Relation  `json:"peers,omitempty"`
	ExtraBindings []string             `json:"extra-bindings,omitempty"` // sorted
	Categories    []string             `json:"categories,omitempty"`
	Tags          []string             `json:"tags,omitempty"`
	Series        []string             `json:"series,omitempty"`
	Storage       map[string]Storage   `json:"storage,omitempty"`
	Devices       map[string]Device    `json:"devices,omitempty"`
	Deployment    *Deployment          `json:"deployment,omitempty"`
	Payloads      map[string]Payload   `json:"payloads,omitempty"`
	Resources     map[string]Resource  `json:"resources,omitempty"`
	Terms         []string             `json:"terms,omitempty"`
	MinVersion    string               `json:"min-juju-version,omitempty"`
	Assumes       []Assumption         `json:"assumes,omitempty"`
	Containers    map[string]Container `json:"containers,omitempty"`
	CharmUser     string               `json:"charm-user,omitempty"` // root, sudoer, non-root, or unset
}

// Relation is one endpoint that a charm declares.
type Relation struct {
	Name      string `json:"name"`
	Role      Role   `json:"role"`
	Interface string `json:"interface"`
	Optional  bool   `json:"optional,omitempty"`
	// Limit caps the relations on the endpoint; 0 is no cap.
	Limit int   `json:"limit,omitempty"`
	Scope Scope `json:"scope"`
}

// Storage is one store that a charm declares.
type Storage struct {
	Name        string `json:"name"`
	Type        string `json:"type"` // filesystem or block
	Description string `json:"description,omitempty"`
	Shared      bool   `json:"shared,omitempty"`
	ReadOnly    bool   `json:"read-only,omitempty"`
	CountMin    int    `json:"count-min"`
	// CountMax is -1 if there is no upper bound.
	CountMax int `json:"count-max"`
	// MinimumSize is in MiB; 0 leaves it to the provider.
	MinimumSize uint64   `json:"minimum-size,omitempty"`
	Location    string   `json:"location,omitempty"`
	Properties  []string `json:"properties,omitempty"`
}

// Device is a kind of device that a charm asks for.
type Device struct {
	Name        string `json:"name"`
	Type        string `json:"type"`
	Description string `json:"description,omitempty"`
	CountMin    int    `json:"count-min"`
	CountMax    int    `json:"count-max"`
}

// Deployment is the legacy description of a Kubernetes deployment.
type Deployment struct {
	Type       string `json:"type,omitempty"`
	Mode       string `json:"mode,omitempty"`
	Service    string `json:"service,omitempty"`
	MinVersion string `json:"min-version,omitempty"`
}

// Payload is a legacy payload class.
type Payload struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// Resource is a file or image that a charm needs.
type Resource struct {
	Name        string `json:"name"`
	Type        string `json:"type"` // file or oci-image
	Filename    string `json:"filename,omitempty"`
	Description string `json:"description,omitempty"`
}

// Container is a workload container of a Kubernetes charm.
type Container struct {
	Resource string  `json:"resource,omitempty"`
	Mounts   []Mount `json:"mounts,omitempty"`
	UID      *int    `json:"uid,omitempty"`
	GID      *int    `json:"gid,omitempty"`
}

// Mount places a store in a container.
type Mount struct {
	Storage  string `json:"storage"`
	Location string `json:"location"`
}

// implicitInfo is the endpoint that every application has.
const implicitInfo = "juju-info"

// ImplicitRelation is the endpoint that every application provides without
// declaring it.
func ImplicitRelation() Relation {
	return Relation{Name: implicitInfo, Role: RoleProvider, Interface: implicitInfo, Scope: ScopeGlobal}
}

// Relations lists the declared endpoints, sorted by name.
func (m *Meta) Relations() []Relation {
	var out []Relation
	for _, set := range []map[string]Relation{m.Provides, m.Requires, m.Peers} {
		for _, r := range set {
			out = append(out, r)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

// Relation finds a declared or the implicit endpoint by name.
func (m *Meta) Relation(name string) (Relation, bool) {
	for _, set := range []map[string]Relation{m.Provides, m.Requires, m.Peers} {
		if r, ok := set[name]; ok {
			return r, true
		}
	}
	if name == implicitInfo {
		return ImplicitRelation(), true
	}
	return Relation{}, false
}

// Endpoints lists the endpoints of an application of this charm, the implicit
// one included, sorted by name.
func (m *Meta) Endpoints(application string) []Endpoint {
	var out []Endpoint
	declared := false
	for _, r := range m.Relations() {
		declared = declared || r.Name == implicitInfo
		out = append(out, Endpoint{Application: application, Relation: r})
	}
	if !declared {
		out = append(out, Endpoint{Application: application, Relation: ImplicitRelation()})
		sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	}
	return out
}

// Bindings lists what can be bound to a space: endpoints and extra bindings,
// sorted.
func (m *Meta) Bindings() []string {
	out := append([]string(nil), m.ExtraBindings...)
	for _, r := range m.Relations() {
		out = append(out, r.Name)
	}
	sort.Strings(out)
	return out
}

// Hooks is the set of hook names that units of this charm can run.
func (m *Meta) Hooks() map[string]bool {
	out := map[string]bool{}
	for _, h := range []string{
		"install", "start", "config-changed", "upgrade-charm", "stop", "remove", "update-status",
		"leader-elected", "leader-deposed", "leader-settings-changed", "collect-metrics", "meter-status-changed",
		"pre-series-upgrade", "post-series-upgrade",
		"secret-changed", "secret-expired", "secret-remove", "secret-rotate",
	} {
		out[h] = true
	}
	add := func(name string, suffixes ...string) {
		for _, s := range suffixes {
			out[name+s] = true
		}
	}
	for _, r := range m.Relations() {
		add(r.Name, "-relation-created", "-relation-joined", "-relation-changed", "-relation-departed", "-relation-broken")
	}
	for name := range m.Storage {
		add(name, "-storage-attached", "-storage-detaching")
	}
	for name := range m.Containers {
		add(name, "-pebble-ready", "-pebble-custom-notice", "-pebble-check-failed", "-pebble-check-recovered")
	}
	return out
}
