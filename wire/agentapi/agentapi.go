// Package agentapi holds the wire types that our agents and our controller
// speak: small facades, exactly authorised, over the same TLS WebSocket and
// JSON-RPC envelope as clients use. It is pure data.
//
// # Facades
//
//	Enrolment 1  Enrol, Renew             a machine or unit with a one-time token, or an expired certificate
//	MachineAgent 1                        only the machine the caller is
//	  Want() MachineWant                  what should be on this machine
//	  WatchWant() WatchResult             NotifyWatcher: fires when Want changed
//	  SetStatus(SetStatusArgs)
//	  SetObserved(MachineObserved)        addresses, host keys, hardware, booted
//	  UnitToken(UnitTokenArgs) UnitTokenResult   one-time token for a unit assigned here
//	  RemoveUnit(UnitArgs)                a dead unit is gone from the machine
//	  StartTask / FinishTask              exec on the machine itself
//	  SetPassword(SetPasswordArgs)
//	UnitAgent 1                           only the unit the caller is
//	  Want() Want
//	  WatchWant() WatchResult
//	  Context(ContextArgs) HookContext    everything a hook may read, one picture
//	  Commit(CommitArgs) CommitResult     everything a hook changed, in one transaction, idempotent by OpID
//	  SetStatus(SetStatusArgs)            immediate
//	  SetWorkloadVersion(VersionArgs)     immediate
//	  LeaderSet(LeaderSetArgs)            immediate, leader only
//	  ClaimLeadership() ClaimResult       claims or renews
//	  EnterScope(ScopeArgs), LeaveScope(ScopeArgs)
//	  GoalState() GoalState
//	  StartTask / FinishTask / TaskLog
//	  SetPassword(SetPasswordArgs)
//	  Dead()                              remove hook done: the unit is dead
//	NotifyWatcher 1  Next, Stop           as for clients
//	Pinger 1         Ping
//
// Charms are fetched by GET /model/<uuid>/charms?url=<url>&file=* and checked
// against Want.CharmSHA256. Logs go over the WebSocket /model/<uuid>/logsink,
// one LogRecord a frame.
package agentapi

import "time"

// EnrolArgs asks for a certificate. The login that precedes it used the
// one-time token as credentials. CSR is PEM; the subject is ignored: the
// certificate names only the caller.
type EnrolArgs struct {
	CSR string `json:"csr"`
	// Password is the agent's own choice, at least 24 characters of random
	// base64; it replaces the one-time token in the same transaction.
	Password string `json:"password"`
}

// EnrolResult carries a certificate of at most 24 hours.
type EnrolResult struct {
	Certificate string    `json:"certificate"` // PEM, leaf first, then CA
	NotAfter    time.Time `json:"not-after"`
}

// RenewArgs asks for a fresh certificate for the same key.
type RenewArgs struct {
	CSR string `json:"csr"`
}

// SetPasswordArgs replaces the caller's own password.
type SetPasswordArgs struct {
	Password string `json:"password"`
}

// WatchResult names a watcher; the first event is implied.
type WatchResult struct {
	NotifyWatcherID string `json:"NotifyWatcherId"`
}

// MachineWant is what should be on a machine.
type MachineWant struct {
	Life           string        `json:"life"` // alive, dying, dead
	Units          []MachineUnit `json:"units"`
	AuthorizedKeys []string      `json:"authorized-keys"` // of the login user, one key each
	APIAddresses   []string      `json:"api-addresses"`
	LoggingConfig  string        `json:"logging-config"`
	Tasks          []Task        `json:"tasks"` // exec on the machine
	// RemovalOrder is present once the machine is to take itself down. It is
	// signed by the CA over the machine's tag and model; nothing else makes an
	// agent remove itself (rule R13).
	RemovalOrder string `json:"removal-order,omitempty"`
	Revision     int64  `json:"revision"`
}

// MachineUnit is one unit assigned to a machine.
type MachineUnit struct {
	Unit      string `json:"unit"`
	Life      string `json:"life"`
	Principal string `json:"principal,omitempty"`
	CharmUser string `json:"charm-user,omitempty"` // root, sudoer, non-root; empty is root
}

// MachineObserved is what the machine agent sees of its machine.
type MachineObserved struct {
	Hostname   string      `json:"hostname"`
	Addresses  []Address   `json:"addresses"`
	HostKeys   []string    `json:"host-keys"` // OpenSSH public keys, one each
	Interfaces []Interface `json:"interfaces"`
	Cores      int         `json:"cores"`
	MemMiB     int         `json:"mem-mib"`
	DiskMiB    int         `json:"disk-mib"`
	Arch       string      `json:"arch"`
	// State is "ready" or "booted" (the init system reports running).
	State string `json:"state"`
	// Isolation is container, rootless or process.
	Isolation string `json:"isolation"`
}

// Address is one address of a machine.
type Address struct {
	Value string `json:"value"`
	Type  string `json:"type"`  // ipv4, ipv6
	Scope string `json:"scope"` // local-cloud, public, local-machine
	CIDR  string `json:"cidr,omitempty"`
}

// Interface is one network interface.
type Interface struct {
	Name      string    `json:"name"`
	MAC       string    `json:"mac"`
	Addresses []Address `json:"addresses"`
}

// UnitArgs names a unit.
type UnitArgs struct {
	Unit string `json:"unit"`
}

// UnitTokenArgs asks for the one-time token of a unit assigned to the caller.
type UnitTokenArgs struct {
	Unit string `json:"unit"`
}

// UnitTokenResult is given once for each unit, and again only while the unit
// has not enrolled.
type UnitTokenResult struct {
	Token string `json:"token"`
}

// SetStatusArgs sets one status of the caller.
type SetStatusArgs struct {
	// Kind is "agent" or "workload"; for units also "application" (leader only).
	Kind    string         `json:"kind"`
	Status  string         `json:"status"`
	Message string         `json:"message"`
	Data    map[string]any `json:"data,omitempty"`
}

// VersionArgs sets the workload version.
type VersionArgs struct {
	Version string `json:"version"`
}

// LeaderSetArgs changes leader settings; an empty value deletes.
type LeaderSetArgs struct {
	Settings map[string]string `json:"settings"`
}

// ClaimResult tells whether the caller leads, and until when at least.
type ClaimResult struct {
	Leader bool      `json:"leader"`
	Until  time.Time `json:"until"`
}

// Want is all that decides which hook a unit runs next. It is a function of
// one revision of the controller's state.
type Want struct {
	Life          string `json:"life"` // alive, dying, dead
	Unit          string `json:"unit"`
	Application   string `json:"application"`
	ModelUUID     string `json:"model-uuid"`
	ModelName     string `json:"model-name"`
	MachineID     string `json:"machine-id"`
	PrincipalUnit string `json:"principal-unit"`
	// HasSubordinates holds a dying principal back from stop.
	HasSubordinates bool `json:"has-subordinates"`

	CharmURL      string `json:"charm-url"`
	CharmSHA256   string `json:"charm-sha256"` // hex
	CharmModified int    `json:"charm-modified"`
	CharmUser     string `json:"charm-user"` // root, sudoer, non-root
	ForceUpgrade  bool   `json:"force-upgrade"`

	ConfigHash  string `json:"config-hash"`
	TrustHash   string `json:"trust-hash"`
	AddressHash string `json:"address-hash"`

	Leader bool `json:"leader"`
	// LeaderSettings is the version of the leader settings bag.
	LeaderSettings int64 `json:"leader-settings"`

	Relations []WantRelation `json:"relations"`

	// Resolved is empty, "retry-hooks" or "no-hooks".
	Resolved             string        `json:"resolved"`
	RetryHooks           bool          `json:"retry-hooks"` // model config automatically-retry-hooks
	UpdateStatusInterval time.Duration `json:"update-status-interval"`
	Tasks                []Task        `json:"tasks"`

	// Limits of a hook, from model config.
	HookTimeout time.Duration `json:"hook-timeout"`
	HookMemory  int64         `json:"hook-memory"` // bytes
	HookPids    int           `json:"hook-pids"`

	APIAddresses  []string `json:"api-addresses"`
	LoggingConfig string   `json:"logging-config"`
	Revision      int64    `json:"revision"`
}

// WantRelation is one relation of the unit's application.
type WantRelation struct {
	ID        int    `json:"id"`
	Key       string `json:"key"`
	Endpoint  string `json:"endpoint"` // the local endpoint's name
	Interface string `json:"interface"`
	Role      string `json:"role"`  // provider, requirer, peer (of the local side)
	Scope     string `json:"scope"` // global, container
	Life      string `json:"life"`
	Suspended bool   `json:"suspended"`
	// Implicit is true on the side of juju-info, which sees no hooks.
	Implicit bool `json:"implicit"`
	// InScope tells whether this unit has entered.
	InScope   bool   `json:"in-scope"`
	RemoteApp string `json:"remote-app"`
	// RemoteAppVersion is the version of the remote application's bag, 0 while
	// it is still empty.
	RemoteAppVersion int64 `json:"remote-app-version"`
	// Members are the remote units in scope that this unit may see, with the
	// version of each one's bag.
	Members map[string]int64 `json:"members"`
}

// Task is one action or command to run.
type Task struct {
	ID        string         `json:"id"`
	Name      string         `json:"name"` // "juju-exec" for commands
	Params    map[string]any `json:"params"`
	Parallel  bool           `json:"parallel"`
	Group     string         `json:"execution-group"`
	Cancelled bool           `json:"cancelled"`
	// Timeout ends the task; 0 means none.
	Timeout time.Duration `json:"timeout"`
}

// ContextArgs asks for the picture that a hook reads.
type ContextArgs struct {
	// RelationID is the hook's relation, or -1.
	RelationID int `json:"relation-id"`
}

// HookContext is everything a hook may read, as one picture.
type HookContext struct {
	Config    map[string]any `json:"config"`   // options that have a value
	Options   []string       `json:"options"`  // every option's name
	Settings  Settings       `json:"settings"` // leader settings
	State     Settings       `json:"state"`    // charm state
	Relations []ContextRel   `json:"relations"`
	// Bindings maps each endpoint and extra binding, and "" for the default,
	// to its network.
	Bindings       map[string]NetworkInfo `json:"bindings"`
	PrivateAddress string                 `json:"private-address"`
	PublicAddress  string                 `json:"public-address"`
	OpenedPorts    []PortRange            `json:"opened-ports"` // this unit's, committed
	MachinePorts   []MachinePort          `json:"machine-ports"`
	WorkloadStatus Status                 `json:"workload-status"`
	// Application status and its units', for the leader.
	ApplicationStatus *Status           `json:"application-status,omitempty"`
	UnitStatuses      map[string]Status `json:"unit-statuses,omitempty"`
	Zone              string            `json:"zone"`
	Proxies           map[string]string `json:"proxies"` // http, https, ftp, no
	LegacyProxies     map[string]string `json:"legacy-proxies"`
	SLA               string            `json:"sla"`
	Trust             bool              `json:"trust"`
}

// Settings is a bag of strings.
type Settings map[string]string

// ContextRel is one relation as a hook sees it.
type ContextRel struct {
	ID        int    `json:"id"`
	Endpoint  string `json:"endpoint"`
	RemoteApp string `json:"remote-app"`
	Life      string `json:"life"`
	Peer      bool   `json:"peer"`
	// Local is the unit's own bag; LocalApp its application's, present only
	// where it may be read (leader, or a peer relation).
	Local       Settings            `json:"local"`
	LocalApp    Settings            `json:"local-app"`
	CanReadApp  bool                `json:"can-read-app"`
	RemoteUnits map[string]Settings `json:"remote-units"` // members
	// Departed holds the bags of units that have left while the relation lives.
	Departed        map[string]Settings `json:"departed,omitempty"`
	RemoteAppBag    Settings            `json:"remote-app-bag"`
	RemoteModelUUID string              `json:"remote-model-uuid"`
	Network         NetworkInfo         `json:"network"`
}

// NetworkInfo answers network-get.
type NetworkInfo struct {
	BindAddresses    []Interface `json:"bind-addresses"`
	IngressAddresses []string    `json:"ingress-addresses"`
	EgressSubnets    []string    `json:"egress-subnets"`
}

// PortRange is a range opened for an endpoint; empty Endpoint means all.
type PortRange struct {
	From     int    `json:"from"`
	To       int    `json:"to"`
	Protocol string `json:"protocol"` // tcp, udp, icmp
	Endpoint string `json:"endpoint"`
}

// MachinePort is a range some unit on this machine has open.
type MachinePort struct {
	Unit string `json:"unit"`
	PortRange
}

// Status is one status value.
type Status struct {
	Status  string         `json:"status"`
	Message string         `json:"message"`
	Data    map[string]any `json:"data"`
	Since   time.Time      `json:"since"`
}

// CommitArgs is what one hook changed. All of it happens or none.
type CommitArgs struct {
	// OpID is the op's id; a repeated id is answered as the first time.
	OpID string `json:"op-id"`
	// Hook is the hook's name, empty for tasks.
	Hook string `json:"hook"`
	// RelationID is the hook's relation, or -1. relation-broken makes the unit
	// leave scope in the same transaction.
	RelationID int                `json:"relation-id"`
	Relations  []RelationSettings `json:"relations,omitempty"`
	OpenPorts  []PortRange        `json:"open-ports,omitempty"`
	ClosePorts []PortRange        `json:"close-ports,omitempty"`
	// StateSet and StateDelete change charm state.
	StateSet    Settings `json:"state-set,omitempty"`
	StateDelete []string `json:"state-delete,omitempty"`
	// CharmURL is recorded as what the unit now runs, when not empty.
	CharmURL string `json:"charm-url,omitempty"`
	// RefreshAddresses asks for the address keys of every relation bag to be
	// written again (config-changed).
	RefreshAddresses bool `json:"refresh-addresses,omitempty"`
	// ClearResolved removes the operator's resolved mark.
	ClearResolved bool `json:"clear-resolved,omitempty"`
}

// RelationSettings are changes to bags of one relation; an empty value deletes.
type RelationSettings struct {
	ID   int      `json:"id"`
	Unit Settings `json:"unit,omitempty"`
	App  Settings `json:"app,omitempty"` // leader only
}

// CommitResult is empty on success.
type CommitResult struct{}

// ScopeArgs names a relation to enter or leave.
type ScopeArgs struct {
	RelationID int `json:"relation-id"`
}

// GoalState answers goal-state.
type GoalState struct {
	Units     map[string]GoalStatus            `json:"units"`
	Relations map[string]map[string]GoalStatus `json:"relations"`
}

// GoalStatus is one unit's or relation's goal.
type GoalStatus struct {
	Status string    `json:"status"`
	Since  time.Time `json:"since"`
}

// TaskArgs names a task.
type TaskArgs struct {
	ID string `json:"id"`
}

// TaskLogArgs is one progress message.
type TaskLogArgs struct {
	ID      string `json:"id"`
	Message string `json:"message"`
}

// FinishTaskArgs ends a task. Status is completed, failed or aborted.
type FinishTaskArgs struct {
	ID      string         `json:"id"`
	Status  string         `json:"status"`
	Message string         `json:"message"`
	Output  map[string]any `json:"output"` // return-code, stdout, stderr, action-set keys
}

// LogRecord is one line of log, a frame of /logsink. The entity is the
// connection's, never the record's.
type LogRecord struct {
	Time     time.Time `json:"t"`
	Module   string    `json:"m"`
	Location string    `json:"l"`
	Level    string    `json:"v"` // TRACE DEBUG INFO WARNING ERROR CRITICAL
	Message  string    `json:"x"`
	// Entity lets a machine agent send for a unit it hosts; ignored otherwise.
	Entity string `json:"e,omitempty"`
}
