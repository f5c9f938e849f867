// Package decide owns every rule about which hook a unit runs next. Next is a
// pure and total function of what the unit has done (Local) and what the
// controller wants (agentapi.Want): the same inputs give the same Op, and
// there is always exactly one. Done and Fail say how Local changes once that
// Op has ended. Nothing here does I/O, knows the time, or draws lots; nothing
// elsewhere decides order.
//
// The promises that the random test checks with its own model:
//
//   - install is the first hook, then relation-created for every relation
//     there is, then leader-elected or leader-settings-changed, then
//     config-changed, and start directly behind it;
//   - relation-created precedes any other hook of its relation;
//   - relation-joined is followed at once by relation-changed for that unit;
//   - relation-departed once for every unit that joined, and before
//     relation-broken; relation-broken never on a peer relation;
//   - upgrade-charm is followed at once by config-changed;
//   - update-status only when there is nothing else to do;
//   - stop and remove once, in that order, after all relations are broken;
//   - a failed hook holds back everything but tasks until it is retried or
//     resolved.
package decide

import (
	"fmt"

	"github.com/scarab-ops/scarab/wire/agentapi"
)

// Kind is what an Op does.
type Kind string

// Kinds of Op.
const (
	Idle       Kind = "idle"        // nothing to do until something changes
	Blocked    Kind = "blocked"     // as Idle, with a reason to show
	Exit       Kind = "exit"        // the unit is dead: the agent ends
	Hook       Kind = "hook"        // run a hook
	Task       Kind = "task"        // run an action or commands
	Deploy     Kind = "deploy"      // fetch and unpack a charm
	Skip       Kind = "skip"        // treat the failed hook as done
	Forget     Kind = "forget"      // drop a hook whose relation no longer exists
	Resign     Kind = "resign"      // leadership was lost; no hook says so
	EnterScope Kind = "enter-scope" // of a relation without hooks
	LeaveScope Kind = "leave-scope" // of a relation without a broken hook
	Dead       Kind = "dead"        // tell the controller that the unit is gone
)

// Hooks with rules of their own.
const (
	Install               = "install"
	LeaderElected         = "leader-elected"
	LeaderSettingsChanged = "leader-settings-changed"
	ConfigChanged         = "config-changed"
	Start                 = "start"
	UpgradeCharm          = "upgrade-charm"
	UpdateStatus          = "update-status"
	Stop                  = "stop"
	Remove                = "remove"
)

// Steps of a relation's life, in Op.Step.
const (
	Created  = "created"
	Joined   = "joined"
	Changed  = "changed"
	Departed = "departed"
	Broken   = "broken"
)

// Op is the one thing to do next. It carries what its completion records, so
// that a change during the hook is seen as a new one afterwards.
type Op struct {
	Kind   Kind   `json:"kind"`
	Reason string `json:"reason,omitempty"` // of Blocked
	Hook   string `json:"hook,omitempty"`   // full hook name

	// RelationID is -1 for all but relation hooks and scope operations.
	RelationID    int    `json:"relation-id"`
	Endpoint      string `json:"endpoint,omitempty"`
	Step          string `json:"step,omitempty"`
	RemoteApp     string `json:"remote-app,omitempty"`
	RemoteUnit    string `json:"remote-unit,omitempty"`
	DepartingUnit string `json:"departing-unit,omitempty"`
	Peer          bool   `json:"peer,omitempty"`
	// Version is of the bag that the hook delivers.
	Version int64 `json:"version,omitempty"`

	Task *agentapi.Task `json:"task,omitempty"`

	Charm Charm `json:"charm,omitzero"`
	// KeepFailed marks a forced upgrade under a failed hook.
	KeepFailed bool `json:"keep-failed,omitempty"`

	Hashes         Hashes `json:"hashes,omitzero"`
	LeaderSettings int64  `json:"leader-settings,omitempty"`
	BootID         string `json:"boot-id,omitempty"`

	// Retry marks another run of a failed hook; Resolved that an operator
	// asked for it.
	Retry    bool `json:"retry,omitempty"`
	Resolved bool `json:"resolved,omitempty"`
}

// Charm is one version of a charm.
type Charm struct {
	URL      string `json:"url"`
	SHA256   string `json:"sha256"`
	Modified int    `json:"modified"`
}

// Hashes are what config-changed watches.
type Hashes struct {
	Config  string `json:"config"`
	Trust   string `json:"trust"`
	Address string `json:"address"`
}

// String is the Op in the form of the scenario files.
func (o Op) String() string {
	s := string(o.Kind)
	switch o.Kind {
	case Hook, Skip, Forget:
		s += " " + o.Hook
	case Task:
		s += " " + o.Task.ID
	case Deploy:
		s += " " + o.Charm.URL
	case EnterScope, LeaveScope:
		s += fmt.Sprintf(" %d", o.RelationID)
	case Blocked:
		s += " " + o.Reason
	}
	if o.Kind == Hook && o.RelationID >= 0 {
		s += fmt.Sprintf(" %d", o.RelationID)
		if o.RemoteUnit != "" {
			s += " " + o.RemoteUnit
		}
		if o.DepartingUnit != "" {
			s += " departing=" + o.DepartingUnit
		}
	}
	if o.Retry {
		s += " retry"
	}
	return s
}

// Title is the hook as people read it in a status message.
func (o Op) Title() string {
	if o.RemoteUnit != "" {
		return o.Hook + " hook for " + o.RemoteUnit
	}
	return o.Hook + " hook"
}
