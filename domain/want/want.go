// Package want computes what agents are told: for a unit all that decides its
// next hook and all that a hook may read, for a machine what should be on it.
// It owns no rows and changes nothing; each answer is a function of one
// revision of the state.
package want

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/scarab-ops/scarab/domain/application"
	"github.com/scarab-ops/scarab/domain/charmstore"
	"github.com/scarab-ops/scarab/domain/controller"
	"github.com/scarab-ops/scarab/domain/lease"
	"github.com/scarab-ops/scarab/domain/machine"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/relation"
	"github.com/scarab-ops/scarab/domain/task"
	"github.com/scarab-ops/scarab/domain/unit"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/wire/agentapi"
)

// Unit computes a unit's Want.
func Unit(r state.Reader, m names.Model, name names.Unit) (agentapi.Want, error) {
	s := model.ScopeOf(m)
	u, err := unit.Get(r, s, name)
	if err != nil {
		if _, gone := model.Get(r, m); gone != nil {
			err = gone
		}
		return agentapi.Want{}, err
	}
	all := commonOf(r, commonKey{m, u.Application})
	if all.err != nil {
		return agentapi.Want{}, all.err
	}
	w := all.want
	own(&w, r, s, u, all)
	w.AddressHash = hash([]any{machine.Address(r, s, u.Machine), all.bindings})
	return w, nil
}

// own fills in what is the unit's alone, but for its addresses.
func own(w *agentapi.Want, r state.Reader, s state.Scope, u unit.Row, all *common) {
	name := u.Name
	w.Life, w.Unit, w.MachineID, w.PrincipalUnit = string(u.Life), string(name), string(u.Machine), string(u.Principal)
	w.HasSubordinates = hasSubordinates(r, s, all.relations, name)
	w.Leader, w.Resolved = all.leader == string(name), u.Resolved
	w.Relations, w.Tasks = relations(r, s, u, all.relations), tasks(r, s, string(name))
}

type commonKey struct {
	model names.Model
	app   names.Application
}

// common is what the Wants of an application's units have alike.
type common struct {
	want      agentapi.Want
	bindings  map[string]string
	leader    string
	relations []relation.Row
	err       error

	sum func() digest // of want and bindings
}

// commonOf finds what units have alike once for each View.
func commonOf(r state.Reader, k commonKey) *common {
	return state.Derive(r, k, func() *common {
		c := gather(r, k)
		c.sum = sync.OnceValue(func() digest { return digestOf([]any{c.want, c.bindings}, c.err) })
		return c
	})
}

func gather(r state.Reader, k commonKey) *common {
	s := model.ScopeOf(k.model)
	row, err := model.Get(r, k.model)
	if err != nil {
		return &common{err: err}
	}
	app, err := application.Get(r, s, k.app)
	if err != nil {
		return &common{err: err}
	}
	ch, err := charmstore.Get(r, s, app.CharmURL)
	if err != nil {
		return &common{err: err}
	}
	cfg, err := model.Settings(r, k.model)
	if err != nil {
		return &common{err: err}
	}
	ctl, err := controller.Get(r)
	if err != nil {
		return &common{err: err}
	}
	c := &common{
		bindings: app.Bindings, leader: lease.Holder(r, s, string(app.Name)), relations: relation.Of(r, s, app.Name),
		want: agentapi.Want{
			Application: string(app.Name), ModelUUID: string(k.model), ModelName: row.Name,
			CharmURL: app.CharmURL, CharmSHA256: ch.SHA256, CharmModified: app.CharmModified,
			CharmUser: ch.Charm.Meta.CharmUser, ForceUpgrade: app.ForceUnits,
			ConfigHash: hash(application.Effective(ch.Charm.Config, app.Config)), TrustHash: hash(app.Trust),
			RetryHooks:           cfg.Bool("automatically-retry-hooks"),
			UpdateStatusInterval: cfg.Duration("update-status-hook-interval"),
			HookTimeout:          cfg.Duration("hook-timeout"), HookMemory: cfg.Bytes("hook-memory"),
			HookPids: cfg.Int("hook-pids"), LoggingConfig: cfg.String("logging-config"), APIAddresses: ctl.AgentAddresses,
		},
	}
	if l, err := application.Leaders.Get(r, s, string(app.Name)); err == nil {
		c.want.LeaderSettings = l.Version
	}
	return c
}

// picture is a unit with the rows it hangs on.
type picture struct {
	scope state.Scope
	model model.Row
	unit  unit.Row
	app   application.Row
	charm charmstore.Row
}

func look(r state.Reader, m names.Model, name names.Unit) (picture, error) {
	p := picture{scope: model.ScopeOf(m)}
	var err error
	if p.model, err = model.Get(r, m); err != nil {
		return p, err
	}
	if p.unit, err = unit.Get(r, p.scope, name); err != nil {
		return p, err
	}
	if p.app, err = application.Get(r, p.scope, p.unit.Application); err != nil {
		return p, err
	}
	p.charm, err = charmstore.Get(r, p.scope, p.app.CharmURL)
	return p, err
}

func hash(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

func hasSubordinates(r state.Reader, s state.Scope, rels []relation.Row, name names.Unit) bool {
	for _, rel := range rels {
		_, remote, _ := rel.Sides(name.Application())
		if rel.Scope != "container" || !remote.Subordinate {
			continue
		}
		for _, u := range unit.Of(r, s, remote.Application) {
			if u.Principal == name {
				return true
			}
		}
	}
	return false
}

func relations(r state.Reader, s state.Scope, u unit.Row, rels []relation.Row) []agentapi.WantRelation {
	out := []agentapi.WantRelation{}
	for _, rel := range rels {
		local, remote, _ := rel.Sides(u.Application)
		me, known := relation.MemberOf(r, s, rel.ID, u.Name)
		w := agentapi.WantRelation{
			ID: rel.ID, Key: string(rel.Key), Endpoint: local.Name, Interface: local.Interface,
			Role: local.Role, Scope: rel.Scope, Life: string(rel.Life), Suspended: rel.Suspended,
			Implicit: local.Implicit, InScope: known && !me.Departed, RemoteApp: string(remote.Application),
			RemoteAppVersion: relation.BagOf(r, s, rel.ID, remote.Application).Version,
			Members:          map[string]int64{},
		}
		for _, mem := range relation.InScope(r, s, rel.ID) {
			if sees(r, s, u, rel, remote.Application, mem.Unit) {
				w.Members[string(mem.Unit)] = mem.Version
			}
		}
		out = append(out, w)
	}
	return out
}

// sees tells whether a unit may see another member: any unit of the other
// side, any sibling in a peer relation, and in a container-scoped relation
// only the counterpart on its own principal.
func sees(r state.Reader, s state.Scope, me unit.Row, rel relation.Row, remote names.Application, other names.Unit) bool {
	if other == me.Name || other.Application() != remote {
		return false
	}
	if rel.Scope != "container" {
		return true
	}
	if me.Principal != "" {
		return other == me.Principal
	}
	u, err := unit.Get(r, s, other)
	return err == nil && u.Principal == me.Name
}

func tasks(r state.Reader, s state.Scope, receiver string) []agentapi.Task {
	out := []agentapi.Task{}
	for _, t := range task.For(r, s, receiver) {
		out = append(out, agentapi.Task{
			ID: string(t.ID), Name: t.Name, Params: t.Params, Parallel: t.Parallel,
			Group: t.Group, Cancelled: t.Status == "aborting", Timeout: t.Timeout,
		})
	}
	return out
}

// UnitKeys are the rows that a unit's Want is made of, so that a watch wakes
// for these and no others. They change when relations come and go.
func UnitKeys(r state.Reader, m names.Model, name names.Unit) []state.Key {
	s, a := model.ScopeOf(m), name.Application()
	keys := []state.Key{
		model.Table.Key(state.Controller, string(m)), controller.Table.Key(state.Controller, "controller"),
		model.ConfigTable.Key(s, "config"), unit.Table.Key(s, string(name)),
		application.Table.Key(s, string(a)), application.Leaders.Key(s, string(a)),
		lease.Table.Key(s, string(a)), relation.Table.Keys(s), task.Queues.Key(s, string(name)),
	}
	if u, err := unit.Get(r, s, name); err == nil && u.Machine != "" {
		keys = append(keys, machine.Seen.Key(s, string(u.Machine)), machine.Instances.Key(s, string(u.Machine)))
	}
	for _, t := range task.For(r, s, string(name)) {
		keys = append(keys, task.Table.Key(s, string(t.ID)))
	}
	for _, rel := range relation.Of(r, s, a) {
		prefix := strconv.Itoa(rel.ID) + "/"
		keys = append(keys, relation.Members.KeysUnder(s, prefix), relation.AppBags.KeysUnder(s, prefix))
		if _, remote, _ := rel.Sides(a); rel.Scope == "container" && remote.Subordinate {
			keys = append(keys, unit.Table.KeysUnder(s, string(remote.Application)+"/"))
		}
	}
	return keys
}

// Machine computes a machine's MachineWant. It holds no removal order: a cloud
// takes its machines down from outside.
func Machine(r state.Reader, m names.Model, id names.Machine) (agentapi.MachineWant, error) {
	s := model.ScopeOf(m)
	if _, err := model.Get(r, m); err != nil {
		return agentapi.MachineWant{}, err
	}
	row, err := machine.Get(r, s, id)
	if err != nil {
		return agentapi.MachineWant{}, err
	}
	cfg, err := model.Settings(r, m)
	if err != nil {
		return agentapi.MachineWant{}, err
	}
	ctl, err := controller.Get(r)
	if err != nil {
		return agentapi.MachineWant{}, err
	}
	w := agentapi.MachineWant{
		Life: string(row.Life), APIAddresses: ctl.AgentAddresses, LoggingConfig: cfg.String("logging-config"),
		AuthorizedKeys: Keys(cfg), Units: []agentapi.MachineUnit{}, Tasks: tasks(r, s, string(id)),
	}
	for _, u := range unit.On(r, s, id) {
		mu := agentapi.MachineUnit{Unit: string(u.Name), Life: string(u.Life), Principal: string(u.Principal)}
		if app, err := application.Get(r, s, u.Application); err == nil {
			if ch, err := charmstore.Get(r, s, app.CharmURL); err == nil {
				mu.CharmUser = ch.Charm.Meta.CharmUser
			}
		}
		w.Units = append(w.Units, mu)
	}
	return w, nil
}

// Keys splits the authorized-keys setting into one key each.
func Keys(cfg model.Getter) []string {
	out := []string{}
	for line := range strings.SplitSeq(cfg.String("authorized-keys"), "\n") {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			out = append(out, line)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// MachineKeys are the rows that a machine's MachineWant is made of.
func MachineKeys(r state.Reader, m names.Model, id names.Machine) []state.Key {
	s := model.ScopeOf(m)
	keys := []state.Key{
		model.Table.Key(state.Controller, string(m)), controller.Table.Key(state.Controller, "controller"),
		model.ConfigTable.Key(s, "config"), machine.Table.Key(s, string(id)),
		unit.Table.Keys(s), task.Queues.Key(s, string(id)),
	}
	for _, t := range task.For(r, s, string(id)) {
		keys = append(keys, task.Table.Key(s, string(t.ID)))
	}
	return keys
}
