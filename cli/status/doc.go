// Package status turns the controller's status document into what people and scripts read: the reference's YAML and JSON
// document, the tables, and the short forms. It is pure: it neither connects nor prints anywhere but to the writer it is
// given. It refuses nothing; fields that are missing are left out.
package status

import "encoding/json"

// Document is the status as YAML and JSON show it.
type Document struct {
	Model        Model                  `yaml:"model" json:"model"`
	Machines     map[string]Machine     `yaml:"machines" json:"machines"`
	Applications map[string]Application `yaml:"applications" json:"applications"`
	Remote       map[string]Remote      `yaml:"application-endpoints,omitempty" json:"application-endpoints,omitempty"`
	Offers       map[string]Offer       `yaml:"offers,omitempty" json:"offers,omitempty"`
	Storage      *Storage               `yaml:"storage,omitempty" json:"storage,omitempty"`
	Controller   *Controller            `yaml:"controller,omitempty" json:"controller,omitempty"`

	relations []Relation
	isolation []string
	stamp     string
}

// Controller holds the time of the controller's clock.
type Controller struct {
	Timestamp string `yaml:"timestamp,omitempty" json:"timestamp,omitempty"`
}

// Model is the model's own part.
type Model struct {
	Name       string `yaml:"name" json:"name"`
	Type       string `yaml:"type" json:"type"`
	Controller string `yaml:"controller" json:"controller"`
	Cloud      string `yaml:"cloud" json:"cloud"`
	Region     string `yaml:"region,omitempty" json:"region,omitempty"`
	Version    string `yaml:"version" json:"version"`
	Available  string `yaml:"upgrade-available,omitempty" json:"upgrade-available,omitempty"`
	Status     Info   `yaml:"model-status,omitempty" json:"model-status"`
	SLA        string `yaml:"sla,omitempty" json:"sla,omitempty"`
}

// Info is one status.
type Info struct {
	Current string `yaml:"current,omitempty" json:"current,omitempty"`
	Message string `yaml:"message,omitempty" json:"message,omitempty"`
	Reason  string `yaml:"reason,omitempty" json:"reason,omitempty"`
	Since   string `yaml:"since,omitempty" json:"since,omitempty"`
	Version string `yaml:"version,omitempty" json:"version,omitempty"`
	Life    string `yaml:"life,omitempty" json:"life,omitempty"`
}

// Base is an operating system release.
type Base struct {
	Name    string `yaml:"name" json:"name"`
	Channel string `yaml:"channel" json:"channel"`
}

// Machine is one machine.
type Machine struct {
	Agent        Info                 `yaml:"juju-status,omitempty" json:"juju-status"`
	Hostname     string               `yaml:"hostname,omitempty" json:"hostname,omitempty"`
	DNSName      string               `yaml:"dns-name,omitempty" json:"dns-name,omitempty"`
	Addresses    []string             `yaml:"ip-addresses,omitempty" json:"ip-addresses,omitempty"`
	InstanceID   string               `yaml:"instance-id,omitempty" json:"instance-id,omitempty"`
	DisplayName  string               `yaml:"display-name,omitempty" json:"display-name,omitempty"`
	Instance     Info                 `yaml:"machine-status,omitempty" json:"machine-status"`
	Modification Info                 `yaml:"modification-status,omitempty" json:"modification-status"`
	Base         *Base                `yaml:"base,omitempty" json:"base,omitempty"`
	Interfaces   map[string]Interface `yaml:"network-interfaces,omitempty" json:"network-interfaces,omitempty"`
	Containers   map[string]Machine   `yaml:"containers,omitempty" json:"containers,omitempty"`
	Constraints  string               `yaml:"constraints,omitempty" json:"constraints,omitempty"`
	Hardware     string               `yaml:"hardware,omitempty" json:"hardware,omitempty"`
	HAStatus     string               `yaml:"controller-member-status,omitempty" json:"controller-member-status,omitempty"`
	HAPrimary    bool                 `yaml:"ha-primary,omitempty" json:"ha-primary,omitempty"`
	Isolation    string               `yaml:"isolation,omitempty" json:"isolation,omitempty"`
}

// Interface is one network interface of a machine.
type Interface struct {
	Addresses  []string `yaml:"ip-addresses" json:"ip-addresses"`
	MAC        string   `yaml:"mac-address" json:"mac-address"`
	Gateway    string   `yaml:"gateway,omitempty" json:"gateway,omitempty"`
	DNSServers []string `yaml:"dns-nameservers,omitempty" json:"dns-nameservers,omitempty"`
	Space      string   `yaml:"space,omitempty" json:"space,omitempty"`
	Up         bool     `yaml:"is-up" json:"is-up"`
}

// Application is one application.
type Application struct {
	Charm            string                     `yaml:"charm" json:"charm"`
	Base             *Base                      `yaml:"base,omitempty" json:"base,omitempty"`
	CharmOrigin      string                     `yaml:"charm-origin" json:"charm-origin"`
	CharmName        string                     `yaml:"charm-name" json:"charm-name"`
	CharmRev         int                        `yaml:"charm-rev" json:"charm-rev"`
	CharmChannel     string                     `yaml:"charm-channel,omitempty" json:"charm-channel,omitempty"`
	CharmVersion     string                     `yaml:"charm-version,omitempty" json:"charm-version,omitempty"`
	CharmProfile     string                     `yaml:"charm-profile,omitempty" json:"charm-profile,omitempty"`
	CanUpgradeTo     string                     `yaml:"can-upgrade-to,omitempty" json:"can-upgrade-to,omitempty"`
	Scale            int                        `yaml:"scale,omitempty" json:"scale,omitempty"`
	ProviderID       string                     `yaml:"provider-id,omitempty" json:"provider-id,omitempty"`
	Address          string                     `yaml:"address,omitempty" json:"address,omitempty"`
	Exposed          bool                       `yaml:"exposed" json:"exposed"`
	ExposedEndpoints map[string]ExposedEndpoint `yaml:"exposed-endpoints,omitempty" json:"exposed-endpoints,omitempty"`
	Life             string                     `yaml:"life,omitempty" json:"life,omitempty"`
	Status           Info                       `yaml:"application-status,omitempty" json:"application-status"`
	Relations        map[string][]Related       `yaml:"relations,omitempty" json:"relations,omitempty"`
	SubordinateTo    []string                   `yaml:"subordinate-to,omitempty" json:"subordinate-to,omitempty"`
	Units            map[string]Unit            `yaml:"units,omitempty" json:"units,omitempty"`
	Version          string                     `yaml:"version,omitempty" json:"version,omitempty"`
	Bindings         map[string]string          `yaml:"endpoint-bindings,omitempty" json:"endpoint-bindings,omitempty"`
}

// ExposedEndpoint says to whom an endpoint is open.
type ExposedEndpoint struct {
	Spaces []string `yaml:"expose-to-spaces,omitempty" json:"expose-to-spaces,omitempty"`
	CIDRs  []string `yaml:"expose-to-cidrs,omitempty" json:"expose-to-cidrs,omitempty"`
}

// Related is the other side of a relation.
type Related struct {
	Application string `yaml:"related-application" json:"related-application"`
	Interface   string `yaml:"interface" json:"interface"`
	Scope       string `yaml:"scope" json:"scope"`
}

// Unit is one unit.
type Unit struct {
	Workload      Info            `yaml:"workload-status,omitempty" json:"workload-status"`
	Agent         Info            `yaml:"juju-status,omitempty" json:"juju-status"`
	Leader        bool            `yaml:"leader,omitempty" json:"leader,omitempty"`
	UpgradingFrom string          `yaml:"upgrading-from,omitempty" json:"upgrading-from,omitempty"`
	Machine       string          `yaml:"machine,omitempty" json:"machine,omitempty"`
	Ports         []string        `yaml:"open-ports,omitempty" json:"open-ports,omitempty"`
	PublicAddress string          `yaml:"public-address,omitempty" json:"public-address,omitempty"`
	Address       string          `yaml:"address,omitempty" json:"address,omitempty"`
	ProviderID    string          `yaml:"provider-id,omitempty" json:"provider-id,omitempty"`
	Subordinates  map[string]Unit `yaml:"subordinates,omitempty" json:"subordinates,omitempty"`
}

// Remote is a consumed offer.
type Remote struct {
	URL       string                    `yaml:"url" json:"url"`
	Endpoints map[string]RemoteEndpoint `yaml:"endpoints,omitempty" json:"endpoints,omitempty"`
	Life      string                    `yaml:"life,omitempty" json:"life,omitempty"`
	Status    Info                      `yaml:"application-status,omitempty" json:"application-status"`
	Relations map[string][]string       `yaml:"relations,omitempty" json:"relations,omitempty"`
}

// RemoteEndpoint is an endpoint of an offer.
type RemoteEndpoint struct {
	Interface string `yaml:"interface" json:"interface"`
	Role      string `yaml:"role" json:"role"`
}

// Offer is an offer that this model makes.
type Offer struct {
	Application string                    `yaml:"application" json:"application"`
	Charm       string                    `yaml:"charm,omitempty" json:"charm,omitempty"`
	Active      int                       `yaml:"active-connected-count,omitempty" json:"active-connected-count,omitempty"`
	Total       int                       `yaml:"total-connected-count,omitempty" json:"total-connected-count,omitempty"`
	Endpoints   map[string]RemoteEndpoint `yaml:"endpoints" json:"endpoints"`
}

// Storage is what --storage adds.
type Storage struct {
	Instances map[string]StorageInstance `yaml:"storage,omitempty" json:"storage,omitempty"`
}

// StorageInstance is one storage instance.
type StorageInstance struct {
	Kind        string `yaml:"kind" json:"kind"`
	Life        string `yaml:"life,omitempty" json:"life,omitempty"`
	Status      Info   `yaml:"status" json:"status"`
	Persistent  bool   `yaml:"persistent" json:"persistent"`
	Attachments struct {
		Units map[string]StorageAttachment `yaml:"units,omitempty" json:"units,omitempty"`
	} `yaml:"attachments,omitempty" json:"attachments"`
}

// StorageAttachment is where a storage instance is.
type StorageAttachment struct {
	Machine  string `yaml:"machine,omitempty" json:"machine,omitempty"`
	Location string `yaml:"location,omitempty" json:"location,omitempty"`
	Life     string `yaml:"life,omitempty" json:"life,omitempty"`
}

// Relation is one row of the integrations.
type Relation struct {
	Provider, Requirer, Interface, Type, Message string
}

// MarshalJSON leaves the empty parts of a status out, as YAML does.
func (i Info) MarshalJSON() ([]byte, error) {
	m := map[string]string{}
	for k, v := range map[string]string{
		"current": i.Current, "message": i.Message, "reason": i.Reason, "since": i.Since,
		"version": i.Version, "life": i.Life,
	} {
		if v != "" {
			m[k] = v
		}
	}
	return json.Marshal(m)
}
