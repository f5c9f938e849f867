package decide

import (
	"slices"

	"github.com/scarab-ops/scarab/wire/agentapi"
)

func op(k Kind) Op { return Op{Kind: k, RelationID: -1} }

func hook(name string) Op { return Op{Kind: Hook, Hook: name, RelationID: -1} }

// Next picks the one thing to do: the first rule that has something wins.
func Next(l Local, w agentapi.Want) Op {
	if l.DeadSent || w.Life == "dead" {
		return op(Exit)
	}
	if w.Life != "alive" && w.Life != "dying" {
		return Op{Kind: Blocked, RelationID: -1, Reason: "waiting to learn whether the unit is alive"}
	}
	rules := []func(Local, agentapi.Want) (Op, bool){failed, queued, uninstalled, reboot, upgrade, created, leadership, task}
	if w.Life == "dying" {
		rules = append(rules, relations, teardown)
	} else {
		rules = append(rules, config, relations, updateStatus)
	}
	for _, rule := range rules {
		if o, ok := rule(l, w); ok {
			return stamp(o, w, l)
		}
	}
	return op(Idle)
}

// stamp gives a hook the newest versions of what it delivers, so that its
// completion records what was wanted when it was chosen.
func stamp(o Op, w agentapi.Want, l Local) Op {
	if o.Kind != Hook && o.Kind != Skip {
		return o
	}
	switch o.Hook {
	case ConfigChanged:
		o.Hashes = hashes(w)
	case LeaderElected, LeaderSettingsChanged:
		o.LeaderSettings = w.LeaderSettings
	case Start:
		o.BootID = l.Now.BootID
	}
	if r := find(w, o.RelationID); r != nil && (o.Step == Changed || o.Step == Joined) {
		if v, ok := r.Members[o.RemoteUnit]; ok {
			o.Version = v
		} else if o.RemoteUnit == "" {
			o.Version = r.RemoteAppVersion
		}
	}
	return o
}

func hashes(w agentapi.Want) Hashes {
	return Hashes{Config: w.ConfigHash, Trust: w.TrustHash, Address: w.AddressHash}
}

func find(w agentapi.Want, id int) *agentapi.WantRelation {
	i := slices.IndexFunc(w.Relations, func(r agentapi.WantRelation) bool { return r.ID == id })
	if i < 0 || id < 0 {
		return nil
	}
	return &w.Relations[i]
}

// failed handles hook error: tasks still run, a forced upgrade may swap the
// charm, and the hook waits for a retry or an operator.
func failed(l Local, w agentapi.Want) (Op, bool) {
	if l.Failed == nil {
		return Op{}, false
	}
	f := *l.Failed
	if f.RelationID >= 0 && find(w, f.RelationID) == nil {
		f.Kind = Forget
		return f, true
	}
	if w.ForceUpgrade && charmOf(w) != l.Charm && w.CharmURL != "" {
		return Op{Kind: Deploy, RelationID: -1, Charm: charmOf(w), KeepFailed: true}, true
	}
	switch w.Resolved {
	case "retry-hooks":
		f.Retry, f.Resolved = true, true
		return f, true
	case "no-hooks":
		f.Kind, f.Resolved = Skip, true
		return f, true
	}
	if o, ok := task(l, w); ok {
		return o, true
	}
	if l.Now.RetryDue && w.RetryHooks {
		f.Retry = true
		return f, true
	}
	return Op{Kind: Blocked, RelationID: -1, Reason: `hook failed: "` + f.Hook + `"`}, true
}

// queued runs the hook that another one asked for, or that was interrupted.
func queued(l Local, w agentapi.Want) (Op, bool) {
	if l.Queued == nil {
		return Op{}, false
	}
	q := *l.Queued
	if q.RelationID >= 0 && find(w, q.RelationID) == nil {
		q.Kind = Forget
	}
	if q.Hook == Install && w.Life == "dying" {
		q.Kind = Forget // it never completed: the unit goes without hooks
	}
	return q, true
}

func charmOf(w agentapi.Want) Charm {
	return Charm{URL: w.CharmURL, SHA256: w.CharmSHA256, Modified: w.CharmModified}
}

// uninstalled brings a new unit to its first hook, or a dying one that never
// had it to its end.
func uninstalled(l Local, w agentapi.Want) (Op, bool) {
	switch {
	case l.Installed:
		return Op{}, false
	case w.Life == "dying":
		return op(Dead), true
	case w.CharmURL == "":
		return Op{Kind: Blocked, RelationID: -1, Reason: "waiting for charm"}, true
	case l.Charm != charmOf(w):
		return Op{Kind: Deploy, RelationID: -1, Charm: charmOf(w)}, true
	}
	return hook(Install), true
}

func reboot(l Local, _ agentapi.Want) (Op, bool) {
	return hook(Start), l.Started && !l.Stopped && l.Now.BootID != l.BootID
}

// upgrade waits for the end of the first run, so that its order holds; a first
// run that fails can be helped by a forced upgrade.
func upgrade(l Local, w agentapi.Want) (Op, bool) {
	ok := w.Life == "alive" && l.Started && w.CharmURL != "" && l.Charm != charmOf(w)
	return Op{Kind: Deploy, RelationID: -1, Charm: charmOf(w)}, ok
}

// leadership turns what the controller says into a hook.
func leadership(l Local, w agentapi.Want) (Op, bool) {
	switch {
	case l.Leader && !w.Leader:
		return op(Resign), true
	case w.Life != "alive":
		return Op{}, false
	case w.Leader && !l.Leader:
		return hook(LeaderElected), true
	case !w.Leader && (!l.Now.SettingsSeen || !l.LeaderSeen || l.LeaderSettings != w.LeaderSettings):
		return hook(LeaderSettingsChanged), true
	}
	return Op{}, false
}

// task picks the first that has not ended. Those that run beside hooks are
// started elsewhere and never chosen here.
func task(l Local, w agentapi.Want) (Op, bool) {
	if l.Charm == (Charm{}) || l.Removed {
		return Op{}, false
	}
	for _, t := range w.Tasks {
		if !l.Tasks[t.ID] && !t.Cancelled {
			return Op{Kind: Task, RelationID: -1, Task: &t}, true
		}
	}
	return Op{}, false
}

func config(l Local, w agentapi.Want) (Op, bool) {
	return hook(ConfigChanged), !l.ConfigRan || l.Hashes != hashes(w)
}

func updateStatus(l Local, _ agentapi.Want) (Op, bool) {
	return hook(UpdateStatus), l.Started && l.Now.UpdateStatusDue
}

// teardown is a dying unit's last way.
func teardown(l Local, w agentapi.Want) (Op, bool) {
	switch {
	case w.HasSubordinates:
		return Op{Kind: Blocked, RelationID: -1, Reason: "waiting for subordinates to be removed"}, true
	case !l.Stopped:
		return hook(Stop), true
	case !l.Removed:
		return hook(Remove), true
	}
	return op(Dead), true
}
