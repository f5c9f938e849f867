package decide

import (
	"maps"

	"github.com/scarab-ops/scarab/wire/agentapi"
)

// Local is what the unit has done. The journal keeps it on disk; the zero
// value is a unit that has done nothing.
type Local struct {
	Charm     Charm `json:"charm"` // unpacked on disk
	Installed bool  `json:"installed"`
	// ConfigRan tells that some config-changed has succeeded.
	ConfigRan bool   `json:"config-ran"`
	Started   bool   `json:"started"`
	Stopped   bool   `json:"stopped"`
	Removed   bool   `json:"removed"`
	DeadSent  bool   `json:"dead-sent"`
	BootID    string `json:"boot-id"` // at the last start

	Leader bool `json:"leader"`
	// LeaderSeen tells that leader-elected or leader-settings-changed has run.
	LeaderSeen     bool   `json:"leader-seen"`
	LeaderSettings int64  `json:"leader-settings"`
	Hashes         Hashes `json:"hashes"`

	Relations map[int]Relation `json:"relations"`
	// Tasks that have ended, while the controller still lists them.
	Tasks map[string]bool `json:"tasks"`

	// Queued runs before anything else is chosen. Failed waits for a retry or
	// an operator, and comes before Queued.
	Queued *Op `json:"queued,omitempty"`
	Failed *Op `json:"failed,omitempty"`

	Now Now `json:"-"`
}

// Now is what holds only while this process runs.
type Now struct {
	BootID string
	// SettingsSeen is true once a follower has run leader-settings-changed
	// since the agent started.
	SettingsSeen bool
	// UpdateStatusDue and RetryDue are timers that have gone off.
	UpdateStatusDue bool
	RetryDue        bool
}

// Relation is what the unit has seen of one relation.
type Relation struct {
	Endpoint  string `json:"endpoint"`
	RemoteApp string `json:"remote-app"`
	Peer      bool   `json:"peer"`
	// Created tells that relation-created ran, or, where there are no hooks,
	// that the unit is in scope.
	Created bool `json:"created"`
	// Broken tells that the unit has left.
	Broken bool `json:"broken"`
	// Members that joined, with the version of the bag last delivered.
	Members    map[string]int64 `json:"members"`
	AppVersion int64            `json:"app-version"`
}

// clone copies everything that Done changes in place.
func (l Local) clone() Local {
	rels := make(map[int]Relation, len(l.Relations))
	for id, r := range l.Relations {
		r.Members = maps.Clone(r.Members)
		rels[id] = r
	}
	l.Relations = rels
	l.Tasks = maps.Clone(l.Tasks)
	return l
}

// Prune drops what the controller no longer lists: relations that are gone and
// tasks that are over.
func Prune(l Local, w agentapi.Want) Local {
	l = l.clone()
	live, tasks := map[int]bool{}, map[string]bool{}
	for _, r := range w.Relations {
		live[r.ID] = true
	}
	for _, t := range w.Tasks {
		tasks[t.ID] = true
	}
	maps.DeleteFunc(l.Relations, func(id int, _ Relation) bool {
		return !live[id]
	})
	maps.DeleteFunc(l.Tasks, func(id string, _ bool) bool { return !tasks[id] })
	return l
}

// Fail records that a hook failed: it holds back all others. Failed and Queued
// are never both set.
func Fail(l Local, op Op) Local {
	l = l.clone()
	op.Retry, op.Resolved = false, false
	l.Failed, l.Queued = &op, nil
	l.Now.RetryDue = false
	return l
}

// Interrupt records that a hook was cut short by the agent's own end: it runs
// again, first of all.
func Interrupt(l Local, op Op) Local {
	l = l.clone()
	if op.Kind == Hook {
		op.Retry, op.Resolved = false, false
		l.Queued, l.Failed = &op, nil
	}
	return l
}

// Done records that an Op has ended well.
func Done(l Local, op Op) Local {
	l = l.clone()
	switch op.Kind {
	case Deploy:
		l.Charm = op.Charm
		if l.Installed && !op.KeepFailed {
			l.Queued = &Op{Kind: Hook, Hook: UpgradeCharm, RelationID: -1}
		}
	case Task:
		if l.Tasks == nil {
			l.Tasks = map[string]bool{}
		}
		l.Tasks[op.Task.ID] = true
	case Resign:
		l.Leader = false
	case EnterScope:
		l.setRelation(op, func(r *Relation) { r.Created, r.Broken = true, false })
	case LeaveScope:
		l.setRelation(op, func(r *Relation) { r.Broken = true })
	case Dead:
		l.DeadSent = true
	case Forget:
		l.clear()
	case Hook, Skip:
		l.clear()
		l.hookDone(op)
	case Idle, Blocked, Exit:
	}
	return l
}

// clear empties the places where a hook waits.
func (l *Local) clear() {
	l.Failed, l.Queued = nil, nil
	l.Now.RetryDue = false
}

func (l *Local) hookDone(op Op) {
	if op.RelationID >= 0 {
		l.relationDone(op)
		return
	}
	switch op.Hook {
	case Install:
		l.Installed = true
	case LeaderElected:
		l.Leader, l.LeaderSeen, l.LeaderSettings = true, true, op.LeaderSettings
	case LeaderSettingsChanged:
		l.LeaderSeen, l.LeaderSettings, l.Now.SettingsSeen = true, op.LeaderSettings, true
	case ConfigChanged:
		l.ConfigRan, l.Hashes = true, op.Hashes
		if !l.Started {
			l.Queued = &Op{Kind: Hook, Hook: Start, RelationID: -1}
		}
	case UpgradeCharm:
		l.Queued = &Op{Kind: Hook, Hook: ConfigChanged, RelationID: -1}
	case Start:
		l.Started, l.BootID = true, op.BootID
	case UpdateStatus:
		l.Now.UpdateStatusDue = false
	case Stop:
		l.Stopped = true
	case Remove:
		l.Removed = true
	}
}

func (l *Local) relationDone(op Op) {
	l.setRelation(op, func(r *Relation) {
		switch op.Step {
		case Created: // again after a suspension: everything starts anew
			r.Created, r.Broken, r.Members, r.AppVersion = true, false, nil, 0
		case Joined:
			if r.Members == nil {
				r.Members = map[string]int64{}
			}
			r.Members[op.RemoteUnit] = op.Version
			pair := op
			pair.Kind = Hook
			pair.Hook, pair.Step, pair.Retry, pair.Resolved = op.Endpoint+"-relation-changed", Changed, false, false
			l.Queued = &pair
		case Changed:
			if op.RemoteUnit == "" {
				r.AppVersion = op.Version
			} else if _, member := r.Members[op.RemoteUnit]; member {
				r.Members[op.RemoteUnit] = op.Version
			}
		case Departed:
			delete(r.Members, op.RemoteUnit)
		case Broken:
			r.Broken = true
		}
	})
}

func (l *Local) setRelation(op Op, change func(*Relation)) {
	r := l.Relations[op.RelationID]
	r.Endpoint, r.RemoteApp, r.Peer = op.Endpoint, op.RemoteApp, op.Peer
	change(&r)
	l.Relations[op.RelationID] = r
}
